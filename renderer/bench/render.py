"""Benchmarks of the renderer: samples per second and image error, against a plain loop on the same samples."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from renderer.commit import commit
from renderer.format.dataset import open_dataset
from renderer.install import how_to_install
from renderer.machine import granted_cores
from renderer.parameters.jobspecs import load_spec
from renderer.run.claim import STAGING, claim
from renderer.run.context import RenderContext, prepare
from renderer.run.local import render_shards
from renderer.run.packing import packing
from renderer.run.pool import Done, PoolOptions, WorkerPool

Emit = Callable[[dict[str, Any]], None]
PLAIN_SHARE = 5  # the plain loop renders every fifth sample: it takes long, and its rate is steady
ERROR_SAMPLES = tuple(range(3, 10))
REFERENCE_SPP = 4096


def run_bench(count: int, what: str, emit: Emit) -> None:
    """Print JSON lines {"name", "value", "unit", ...}."""
    about = {"machine": f"{platform.machine()}, {granted_cores()} cores", "commit": commit()}

    def line(name: str, value: float, unit: str, **more: Any) -> None:
        emit({"name": name, "value": round(value, 5), "unit": unit, **more, **about})

    context = prepare(load_spec("mixed"), 0, log=lambda text: None)
    with tempfile.TemporaryDirectory() as folder:
        if what in ("all", "throughput"):
            _throughput(context, count, Path(folder), line)
        if what in ("all", "drift"):
            _drift(context, count * 10, Path(folder), line)
        if what in ("all", "error"):
            _error(context, Path(folder), line)


def _throughput(context: RenderContext, count: int, folder: Path, line: Callable[..., None], turns: int = 1) -> None:
    """Ours, the plain loop and BlenderProc in turns, so that a drifting machine drifts for all."""
    loops = {"plain loop, 64 samples per pixel": "plain_loop"}
    if importlib.util.find_spec("blenderproc"):
        loops["BlenderProc, 64 samples per pixel"] = "blenderproc_loop"
    else:
        print(f"BlenderProc is not measured beside them: {how_to_install('bench')} first", file=sys.stderr)
    rates: dict[str, list[float]] = defaultdict(list)
    for turn in range(turns):
        out, start = folder / f"ours-{turn}", time.monotonic()
        claim(out, context)
        render_shards(context, [(0, count)], out, out / STAGING, PoolOptions(*packing(None, None)))
        rates["headforge"].append(count / (time.monotonic() - start))
        indices = list(range(0, count, PLAIN_SHARE))[: max(4, count // PLAIN_SHARE)]
        for name, module in loops.items():
            rates[name].append(len(indices) / _plain(context, folder, indices, 64, "", module))
    for name, values in rates.items():
        line(f"throughput: {name}", float(np.median(values)), "samples/s", runs=[round(v, 3) for v in values])
    for name in loops:
        ratio = float(np.median(np.divide(rates["headforge"], rates[name])))
        line(f"throughput: headforge over {name}", ratio, "x")
    parts: dict[str, list[float]] = defaultdict(list)
    sizes: dict[str, list[int]] = defaultdict(list)
    for _, entry in open_dataset(folder / "ours-0").entries():
        for name, value in entry.work["seconds"].items():
            parts[name].append(value)
        for name, member in entry.members.items():
            sizes[name].append(member.size)
    for name, values in parts.items():
        line(f"seconds of a sample: {name}", float(np.mean(values)), "s", median=round(float(np.median(values)), 5))
    for name, numbers in sizes.items():
        line(f"bytes of a sample: {name}", float(np.mean(numbers)), "bytes", largest=max(numbers))
    total = np.sum([np.array(v) for k, v in sizes.items() if k != "json"], axis=0)
    line("bytes of a sample: triplet", float(total.mean()), "bytes", largest=int(total.max()))


def _drift(context: RenderContext, count: int, folder: Path, line: Callable[..., None]) -> None:
    """One worker that is never recycled: do time, memory and descriptors grow?"""
    staging = folder / "drift"
    staging.mkdir()
    options = PoolOptions(1, granted_cores(), recycle_after=count + 1, recycle_rss=1 << 40)
    seconds, rss, descriptors = [], [], []
    for outcome in WorkerPool(context.job(), staging, options).render(range(count)):
        assert isinstance(outcome, Done), outcome
        seconds.append(outcome.seconds["sample"])
        rss.append(outcome.rss)
        descriptors.append(outcome.descriptors)
        (staging / f"{outcome.index:010d}.tar").unlink()
    tenth = max(1, count // 10)
    warm = count // 20  # the first samples fill the caches of pictures and meshes
    first, last = (float(np.mean(seconds[s])) for s in (slice(warm, warm + tenth), slice(-tenth, None)))
    line("drift: seconds of a sample, last tenth over first", last / first, "x", samples=count)
    for name, at in (("sample 100", 100), ("the middle", count // 2)):
        grown = (rss[-1] - rss[min(at, count - 1)]) / 2**20
        line(f"drift: memory growth since {name}", grown, "MiB", peak=round(max(rss) / 2**20))
    line("drift: descriptors, last minus first", descriptors[-1] - descriptors[0], "", last=descriptors[-1])


def _plain(
    context: RenderContext, folder: Path, indices: list[int], samples: int, save: str, loop: str = "plain_loop"
) -> float:
    """Run the plain loop, or one made from it, in a process of its own; its wall time in s, start-up included."""
    job = {**context.job().to_plain(), "indices": indices, "threads": granted_cores(), "samples": samples, "save": save}
    file = folder / "plain.json"
    file.write_text(json.dumps(job))
    start = time.monotonic()
    command = [sys.executable, "-m", f"renderer.blender.{loop}", str(file), str(folder / "plain-out.json")]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - start


def _error(context: RenderContext, folder: Path, line: Callable[..., None]) -> None:
    """Error of input and mask against a reference of many samples, for ours and for 64 raw samples."""
    indices = list(ERROR_SAMPLES)
    for samples, name in ((64, "plain"), (REFERENCE_SPP, "reference")):
        _plain(context, folder, indices, samples, name)
    ours = {}
    for grid in (context.spec.render.mask_grid, 7):
        changed = replace(context, spec=replace(context.spec, render=replace(context.spec.render, mask_grid=grid)))
        out = folder / f"error-{grid}"
        claim(out, changed)
        options = PoolOptions(*packing(None, None))
        render_shards(changed, [(indices[0], indices[-1] + 1)], out, out / STAGING, options)
        ours[grid] = {e.index: (s, e) for s, e in open_dataset(out).entries()}
    errors: dict[str, list[float]] = defaultdict(list)
    for index in indices:
        reference, plain = (np.load(folder / f"{name}-{index}.npz") for name in ("reference", "plain"))
        shard, entry = ours[context.spec.render.mask_grid][index]
        images = {
            "ours": shard.image(entry, "input").astype(np.float32),
            "64 raw samples": plain["input"].astype(np.float32),
        }
        for name, image in images.items():
            for measure, value in _measures(image, reference["input"].astype(np.float32)):
                errors[f"input error, {measure}: {name}"].append(value)
        masks = {f"{g} x {g} rays": s[index][0].image(s[index][1], "mask")[..., 0] for g, s in ours.items()}
        masks["64 raw samples"] = plain["mask"]
        for name, mask in masks.items():
            off = mask.astype(np.float32) - reference["mask"].astype(np.float32)
            errors[f"mask error, RMSE: {name}"].append(float(np.mean(off**2)))
    for name, values in errors.items():
        line(name, float(np.sqrt(np.mean(values))), "", median=round(float(np.sqrt(np.median(values))), 5))


def _measures(image: Any, reference: Any) -> Iterator[tuple[str, float]]:
    """Mean square errors on [0, 1]: of values, and of the differences between neighbours."""
    a, b = np.clip(image, 0, 1), np.clip(reference, 0, 1)
    yield "RMSE", float(np.mean((a - b) ** 2))
    gradients = [np.concatenate([np.diff(x, axis=0).ravel(), np.diff(x, axis=1).ravel()]) for x in (a, b)]
    yield "gradient RMSE", float(np.mean((gradients[0] - gradients[1]) ** 2))

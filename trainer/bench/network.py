"""Timings of the trainer, one JSON object per line: {"name", "value", "unit", ...}. Tests assert none of them.

`input_lines` compares, in one run over the same samples: loose EXR files read in random order, `webdataset` streaming
the same tars, and our three caches; then each augmentation stage. `network_lines` times training steps of a config
against what the device can do.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric

from renderer.commit import commit
from renderer.format import exr
from renderer.processor import this_processor
from trainer.augmentation import stages as aug
from trainer.augmentation.config import STAGES, AugmentConfig
from trainer.augmentation.draws import Draws
from trainer.data.loader import Loader
from trainer.data.order import Positions
from trainer.data.reader import SampleReader, prepare
from trainer.data.sources import BadSamples, Streaming, open_source
from trainer.systems.uvnet.config import NetworkConfig, UVNetConfig
from trainer.systems.uvnet.network import UVNet
from trainer.systems.uvnet.preview import only_stage
from trainer.systems.uvnet.system import UVNetSystem, UVTask, open_bank
from trainer.training import loop, session
from trainer.training.checks import open_reader, parameter_count, splits
from trainer.training.config import DataConfig
from trainer.training.schedules import Moment
from trainer.training.updates import Models, Updates, make_models, precision_of

IMAGES = ("input", "uv", "mask")
BATCH = 40
DTYPES: Final = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16}


def line(name: str, value: float, unit: str, **more: Any) -> str:
    """One figure, with the machine and commit that it belongs to."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    return json.dumps(
        {"name": name, "value": round(value, 2), "unit": unit, **more, "machine": machine, "commit": commit()}
    )


def input_lines(dataset: Path, samples: int, workers: int, environments: Path | None = None) -> Iterator[str]:
    """Samples decoded per second from each kind of storage, then augmented per second by each stage.

    samples: how many per measurement, at most what the data set has. workers: threads, and webdataset's processes.
    """
    reader = SampleReader(dataset, IMAGES)
    positions = np.arange(min(samples, len(reader)))
    order = np.random.default_rng(0).permutation(positions)
    about = {"samples": len(positions), "workers": workers, "size_px": reader.shapes["input"][1]}
    with tempfile.TemporaryDirectory(dir=dataset.parent) as scratch:
        _unpack(reader, positions, Path(scratch))
        for count in sorted({1, workers}):
            rate = _rate(len(order), lambda n=count: _read_loose(reader, order, Path(scratch), n))  # type: ignore[misc]
            yield line("loose_exr_random_order", rate, "samples/s", **{**about, "workers": count})
    for count in sorted({0, workers}):
        rate = _webdataset(reader, len(positions), count)
        yield line("webdataset_streaming", rate, "samples/s", **{**about, "workers": count})
    for count in sorted({0, 1, workers}):
        rate = _rate(len(positions), lambda n=count: _epoch(reader, positions, "none", n))  # type: ignore[misc]
        yield line("cache_none_streaming", rate, "samples/s", **{**about, "workers": count})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for cache in ("memory", *(("device",) if device.type == "cuda" else ())):
        source = open_source(reader, positions, cache, workers, BadSamples(0), device)
        rate = _rate(len(positions), lambda s=source: _consume(s, positions, device))  # type: ignore[misc]
        yield line(f"cache_{cache}", rate, "samples/s", **about)
    yield from augment_lines(reader, device, environments)


def _rate(count: int, work: Callable[[], int]) -> float:
    started = time.perf_counter()
    done = work()
    assert done >= count // BATCH * BATCH, f"only {done} of {count} samples came"
    return done / (time.perf_counter() - started)


def _consume(source: Any, positions: Positions, device: torch.device) -> int:
    loader = Loader(source, positions, min(BATCH, len(positions)), seed=0, window=2000)
    done = 0
    for minibatch in loader:
        done += len(minibatch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return done


def _epoch(reader: SampleReader, positions: Positions, cache: Any, workers: int) -> int:
    cpu = torch.device("cpu")
    return _consume(open_source(reader, positions, cache, workers, BadSamples(0), cpu), positions, cpu)


def _unpack(reader: SampleReader, positions: Positions, folder: Path) -> None:
    """Loose files, as the thesis's first loader had them."""
    for position in positions:
        shard, entry = reader.entry(int(position))
        for name in IMAGES:
            (folder / f"{entry.key}.{name}.exr").write_bytes(shard.read(entry, f"{name}.exr"))


def _read_loose(reader: SampleReader, order: Positions, folder: Path, workers: int) -> int:
    """Open, read, decode and stack loose files in random order."""
    from concurrent.futures import ThreadPoolExecutor

    def read(position: int) -> dict[str, Any]:
        key = reader.keys[position]
        return prepare({n: exr.decode(n, (folder / f"{key}.{n}.exr").read_bytes()) for n in IMAGES})

    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(order), BATCH):
            arrays = list(pool.map(read, order[start : start + BATCH].tolist()))
            for name in IMAGES:
                torch.from_numpy(np.stack([a[name] for a in arrays]))
            done += len(arrays)
    return done


def _decode_webdataset(sample: dict[str, bytes]) -> tuple[Any, ...]:
    arrays = prepare({name: exr.decode(name, sample[f"{name}.exr"]) for name in IMAGES})
    return tuple(arrays[name] for name in IMAGES)


def _webdataset(reader: SampleReader, count: int, workers: int) -> float:
    """The same shards through webdataset, with its shuffle, batched by torch's loader."""
    import webdataset

    urls = [str(shard.tar) for shard in reader.dataset.shards]
    workers = min(workers, len(urls))
    pipeline = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0, empty_check=False)
        .shuffle(2000)
        .map(_decode_webdataset)
        .batched(BATCH, partial=False)
    )
    loader = torch.utils.data.DataLoader(pipeline, batch_size=None, num_workers=workers)
    started, done = time.perf_counter(), 0
    for batch in loader:
        done += len(batch[0])
        if done >= count - BATCH * max(workers, 1):
            break
    return done / (time.perf_counter() - started)


def augment_lines(reader: SampleReader, device: torch.device, environments: Path | None) -> Iterator[str]:
    """Samples per second through each stage alone, at full share, and through the default stages together."""
    base = AugmentConfig(environments=str(environments) if environments else "")
    config = UVNetConfig(data=DataConfig(path=str(reader.path)), augment=base)
    bank = open_bank(config)
    task = UVTask(config, bank.to(device) if bank else None, None)
    streaming = Streaming(reader, 0, BadSamples(0), device)
    positions = np.arange(min(BATCH, len(reader)))
    minibatch = next(streaming.batches([positions], epoch=0))
    samples = task.samples(minibatch)
    draws = Draws.for_samples(0, 0, minibatch.positions, device)
    for name in ("none", *STAGES, "defaults"):
        stages = base if name == "defaults" else only_stage(base, name)
        seconds = seconds_per_call(lambda s=stages: aug.augment(samples, s, draws, task.bank, 0.0), device)  # type: ignore[misc]
        yield line(f"augment_{name}", len(samples.input) / seconds, "samples/s", threads=torch.get_num_threads())


def seconds_per_call(work: Callable[[], Any], device: torch.device, least_s: float = 1.0) -> float:
    """Mean time of a call in a row of calls that takes at least `least_s` seconds, after some to warm up.

    A GPU is waited for before the clock starts and at the end of the row only: waiting for each call would time the
    CPU's detour to it, too.
    """
    for _ in range(3 if device.type == "cuda" else 1):
        work()
    calls = 3
    while True:
        _wait_for(device)
        started = time.perf_counter()
        for _ in range(calls):
            work()
        _wait_for(device)
        seconds = time.perf_counter() - started
        if seconds >= least_s:
            return seconds / calls
        calls *= 2


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def network_lines(config: UVNetConfig, size_px: int = 128) -> Iterator[str]:
    """Training steps as `gen train` takes them: samples/s, TFLOP/s, share of the device's ceiling, GPU busy share.

    First of the network alone, on random pictures that lie on the device; then, where config.data.path is set, whole
    steps on that data set in device memory: loader, augmentation, network, loss and optimiser. The ceiling is the rate
    of a large matrix product in the same arithmetic on the same device, measured beside it. On one device.
    """
    config = replace(config, device=replace(config.device, devices=1, nodes=1))
    fabric = session.make_fabric(config)
    fabric.launch()
    device, batch = fabric.device, config.data.batch_size
    session.tune(config, device)
    system = UVNetSystem()
    plans = UVTask(config, None, None).optimisers
    models = make_models(fabric, config, system.modules(config), plans)
    precision = precision_of(fabric)  # what is used: "auto" names none, and CPUs have no "16-mixed"
    layout = torch.channels_last if config.device.channels_last else torch.contiguous_format
    image = torch.rand(batch, 3, size_px, size_px, device=device).contiguous(memory_format=layout)
    updates = Updates(fabric, models, plans)

    def step() -> None:
        updates.begin(Moment(share=0.0))
        updates(models.wrapped["network"](image).float().abs().mean(), "network")

    parameters = parameter_count(models.plain["network"])
    about = {"batch": batch, "size_px": size_px, "precision": precision, "parameters": parameters}
    about |= {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else this_processor().describe()}
    about |= {"threads": torch.get_num_threads()}
    about |= {"compile": config.device.compile, "channels_last": config.device.channels_last}
    ceiling = matrix_flop_per_s(device, DTYPES.get(precision, torch.float32))
    yield line("matrix_product_ceiling", ceiling / 1e12, "TFLOP/s", precision=precision, device=about["device"])
    steps: list[tuple[str, Callable[[], object], int]] = [("network_step", step, size_px)]
    if config.data.path:
        whole, side = training_step(fabric, models, config)
        steps.append(("train_step", whole, side))
    for name, work, side in steps:
        about |= {"size_px": side}
        seconds = seconds_per_call(work, device)
        flop = 3 * forward_flop(config.network, side) * batch  # the backward pass takes twice the forward one
        yield line(name, batch / seconds, "samples/s", **about)
        yield line(f"{name}_flops", flop / seconds / 1e12, "TFLOP/s", **about)
        yield line(f"{name}_share_of_ceiling", 100 * flop / seconds / ceiling, "%", **about)
        if device.type == "cuda":
            yield line(f"{name}_gpu_busy_share", 100 * gpu_busy_share(work, device), "%", **about)
    if device.type != "cuda":
        print("GPU busy shares are left out: torch uses no CUDA device here", file=sys.stderr)


def training_step(fabric: Fabric, models: Models, config: UVNetConfig) -> tuple[Callable[[], object], int]:
    """A function that takes one step of a training, its samples in the device's memory; and their size in pixels."""
    system = UVNetSystem()
    reader = open_reader(config, system)
    system.check(config, reader)
    training, _ = splits(config, reader)
    source = open_source(
        reader, training, "device", config.data.workers, BadSamples(config.data.max_bad), fabric.device
    )
    loader = Loader(source, training, config.data.batch_size, seed=config.seed, window=config.data.window)
    task = system.build(config, reader, fabric.device)
    updates, start = Updates(fabric, models, task.optimisers), Moment(share=0.0)
    minibatches = (minibatch for _ in itertools.count() for minibatch in loader)
    return (
        lambda: loop.train_step(task, models, updates, next(minibatches), start),
        int(reader.shapes["input"][1]),
    )


def gpu_busy_share(work: Callable[[], object], device: torch.device, calls: int = 30) -> float:
    """Share of the time in which the GPU computes or copies, over a row of calls, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    _wait_for(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        for _ in range(calls):
            work()
        _wait_for(device)
        seconds = time.perf_counter() - started
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False)
    ]
    return covered(spans) / 1e6 / seconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: kernels of several streams overlap."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def forward_flop(network: NetworkConfig, size_px: int) -> int:
    """Floating-point operations of one forward pass of one sample, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        UVNet(network)(torch.zeros(1, 3, size_px, size_px))
    return int(counter.get_total_flops())


def matrix_flop_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """Rate of a large matrix product: what the device can do at best."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds_per_call(lambda: a @ b, device)

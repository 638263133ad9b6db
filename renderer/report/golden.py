"""Golden samples: what some samples of every shipped spec are, in a small reference file that is reviewed.

Draws are compared by hashes of their parameters, rounded, so that they hold on any processor. Pixels repeat bit for bit
on one kind of processor only: there they are compared by hash, elsewhere by thumbnails. Whatever changes them needs a
new `DRAW_VERSION` or `RENDER_VERSION` (`renderer.format.sample_format`), so that no data set mixes the two. To state
anew what the samples are:

    python -m renderer.report.golden tests/renderer/golden.json
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer.errors import DatasetError, MachineError
from renderer.format import exr
from renderer.format.sample_format import DRAW_VERSION, OPTIONAL_LABELS, PER_VERTEX, RENDER_VERSION, canonical_json
from renderer.format.staging import EncodedSample, load_staged
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.parameters.params import SampleParams, to_record
from renderer.run.context import RenderContext, prepare
from renderer.run.packing import packing
from renderer.run.pool import Done, PoolOptions, WorkerPool
from renderer.sampling.draw import draw

COMMAND: Final = "python -m renderer.report.golden tests/renderer/golden.json"
DRAWN: Final = tuple(range(0, 120, 5))  # of clips, too, so that these are frames of several
SAMPLES: Final[Mapping[str, tuple[int, ...]]] = {"mixed": (20, 89, 90), "smoke": (0, 1, 3, 18, 21)}
"""Samples that are rendered, with every label: all kinds of surface, surroundings and occluders are among them."""

_DIGITS: Final = 6  # significant; processors differ in the fifteenth
_SIDE: Final = 8  # of a thumbnail
TOLERANCE: Final = 0.04  # mean difference of thumbnails in steps of 1/255: one ray more is 0.1, no AVX2 < 0.001


def context_of(name: str) -> RenderContext:
    """The golden data set of a shipped spec: seed 0, and all labels where it is rendered."""
    spec = load_spec(name)
    if name in SAMPLES:
        labels = tuple(label for label in OPTIONAL_LABELS if label not in PER_VERTEX)  # these the record gives
        spec = replace(spec, render=replace(spec.render, labels=labels))
    return prepare(spec, 0, log=lambda line: None)


def golden_draws(context: RenderContext) -> str:
    """Eight hex digits for each of the samples `DRAWN`."""
    drawn = (draw(context.spec, context.seed, i, context.catalog, context.model, context.tag) for i in DRAWN)
    return " ".join(_draw_hash(params) for params in drawn)


def _draw_hash(params: SampleParams) -> str:
    plain = to_record(params)
    del plain["key"]  # depends on the tag, and that on the versions
    return hashlib.sha256(canonical_json(_rounded(plain))).hexdigest()[:8]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return 0.0 if math.isclose(value, 0.0, abs_tol=1e-12) else float(f"{value:.{_DIGITS}g}")
    return value


def golden_samples(context: RenderContext, indices: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rendered samples: hashes of pixels and record, and thumbnails. Raises MachineError where one fails."""
    with tempfile.TemporaryDirectory(prefix="headforge-golden-") as folder:
        pool = WorkerPool(context.job(), Path(folder), PoolOptions(*packing(min(2, len(indices)), 1)))
        for outcome in pool.render(indices):
            if not isinstance(outcome, Done):
                raise MachineError(f"golden sample {outcome.index} could not be rendered: {outcome.reason}")
        for index in indices:
            yield index, _fingerprint(load_staged(Path(folder) / f"{index:010d}.tar"))


def _fingerprint(sample: EncodedSample) -> dict[str, Any]:
    record = {k: v for k, v in json.loads(sample.members[f"{sample.key}.json"]).items() if k != "key"}
    return {
        "record": hashlib.sha256(canonical_json(record)).hexdigest()[:8],
        "pixels": {name: digest[:8] for name, digest in sample.pixels.items()},
        "thumbnails": {
            name: thumbnail(exr.decode(name, sample.members[f"{sample.key}.{name}.exr"])) for name in sample.pixels
        },
    }


def thumbnail(image: exr.Image) -> str:
    """Hex bytes of an image of 8 x 8 pixels. image: (H, W, C), any range; zero is byte 128, infinity 255."""
    side, channels = image.shape[0] // _SIDE, image.shape[2]
    cut = image[: side * _SIDE, : side * _SIDE].astype(np.float64)
    small = cut.reshape(_SIDE, side, _SIDE, side, channels).mean(axis=(1, 3))
    return bytes(np.rint(128 + 127 * small / (1 + np.abs(small))).astype(np.uint8).ravel()).hex()


def processor() -> str:
    """The kind of processor, as far as pixels depend on it: model and vector instructions."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    vectors = [f for f in ("avx2", "avx512f") if f in facts.get("flags", "").split()]
    return " ".join([platform.machine(), *(facts.get(k, "") for k in ("vendor_id", "cpu family", "model")), *vectors])


def measure(draws: bool = True, samples: bool = True) -> dict[str, Any]:
    """What the golden samples are with the code and assets of this machine, as the reference file holds it."""
    names = spec_names() if draws else list(SAMPLES)
    contexts = {name: context_of(name) for name in names}
    found: dict[str, Any] = {"pack": next(iter(contexts.values())).pack.name, "draw_version": DRAW_VERSION}
    if draws:
        found["draws"] = {name: golden_draws(context) for name, context in contexts.items()}
    if samples:
        found |= {"render_version": RENDER_VERSION, "processor": processor()}
        found["samples"] = {
            f"{name}/{index}": about
            for name, indices in SAMPLES.items()
            for index, about in golden_samples(contexts[name], indices)
        }
    return found


def draw_problems(golden: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Draws that differ from the golden ones, in words, although the version is the same."""
    if golden["draw_version"] != now["draw_version"] or golden["pack"] != now["pack"]:
        return []
    return [
        f"draws of {name!r} changed: raise DRAW_VERSION in renderer/format/sample_format.py, then run `{COMMAND}`"
        for name, hashes in now["draws"].items()
        if golden["draws"].get(name, hashes) != hashes
    ]


def render_problems(golden: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Rendered samples that differ from the golden ones, in words, although the versions are the same."""
    versions = ("draw_version", "render_version", "pack")
    if any(golden[name] != now[name] for name in versions):
        return []
    way_out = f"raise RENDER_VERSION in renderer/format/sample_format.py, then run `{COMMAND}`"
    problems = []
    for name, about in now["samples"].items():
        old = golden["samples"].get(name, about)
        if golden["processor"] == now["processor"]:
            changed = [image for image, digest in about["pixels"].items() if old["pixels"].get(image, digest) != digest]
            changed += ["the record"] if old["record"] != about["record"] else []
        else:
            changed = [
                image
                for image, hexed in about["thumbnails"].items()
                if thumbnail_error(old["thumbnails"].get(image, hexed), hexed) > TOLERANCE
            ]
        if changed:
            problems.append(f"sample {name} changed in {', '.join(changed)}: {way_out}")
    return problems


def thumbnail_error(one: str, other: str) -> float:
    """Mean absolute difference in steps of 1/255; infinite where their sizes differ."""
    a, b = (np.frombuffer(bytes.fromhex(hexed), np.uint8).astype(int) for hexed in (one, other))
    return float(np.abs(a - b).mean()) if len(a) == len(b) else math.inf


def stale(golden: Mapping[str, Any], pack: str) -> list[str]:
    """Why a reference file says nothing about the code of today, in words."""
    here = {"draw_version": DRAW_VERSION, "render_version": RENDER_VERSION, "pack": pack}
    return [f"{k} is {v!r}, the file's {golden[k]!r}: run `{COMMAND}`" for k, v in here.items() if golden[k] != v]


def main(path: Path) -> None:
    """Write the reference file. Raises DatasetError where samples changed under a version that stayed."""
    now = measure()
    if path.exists():
        golden = json.loads(path.read_bytes())
        if problems := draw_problems(golden, now) + render_problems(golden, now):
            raise DatasetError("\n".join(problems))
    path.write_text(json.dumps(now, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

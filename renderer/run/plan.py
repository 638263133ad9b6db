"""Which samples make up which shard, what is still to be rendered, and about how long it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from renderer.errors import SpecError
from renderer.format.folder import finished_ranges
from renderer.format.sample_format import PER_VERTEX, image_names, images_of
from renderer.parameters.spec import RenderSpec
from renderer.run.claim import holds
from renderer.run.context import RenderContext

SECONDS_PER_SAMPLE: Final = (
    0.5  # core-seconds with default render settings, from docs/benchmarks.md: 4.0/s on two cores
)
RECORD_BYTES: Final = 15_800  # of a sample: the record, the tar's headers and padding
IMAGE_BYTES: Final = {
    "input": 58_000, "uv": 10_500, "mask": 4_000, "depth": 31_000, "normal": 29_000, "albedo": 33_000,
    "position": 50_000, "camera_position": 50_000, "neutral": 33_000, "foreground": 45_000,
    "view2": 58_000, "view2_uv": 10_500, "view2_mask": 4_000, "vertices": 46_000,
}  # fmt: skip
"""Mean size of an image of `mixed` at 128 x 128, compressed."""


def seconds_per_sample(render: RenderSpec, measured: float = 0.0) -> float:
    """Core-seconds that a sample with these settings takes, within about a quarter.

    measured: core-seconds of a sample with default settings on the machine in question; 0: those of docs/benchmarks.md.
    """
    return (measured or SECONDS_PER_SAMPLE) * _effort(render) / _effort(RenderSpec())


def _effort(render: RenderSpec) -> float:
    """CPU seconds on one core, fitted to runs with 64 to 512 pixels a side, 12 to 48 samples, 5 to 15 label rays."""
    area, labels = render.area, set(render.labels)
    denoising = 0.02 * render.oversample**2 if render.denoise else 0.0
    picture = 0.2 + area * (0.014 * render.samples_per_pixel + denoising)
    pictures = 1 + 0.7 * len(labels & {"neutral", "view2"})
    surface = 0.1 * area * bool(labels & {"normal", "albedo"})
    return picture * pictures + surface + area * (0.0009 * render.mask_grid**2 + 0.02 * len(labels))


def bytes_per_sample(render: RenderSpec) -> float:
    """Bytes of a sample in its tar. Larger images compress better: smooth maps more so than pictures."""
    area, total = render.area, float(RECORD_BYTES)
    for name in image_names(render.labels):
        if name in PER_VERTEX:
            total += IMAGE_BYTES[name]
            continue
        smooth = name.endswith(("uv", "mask"))
        precise = 3.5 if name.endswith("uv") and render.uv_precision == "float" else 1.0
        total += IMAGE_BYTES[name] * precise * area ** (0.7 if smooth else 0.85)
    return total


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    count: int
    finished: int  # samples in finished shards
    ranges: tuple[tuple[int, int], ...]  # shards to render: (start, stop)
    render: RenderSpec

    @property
    def missing(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    @property
    def images(self) -> int:
        """Of one sample."""
        return images_of(self.render.labels)

    def hours(self, cores: int) -> float:
        """Estimated wall time on so many cores."""
        return self.missing * seconds_per_sample(self.render) / cores / 3600

    @property
    def size(self) -> float:
        """Estimated bytes on disk."""
        return self.missing * bytes_per_sample(self.render)

    def describe(self, cores: int) -> str:
        """The plan for people."""
        return (
            f"{self.count} samples = {self.count * self.images} images asked for, {self.finished} samples finished; "
            f"{self.missing} to render in {len(self.ranges)} shards, "
            f"about {self.hours(cores):.2f} h on {cores} cores and {self.size / 1e9:.2f} GB"
        )


def missing_ranges(finished: Iterable[tuple[int, int]], count: int, shard_size: int) -> list[tuple[int, int]]:
    """Ranges of samples 0 .. count-1 that no finished shard covers, cut at multiples of `shard_size`.

    Finished shards stay as they are, whatever the shard size and count were when they were made.
    """
    gaps, at = [], 0
    for start, stop in sorted(finished):
        if start > at:
            gaps.append((at, min(start, count)))
        at = max(at, stop)
    if at < count:
        gaps.append((at, count))
    ranges = []
    for start, stop in gaps:
        while start < min(stop, count):
            end = min(stop, count, (start // shard_size + 1) * shard_size)
            ranges.append((start, end))
            start = end
    return ranges


def make_plan(out: Path, context: RenderContext, count: int, shard_size: int) -> Plan:
    """What is missing of the first `count` samples. Raises DatasetError if `out` is the folder of anything else."""
    if count <= 0:
        raise SpecError(f"--count is {count}; it must be at least 1")
    if shard_size <= 0:
        raise SpecError(f"--shard-size is {shard_size}; it must be at least 1")
    holds(out, context)
    finished = finished_ranges(out)
    done = sum(min(stop, count) - start for start, stop in finished if start < count)
    ranges = tuple(missing_ranges(finished, count, shard_size))
    return Plan(count, done, ranges, context.spec.render)

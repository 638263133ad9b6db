"""Which samples make up which shard, and what is still to be rendered. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

# Of the default spec at 128 x 128, from docs/benchmarks.md; only for estimates
SECONDS_PER_SAMPLE: Final = 0.5  # core-seconds: 4.0 samples a second on two cores
BYTES_PER_SAMPLE: Final = 88_200  # triplet 72,378, record 12,629, the rest is the tar's headers and padding


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    count: int
    finished: int  # samples in finished shards
    ranges: tuple[tuple[int, int], ...]  # shards to render: (start, stop)
    images: int  # images per sample

    @property
    def missing(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    def hours(self, cores: int, resolution: int) -> float:
        """Estimated wall time on so many cores."""
        return self.missing * SECONDS_PER_SAMPLE * (resolution / 128) ** 2 / cores / 3600

    def size(self, resolution: int) -> float:
        """Estimated bytes on disk."""
        return self.missing * BYTES_PER_SAMPLE * (resolution / 128) ** 2

    def describe(self, cores: int, resolution: int) -> str:
        """The plan for people."""
        return (
            f"{self.count} samples = {self.count * self.images} images asked for, {self.finished} samples finished; "
            f"{self.missing} to render in {len(self.ranges)} shards, "
            f"about {self.hours(cores, resolution):.2f} h on {cores} cores and {self.size(resolution) / 1e9:.2f} GB"
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

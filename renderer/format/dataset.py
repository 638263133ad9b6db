"""A data set: a folder of shards, opened for reading, indexed, or merged into one tar."""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import json
import os
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError
from renderer.files import publish, write_atomic
from renderer.format.folder import INDEX_FILE, SHARD_STEM, SHARDS, read_info
from renderer.format.index import index_content, read_index
from renderer.format.manifest import SampleEntry, ShardSummary, read_summary
from renderer.format.shard import ShardCache, ShardReader

SPREAD_SHARDS: Final = 100  # whose manifests are parsed for a sample of the whole


@dataclass(frozen=True)
class Dataset:
    """A data set folder: its identity and the shards finished so far, by start index."""

    path: Path
    info: dict[str, Any]  # dataset.json: format_version, name, tag, seed, spec, assets, uv_frame, labels, ...
    shards: tuple[ShardReader, ...]

    def __len__(self) -> int:
        return sum(shard.summary.samples for shard in self.shards)

    @functools.cached_property
    def ends(self) -> tuple[int, ...]:
        """Per shard: how many samples it and those before it hold."""
        return tuple(itertools.accumulate(shard.summary.samples for shard in self.shards))

    def locate(self, position: int) -> tuple[int, int]:
        """Number of the shard, and the place in it, of the sample at a position 0 .. len-1, by index."""
        number = bisect.bisect_right(self.ends, position)
        return number, position - self.ends[number] + self.shards[number].summary.samples

    def index(self, position: int) -> int:
        """Of the sample at a position."""
        number, place = self.locate(position)
        return self.shards[number].summary.index(place)

    def position(self, index: int) -> int:
        """The inverse of `index`. Raises ValueError where the data set lacks the sample."""
        number = bisect.bisect_right(self.shards, index, key=lambda shard: shard.summary.start) - 1
        if number < 0:
            raise ValueError(f"{self.path} holds no sample {index}")
        summary = self.shards[number].summary
        return self.ends[number] - summary.samples + summary.place(index)

    @property
    def group_size(self) -> int:
        """Consecutive samples that belong together: frames of a clip, or samples of one subject; else 1."""
        return self.clip_frames or int(self.info["spec"].get("groups", {}).get("of", 1))

    @property
    def clip_frames(self) -> int:
        """Frames of a clip, where samples are frames of clips (docs/design/0004); else 0."""
        return clip_frames(self.info)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ShardReader, SampleEntry]]:
        """Every sample with its shard, by index; only those with start <= index < stop."""
        for shard in self.shards:
            if shard.summary.stop <= start or (stop is not None and shard.summary.start >= stop):
                continue
            for entry in shard.manifest.samples:
                if entry.index >= start and (stop is None or entry.index < stop):
                    yield shard, entry

    def spread(self, count: int) -> Iterator[tuple[ShardReader, SampleEntry]]:
        """At most `count` samples, evenly spread over at most `SPREAD_SHARDS` shards that are evenly spread, too."""
        shards = [self.shards[i] for i in _evenly(len(self.shards), SPREAD_SHARDS)]
        ends = list(itertools.accumulate(shard.summary.samples for shard in shards))
        for position in _evenly(ends[-1], count):
            number = bisect.bisect_right(ends, position)
            shard = shards[number]
            yield shard, shard.manifest.samples[position - ends[number] + shard.summary.samples]


def _evenly(total: int, count: int) -> list[int]:
    """At most `count` of the numbers 0 .. total-1, first and last among them."""
    count = min(count, total)
    return sorted({round(i * (total - 1) / max(count - 1, 1)) for i in range(count)})


def clip_frames(info: Mapping[str, Any]) -> int:
    """Of `dataset.json`: frames of a clip, 0 where samples are images of their own."""
    return int(info["spec"].get("sequence", {}).get("frames", 0))


def open_dataset(path: Path) -> Dataset:
    """A data set for reading. Costs one listing of its folder; manifests are parsed as their samples are asked for.

    Raises DatasetError if it is none, foreign shards are among it, shards overlap, a tar is gone that a manifest or
    the index names, or none is finished.
    """
    info = read_info(path)
    listed = read_index(path / INDEX_FILE) or {}
    shards = _open_shards(path, info["tag"], listed)
    if gone := sorted(listed.keys() - {f"{SHARDS}/{shard.tar.name}" for shard in shards}):
        raise DatasetError(f"{path} lacks {gone[0]}, which its index names: put it back or run its `gen render` again")
    return Dataset(path, info, shards)


def _open_shards(path: Path, tag: str, listed: Mapping[str, ShardSummary | None]) -> tuple[ShardReader, ...]:
    """Every shard in the folder; of those that the index lists as they are on disk, the manifest is not opened."""
    sizes = _sizes(path / SHARDS)
    cache = ShardCache()
    shards: list[ShardReader] = []
    for stem in sorted(name.removesuffix(".json") for name in sizes if name.endswith(".json")):
        file, tar = path / SHARDS / f"{stem}.json", path / SHARDS / f"{stem}.tar"
        if tar.name not in sizes:
            raise DatasetError(f"{file} has lost its tar: put it back or run the data set's `gen render` again")
        known = listed.get(f"{SHARDS}/{tar.name}")
        if known is None or (known.tag, known.tar_bytes, known.manifest_bytes) != (
            tag, sizes[tar.name], sizes[file.name]
        ):  # fmt: skip
            known = read_summary(file)
        if shards and known.start < shards[-1].summary.stop:
            raise DatasetError(
                f"{file} holds samples that {shards[-1].tar.name} holds, too: delete one of the two, tar and manifest,"
                " and run the data set's `gen render` again"
            )
        if known.tag != tag:
            raise DatasetError(f"{file} belongs to data set {known.tag!r}, not to {tag!r} of {path}")
        if sizes[tar.name] != known.tar_bytes:
            raise DatasetError(f"{tar} has {sizes[tar.name]} bytes, its manifest says {known.tar_bytes}")
        shards.append(ShardReader(tar, known, cache))
    if not shards:
        raise DatasetError(f"{path} holds no finished shard yet; run its `gen render` again")
    return tuple(shards)


def _sizes(folder: Path) -> dict[str, int]:
    """Name -> bytes of the tars and manifests in a folder; what is not named by a range is none."""
    sizes = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as listing:
        for entry in listing:
            stem, _, suffix = entry.name.partition(".")
            if suffix in ("tar", "json") and SHARD_STEM.fullmatch(stem):
                with contextlib.suppress(FileNotFoundError):  # taken back at this moment
                    sizes[entry.name] = entry.stat().st_size
    return sizes


def write_index(path: Path) -> dict[str, Any]:
    """Write index.json: every finished shard with range, size and hash, and the totals. Returns it."""
    info = read_info(path)
    try:
        listed = read_index(path / INDEX_FILE) or {}
    except DatasetError:
        listed = {}  # it is about to be replaced
    shards = _open_shards(path, info["tag"], listed)  # an old index may name shards that were taken back since
    index = index_content(info["tag"], ((f"{SHARDS}/{shard.tar.name}", shard.summary) for shard in shards))
    write_atomic(path / INDEX_FILE, json.dumps(index, indent=1).encode())
    return index


def merge_shards(dataset: Dataset, tar: Path, progress: Callable[[int], None] = lambda samples: None) -> None:
    """Write every sample of a data set into one tar, whole or not at all."""
    partial = tar.with_name(f".{tar.name}.{uuid.uuid4().hex}.partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as target:
            for shard in dataset.shards:
                with tarfile.open(shard.tar) as source:
                    for info in source:
                        target.addfile(info, source.extractfile(info))
                progress(shard.summary.samples)
        publish(partial, tar, "")  # in one folder: renamed, not copied
    finally:
        partial.unlink(missing_ok=True)

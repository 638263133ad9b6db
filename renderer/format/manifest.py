"""The manifest of a shard: which samples the tar beside it holds, where their members lie, and what made them.

Samples are most of a manifest. What is asked of every shard of a large data set, its range, size and hash, stands
before and after them, and is read without them as a summary.
"""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from renderer.errors import FormatError
from renderer.format.sample_format import FORMAT_VERSION, shard_stem

_HEAD, _TAIL = 1 << 10, 1 << 16  # bytes of a manifest before and after its samples, which are most of it
_SAMPLES: Final = b',"samples":['
_SKIPPED: Final = b'],"skipped":['


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """A shard's manifest without its samples."""

    start: int
    stop: int
    tag: str
    tar_bytes: int
    tar_sha256: str
    skipped: tuple[int, ...]  # indices of samples that failed, in order
    manifest_bytes: int = field(default=0, compare=False)

    @property
    def stem(self) -> str:
        return shard_stem(self.start, self.stop)

    @property
    def samples(self) -> int:
        """How many the shard holds."""
        return self.stop - self.start - len(self.skipped)

    def indices(self) -> Iterator[int]:
        """Of the samples that the shard holds, in order."""
        skipped = set(self.skipped)
        return (i for i in range(self.start, self.stop) if i not in skipped)

    def index(self, place: int) -> int:
        """Of the sample at a place 0 .. samples-1 within the shard."""
        index = self.start + place
        for skipped in self.skipped:
            index += skipped <= index
        return index

    def place(self, index: int) -> int:
        """Where in the shard a sample lies: the inverse of `index`. Raises ValueError where the shard lacks it."""
        if not self.start <= index < self.stop or index in self.skipped:
            raise ValueError(f"shard {self.stem} holds no sample {index}")
        return index - self.start - bisect.bisect_left(self.skipped, index)


@dataclass(frozen=True)
class Member:
    """Where one member's content lies in the tar."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class SampleEntry:
    """One sample in a manifest. `members` is keyed by what follows `KEY.`: "input.exr", ..., "json"."""

    index: int
    key: str
    members: dict[str, Member]
    pixels: dict[str, str]
    work: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A sample that failed too often, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What a shard holds. Stored as JSON beside the tar, written last."""

    start: int
    stop: int
    tag: str  # the data set's tag, see `sample_format.dataset_tag`
    tar_bytes: int
    tar_sha256: str
    samples: tuple[SampleEntry, ...]
    skipped: tuple[Skipped, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)  # headforge, commit, bpy, numpy, ...
    work: dict[str, Any] = field(default_factory=dict)  # host, seconds, job: whatever must not be in the tar
    format_version: int = FORMAT_VERSION

    @property
    def stem(self) -> str:
        return shard_stem(self.start, self.stop)

    @property
    def summary(self) -> ShardSummary:
        skipped = tuple(sorted(s.index for s in self.skipped))
        return ShardSummary(self.start, self.stop, self.tag, self.tar_bytes, self.tar_sha256, skipped)


def read_manifest(path: Path) -> Manifest:
    """Parse a manifest. Raises FormatError where it is damaged or of another format version."""
    try:
        raw = json.loads(path.read_bytes())
        check_version(raw, path)
        samples = tuple(
            SampleEntry(
                s["index"],
                s["key"],
                {name: Member(**member) for name, member in s["members"].items()},
                s["pixels"],
                s["work"],
            )
            for s in raw.pop("samples")
        )
        skipped = tuple(Skipped(**s) for s in raw.pop("skipped"))
        return Manifest(samples=samples, skipped=skipped, **raw)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def read_summary(manifest: Path) -> ShardSummary:
    """From head and tail of a manifest. Raises FormatError where it is damaged or of another format version."""
    try:
        raw, size = _outline(manifest)
        check_version(raw, manifest)
        skipped = tuple(sorted(int(s["index"]) for s in raw["skipped"]))
        return ShardSummary(
            raw["start"], raw["stop"], raw["tag"], raw["tar_bytes"], raw["tar_sha256"], skipped, size
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(manifest, error) from error


def _outline(manifest: Path) -> tuple[dict[str, Any], int]:
    """A manifest's fields but its samples, and its size. A manifest that others laid out is parsed whole.

    The marks cannot lie within a string, whose quotes are escaped.
    """
    with manifest.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head, found, _ = file.read(_HEAD).partition(_SAMPLES)
        file.seek(max(0, size - _TAIL))
        _, marked, tail = file.read().rpartition(_SKIPPED)
        if found and marked:
            raw = {**json.loads(head + b"}"), **json.loads(b'{"skipped":[' + tail)}
        else:
            file.seek(0)
            raw = json.loads(file.read())
    return raw, size


def check_version(raw: Mapping[str, Any], manifest: Path) -> None:
    """Raises FormatError where a manifest is of a format that is not read here."""
    if raw["format_version"] != FORMAT_VERSION:
        raise FormatError(
            f"{manifest} has format version {raw['format_version']}; this headforge reads {FORMAT_VERSION}"
        )


def damaged(manifest: Path, error: Exception) -> FormatError:
    """What to say of a file that should be a manifest."""
    return FormatError(f"{manifest} is not a shard manifest: {error}; delete it to render the shard again")

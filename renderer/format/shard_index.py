"""What is known of a shard without parsing its samples, and index.json, which lists it for a whole data set.

The truth stands in the manifests beside the shards. The index spares opening thousands of them: its row of a shard
holds as long as tar and manifest have the sizes that it states; otherwise head and tail of the manifest are read again.
"""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError, FormatError
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


# ---------------------------------------------------------------- index.json


def index_content(tag: str, shards: Iterable[tuple[str, ShardSummary]]) -> dict[str, Any]:
    """What index.json holds. shards: path of the tar within the data set, and summary, by range."""
    listed = list(shards)
    return {
        "format_version": FORMAT_VERSION,
        "tag": tag,
        "samples": sum(s.samples for _, s in listed),
        "skipped": sorted(i for _, s in listed for i in s.skipped),
        "shards": [
            {
                "tar": tar,
                "start": s.start,
                "stop": s.stop,
                "samples": s.samples,
                "skipped": list(s.skipped),
                "bytes": s.tar_bytes,
                "sha256": s.tar_sha256,
                "manifest_bytes": s.manifest_bytes,
            }
            for tar, s in listed
        ],
    }


def read_index(file: Path) -> dict[str, ShardSummary | None] | None:
    """Path of the tar -> summary, None where the index does not state all of it; None without an index.

    Raises DatasetError where the file is damaged.
    """
    try:
        raw = json.loads(file.read_bytes())
        tag = raw["tag"]
        return {row["tar"]: _summary(row, tag) for row in raw["shards"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file} cannot be read ({error}): delete it, `gen render` makes it") from error


def _summary(row: Mapping[str, Any], tag: str) -> ShardSummary | None:
    if "manifest_bytes" not in row:  # written by an older headforge
        return None
    return ShardSummary(
        row["start"], row["stop"], tag, row["bytes"], row["sha256"], tuple(row["skipped"]), row["manifest_bytes"]
    )

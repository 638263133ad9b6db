"""The folder of a data set by name alone: what its files are called, what it is, which shards are finished."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError, FormatError
from renderer.format.sample_format import FORMAT_VERSION

SHARDS: Final = "shards"
DATASET_FILE: Final = "dataset.json"
INDEX_FILE: Final = "index.json"
SHARD_STEM: Final = re.compile(r"\d{10,}-\d{10,}")  # what `sample_format.shard_stem` gives


def read_info(path: Path) -> dict[str, Any]:
    """`dataset.json` of a folder. Raises DatasetError if there is none, or one of another format version; FormatError
    if it has no tag."""
    file = path / DATASET_FILE
    try:
        info: dict[str, Any] = json.loads(file.read_bytes())
        version = info["format_version"]
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is not a data set: it has no {DATASET_FILE}; render one with `gen render`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    if version != FORMAT_VERSION:
        raise DatasetError(f"{file} has format version {version!r}; this headforge reads {FORMAT_VERSION}")
    if not isinstance(info.get("tag"), str):
        raise FormatError(f"{file} has no tag: it is damaged, take it from a copy of the data set")
    return info


def is_finished(manifest: Path) -> bool:
    """Whether a shard counts: its manifest and its tar are there."""
    return manifest.exists() and manifest.with_suffix(".tar").exists()


def finished_stems(path: Path) -> list[str]:
    """Shards of a data set folder by range, from one listing: those whose manifest and tar are there."""
    try:
        names = {entry.name for entry in os.scandir(path / SHARDS)}
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(s for s in stems if SHARD_STEM.fullmatch(s) and f"{s}.tar" in names)


def finished_manifests(path: Path) -> list[Path]:
    """Manifests of a data set folder by range, those without a tar left out."""
    return [path / SHARDS / f"{stem}.json" for stem in finished_stems(path)]


def finished_ranges(path: Path) -> list[tuple[int, int]]:
    """(start, stop) of the finished shards of a data set folder, in order."""
    return [(int(start), int(stop)) for start, _, stop in (s.partition("-") for s in finished_stems(path))]

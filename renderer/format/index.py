"""index.json: every shard of a data set with its range, size and hash.

The truth stands in the manifests beside the shards. The index spares opening thousands of them: its row of a shard
holds as long as tar and manifest have the sizes that it states; otherwise the manifest is read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from renderer.errors import DatasetError
from renderer.format.manifest import ShardSummary
from renderer.format.sample_format import FORMAT_VERSION


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

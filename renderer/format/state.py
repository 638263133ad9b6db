"""How far a data set is: how many samples it is meant to have, how many it has, and whether they were proven sound.

    OUT/state.json      {"count": N}, written when a render is asked for; a top-up raises it
    OUT/verdict.json    what `gen verify` concluded, and for which shards; it ends when the shards change

Both stand in the data set itself, so that they hold wherever and however it was rendered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from renderer.errors import FormatError
from renderer.files import write_atomic
from renderer.format.folder import SHARDS, finished_ranges

STATE_FILE: Final = "state.json"
VERDICT_FILE: Final = "verdict.json"


@dataclass(frozen=True)
class State:
    """A data set's state, as its folder tells it."""

    count: int  # samples it is meant to have; where nobody said, those up to the end of its last shard
    samples: int  # of them in finished shards, skipped ones included
    verified: bool  # the last verdict holds for these shards, found all of `count`, and nothing wrong
    problems: tuple[str, ...] = ()  # of the last verdict, if it is about these shards
    checked_at: float | None = None  # time of that verdict, seconds since 1970

    @property
    def complete(self) -> bool:
        return self.samples >= self.count > 0


def read_state(path: Path) -> State:
    """State of the data set folder `path`, from one listing and two small files; no manifest is read.

    Raises FormatError where one of the two is damaged.
    """
    ranges = finished_ranges(path)
    count = asked_count(path) or max((stop for _, stop in ranges), default=0)
    samples = sum(min(stop, count) - start for start, stop in ranges if start < count)
    verdict = _read(path / VERDICT_FILE)
    if verdict is None or verdict["shards"] != shards_identity(path, ranges):
        return State(count, samples, False)
    sound = bool(verdict["verified"]) and int(verdict["count"]) >= count
    return State(count, samples, sound, tuple(verdict["problems"]), float(verdict["time"]))


def asked_count(path: Path) -> int:
    """Samples that the data set is meant to have; 0 where nobody said. Raises FormatError on a damaged file."""
    return int((_read(path / STATE_FILE) or {"count": 0})["count"])


def raise_count(path: Path, count: int) -> None:
    """Raise the number of samples that the data set is meant to have to `count`, if it is lower."""
    if count > asked_count(path):
        write_atomic(path / STATE_FILE, json.dumps({"count": count}).encode())


def write_verdict(path: Path, verdict: Mapping[str, Any]) -> None:
    """Keep what was concluded: count, verified, problems, time, shards (of `shards_identity`), and more for people."""
    write_atomic(path / VERDICT_FILE, json.dumps(dict(verdict), indent=1).encode())


def shards_identity(path: Path, ranges: list[tuple[int, int]] | None = None) -> dict[str, int]:
    """What changes when a shard comes, goes or is replaced: their number, and when the folder was last changed."""
    ranges = finished_ranges(path) if ranges is None else ranges
    shards = path / SHARDS
    return {"number": len(ranges), "changed_ns": shards.stat().st_mtime_ns if ranges else 0}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(path.read_bytes())
        if not isinstance(raw["count"], int):
            raise TypeError(f"count is {raw['count']!r}")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} is damaged ({error}): delete it; `gen render` and `gen verify` write it anew"
        ) from error
    return dict(raw)

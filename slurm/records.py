"""What cluster jobs leave beside a data set, in OUT/.slurm. Finished shards are the truth; this is detail.

OUT/.slurm/
    submissions/STAMP/       submission.json, and submitit's scripts, pickles and logs
    code/COMMIT/             the code that jobs run
    beats/JOB.json           heartbeat of one array element, renewed twice a minute
    failures/*.json          one file per failure: shard, node, reason, tail of the log
    saved/SHARD.tar          samples of a shard that a job had to leave unfinished
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from renderer.files import write_atomic
from renderer.format.sample_format import shard_stem
from slurm.plan import Range

FOLDER: Final = ".slurm"
QUARANTINE_NODES: Final = 2  # a shard that failed on so many nodes is left out
BAD_NODE: Final = 2  # failures on a node, more than shards finished there, that exclude it


def job_name(out: Path, tag: str) -> str:
    """Name of a data set's jobs: by it they are found again, whoever submitted them."""
    return f"headforge-{tag}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class JobFolder:
    """Paths below OUT/.slurm."""

    out: Path

    @property
    def root(self) -> Path:
        return self.out / FOLDER

    @property
    def submissions(self) -> Path:
        return self.root / "submissions"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def beats(self) -> Path:
        return self.root / "beats"

    @property
    def failures(self) -> Path:
        return self.root / "failures"

    def saved(self, r: Range) -> Path:
        return self.root / "saved" / f"{shard_stem(*r)}.tar"

    def create(self) -> None:
        for path in (self.submissions, self.code, self.beats, self.failures, self.root / "saved"):
            path.mkdir(parents=True, exist_ok=True)


@dataclass
class Beat:
    """How one array element is doing. Times in seconds, clock times since the epoch."""

    job: str  # ARRAY_TASK, or the id of a single job
    node: str
    state: str  # running, waiting (for disk space), verifying, stopped, requeued, finished, failed, lost
    ranges: list[Range]  # its shards
    cores: int
    workers: int
    threads: int
    started: float
    now: float
    rendered: int = 0  # samples in this start, or verified ones
    shards: int = 0  # finished in all its starts
    earlier_s: float = 0.0  # wall time of its earlier starts
    note: str = ""

    @property
    def seconds(self) -> float:
        """Wall time of all its starts."""
        return self.earlier_s + self.now - self.started

    @property
    def alive(self) -> bool:
        return self.state in ("running", "waiting", "verifying")

    def write(self, folder: JobFolder) -> None:
        """Renew the file. A full disk must not end a job, so errors are swallowed: the next beat will do."""
        self.now = time.time()
        with contextlib.suppress(OSError):
            write_atomic(folder.beats / f"{self.job}.json", json.dumps(asdict(self)).encode(), durable=False)


@dataclass(frozen=True)
class Failure:
    """A shard that was not finished for a reason other than being told to stop."""

    shard: Range
    node: str
    job: str
    time: float
    kind: str  # shard: the render failed; node: the machine cannot render; lost: ended without a word; space: disk full
    reason: str
    tail: str = ""  # of the log

    def write(self, folder: JobFolder) -> None:
        with contextlib.suppress(OSError):
            path = folder.failures / f"{shard_stem(*self.shard)}.{uuid4().hex[:8]}.json"
            write_atomic(path, json.dumps(asdict(self)).encode())


def _read(path: Path) -> dict[str, Any] | None:
    """A record, or nothing where it is damaged or gone; records are never worth an error."""
    try:
        loaded = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def read_beats(folder: JobFolder) -> list[Beat]:
    """All heartbeats, oldest start first."""
    beats = (_read_beat(path) for path in folder.beats.glob("[0-9]*.json"))
    return sorted((beat for beat in beats if beat is not None), key=lambda b: b.started)


def read_beat(folder: JobFolder, job: str) -> Beat | None:
    """That of one job; no other file is read."""
    return _read_beat(folder.beats / f"{job}.json")


def _read_beat(path: Path) -> Beat | None:
    raw, known = _read(path), {f.name for f in fields(Beat)}
    with contextlib.suppress(TypeError, LookupError, ValueError):
        if raw is not None:
            raw["ranges"] = [(int(a), int(b)) for a, b in raw["ranges"]]
            return Beat(**{k: v for k, v in raw.items() if k in known})
    return None


def read_failures(folder: JobFolder) -> list[Failure]:
    """All failures, oldest first."""
    failures = []
    for path in folder.failures.glob("*.json"):
        raw = _read(path)
        with contextlib.suppress(TypeError, LookupError, ValueError):
            if raw is not None:
                raw["shard"] = (int(raw["shard"][0]), int(raw["shard"][1]))
                failures.append(Failure(**raw))
    return sorted(failures, key=lambda f: f.time)


def quarantined(failures: Iterable[Failure], finished: set[Range]) -> dict[Range, Failure]:
    """Unfinished shards that failed on `QUARANTINE_NODES` nodes or more, with their last failure."""
    nodes: defaultdict[Range, set[str]] = defaultdict(set)
    last: dict[Range, Failure] = {}
    for failure in failures:
        if failure.kind in ("shard", "lost") and failure.shard not in finished:
            nodes[failure.shard].add(failure.node)
            last[failure.shard] = failure
    return {shard: last[shard] for shard, where in sorted(nodes.items()) if len(where) >= QUARANTINE_NODES}


def bad_nodes(failures: Iterable[Failure], beats: Iterable[Beat]) -> dict[str, int]:
    """Nodes with repeated failures and fewer finished shards than those, and how many failures."""
    failed = Counter(f.node for f in failures if f.kind != "space")
    done: Counter[str] = Counter()
    for beat in beats:
        done[beat.node] += beat.shards
    return {node: n for node, n in sorted(failed.items()) if n >= BAD_NODE and n > done[node]}


def submissions(folder: JobFolder) -> list[dict[str, Any]]:
    """What was submitted, oldest first."""
    found = (_read(p) for p in sorted(folder.submissions.glob("*/submission.json")))
    return [record for record in found if record is not None]

"""How a data set's render is doing, read from disk; the scheduler only adds a hint."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from renderer.errors import MachineError
from renderer.format.folder import finished_ranges, read_info
from renderer.format.state import read_state
from renderer.progress import Progress
from slurm import scheduler
from slurm.plan import Range
from slurm.records import (
    Beat,
    Failure,
    JobFolder,
    bad_nodes,
    job_name,
    quarantined,
    read_beats,
    read_failures,
    submissions,
)

SILENT_S: Final = 300.0  # a heartbeat older than this is doubted
POLL_S: Final = 20.0  # a scheduler has others to answer
SETTLE_S: Final = 90.0  # a network disk may hide what other machines wrote for a minute
LOOK_S: Final = 5.0  # between looks at the folder meanwhile


@dataclass
class Node:
    """What one node did for this data set."""

    shards: int = 0
    failures: int = 0
    core_hours: float = 0.0


@dataclass
class Status:
    """A data set's render. Rates in samples per second."""

    out: Path
    name: str
    tag: str
    count: int  # samples asked for
    samples: int  # of them in finished shards
    finished: int  # shards
    running: int  # shards in hand
    missing: int  # shards that nobody works on
    failed: dict[Range, Failure]  # quarantined shards
    rate: float
    core_hours: float
    jobs: list[Beat] = field(default_factory=list)  # those at work, and those silent
    silent: set[str] = field(default_factory=set)  # ids of jobs that have not been heard for long
    nodes: dict[str, Node] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)
    queue: scheduler.Queue | None = None  # None: no scheduler to ask
    verified: bool = False
    concluded: bool = False  # the last job of the last submission has had its say

    @property
    def done(self) -> bool:
        return self.samples >= self.count

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the present rate."""
        return (self.count - self.samples) / self.rate if self.rate else None


def read_status(out: Path, ask_scheduler: bool = True) -> Status:
    """Raises DatasetError where `out` is no data set. Reads one listing and the heartbeats, no manifest."""
    out = out.absolute()
    info, folder, now = read_info(out), JobFolder(out), time.time()
    finished, beats, failures = set(finished_ranges(out)), read_beats(folder), read_failures(folder)
    sent = submissions(folder)
    own = read_state(out)
    count = max([s["count"] for s in sent if "count" in s] + [own.count])
    largest = max((b - a for a, b in finished), default=0)  # what a local run, which submits nothing, tells of it
    size = next((s["shard_size"] for s in reversed(sent) if "shard_size" in s), largest)
    samples = sum(min(b, count) - a for a, b in finished if a < count)
    at_work = [b for b in beats if b.alive]
    queue = None
    if ask_scheduler:
        try:
            queue = scheduler.queue(job_name(out, info["tag"]))
        except MachineError:
            queue = None
    silent = {b.job for b in at_work if now - b.now > SILENT_S or (queue is not None and not queue)}
    heard = [b for b in at_work if b.job not in silent]
    failed = quarantined(failures, finished)
    running = sum(any(r not in finished for r in b.ranges) for b in heard)
    left = -(-(count - samples) // size) if size else 0
    nodes: defaultdict[str, Node] = defaultdict(Node)
    for beat in beats:
        nodes[beat.node].shards += beat.shards
        nodes[beat.node].core_hours += beat.cores * beat.seconds / 3600
    for failure in failures:
        nodes[failure.node].failures += 1
    rate = sum(b.rendered / max(b.now - b.started, 1e-3) for b in heard if b.state != "verifying")
    verified, last = own.verified and own.count >= count, max((s.get("time", 0.0) for s in sent), default=0.0)
    return Status(
        out, info["name"], info["tag"], count, samples, len(finished), running,
        max(0, left - running - len(failed)), failed, rate,
        sum(n.core_hours for n in nodes.values()), at_work, silent, dict(sorted(nodes.items())),
        bad_nodes(failures, beats), queue, verified, verified or (own.checked_at or 0.0) >= last,
    )  # fmt: skip


def describe(status: Status) -> str:
    """The status for people, a few lines."""
    s = status
    share = s.samples / s.count if s.count else 0.0
    lines = [
        f"{s.name} {s.tag} at {s.out}: {s.samples} of {s.count} samples ({share:.1%}), {s.core_hours:.2f} core-hours",
        f"shards: {s.finished} done, {s.running} running, {s.missing} missing, {len(s.failed)} failed",
    ]
    if s.done:
        lines.append("verified and indexed" if s.verified else "complete; not verified yet")
    elif s.eta_s is not None:
        clock = time.strftime("%d %b %H:%M", time.localtime(time.time() + s.eta_s))
        lines.append(f"{s.rate:.2f} samples/s, {_span(s.eta_s)} to go, until {clock}")
    if s.queue is None:
        lines.append("queue: unknown, no scheduler answers here")
        if not s.done and not s.jobs:
            lines.append("not complete: the same `gen render` again renders what is missing")
    else:
        lines.append(f"queue: {s.queue}" if s.queue else "queue: empty")
        if not s.queue and not s.done:
            lines.append("nobody works on what is missing: run the same `gen render --slurm` again")
    if s.jobs:
        lines += ["", f"{'job':>14} {'node':<16} {'state':<9} {'samples':>8} {'rate':>7}  heard"]
        for b in s.jobs[-30:]:
            state = "silent" if b.job in s.silent else b.state
            rate = b.rendered / max(b.now - b.started, 1e-3)
            lines.append(
                f"{b.job:>14} {b.node:<16} {state:<9} {b.rendered:>8} {rate:>7.2f}  {_span(time.time() - b.now)} ago"
                + (f"  {b.note}" if b.note else "")
            )
    for shard, failure in s.failed.items():
        lines += ["", f"failed: shard {shard[0]}-{shard[1]}, on {failure.node}, job {failure.job}: {failure.reason}"]
        lines += [f"    {line}" for line in failure.tail.splitlines()[-6:]]
    troubled = {name: node for name, node in s.nodes.items() if node.failures}
    if troubled:
        lines += ["", "failures by node: " + ", ".join(f"{name} {node.failures}" for name, node in troubled.items())]
    if s.bad:
        lines.append(f"--exclude={','.join(s.bad)}")
    return "\n".join(lines)


def _span(seconds: float) -> str:
    seconds = max(0, int(seconds))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def watch(out: Path, show: Callable[[str], None], every_s: float | None = None) -> Status:
    """Show the status again and again, until the data set is verified or nobody works on it."""
    while True:
        status = read_status(out)
        show(describe(status))
        if not status.queue and (status.verified or status.queue is not None or status.done):
            return status
        time.sleep(every_s or POLL_S)


def follow_jobs(out: Path, log: Callable[[str], None] = print, every_s: float | None = None) -> Status:
    """Wait with a progress bar until the queue is empty; Ctrl-C leaves the jobs alone."""
    status = read_status(out)
    try:
        with Progress(status.count, "sample", "rendering") as bar:
            bar.update(status.samples)
            while True:
                while status.queue or status.queue is None:
                    time.sleep(every_s or POLL_S)
                    status = read_status(out)
                    bar.update(status.samples - bar.n, f"{status.running} jobs, {len(status.failed)} failed")
                status = _settled(out, status)
                if not status.queue:
                    break
    except KeyboardInterrupt:
        print(file=sys.stderr)
        log(f"the jobs go on; `gen status {out}` shows them")
        return read_status(out)
    log(describe(status))
    return status


def _settled(out: Path, status: Status) -> Status:
    """The status once what the jobs wrote is seen here: the queue may be empty before their last word is visible.

    Returns at once where that word is there, and early where jobs turn up again, as requeued ones do.
    """
    end = time.monotonic() + SETTLE_S
    while not status.concluded and not status.queue and time.monotonic() < end:
        time.sleep(LOOK_S)
        status = read_status(out)
    return status

"""What a finished data set says about the next one: time per shard, idle share, publishing; and a projection from it.

`gen bench scaling OUT` prints both. The model is a sum of terms, each the wall time that its resource needs by
itself; docs/scaling.md has the figures and the reading of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from renderer.errors import DatasetError
from renderer.format.folder import finished_manifests, read_info
from renderer.format.manifest import read_manifest


@dataclass(frozen=True)
class ShardTime:
    """One shard's manifest, in seconds and bytes."""

    node: str
    job: str
    samples: int
    began: float  # clock time
    wall: float  # from the end of the job's shard before, or the job's start, to the last sample
    idle: float  # share of worker time in which no sample was rendered
    publish: float  # building the tar, copying it to shared disk, checking and announcing it
    sample: float  # one worker's time for one sample, mean
    cores: int
    workers: int
    size: int
    first: bool  # the job's first shard: its wall time includes starting Blender


@dataclass(frozen=True)
class Measured:
    """What the projection rests on, medians over shards: a node that stalls must not decide. Seconds, bytes."""

    sample_core_s: float  # core-seconds per sample of a busy node: sample time x cores / workers
    idle: float  # share lost between samples, first shards left out
    start_s: float  # of a job, before its first sample
    publish_s: float  # of one shard
    shard_samples: float
    sample_bytes: float


@dataclass(frozen=True)
class Site:
    """What is not measured here but belongs to the site."""

    cores: int = 8  # of a job
    disk_bytes_s: float = 1e9  # that the shared disk takes from all nodes together
    jobs_per_s: float = 5.0  # that the scheduler starts


def shard_times(out: Path) -> list[ShardTime]:
    """Timings of every shard that a cluster job made, in the order of their samples. Raises DatasetError."""
    read_info(out)
    found, seen = [], set[str]()
    manifests = [(p, read_manifest(p)) for p in finished_manifests(out)]
    for path, m in sorted(manifests, key=lambda pair: pair[1].work.get("finished", 0.0)):
        work = m.work
        if "began" not in work or not m.samples:
            continue
        wall = max(work["finished"] - work["began"], 1e-6)
        rendering = [s.work["seconds"]["sample"] for s in m.samples]
        idle = max(0.0, 1 - sum(rendering) / (wall * work["workers"]))
        publish = max(0.0, path.stat().st_mtime - work["finished"])
        found.append(
            ShardTime(
                work["node"], work["job"], len(m.samples), work["began"], wall, idle, publish,
                statistics.fmean(rendering), work["cores"], work["workers"], m.tar_bytes, work["job"] not in seen,
            )
        )  # fmt: skip
        seen.add(work["job"])
    return found


def summarise(times: Sequence[ShardTime]) -> Measured:
    """Medians. Needs a job with two shards or more, or starting cannot be told from rendering. Raises DatasetError."""
    if not times:
        raise DatasetError("no shard of it was made by a cluster job: there is nothing to project from")
    later = [t for t in times if not t.first]
    if not later:
        raise DatasetError("every job made a single shard; measure with several shards per job")
    steady = statistics.median(t.wall / t.samples for t in later)
    firsts = [t.wall - steady * t.samples for t in times if t.first]
    return Measured(
        sample_core_s=statistics.median(t.sample * t.cores / t.workers for t in times),
        idle=statistics.median(t.idle for t in later),
        start_s=max(0.0, statistics.median(firsts)) if firsts else 0.0,
        publish_s=statistics.median(t.publish for t in times),
        shard_samples=statistics.median(t.samples for t in times),
        sample_bytes=sum(t.size for t in times) / sum(t.samples for t in times),
    )


def project(measured: Measured, site: Site, count: int, nodes: int, tasks: int) -> dict[str, float]:
    """Wall time in seconds of each term, and "total", for `count` samples in `tasks` jobs on `nodes` nodes.

    render: every core busy. idle: workers waiting between samples. start: Blender starting, once per job. publish:
    copying by the job, in which it renders on only in part. rounding: nodes without a job while the last ones run.
    disk: what the shared disk needs beyond the time the nodes render. scheduler: starting the jobs of one round.
    """
    rounds = math.ceil(tasks / nodes)
    share = count / (nodes * site.cores)
    render = share * measured.sample_core_s
    terms = {
        "render": render,
        "idle": render * measured.idle / max(1 - measured.idle, 1e-6),
        "start": rounds * measured.start_s,
        "publish": count / nodes / measured.shard_samples * measured.publish_s,
        "scheduler": min(tasks, nodes) / site.jobs_per_s,
    }
    busy = terms["render"] + terms["idle"] + terms["publish"]
    terms["rounding"] = busy * (rounds * nodes / tasks - 1)
    terms["disk"] = max(0.0, count * measured.sample_bytes / site.disk_bytes_s - sum(terms.values()))
    return {**terms, "total": sum(terms.values())}


def saturates_first(measured: Measured, site: Site, count: int, tasks: int) -> tuple[str, int]:
    """The term that first costs as much as rendering itself while nodes are added, and at how many nodes."""
    for nodes in range(1, 100_000):
        terms = project(measured, site, count, nodes, tasks)
        name, value = max(((n, v) for n, v in terms.items() if n not in ("render", "total")), key=lambda item: item[1])
        if value >= terms["render"]:
            return name, nodes
    return "none", 0


def report(out: Path, count: int = 300_000, site: Site | None = None) -> str:
    """The measurement and the projection, for people."""
    site = site or Site()
    times = shard_times(out)
    m = summarise(times)
    lines = [
        f"{len(times)} shards of {len({t.node for t in times})} nodes, {m.shard_samples:.0f} samples each:"
        f" {statistics.median(t.wall for t in times if not t.first):.1f} s per shard, idle {m.idle:.0%},"
        f" publish {m.publish_s:.3f} s, start {m.start_s:.1f} s per job, {m.sample_core_s:.3f} core-s per sample,"
        f" {m.sample_bytes / 1000:.1f} kB per sample",
        f"{count} samples on nodes of {site.cores} cores, shared disk {site.disk_bytes_s / 1e9:.1f} GB/s;"
        " one job per node and half hour, at least one per node:",
        f"{'nodes':>6} {'jobs':>5} {'hours':>7} " + " ".join(f"{n:>9}" for n in TERMS) + "   (seconds)",
    ]
    for nodes in (1, 10, 50, 200):
        tasks = jobs_for(m, site, count, nodes)
        terms = project(m, site, count, nodes, tasks)
        lines.append(
            f"{nodes:>6} {tasks:>5} {terms['total'] / 3600:>7.2f} " + " ".join(f"{terms[n]:>9.0f}" for n in TERMS)
        )
    name, at = saturates_first(m, site, count, jobs_for(m, site, count, 10_000))
    lines.append(f"first to cost as much as rendering: {name}, at {at} nodes")
    return "\n".join(lines)


TERMS = ("render", "idle", "start", "publish", "scheduler", "rounding", "disk")


def jobs_for(measured: Measured, site: Site, count: int, nodes: int) -> int:
    """Jobs of about half an hour, a multiple of the nodes, never more than shards."""
    hours = count * measured.sample_core_s / site.cores / 3600
    per_node = max(1, round(2 * hours / nodes))
    return min(nodes * per_node, max(1, math.ceil(count / measured.shard_samples)))

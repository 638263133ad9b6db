"""Which array element renders which shards. Pure functions.

A shard is what appears on disk whole; a task is one array element and owns a run of shards worth half an hour to a few
hours, so that 300 000 samples are some tens to hundreds of elements. Schedulers choke on one element per sample.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Range = tuple[int, int]
MOST_TASKS: Final = 400  # elements that any scheduler takes without complaint
VERIFY_SHARE: Final = 0.15  # of the time of rendering a sample: up to 0.07 core-seconds beside 0.5
USABLE: Final = 0.8  # of the time limit; the rest is for start, copying and slow nodes


@dataclass(frozen=True)
class Task:
    """One array element: the shards it renders, as (start, stop), in order."""

    ranges: tuple[Range, ...]

    @property
    def samples(self) -> int:
        return sum(stop - start for start, stop in self.ranges)


@dataclass(frozen=True)
class Array:
    """One sbatch: some tasks, how many of them at once, and the array (by position) that must end before it starts."""

    tasks: tuple[Task, ...]
    parallel: int  # 0: no cap
    depends_on: int | None = None


@dataclass(frozen=True)
class Work:
    """What decides the size of a task. Times in seconds."""

    seconds_per_sample: float  # core-seconds
    cores: int  # of one task
    task_s: float  # wall time aimed at; 0: one shard a task
    limit_s: float  # time limit of a job

    def wall(self, samples: int) -> float:
        """Estimated wall time of one task."""
        return samples * self.seconds_per_sample / self.cores


def plan_tasks(ranges: Sequence[Range], work: Work, most: int | None = None) -> tuple[Task, ...]:
    """Divide shards among as few tasks as make each `work.task_s` long, in order and evenly.

    More than `MOST_TASKS`, or than `most`, are made only where longer tasks would not fit into the time limit.
    """
    if not ranges:
        return ()
    total = work.wall(sum(stop - start for start, stop in ranges))
    count = math.ceil(total / work.task_s) if work.task_s else len(ranges)
    bound = most if most is not None else count
    bound = min(bound, MOST_TASKS) if work.task_s else bound
    if count > bound:
        count = max(bound, math.ceil(total / (USABLE * work.limit_s)))
    count = min(max(count, 1), len(ranges))
    cuts = [len(ranges) * i // count for i in range(count + 1)]
    return tuple(Task(tuple(ranges[a:b])) for a, b in itertools.pairwise(cuts))


def plan_arrays(tasks: Sequence[Task], max_array: int, parallel: int) -> tuple[Array, ...]:
    """Cut tasks into arrays of at most `max_array` elements, never more than `parallel` running at once (0: no cap).

    The scheduler caps each array by itself, so arrays share the cap; where there are more arrays than the cap allows to
    run side by side, the later ones wait for earlier ones.
    """
    if not tasks:
        return ()
    pieces = [tuple(tasks[i : i + max_array]) for i in range(0, len(tasks), max_array)]
    if not parallel:
        return tuple(Array(piece, 0) for piece in pieces)
    lanes = min(len(pieces), parallel)
    share = [parallel // lanes + (lane < parallel % lanes) for lane in range(lanes)]
    return tuple(Array(p, share[i % lanes], i - lanes if i >= lanes else None) for i, p in enumerate(pieces))


def verify_parts(samples: float, work: Work, shards: int, most: int) -> int:
    """Jobs among which the verification of `samples` is divided, up to `most`."""
    wall = samples * VERIFY_SHARE * work.seconds_per_sample / work.cores
    return max(1, min(math.ceil(wall / (work.task_s or 1800)), shards, most, MOST_TASKS))


def shard_warning(ranges: Sequence[Range], work: Work) -> str:
    """In words, where a single shard is likely to outlast the time limit; else nothing."""
    longest = max((stop - start for start, stop in ranges), default=0)
    if work.wall(longest) <= USABLE * work.limit_s:
        return ""
    fits = max(1, int(USABLE * work.limit_s * work.cores / work.seconds_per_sample))
    return (
        f"a shard of {longest} samples takes about {work.wall(longest) / 60:.0f} min, the time limit is"
        f" {work.limit_s / 60:.0f} min: jobs will be requeued in the midst of a shard; --shard-size {fits} avoids it"
    )

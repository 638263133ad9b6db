"""Commands as jobs: one, or several as one array, such as the trainings of a sweep."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from renderer.errors import SpecError
from renderer.files import write_atomic
from slurm import scheduler
from slurm.node.command_job import CommandOrder, run_command
from slurm.profile import Profile, load_profile
from slurm.records import JobFolder
from slurm.submit.batch import Batch, Log, Shape, Submission, check_paths, headers
from slurm.submit.snapshot import snapshot

MAX_COMMANDS: Final = 20  # of one sweep


def submit_commands(
    orders: Sequence[CommandOrder],
    name: str,
    folder: Path,
    profile: str | Path,
    *,
    shape: Shape | None = None,
    paths: dict[str, Path] | None = None,
    parallel: int = 0,
    depends_on: Sequence[str] = (),
    dry_run: bool = False,
    allow_dirty: bool = False,
    log: Log = print,
) -> Submission | None:
    """Queue commands as one array, each a job of its own: a training, or a sweep of up to `MAX_COMMANDS`.

    orders: the time between the profile's warning and its limit replaces their `grace_s`, the profile's `requeues`
    theirs. Jobs start in the code snapshot, so paths must be absolute. folder: on shared disk; logs and code go to
    FOLDER/.slurm. shape: processes of each job. depends_on: jobs that have to end first, whatever became
    of them. paths: what else the jobs read, by the name that errors give it.
    Raises SpecError, MachineError or DatasetError before anything is queued.
    """
    if not 1 <= len(orders) <= MAX_COMMANDS:
        raise SpecError(f"{len(orders)} commands to submit; one array takes 1 to {MAX_COMMANDS}")
    shape, paths = shape or Shape(), paths or {}
    chosen, source = load_profile(profile)
    jobs = JobFolder(folder.absolute())
    check_shape(shape, chosen, source, None)
    if dry_run:
        for order in orders:
            log(shlex.join(order.argv))
        for line in headers(chosen, jobs, name, len(orders), parallel, shape):
            log(line)
        return None
    part = scheduler.check(chosen, source)
    check_shape(shape, chosen, source, part)
    check_paths(chosen, part.hosts, {"output folder": jobs.out, **paths})
    jobs.create()
    code, commit = snapshot(jobs.code, allow_dirty)
    grace = max(5.0, chosen.warn_s - 10.0)
    calls = [(run_command, (replace(order, requeues=chosen.requeues, grace_s=grace),)) for order in orders]
    with Batch(jobs, code, chosen, tuple(paths.values()), log) as batch:
        job = batch.send(name, calls, parallel=parallel, depends_on=depends_on, shape=shape)
        record = {"name": name, "jobs": [job], "commands": [list(o.argv) for o in orders], "commit": commit}
        write_atomic(batch.files / "submission.json", json.dumps(record, indent=1).encode())
    log(f"submitted {len(orders)} command(s) as job {job} on {part.name}; logs in {batch.files}")
    return Submission(name, (job,), len(orders), 0, batch.files)


def check_shape(shape: Shape, profile: Profile, source: Path, part: scheduler.Partition | None) -> None:
    """The profile, and its partition where that is known, have room for such jobs. Raises SpecError."""
    if profile.cores < shape.processes:
        raise SpecError(
            f"{source}: cores is {profile.cores}; {shape.processes} processes on a node need one each or more"
        )
    if shape.gpus and not scheduler.gpus_of(profile.gres) and not any(o.startswith("gpu") for o in profile.sbatch):
        raise SpecError(f"{source}: the jobs want {shape.gpus} GPU(s) on a node, but gres names none: set it to gpu:1")
    if part is None:
        return
    if shape.nodes > len(part.nodes):
        raise SpecError(f"a job wants {shape.nodes} nodes; partition {part.name} has {len(part.nodes)}")
    if scheduler.gpus_of(profile.gres) and shape.gpus > part.gpus:
        raise SpecError(f"a job wants {shape.gpus} GPUs on a node; the best nodes of {part.name} have {part.gpus}")

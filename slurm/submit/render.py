"""From a data set's missing shards to jobs in the queue."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renderer.errors import DatasetError, MachineError
from renderer.files import cache_root, write_atomic
from renderer.format.folder import finished_ranges
from renderer.format.state import raise_count, read_state
from renderer.parameters.spec import Spec
from renderer.report.proof import stem_samples, unproven
from renderer.run.claim import claim, locked
from renderer.run.context import RenderContext, prepare
from renderer.run.local import reopen_skipped
from renderer.run.packing import worker_memory
from renderer.run.plan import Plan, bytes_per_sample, make_plan, seconds_per_sample
from slurm import scheduler
from slurm.node.render_job import RenderOrder, render_task
from slurm.node.verify_job import VerifyOrder, finish, verify_task
from slurm.plan import Array, Range, Task, Work, plan_arrays, plan_tasks, shard_warning, verify_parts
from slurm.profile import Profile, load_profile
from slurm.records import (
    Failure,
    JobFolder,
    bad_nodes,
    job_name,
    quarantined,
    read_beats,
    read_failures,
)
from slurm.status import follow_jobs, read_status
from slurm.submit.batch import Batch, Log, Shape, Submission, check_paths, headers
from slurm.submit.snapshot import snapshot


def prepare_submission(spec: Spec, seed: int, profile: str | Path, log: Log = print) -> RenderContext:
    """What `submit_render` sends. Where jobs run in a container, or another Python, this machine needs no bpy.

    Raises SpecError, AssetError or MachineError.
    """
    chosen, _ = load_profile(profile)
    return prepare(spec, seed, log, renders=not (chosen.container or chosen.python))


@dataclass(frozen=True)
class _Request:
    """One call of `submit_render`."""

    context: RenderContext
    folder: JobFolder
    count: int
    shard_size: int
    profile: Profile
    part: scheduler.Partition
    name: str
    allow_dirty: bool
    log: Log


def submit_render(
    context: RenderContext,
    out: Path,
    count: int,
    shard_size: int,
    profile: str | Path,
    *,
    dry_run: bool = False,
    follow: bool = False,
    allow_dirty: bool = False,
    retry_failed: bool = False,
    log: Log = print,
) -> Submission | None:
    """Queue what is missing of the first `count` samples, and the verification of all; or that alone if nothing is.

    Nothing is queued where all is there and verified, or with `dry_run`.
    `follow` waits with a progress bar until the queue is empty, submits what did not fit into it before, and raises
    DatasetError unless the data set is complete and verified then. `retry_failed` forgets quarantined shards and bad
    nodes, and renders shards with skipped samples again. Raises SpecError, MachineError or DatasetError before anything
    is queued; whatever was queued when a later step fails is cancelled.
    """
    chosen, source = load_profile(profile)
    out = out.absolute()
    name, folder = job_name(out, context.tag), JobFolder(out)
    worker_memory(chosen.workers or 1, int(chosen.memory_gb * 2**30))
    if dry_run:
        for line in _describe(make_plan(out, context, count, shard_size), chosen, out, name):
            log(line)
        return None
    part = scheduler.check(chosen, source)
    check_paths(chosen, part.hosts, {"output folder": out, "cache": cache_root(), **_asset_paths(context)})
    claim(out, context)
    raise_count(out, count)
    folder.create()
    request = _Request(context, folder, count, shard_size, chosen, part, name, allow_dirty, log)
    submission = _submit_unless_busy(request, retry_failed, waits=follow)
    return _follow(request, submission) if follow else submission


def _follow(request: _Request, submission: Submission | None) -> Submission | None:
    """Wait until the queue is empty, and submit what did not fit into it, as long as that gets further."""
    out = request.folder.out
    while True:
        before = finished_ranges(out)
        end = follow_jobs(out, request.log)
        if submission is None or not submission.later or finished_ranges(out) == before:
            break
        submission = _submit_unless_busy(request, retry_failed=False, waits=True)
    if not end.verified:
        raise DatasetError(
            f"{out} is not complete and verified: {end.samples} of {end.count} samples are there; `gen status"
            f" {out}` tells what failed, the same command submits what is missing or not verified yet"
        )
    return submission


def _submit_unless_busy(request: _Request, retry_failed: bool, waits: bool) -> Submission | None:
    """Submit, or nothing where jobs are queued that the caller waits for. Raises DatasetError where it does not."""
    with _locked(request.folder):
        running = scheduler.queue(request.name)
        if running and not waits:
            raise DatasetError(_busy(running, request.name, request.folder.out))
        if running:
            return None
        _settle(request.folder)
        return _submit(request, retry_failed)


def _submit(request: _Request, retry_failed: bool) -> Submission | None:
    folder, log = request.folder, request.log
    if retry_failed:
        shutil.rmtree(folder.failures)
        folder.create()
        reopen_skipped(folder.out, None)
    failures, finished = read_failures(folder), set(finished_ranges(folder.out))
    plan = make_plan(folder.out, request.context, request.count, request.shard_size)
    left_out = quarantined(failures, finished)
    ranges = [r for r in plan.ranges if r not in left_out]
    for shard, last in left_out.items():
        log(
            f"left out: shard {shard[0]}-{shard[1]} failed on several nodes, last on {last.node}: {last.reason}"
            f" (to try it again, delete {folder.failures})"
        )
    bad = bad_nodes(failures, read_beats(folder))
    if bad and set(request.part.nodes) - set(bad):
        log(f"these nodes keep failing and are left out: --exclude={','.join(bad)}")
        exclude = tuple(dict.fromkeys((*request.profile.exclude, *bad)))
        request = replace(request, profile=replace(request.profile, exclude=exclude))
    if plan.ranges and not ranges:
        return None
    known = read_state(folder.out)
    if ranges or not known.verified:
        return _queue(request, plan, ranges)
    log(f"nothing is missing: {known.samples} samples in {len(finished)} shards at {folder.out}, all verified")
    return None


@dataclass(frozen=True)
class _Jobs:
    """What goes into the queue."""

    arrays: tuple[Array, ...]  # of tasks that render
    parts: int  # jobs among which the verification is divided; with one, the job that concludes verifies, too
    doubtful: int  # samples to verify
    later: int  # samples that do not fit into the queue now

    @property
    def tasks(self) -> list[Task]:
        return [task for array in self.arrays for task in array.tasks]

    @property
    def samples(self) -> int:
        return sum(task.samples for task in self.tasks)

    @property
    def shards(self) -> int:
        return sum(len(task.ranges) for task in self.tasks)


def _queue(request: _Request, plan: Plan, ranges: Sequence[Range]) -> Submission:
    """Queue the render of these shards, as far as the user may have jobs, and the jobs that verify and conclude."""
    folder, profile, name, log = request.folder, request.profile, request.name, request.log
    work = _work(profile, plan)
    jobs = _plan_jobs(profile, work, ranges, unproven(folder.out))
    if warning := shard_warning(ranges, work):
        log(warning)
    code, commit = snapshot(folder.code, request.allow_dirty)
    order = _render_order(request, plan)
    check = VerifyOrder(str(folder.out), profile.cores, jobs.parts, profile.requeues, jobs.later)
    with Batch(folder, code, profile, list(_asset_paths(request.context).values()), log) as batch:
        for array in jobs.arrays:
            calls = [(render_task, (order, list(task.ranges))) for task in array.tasks]
            first = (batch.jobs[array.depends_on],) if array.depends_on is not None else ()
            batch.send(name, calls, parallel=array.parallel, depends_on=first)
        if jobs.parts > 1:  # no job that verifies needs a GPU
            shares = [(verify_task, (check, part)) for part in range(jobs.parts)]
            batch.send(f"{name}-end", shares, parallel=profile.parallel, depends_on=tuple(batch.jobs), gres=False)
        batch.send(f"{name}-end", [(finish, (check,))], depends_on=tuple(batch.jobs), gres=False)
        record = {
            "name": name, "jobs": batch.jobs, "count": plan.count, "shard_size": request.shard_size,
            "tasks": len(jobs.tasks), "samples": jobs.samples, "shards": jobs.shards, "verifying": jobs.parts,
            "later": jobs.later, "commit": commit, "user": getpass.getuser(), "time": time.time(),
            "partition": request.part.name, "cores": profile.cores, "exclude": list(profile.exclude),
        }  # fmt: skip
        write_atomic(batch.files / "submission.json", json.dumps(record, indent=1).encode())
    for line in _what_was_sent(jobs, batch.jobs, folder.out):
        log(line)
    return Submission(name, tuple(batch.jobs), len(jobs.tasks), jobs.samples, batch.files, jobs.later)


def _plan_jobs(profile: Profile, work: Work, ranges: Sequence[Range], open_stems: Sequence[str]) -> _Jobs:
    """Divide shards to render, and finished ones to verify (`open_stems`), among as many jobs as may be submitted."""
    limit, room = scheduler.max_array(), _room(profile, bool(ranges))
    doubtful = sum(b - a for a, b in ranges) + sum(map(stem_samples, open_stems))
    spare = limit if room is None else max(1, room - 2)
    parts = verify_parts(doubtful, work, len(ranges) + len(open_stems), min(limit, spare))
    most = None if room is None else room - 1 - (parts if parts > 1 else 0)
    tasks, later = _that_fit(plan_tasks(ranges, work, most), most)
    return _Jobs(plan_arrays(tasks, limit, profile.parallel), parts, doubtful, later)


def _what_was_sent(jobs: _Jobs, ids: Sequence[str], out: Path) -> Iterator[str]:
    if jobs.tasks:
        renders = ", ".join(ids[: len(jobs.arrays)])
        yield (
            f"submitted {jobs.samples} samples in {jobs.shards} shards as {len(jobs.tasks)} tasks of"
            f" {len(jobs.arrays)} array(s) {renders}"
        )
    else:
        yield f"nothing is missing; {jobs.doubtful} samples are to be verified"
    yield f"{jobs.parts} job(s) verify, {ids[-1]} concludes and writes the index; `gen status {out}` tells more"
    if jobs.later:
        yield (
            f"{jobs.later} samples wait until the queue has room for them: give the same command again then, or add"
            " --follow"
        )


def _render_order(request: _Request, plan: Plan) -> RenderOrder:
    context, profile = request.context, request.profile
    return RenderOrder(
        out=str(request.folder.out), spec=context.spec, seed=context.seed, tag=context.tag, pack=str(context.pack),
        count=plan.count, sample_bytes=int(bytes_per_sample(plan.render)), cores=profile.cores,
        workers=profile.workers, threads=profile.threads, scratch=profile.scratch, requeues=profile.requeues,
        space_wait_s=60 * profile.space_wait_min,
    )  # fmt: skip


def _room(profile: Profile, renders: bool) -> int | None:
    """Jobs that may be submitted now; None: any number.

    Raises MachineError where they are fewer than the one that concludes, and one that renders.
    """
    room, needed = scheduler.room(profile), 1 + renders
    if room is not None and room < needed:
        raise MachineError(
            f"the cluster takes {room} more job(s) of yours, and {needed} are needed: wait until others have ended, or"
            " set max_jobs of the profile if it allows more"
        )
    return room


def _that_fit(tasks: Sequence[Task], most: int | None) -> tuple[Sequence[Task], int]:
    """The first `most` tasks, and the samples of the others."""
    fits = tasks if most is None else tasks[:most]
    return fits, sum(task.samples for task in tasks[len(fits) :])


def _work(profile: Profile, plan: Plan) -> Work:
    per_sample = seconds_per_sample(plan.render, profile.seconds_per_sample)
    return Work(per_sample, profile.cores, 60 * profile.task_min, 60 * profile.time_min)


def _describe(plan: Plan, profile: Profile, out: Path, name: str) -> Iterator[str]:
    """The dry run: tasks, core-hours, bytes, and the headers as they would be sent."""
    work = _work(profile, plan)
    try:
        limit, room = scheduler.max_array(), _room(profile, bool(plan.ranges))
        most = None if room is None else room - 1
    except MachineError as error:
        limit, most = scheduler.MAX_ARRAY, None
        yield f"no cluster here ({error}); MaxArraySize is taken to be {limit}"
    tasks, later = _that_fit(plan_tasks(plan.ranges, work, most), most)
    arrays = plan_arrays(tasks, limit, profile.parallel)
    hours = plan.missing * work.seconds_per_sample / 3600
    yield f"{plan.count} samples asked for, {plan.finished} finished, {plan.missing} to render into {out}"
    if not tasks:
        return
    longest = max(t.samples for t in tasks)
    yield (
        f"{len(plan.ranges)} shards in {len(tasks)} tasks of up to {longest} samples, about"
        f" {work.wall(longest) / 60:.0f} min each on {work.cores} cores; {hours:.1f} core-hours,"
        f" {plan.size / 1e9:.2f} GB; arrays of {', '.join(str(len(a.tasks)) for a in arrays)} elements"
    )
    if later:
        yield f"{later} samples do not fit into the queue now (max_jobs, MaxSubmitJobs)"
    if warning := shard_warning(plan.ranges, work):
        yield warning
    yield from headers(profile, JobFolder(out), name, len(arrays[0].tasks), arrays[0].parallel, Shape())


# ---------------------------------------------------------------- the folder


def _asset_paths(context: RenderContext) -> dict[str, Path]:
    """Folders of assets that the nodes read."""
    own = context.spec.assets
    folders = dict.fromkeys((*own.hdris, *own.textures, *own.faces))
    packs = {f"head pack {pack.name}": pack for pack in context.catalog.packs}
    return packs | {f"asset folder {Path(folder).name}": Path(folder) for folder in folders}


def check_idle(out: Path, tag: str) -> None:
    """Raises DatasetError where jobs of the data set at `out` are queued or heard of: they render the same samples."""
    found = read_status(out)
    if found.queue or (found.queue is None and {b.job for b in found.jobs} - found.silent):
        raise DatasetError(_busy(found.queue or "jobs that were heard minutes ago", job_name(out.absolute(), tag), out))


def _busy(what: object, name: str, out: Path) -> str:
    return (
        f"jobs of this data set are in the queue: {what}. Wait, watch them with `gen status {out}`, or end"
        f" them with `scancel -n {name},{name}-end`"
    )


@contextlib.contextmanager
def _locked(folder: JobFolder) -> Iterator[None]:
    """One submission at a time, and none while `gen render` renders here."""
    with locked(folder.out), (folder.root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"another `gen render --slurm` is submitting {folder.out}; try again later") from error
        yield


def _settle(folder: JobFolder) -> None:
    """Jobs that say they run while the scheduler has none ended without a word: that counts against shard and node."""
    finished = set(finished_ranges(folder.out))
    for beat in read_beats(folder):
        if beat.alive:
            seen, cancelled = beat.now, scheduler.was_cancelled(beat.job)
            beat.state = "stopped" if cancelled else "lost"
            open_shards = [r for r in beat.ranges if r not in finished]
            if open_shards and not cancelled:
                reason = "the job ended without a word: killed, out of memory, or its node was lost"
                Failure(open_shards[0], beat.node, beat.job, seen, "lost", reason).write(folder)
            beat.write(folder)

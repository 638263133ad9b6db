"""From a data set's missing shards, or from commands, to jobs in the queue. The only importer of submitit."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import submitit
from submitit.slurm.slurm import _make_sbatch_string

from renderer import archive, run
from renderer.errors import DatasetError, MachineError, SpecError
from renderer.files import write_atomic
from renderer.plan import BYTES_PER_SAMPLE, SECONDS_PER_SAMPLE, Plan
from slurm import scheduler
from slurm.command_job import CommandOrder, run_command
from slurm.plan import Work, plan_arrays, plan_tasks, shard_warning
from slurm.profile import Profile, load_profile
from slurm.records import (
    Failure,
    JobFolder,
    bad_nodes,
    finished_ranges,
    job_name,
    quarantined,
    read_beats,
    read_failures,
)
from slurm.render_job import AGAIN, RenderOrder, finish, render_task
from slurm.snapshot import snapshot

Log = Callable[[str], None]
MAX_COMMANDS: Final = 20  # of one sweep
RETRY_S: Final = (2.0, 8.0, 20.0)  # a busy controller refuses now and then


@dataclass(frozen=True)
class Submission:
    """What went into the queue."""

    name: str  # of the jobs
    jobs: tuple[str, ...]  # array ids, in order; the last one finishes the data set
    tasks: int
    samples: int
    folder: Path  # scripts and logs


# ---------------------------------------------------------------- rendering


def submit_render(
    setup: run.Setup,
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
    """Queue what is missing of the first `count` samples; nothing if nothing is, or with `dry_run`.

    `follow` waits with a progress bar until the queue is empty, and raises DatasetError unless the data set is complete
    and verified then. `retry_failed` forgets quarantined shards and bad nodes, and renders shards with skipped samples
    again. Raises SpecError, MachineError or DatasetError before anything is queued; whatever was queued when a later
    step fails is cancelled.
    """
    chosen, source = load_profile(profile)
    out = out.absolute()
    name, folder = job_name(out, setup.tag), JobFolder(out)
    if dry_run:
        for line in _describe(run.make_plan(out, setup, count, shard_size), setup, chosen, out, name):
            log(line)
        return None
    part = scheduler.check(chosen, source)
    _check_paths(chosen, part.hosts, {"output folder": out, "cache": setup.blend, **_asset_paths(setup)})
    run.claim(out, setup)
    folder.create()
    submission = None
    with _locked(folder):
        running = scheduler.queue(name)
        if running and not follow:
            raise DatasetError(_busy(running, name, out))
        if not running:
            _settle(folder)
            submission = _submit_missing(
                setup, folder, count, shard_size, chosen, part, name, allow_dirty, retry_failed, log
            )
    if follow:
        from slurm.status import follow as wait

        end = wait(out, log)
        if not end.done or ((submission or running) and not end.verified):
            raise DatasetError(
                f"{out} is not complete and verified: {end.samples} of {end.count} samples are there; `gen status"
                f" {out}` tells what failed, the same command submits what is missing"
            )
    return submission


def _submit_missing(
    setup: run.Setup,
    folder: JobFolder,
    count: int,
    shard_size: int,
    profile: Profile,
    part: scheduler.Partition,
    name: str,
    allow_dirty: bool,
    retry_failed: bool,
    log: Log,
) -> Submission | None:
    if retry_failed:
        shutil.rmtree(folder.failures)
        folder.create()
        run.reopen_skipped(folder.out, None)
    failures, finished = read_failures(folder), finished_ranges(folder.out)
    plan = run.make_plan(folder.out, setup, count, shard_size)
    left_out = quarantined(failures, finished)
    ranges = [r for r in plan.ranges if r not in left_out]
    for shard, last in left_out.items():
        log(
            f"left out: shard {shard[0]}-{shard[1]} failed on several nodes, last on {last.node}: {last.reason}"
            f" (to try it again, delete {folder.failures})"
        )
    bad = bad_nodes(failures, read_beats(folder))
    if bad and set(part.nodes) - set(bad):
        log(f"these nodes keep failing and are left out: --exclude={','.join(bad)}")
        profile = replace(profile, exclude=tuple(dict.fromkeys((*profile.exclude, *bad))))
    if not ranges:
        if not plan.ranges:
            index = archive.write_index(folder.out)
            log(f"nothing is missing: {index['samples']} samples in {len(index['shards'])} shards at {folder.out}")
        return None
    work = _work(profile, setup)
    arrays = plan_arrays(plan_tasks(ranges, work), scheduler.max_array(), profile.parallel)
    if warning := shard_warning(ranges, work):
        log(warning)
    code, commit = snapshot(folder.code, allow_dirty)
    submission_folder = _new_folder(folder.submissions)
    order = RenderOrder(
        out=str(folder.out), spec=setup.spec, seed=setup.seed, tag=setup.tag, pack=str(setup.pack),
        blend=str(setup.blend), count=plan.count, sample_bytes=int(BYTES_PER_SAMPLE * _scale(setup)),
        cores=profile.cores, workers=profile.workers, threads=profile.threads, scratch=profile.scratch,
        requeues=profile.requeues, space_wait_s=60 * profile.space_wait_min,
    )  # fmt: skip
    jobs: list[str] = []
    try:
        for array in arrays:
            calls = [(render_task, (order, list(task.ranges))) for task in array.tasks]
            after = (jobs[array.after],) if array.after is not None else ()
            jobs.append(_send(submission_folder, code, profile, name, calls, array.parallel, after, log))
        end = [(finish, (str(folder.out), plan.count, profile.cores))]
        ending = replace(profile, gres="")  # it decodes every image, on as many cores as the renders had
        jobs.append(_send(submission_folder, code, ending, f"{name}-end", end, 0, tuple(jobs), log))
    except BaseException:
        _cancel(jobs)
        shutil.rmtree(submission_folder, ignore_errors=True)
        raise
    tasks = sum(len(a.tasks) for a in arrays)
    samples = sum(b - a for a, b in ranges)
    record = {
        "name": name, "jobs": jobs, "count": plan.count, "shard_size": shard_size, "tasks": tasks, "samples": samples,
        "shards": len(ranges), "commit": commit, "user": getpass.getuser(), "time": time.time(),
        "partition": part.name, "cores": profile.cores, "exclude": list(profile.exclude),
    }  # fmt: skip
    write_atomic(submission_folder / "submission.json", json.dumps(record, indent=1).encode())
    log(
        f"submitted {samples} samples in {len(ranges)} shards as {tasks} tasks of {len(arrays)} array(s)"
        f" {', '.join(jobs[:-1])}; job {jobs[-1]} verifies and writes the index. `gen status {folder.out}` tells more"
    )
    return Submission(name, tuple(jobs), tasks, samples, submission_folder)


def _scale(setup: run.Setup) -> float:
    return (setup.spec.render.resolution / 128) ** 2


def _work(profile: Profile, setup: run.Setup) -> Work:
    per_sample = profile.seconds_per_sample or SECONDS_PER_SAMPLE * _scale(setup)
    return Work(per_sample, profile.cores, 60 * profile.task_min, 60 * profile.time_min)


def _describe(plan: Plan, setup: run.Setup, profile: Profile, out: Path, name: str) -> Iterator[str]:
    """The dry run: tasks, core-hours, bytes, and the headers as they would be sent."""
    resolution, work = setup.spec.render.resolution, _work(profile, setup)
    try:
        limit = scheduler.max_array()
    except MachineError as error:
        limit = scheduler.MAX_ARRAY
        yield f"no cluster here ({error}); MaxArraySize is taken to be {limit}"
    tasks = plan_tasks(plan.ranges, work)
    arrays = plan_arrays(tasks, limit, profile.parallel)
    hours = plan.missing * work.seconds_per_sample / 3600
    yield f"{plan.count} samples asked for, {plan.finished} finished, {plan.missing} to render into {out}"
    if not tasks:
        return
    longest = max(t.samples for t in tasks)
    yield (
        f"{len(plan.ranges)} shards in {len(tasks)} tasks of up to {longest} samples, about"
        f" {work.wall(longest) / 60:.0f} min each on {work.cores} cores; {hours:.1f} core-hours,"
        f" {plan.size(resolution) / 1e9:.2f} GB; arrays of {', '.join(str(len(a.tasks)) for a in arrays)} elements"
    )
    if warning := shard_warning(plan.ranges, work):
        yield warning
    yield from _headers(profile, JobFolder(out), name, len(arrays[0].tasks), arrays[0].parallel)


def _headers(profile: Profile, folder: JobFolder, name: str, tasks: int, parallel: int) -> list[str]:
    """The #SBATCH lines of an array, as submitit will write them."""
    text = _make_sbatch_string(
        command="...",
        folder=folder.submissions / "STAMP",
        map_count=tasks if tasks > 1 else None,
        **_parameters(profile, folder.code / "COMMIT", name, parallel, ()),
    )
    return [line for line in text.splitlines() if line.startswith("#SBATCH")]


# ---------------------------------------------------------------- commands, such as trainings


def submit_commands(
    orders: Sequence[CommandOrder],
    name: str,
    folder: Path,
    profile: str | Path,
    *,
    parallel: int = 0,
    dry_run: bool = False,
    allow_dirty: bool = False,
    log: Log = print,
) -> Submission | None:
    """Queue commands as one array, each a job of its own: a training, or a sweep of up to `MAX_COMMANDS`.

    orders: the time between the profile's warning and its limit replaces their `grace_s`, the profile's `requeues`
    theirs. Jobs start in the code snapshot, so paths must be absolute. folder: on shared disk; logs and code go to
    FOLDER/.slurm. Raises as `submit_render` does.
    """
    if not 1 <= len(orders) <= MAX_COMMANDS:
        raise SpecError(f"{len(orders)} commands to submit; one array takes 1 to {MAX_COMMANDS}")
    chosen, source = load_profile(profile)
    jobs = JobFolder(folder.absolute())
    if dry_run:
        for order in orders:
            log(shlex.join(order.argv))
        for line in _headers(chosen, jobs, name, len(orders), parallel):
            log(line)
        return None
    part = scheduler.check(chosen, source)
    _check_paths(chosen, part.hosts, {"output folder": jobs.out})
    jobs.create()
    code, commit = snapshot(jobs.code, allow_dirty)
    submission_folder = _new_folder(jobs.submissions)
    grace = max(5.0, chosen.warn_s - 10.0)
    calls = [(run_command, (replace(order, requeues=chosen.requeues, grace_s=grace),)) for order in orders]
    try:
        job = _send(submission_folder, code, chosen, name, calls, parallel, (), log)
    except BaseException:
        shutil.rmtree(submission_folder, ignore_errors=True)
        raise
    record = {"name": name, "jobs": [job], "commands": [list(o.argv) for o in orders], "commit": commit}
    write_atomic(submission_folder / "submission.json", json.dumps(record, indent=1).encode())
    log(f"submitted {len(orders)} command(s) as job {job} on {part.name}; logs in {submission_folder}")
    return Submission(name, (job,), len(orders), 0, submission_folder)


def has_slurm() -> bool:
    """Whether this machine can submit at all; else trainings run where they are."""
    return shutil.which("sbatch") is not None


# ---------------------------------------------------------------- one sbatch


def _send(
    folder: Path,
    code: Path,
    profile: Profile,
    name: str,
    calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
    parallel: int,
    after: tuple[str, ...],
    log: Log,
) -> str:
    """Submit calls as one array, or as a plain job where it is one; returns its id."""
    executor = submitit.SlurmExecutor(folder=folder, python=_python(profile, folder, code))
    parameters = _parameters(profile, code, name, parallel or len(calls), after)
    comment = f"headforge {uuid4().hex}"  # by which this very submission is found again
    parameters["additional_parameters"] = {"comment": comment, **parameters["additional_parameters"]}
    executor.update_parameters(**parameters)
    for pause in (*RETRY_S, None):
        try:
            with executor.batch():
                jobs = [executor.submit(function, *arguments) for function, arguments in calls]
            return str(jobs[0].job_id).partition("_")[0]
        except submitit.core.utils.FailedJobError as error:
            words = str(error).strip().splitlines()
            text = next((w for w in reversed(words) if w.startswith("sbatch: error")), words[-1] if words else "")
            if pause is None or not any(w in text for w in ("temporarily", "timed out", "Unable to contact")):
                raise MachineError(f"the cluster refuses the job: {text.removeprefix('sbatch: error: ')}") from error
            log(f"{text}; trying again in {pause:.0f} s")
            time.sleep(pause)
            # Accepted all the same, perhaps, but nobody told us the id under which its tasks look for their orders
            if lost := scheduler.with_comment(comment):
                log(f"it was accepted as job {', '.join(lost)}, which is cancelled: it cannot find its orders")
                scheduler.ask("scancel", *lost)
    raise AssertionError("not reached")


def _parameters(profile: Profile, code: Path, name: str, parallel: int, after: tuple[str, ...]) -> dict[str, Any]:
    """What submitit is given; it turns them into #SBATCH lines and a script."""
    extra: dict[str, Any] = {"requeue": True}
    for option in profile.sbatch:
        key, equals, value = option.partition("=")
        extra[key] = value if equals else True
    if profile.qos:
        extra["qos"] = profile.qos
    optional = {
        "partition": profile.partition,
        "account": profile.account,
        "constraint": profile.constraint,
        "gres": profile.gres,
        "exclude": ",".join(profile.exclude),
        "dependency": f"afterany:{':'.join(after)}" if after else "",
    }
    from blend_assets.fetch import cache_root

    task = "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    return {
        "job_name": name,
        "time": profile.time_min,
        "signal_delay_s": profile.warn_s,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": profile.cores,
        "mem": f"{int(profile.memory_gb * 1024)}M",
        "array_parallelism": parallel or 1_000_000,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit sends its own, which clusters that check them refuse
        "setup": [
            *profile.setup,
            f"cd {shlex.quote(str(code))} || exit 1",
            f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONUNBUFFERED=1",
            f"export HEADFORGE_CACHE={shlex.quote(str(cache_root().absolute()))}",
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # srun stopped inheriting it with SLURM 22.05
            "rm -f " + f"{shlex.quote(str(code.parent.parent))}/submissions/*/{task}_*_result.pkl.save_tmp",
        ],
        # The job asks by its exit code; the scheduler is asked from here, outside of any container
        "teardown": ["code=$?", f'[ $code != {AGAIN} ] || {{ scontrol requeue "{task}" && sleep 120; }}', "exit $code"],
        "additional_parameters": extra,
        **{key: value for key, value in optional.items() if value},
    }


def _python(profile: Profile, folder: Path, code: Path) -> str:
    """How Python is started on a node, quoted for the shell."""
    if not profile.container:
        return shlex.quote(profile.python or sys.executable)
    from blend_assets.fetch import cache_root

    binds = [str(p) for p in (folder.parents[2], cache_root().absolute())]
    command = ["apptainer", "exec", *(f"--bind={b}" for b in binds), f"--pwd={code}", *profile.container_options]
    scratch = profile.scratch if profile.scratch.startswith("$") else shlex.quote(profile.scratch)
    return f"{shlex.join(command)} --bind={scratch} {shlex.quote(profile.container)} {profile.python or 'python3'}"


def _cancel(jobs: Sequence[str]) -> None:
    with contextlib.suppress(MachineError):
        if jobs:
            scheduler.ask("scancel", *jobs)


# ---------------------------------------------------------------- the folder


def _asset_paths(setup: run.Setup) -> dict[str, Path]:
    """Folders of assets that the nodes read."""
    own = setup.spec.assets
    folders = dict.fromkeys((*own.hdris, *own.textures, *own.faces))
    packs = {f"head pack {pack.name}": pack for pack in setup.catalog.packs}
    return packs | {f"asset folder {Path(folder).name}": Path(folder) for folder in folders}


def _check_paths(profile: Profile, hosts: tuple[str, ...], paths: dict[str, Path]) -> None:
    for what, path in paths.items():
        scheduler.check_shared(path, what, profile, hosts)
    if not profile.container and not profile.python:
        scheduler.check_shared(Path(sys.executable), "Python", profile, hosts)


def check_idle(out: Path, tag: str) -> None:
    """Raises DatasetError where jobs of the data set at `out` are queued or heard of: they render the same samples."""
    from slurm.status import read_status

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
    with run.locked(folder.out), (folder.root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"another `gen render --slurm` is submitting {folder.out}; try again later") from error
        yield


def _new_folder(parent: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for attempt in range(100):
        path = parent / (f"{stamp}-{attempt}" if attempt else stamp)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise DatasetError(f"{parent} has 100 submissions of this second already")


def _settle(folder: JobFolder) -> None:
    """Jobs that say they run while the scheduler has none ended without a word: that counts against shard and node."""
    finished = finished_ranges(folder.out)
    for beat in read_beats(folder):
        if beat.alive:
            seen, cancelled = beat.now, scheduler.was_cancelled(beat.job)
            beat.state = "stopped" if cancelled else "lost"
            open_shards = [r for r in beat.ranges if r not in finished]
            if open_shards and not cancelled:
                reason = "the job ended without a word: killed, out of memory, or its node was lost"
                Failure(open_shards[0], beat.node, beat.job, seen, "lost", reason).write(folder)
            beat.write(folder)

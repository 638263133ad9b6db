"""One sbatch: what is asked of the scheduler, how Python starts on a node, and jobs that go in together or not at all.

The only importer of submitit. Its `_make_sbatch_string` is private, but nothing else shows the header of a job that is
not sent; pyproject.toml holds submitit to the versions in which its parameters are those used here.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import submitit
from submitit.slurm.slurm import _make_sbatch_string

from renderer.errors import DatasetError, MachineError, SpecError
from renderer.files import cache_root
from slurm import scheduler
from slurm.node.render_job import AGAIN
from slurm.profile import Profile
from slurm.records import JobFolder

Log = Callable[[str], None]
Call = tuple[Callable[..., Any], tuple[Any, ...]]  # function of an importable module, and its arguments
RETRY_S: Final = (2.0, 8.0, 20.0)  # a busy controller refuses now and then


@dataclass(frozen=True)
class Submission:
    """What went into the queue."""

    name: str  # of the jobs
    jobs: tuple[str, ...]  # array ids, in order
    tasks: int
    samples: int
    folder: Path  # scripts and logs
    later: int = 0  # samples that did not fit into the queue: the same command submits them when it is empty


@dataclass(frozen=True)
class Shape:
    """Processes of one job, each started by srun."""

    nodes: int = 1
    processes: int = 1  # on each node; the job's cores are divided among them
    gpus: int = 0  # on each node; 0: as the profile says


class Batch:
    """Jobs that are submitted together: an error inside the block cancels what was queued, and leaves no files.

    paths: files and folders that the jobs read or write, beside the job folder's own and the cache; a container has to
    be shown them.
    """

    def __init__(self, folder: JobFolder, code: Path, profile: Profile, paths: Sequence[Path], log: Log) -> None:
        self.folder, self.code, self.profile, self.paths, self.log = folder, code, profile, paths, log
        self.jobs: list[str] = []

    def __enter__(self) -> Batch:
        self.files = _new_folder(self.folder.submissions)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(MachineError):
                if self.jobs:
                    scheduler.ask("scancel", *self.jobs)
            shutil.rmtree(self.files, ignore_errors=True)

    def send(
        self,
        name: str,
        calls: Sequence[Call],
        *,
        parallel: int = 0,
        depends_on: Sequence[str] = (),
        shape: Shape | None = None,
        gres: bool = True,
    ) -> str:
        """Submit calls as one array, or as a plain job where it is one; returns its id.

        parallel: elements running at once, 0: all. depends_on: jobs that have to end first, whatever became of them.
        gres: whether the jobs need the profile's. Raises MachineError where the cluster refuses.
        """
        profile = self.profile if gres else replace(self.profile, gres="")
        executor = submitit.SlurmExecutor(
            folder=self.files, python=python_command(profile, self.folder.out, self.code, self.paths)
        )
        given = parameters(profile, self.code, name, parallel or len(calls), depends_on, shape or Shape())
        comment = f"headforge {uuid4().hex}"  # by which this very submission is found again
        given["additional_parameters"] = {"comment": comment, **given["additional_parameters"]}
        executor.update_parameters(**given)
        self.jobs.append(_submit(executor, calls, comment, self.log))
        return self.jobs[-1]


def _submit(executor: Any, calls: Sequence[Call], comment: str, log: Log) -> str:
    for pause in (*RETRY_S, None):
        try:
            with executor.batch():
                jobs = [executor.submit(function, *arguments) for function, arguments in calls]
            return str(jobs[0].job_id).partition("_")[0]
        except submitit.core.utils.FailedJobError as error:
            words = str(error).strip().splitlines()
            text = next((w for w in reversed(words) if w.startswith("sbatch: error")), words[-1] if words else "")
            reason = next((w for w in words if "SubmitJob" in w or "MaxSubmit" in w), "")
            if pause is None or not any(w in text for w in ("temporarily", "timed out", "Unable to contact")):
                raise MachineError(_refusal(text.removeprefix("sbatch: error: "), reason)) from error
            log(f"{text}; trying again in {pause:.0f} s")
            time.sleep(pause)
            # Accepted all the same, perhaps, but nobody told us the id under which its tasks look for their orders
            if lost := scheduler.with_comment(comment):
                log(f"it was accepted as job {', '.join(lost)}, which is cancelled: it cannot find its orders")
                scheduler.ask("scancel", *lost)
    raise AssertionError("not reached")


def _refusal(text: str, reason: str) -> str:
    """What sbatch said, and what to do where it is the number of jobs that is refused."""
    if not reason:
        return f"the cluster refuses the job: {text}"
    name = next((w for w in re.split(r"[\s():,]+", reason) if "Submit" in w), "")
    return (
        f"the cluster refuses so many jobs of yours ({name}): set max_jobs of the profile to what it allows; what does"
        " not fit is submitted by the same command later"
    )


def parameters(
    profile: Profile, code: Path, name: str, parallel: int, depends_on: Sequence[str], shape: Shape
) -> dict[str, Any]:
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
        "gres": with_gpus(profile.gres, shape.gpus),
        "exclude": ",".join(profile.exclude),
        "dependency": f"afterany:{':'.join(depends_on)}" if depends_on else "",
    }
    task = "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    return {
        "job_name": name,
        "time": profile.time_min,
        "signal_delay_s": profile.warn_s,
        "nodes": shape.nodes,
        "ntasks_per_node": shape.processes,
        "cpus_per_task": max(1, profile.cores // shape.processes),
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


def headers(profile: Profile, folder: JobFolder, name: str, tasks: int, parallel: int, shape: Shape) -> list[str]:
    """The #SBATCH lines of an array, as submitit will write them."""
    text = _make_sbatch_string(
        command="...",
        folder=folder.submissions / "STAMP",
        map_count=tasks if tasks > 1 else None,
        **parameters(profile, folder.code / "COMMIT", name, parallel, (), shape),
    )
    return [line for line in text.splitlines() if line.startswith("#SBATCH")]


def with_gpus(gres: str, gpus: int) -> str:
    """`gres` with so many GPUs in place of its own number: "gpu:a100:1" and 4 make "gpu:a100:4". 0: as it is."""
    entries = [entry.split(":") for entry in gres.split(",")]
    if gpus:
        entries = [[*(e[:-1] if e[-1].isdigit() else e), str(gpus)] if e[0] == "gpu" else e for e in entries]
    return ",".join(":".join(entry) for entry in entries)


# ---------------------------------------------------------------- Python on a node


def python_command(profile: Profile, out: Path, code: Path, paths: Sequence[Path] = ()) -> str:
    """How Python is started on a node, quoted for the shell. Raises SpecError for a path that cannot be bound."""
    if not profile.container:
        return shlex.quote(profile.python or sys.executable)
    wanted = [p.absolute() for p in (out, cache_root(), *paths)]
    binds = [p for p in dict.fromkeys(wanted) if not any(p != q and p.is_relative_to(q) for q in wanted)]
    for path in binds:
        if set(str(path)) & set(":,"):
            raise SpecError(f"{path} cannot be shown to a container: rename it without colons and commas")
    command = ["apptainer", "exec", *(f"--bind={path}" for path in binds), f"--pwd={code}", *profile.container_options]
    inside = shlex.join([profile.container, profile.python or "python3"])
    return f"{shlex.join(command)} --bind={node_text(profile.scratch)} {inside}"


def node_text(text: str) -> str:
    """A text for the shell of a node, where its variables get their values and nothing else is read into it."""
    return '"' + re.sub(r'["\\`]|\$(?=\()', r"\\\g<0>", text) + '"'


# ---------------------------------------------------------------- the folder


def check_paths(profile: Profile, hosts: tuple[str, ...], paths: dict[str, Path]) -> None:
    """Everything a job needs is where the nodes see it. Raises MachineError."""
    for what, path in paths.items():
        scheduler.check_shared(path, what, profile, hosts)
    if not profile.container and not profile.python:
        scheduler.check_shared(Path(sys.executable), "Python", profile, hosts)


def _new_folder(parent: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for attempt in range(100):
        path = parent / (f"{stamp}-{attempt}" if attempt else stamp)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise DatasetError(f"{parent} has 100 submissions of this second already")

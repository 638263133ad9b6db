"""Questions to the scheduler, each with a bounded wait. Answers are hints; what is finished stands on disk."""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from renderer.errors import MachineError, SpecError
from slurm.profile import Profile

MAX_ARRAY: Final = 1001  # SLURM's default MaxArraySize
ASK_S: Final = 30.0
LOCAL_DISKS: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "overlay", "squashfs")


def ask(*command: str) -> str:
    """Standard output of a SLURM command. Raises MachineError where it is missing, fails or hangs."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S)
    except FileNotFoundError as error:
        raise MachineError(f"{command[0]} is not on PATH: run this on a login node of a SLURM cluster") from error
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{command[0]} did not answer in {ASK_S:.0f} s: is the cluster up? try `sinfo`") from error
    if result.returncode:
        words = (result.stderr or result.stdout).strip().splitlines()
        raise MachineError(f"{command[0]} says: {words[-1] if words else f'exit code {result.returncode}'}")
    return result.stdout


@dataclass(frozen=True)
class Partition:
    """What one partition allows, or several of which the scheduler may choose: then the least that any of them does."""

    name: str  # as sbatch takes it
    limit_min: float  # of a job; inf: none
    cores: int  # of the largest node
    memory_mb: int  # of the largest node
    gpus: int  # of the node with the most
    nodes: tuple[str, ...]
    hosts: tuple[str, ...]  # machines behind the nodes


def partitions(names: str) -> tuple[Partition, ...]:
    """Look up a comma-separated list; "" is the cluster's default. Raises SpecError where one does not exist.

    Hidden partitions count: whether this user may use one, sbatch says.
    """
    known = ask("sinfo", "-a", "-h", "-o", "%P").split()
    every = sorted({p.rstrip("*") for p in known})
    if not names:
        names = next((p.rstrip("*") for p in known if p.endswith("*")), "")
        if not names:
            raise SpecError(f"the cluster has no default partition: set the profile's to one of {', '.join(every)}")
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in every:
            raise SpecError(f"no partition {name!r} on this cluster: set the profile's to one of {', '.join(every)}")
    answer = ask("sinfo", "-a", "-h", "-N", "-o", "%P|%c|%m|%l|%N|%n|%G")  # -a excludes -p
    rows = [line.split("|", 6) for line in answer.splitlines()]
    found = []
    for name in wanted:
        own = [r for r in rows if r[0].rstrip("*") == name]
        if not own:
            raise SpecError(f"partition {name!r} has no nodes: choose another of {', '.join(every)}")
        found.append(
            Partition(
                name,
                minutes(own[0][3]),
                max(_number(r[1]) for r in own),
                max(_number(r[2]) for r in own),
                max(gpus_of(r[6]) for r in own),
                tuple(sorted({r[4] for r in own})),
                tuple(sorted({r[5] for r in own})),
            )
        )
    return tuple(found)


def gpus_of(gres: str) -> int:
    """How many GPUs a text such as "gpu:a100:4(S:0-1),shard:8" promises."""
    entries = [entry.split(":") for entry in re.sub(r"\(.*?\)", "", gres).split(",")]
    return sum(int(e[-1]) if e[-1].isdigit() else 1 for e in entries if e[0] == "gpu")


def _number(text: str) -> int:
    """The number that a text such as "16+" begins with."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def minutes(limit: str) -> float:
    """A SLURM time, D-HH:MM:SS, HH:MM:SS, MM:SS or infinite, in minutes."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+)*", limit):
        return float("inf")
    days, _, rest = limit.rpartition("-")
    parts = [int(p) for p in rest.split(":")]
    if days:  # D-HH[:MM[:SS]]
        parts = [*parts, 0, 0][:3]
    hours, mins, seconds = ([0, 0, 0] + (parts if len(parts) > 1 else [*parts, 0]))[-3:]
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def check(profile: Profile, source: Path) -> Partition:
    """Checks whatever would make jobs wait for ever or fail as they start. Raises SpecError or MachineError."""
    for tool in ("sbatch", "srun", "squeue", "scontrol", "sinfo"):
        if shutil.which(tool) is None:
            raise MachineError(f"{tool} is not on PATH: run this on a login node of a SLURM cluster, or drop --slurm")
    found = partitions(profile.partition)
    for part in found:
        if profile.time_min > part.limit_min:
            raise SpecError(
                f"{source}: time_min is {profile.time_min}; partition {part.name} allows {part.limit_min:.0f} minutes"
            )
        if profile.cores > part.cores:
            raise SpecError(f"{source}: cores is {profile.cores}; the largest node of {part.name} has {part.cores}")
        if profile.memory_gb * 1024 > part.memory_mb:
            raise SpecError(
                f"{source}: memory_gb is {profile.memory_gb:g}; the largest node of {part.name} has"
                f" {part.memory_mb / 1024:.1f}"
            )
    if profile.container and not Path(profile.container).is_file():
        raise SpecError(f"{source}: container {profile.container} does not exist: build it, see docs/commands/slurm.md")
    return Partition(
        ",".join(p.name for p in found),
        min(p.limit_min for p in found),
        min(p.cores for p in found),
        min(p.memory_mb for p in found),
        min(p.gpus for p in found),
        tuple(sorted({node for p in found for node in p.nodes})),
        tuple(sorted({host for p in found for host in p.hosts})),
    )


def check_shared(path: Path, what: str, profile: Profile, hosts: tuple[str, ...], mounts: str = "") -> None:
    """`path` is where the nodes see it, as far as one can tell here. Raises MachineError.

    mounts: content of /proc/self/mounts; read if empty.
    """
    path = path.absolute()
    if profile.shared:
        if not any(path.is_relative_to(root) or path.resolve().is_relative_to(root) for root in profile.shared):
            raise MachineError(
                f"the {what} {path} lies in none of the profile's shared folders ({', '.join(profile.shared)}), so the"
                " nodes do not see it: put it there"
            )
        return
    me = {platform.node(), platform.node().split(".")[0], "localhost"}
    foreign = [h for h in hosts if h not in me]
    kind = file_system(path.resolve(), mounts or Path("/proc/self/mounts").read_text())
    if foreign and kind in LOCAL_DISKS:
        raise MachineError(
            f"the {what} {path} is on a local disk ({kind}) that {foreign[0]} does not see: put it on shared disk, or"
            " list the folder under the profile's `shared` if all nodes do mount it"
        )


def file_system(path: Path, mounts: str) -> str:
    """Type of the file system that holds `path`."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        _, point, name, *_ = line.split()
        point = point.encode().decode("unicode_escape")
        if path.is_relative_to(point) and len(Path(point).parts) >= best:
            best, kind = len(Path(point).parts), name
    return kind


def max_array() -> int:
    """Elements that one array may have."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.M)
    return int(found[1]) if found and int(found[1]) > 0 else MAX_ARRAY


def room(profile: Profile) -> int | None:
    """Jobs, and elements of arrays, that this user may still submit; None where nothing says that there is a bound.

    The bound is the profile's `max_jobs`, else the least that accounting has for the user with the profile's account,
    partitions and quality of service. Raises MachineError.
    """
    user = getpass.getuser()
    bound = profile.max_jobs or _max_submit(user, profile)
    if bound is None:
        return None
    return max(0, bound - len(ask("squeue", "-h", "-r", "-u", user, "-o", "%A").split()))


def _max_submit(user: str, profile: Profile) -> int | None:
    """MaxSubmitJobs and GrpSubmitJobs of accounting, where there is accounting and it answers."""
    found = []
    with contextlib.suppress(MachineError):
        fields = "format=Account,Partition,DefaultQOS,MaxSubmit,GrpSubmit"
        rows = [r.split("|") for r in ask("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", fields).splitlines()]
        ours = profile.partition.split(",") if profile.partition else []
        rows = [r for r in rows if not profile.account or r[0] == profile.account]
        rows = [r for r in rows if not r[1] or not ours or r[1] in ours]
        found += [value for r in rows for value in r[3:5]]
        wanted = {profile.qos} if profile.qos else {r[2] for r in rows} | {"normal"}
        answer = ask("sacctmgr", "-n", "-P", "show", "qos", "format=Name,MaxSubmitPU,GrpSubmit")
        qos = [line.split("|") for line in answer.splitlines()]
        found += [value for r in qos if r[0] in wanted for value in r[1:3]]
    return min((int(value) for value in found if value.isdigit()), default=None)


@dataclass(frozen=True)
class Queue:
    """Jobs of one name that the scheduler still has: state -> how many, and the reason of the first waiting one."""

    states: Counter[str]
    ids: tuple[str, ...]  # of arrays and single jobs
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.states)

    def __str__(self) -> str:
        parts = [f"{n} {state.lower()}" for state, n in self.states.most_common()]
        return ", ".join(parts) + (f" ({self.reason})" if self.reason else "")


def queue(name: str) -> Queue:
    """What the scheduler has of the jobs called `name` and `name`-end. Raises MachineError."""
    lines = ask("squeue", "-h", "-r", "-n", f"{name},{name}-end", "-o", "%F|%T|%r").splitlines()
    rows = [line.split("|", 2) for line in lines if line]
    reason = next((r[2] for r in rows if r[1] == "PENDING" and r[2] not in ("None", "Dependency")), "")
    return Queue(Counter(r[1] for r in rows), tuple(dict.fromkeys(r[0] for r in rows)), reason)


def with_comment(comment: str) -> tuple[str, ...]:
    """Ids of the jobs that were submitted with this comment. Raises MachineError."""
    rows = (line.partition("|") for line in ask("squeue", "-h", "-o", "%F|%k").splitlines())
    return tuple(dict.fromkeys(job for job, _, words in rows if words == comment))


def was_cancelled(job: str) -> bool:
    """Whether accounting, where there is one, says that someone cancelled the job."""
    with contextlib.suppress(MachineError):
        return ask("sacct", "-n", "-X", "-P", "-j", job, "-o", "State").startswith("CANCELLED")
    return False

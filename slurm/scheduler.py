"""Questions to the scheduler, each with a bounded wait. Answers are hints; what is finished stands on disk."""

from __future__ import annotations

import contextlib
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
    """What a partition allows."""

    name: str
    limit_min: float  # of a job; inf: none
    cores: int  # of the largest node
    memory_mb: int  # of the largest node
    nodes: tuple[str, ...]
    hosts: tuple[str, ...]  # machines behind the nodes


def partition(name: str) -> Partition:
    """Look a partition up; "" is the cluster's default. Raises SpecError where there is none of that name."""
    known = ask("sinfo", "-h", "-o", "%P").split()
    if not name:
        name = next((p.rstrip("*") for p in known if p.endswith("*")), "")
        if not name:
            raise SpecError(f"the cluster has no default partition: set the profile's to one of {', '.join(known)}")
    names = sorted({p.rstrip("*") for p in known})
    if name not in names:
        raise SpecError(f"no partition {name!r} on this cluster: set the profile's to one of {', '.join(names)}")
    rows = [line.split("|") for line in ask("sinfo", "-h", "-N", "-p", name, "-o", "%c|%m|%l|%N|%n").splitlines()]
    if not rows:
        raise SpecError(f"partition {name!r} has no nodes: choose another of {', '.join(names)}")
    return Partition(
        name,
        minutes(rows[0][2]),
        max(_number(r[0]) for r in rows),
        max(_number(r[1]) for r in rows),
        tuple(sorted({r[3] for r in rows})),
        tuple(sorted({r[4] for r in rows})),
    )


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
    """Everything that would make jobs wait for ever or fail at birth. Raises SpecError or MachineError."""
    for tool in ("sbatch", "srun", "squeue", "scontrol", "sinfo"):
        if shutil.which(tool) is None:
            raise MachineError(f"{tool} is not on PATH: run this on a login node of a SLURM cluster, or drop --slurm")
    found = partition(profile.partition)
    if profile.time_min > found.limit_min:
        raise SpecError(
            f"{source}: time_min is {profile.time_min}; partition {found.name} allows {found.limit_min:.0f} minutes"
        )
    if profile.cores > found.cores:
        raise SpecError(f"{source}: cores is {profile.cores}; the largest node of {found.name} has {found.cores}")
    if profile.memory_gb * 1024 > found.memory_mb:
        raise SpecError(
            f"{source}: memory_gb is {profile.memory_gb:g}; the largest node of {found.name} has"
            f" {found.memory_mb / 1024:.1f}"
        )
    if profile.container and not Path(profile.container).is_file():
        raise SpecError(f"{source}: container {profile.container} does not exist: build it, see docs/slurm.md")
    return found


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

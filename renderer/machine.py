"""What this machine grants this process: cores and memory, as bounded by the host, a container and a SLURM job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

UNLIMITED: Final = 1 << 60  # cgroup v1 writes "no limit" as a number near 2^63


def granted_cores() -> int:
    """Cores this process may really use: CPU affinity (SLURM, taskset) and the cgroup's quota (containers)."""
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, float(quota) / float(period))
    return max(1, int(cores))


def memory_limit_bytes(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """All memory that this process and its siblings may use: the least of host, cgroups and SLURM job.

    root: where /proc and /sys/fs/cgroup are looked for.
    """
    limits = [limit for limit, _ in _cgroups(root)]
    job = _job_bytes(environment)
    return min([_meminfo(root, "MemTotal"), *limits, *([job] if job else [])])


def memory_free_bytes(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """What is left of it now. Files in the page cache count as free: the kernel gives them up on demand.

    SLURM may only kill what exceeds its grant, without a cgroup to ask: this process's own memory is then taken off.
    """
    free = [limit - used for limit, used in _cgroups(root)]
    job = _job_bytes(environment)
    return max(0, min([_meminfo(root, "MemAvailable"), *free, *([job - _resident(root)] if job else [])]))


def _meminfo(root: Path, name: str) -> int:
    lines = (root / "proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _resident(root: Path) -> int:
    return int((root / "proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes used without page cache) of each cgroup around this process that has a limit, v1 and v2."""
    for folder, names in _folders(root):
        limit = _number(folder / names[0])
        if limit is not None and limit < UNLIMITED:
            yield limit, max(0, (_number(folder / names[1]) or 0) - _page_cache(folder / "memory.stat"))


def _folders(root: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """The cgroup's folder and those above it; a container may see its own as the top, whatever /proc calls it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        folder = top / path.lstrip("/")
        yield from ((place, names) for place in (folder, *folder.parents) if place.is_relative_to(top))


def _number(path: Path) -> int | None:
    """None where the file is missing, or says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _page_cache(stat: Path) -> int:
    """Of file pages those that were not used lately."""
    try:
        values = dict(line.split() for line in stat.read_text().splitlines())
        return int(values.get("total_inactive_file", values.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def _job_bytes(environment: Mapping[str, str]) -> int | None:
    """Memory of this node's part of a SLURM job, from sbatch's variables, which are in MiB; None outside or for all."""
    per_node = _whole(environment.get("SLURM_MEM_PER_NODE"))
    if per_node is None:
        per_cpu, cpus = _whole(environment.get("SLURM_MEM_PER_CPU")), _whole(environment.get("SLURM_CPUS_ON_NODE"))
        per_node = per_cpu * cpus if per_cpu and cpus else None
    return per_node * 2**20 if per_node else None  # --mem=0 grants all of the node


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None

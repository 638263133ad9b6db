"""How many workers with how many threads this machine, or job, takes: by cores, memory and GPUs granted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Final

from renderer.errors import MachineError
from renderer.machine import granted_cores, memory_limit_bytes

VISIBLE: Final = {"CUDA": "CUDA_VISIBLE_DEVICES", "OPTIX": "CUDA_VISIBLE_DEVICES", "HIP": "HIP_VISIBLE_DEVICES"}
"""Cycles' device -> the variable that tells a process which GPUs it may see."""

PARENT_BYTES: Final = 200 << 20  # of the process that feeds the workers
WORKER_BYTES: Final = 640 << 20  # peak of one worker of the default spec, docs/benchmarks.md
LEAST_BYTES: Final = 300 << 20  # Blender and a head by themselves
RECYCLE_RSS: Final = 3 << 30  # of one worker, however much memory there is
RECYCLE_SHARE: Final = 0.8  # of its part of the memory granted: a sample may need more than the one before


def packing(workers: int | None, threads: int | None, cores: int | None = None, device: str = "CPU") -> tuple[int, int]:
    """Workers and threads of each for what is granted: one worker a core, of one thread each, or one worker a GPU.

    Two threads each are no faster (docs/benchmarks.md); fewer workers leave theirs the cores of those missing. Memory
    bounds the workers, too, unless their number is given.
    """
    cores = cores or granted_cores()
    if device != "CPU":
        workers = workers or max(1, len(gpus(device)))
    fits = max(1, (memory_limit_bytes() - PARENT_BYTES) // WORKER_BYTES)
    workers = workers or min(cores, fits)
    return workers, threads or max(1, cores // workers)


def worker_memory(workers: int, granted: int | None = None) -> int:
    """Bytes at which one of so many workers is replaced. Raises MachineError where Blender does not fit in.

    granted: memory of all of them together; that of this machine or job if not given.
    """
    granted = granted or memory_limit_bytes()
    share = (granted - PARENT_BYTES) // workers
    if share < LEAST_BYTES:
        raise MachineError(
            f"{workers} workers share {granted >> 20} MiB of memory; each needs {LEAST_BYTES >> 20} or more: have fewer"
            " workers, or ask for more memory (memory_gb of a cluster profile)"
        )
    return min(RECYCLE_RSS, int(RECYCLE_SHARE * share))


def gpus(kind: str) -> list[str]:
    """GPUs granted for Cycles' device `kind`, as its variable names them; none for the CPU, or where nobody tells."""
    if kind not in VISIBLE:
        return []
    granted = os.environ.get(VISIBLE[kind])
    if granted is None and kind == "HIP" and (outer := os.environ.get("ROCR_VISIBLE_DEVICES")):
        return [str(i) for i in range(len(outer.split(",")))]  # counted within those
    if granted is None and kind != "HIP":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
            return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))]
    return [name for name in (granted or "").split(",") if name]

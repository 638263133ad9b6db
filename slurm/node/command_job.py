"""A job that runs a command, such as a training, and goes on with it after the time limit or a lost node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from renderer.errors import MachineError
from renderer.files import write_atomic
from slurm.node.render_job import AGAIN, Signals, job_id, restarts

TELL_S: Final = 180.0  # network disks may hide a new file from other nodes for a minute
JOBS: Final = ".jobs"  # below a folder of runs: what each job made


@dataclass(frozen=True)
class CommandOrder:
    """A command for one job.

    argv: its words; "{python}" is Python on the node, "{runs}" a folder of this job's own under `runs`. What appears in
    that folder is linked from `runs`, so that runs lie side by side. resume: words that, followed by such a run, go on
    with it when the job is started again; without them `argv` is run again and must find out by itself.
    """

    argv: tuple[str, ...]
    resume: tuple[str, ...] = ()
    runs: str = ""
    requeues: int = 20
    grace_s: float = 60.0  # between SIGTERM and SIGKILL


def run_command(order: CommandOrder) -> int:
    """Run the command; when time runs out, tell it with SIGTERM, wait for it to save, have the job started again.

    Returns 0. Raises SystemExit with the command's code where that is not 0, or with `AGAIN`.
    """
    home = Path(order.runs) / JOBS / job_id() if order.runs else None
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # inherited: the scheduler signals every process of a job
    process = subprocess.Popen(_words(order, home))
    with Signals() as stop:
        told = 0.0
        while process.poll() is None:
            if stop.again and not told:  # a cancelled job's command has its SIGTERM from the scheduler
                told = time.monotonic()
                process.send_signal(signal.SIGTERM)
            if told and time.monotonic() - told > order.grace_s:
                process.kill()
            _link(home)
            time.sleep(0.1)
    _link(home)
    if stop.again and process.returncode and restarts() < order.requeues:
        raise SystemExit(AGAIN)
    if process.returncode:
        raise SystemExit(process.returncode if process.returncode > 0 else 128 - process.returncode)
    return 0


def _words(order: CommandOrder, home: Path | None) -> Sequence[str]:
    """The command, or the one that goes on with what an earlier start of this job left."""
    left = _left(home) if home is not None and order.resume else ""
    words = [*order.resume, left] if left else order.argv
    values = {"{python}": sys.executable, "{runs}": str(home)}
    return [values.get(word, word) for word in words]


def _left(home: Path) -> str:
    """The run that an earlier start of this job left, or nothing.

    Of several processes the first one looks, and tells the others: when they look it may have made a new run already.
    """
    told = home / f".start-{restarts()}"
    if rank() == 0:
        left = sorted(p for p in home.iterdir() if p.is_dir())
        found = str(left[-1]) if left else ""
        if processes() > 1:
            write_atomic(told, found.encode(), durable=False)
        return found
    end = time.monotonic() + TELL_S
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            return told.read_text()
        time.sleep(0.2)
    raise MachineError(f"process 0 of this job did not write {told} in {TELL_S:.0f} s: did it start? see its log")


def rank() -> int:
    """Number of this process among those of its job step."""
    return int(os.environ.get("SLURM_PROCID", "0"))


def processes() -> int:
    return int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1"))


def _link(home: Path | None) -> None:
    """Show what the job made where everything of its kind is."""
    for path in home.iterdir() if home is not None and rank() == 0 else ():
        link = path.parents[2] / path.name
        if path.is_dir() and not link.is_symlink():
            with contextlib.suppress(OSError):
                link.symlink_to(os.path.relpath(path, link.parent))

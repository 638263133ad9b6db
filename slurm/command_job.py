"""A job that runs a command, such as a training, and goes on with it after the time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from slurm.render_job import AGAIN, Signals, restarts


def run_command(argv: list[str], requeues: int, grace_s: float) -> int:
    """Run `argv`; when time runs out, tell it with SIGTERM, wait for it to save, and have the job started again.

    The same command must then go on where it was. `{python}` in argv is this interpreter. Returns 0.
    Raises SystemExit with the command's code where that is not 0, or with `AGAIN`.
    """
    command = [sys.executable if part == "{python}" else part for part in argv]
    environment = {**os.environ, "HEADFORGE_RESTARTS": str(restarts())}
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # inherited: the scheduler signals every process of a job
    process = subprocess.Popen(command, env=environment)
    with Signals() as stop:
        told = 0.0
        while process.poll() is None:
            if stop.again and not told:  # a cancelled job's command has its SIGTERM from the scheduler
                told = time.monotonic()
                process.send_signal(signal.SIGTERM)
            if told and time.monotonic() - told > grace_s:
                process.kill()
            time.sleep(0.1)
    if stop.again and restarts() < requeues:
        raise SystemExit(AGAIN)
    if process.returncode:
        raise SystemExit(process.returncode if process.returncode > 0 else 128 - process.returncode)
    return 0

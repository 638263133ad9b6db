"""One render worker as its parent sees it: a process with scratch of its own that is sent requests, watched and ended.

Never imports bpy.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from renderer.files import is_private

COMMAND: Final = (sys.executable, "-m", "renderer.blender.worker")
MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "headforge-worker-"
_NEWBORN_S: Final = 60.0  # a scratch folder as young as this may not be locked yet
_IDLE: Final = 0.01  # CPU seconds per second below which a process waits rather than works


@dataclass
class Worker:
    """A running worker and what is known of it."""

    process: subprocess.Popen[str]
    scratch: Path
    log: IO[bytes]
    heard: float  # monotonic time since which its silence counts
    device: str = ""  # the GPU that it sees; empty: whatever there is
    cpu_s: float = 0.0  # CPU time at `heard`
    busy: deque[int] = field(default_factory=deque)  # samples that it was sent and has not answered
    finished: int = 0
    ready: bool = False
    retiring: bool = False
    buffer: bytes = b""

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # noticed by `trouble`
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def answers(self) -> list[dict[str, Any]]:
        """Whatever has arrived, without waiting."""
        assert self.process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.process.stdout.fileno(), 1 << 16):
                self.buffer += chunk
        *lines, self.buffer = self.buffer.split(b"\n")
        return [json.loads(line) for line in lines if line]

    def restart_clock(self) -> None:
        """Silence counts from now on."""
        self.heard, self.cpu_s = time.monotonic(), _cpu_s(self.process.pid)

    def retire(self) -> None:
        """Let it finish what it holds; then it sees the end of its input and leaves."""
        self.retiring = True
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def exit_reason(self) -> str:
        """How it ended, in words; nothing while it runs, or while answers of it are still to be read."""
        code = self.process.poll()
        if code is None or self._has_answers():
            return ""
        return f"the worker ended with code {code}" if code else "the worker ended early"

    def stall_reason(self, stall_s: float, patience_s: float) -> str:
        """Why it counts as stuck, in words, or nothing.

        It is after `stall_s` seconds of silence without work, or after `patience_s` although it computes.
        """
        silent = time.monotonic() - self.heard
        if not (self.busy or not self.ready) or silent <= stall_s or self.process.poll() is not None:
            return ""
        works = _cpu_s(self.process.pid) - self.cpu_s > _IDLE * silent
        if works and silent <= patience_s:
            return ""
        return f"the worker was silent for {silent:.0f} s" + (" while it computed" if works else "")

    def _has_answers(self) -> bool:
        """Whether a dead worker left answers, which the selector will still deliver."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(timeout=0):
                return False
            self.buffer += os.read(self.process.stdout.fileno(), 1 << 16)
            return b"\n" in self.buffer

    def end(self) -> str:
        """End the process, if it has not ended, and remove its scratch. Returns the last lines of its log."""
        if self.process.poll() is None:
            if not self.busy and self.ready:  # idle: let it leave by itself
                with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                    self.process.communicate(timeout=5)
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        self.process.wait()
        self.log.close()
        last = ""
        with contextlib.suppress(OSError):
            lines = (self.scratch / "log.txt").read_text(errors="replace").strip().splitlines()
            last = " | ".join(lines[-3:])
        shutil.rmtree(self.scratch, ignore_errors=True)
        return last


def start_worker(job: dict[str, Any], scratch_bytes: int, device: str = "", variable: str = "") -> Worker:
    """Start a worker and send it its job, to which its scratch folder is added.

    scratch_bytes: what all workers together need there. device: the one GPU that it will see; `variable` tells it.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=scratch_base(scratch_bytes)))
    log = (scratch / "log.txt").open("wb")
    fcntl.flock(log, fcntl.LOCK_EX)  # held by the worker, too, which inherits it: free once both are dead
    environment = {**os.environ, variable: device} if device else None
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    worker = Worker(process, scratch, log, time.monotonic(), device)
    worker.send({**job, "scratch": str(scratch)})
    return worker


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far; 0 if it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


# ---------------------------------------------------------------- scratch


def scratch_base(need: int) -> Path | None:
    """Memory, where it has room for `need` bytes and as much again; else None: the temporary folder."""
    with contextlib.suppress(OSError):
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 * need:
            return MEMORY
    return None


def sweep_scratch() -> None:
    """Remove the scratch folders of runs that were killed: those whose lock nobody holds."""
    for base in {MEMORY, Path(tempfile.gettempdir())}:
        for folder in base.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                old = time.time() - folder.lstat().st_mtime > _NEWBORN_S
                if old and is_private(folder) and _unlocked(folder):  # others may put traps of this name there
                    shutil.rmtree(folder, ignore_errors=True)


def _unlocked(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), (folder / "log.txt").open("rb") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True

"""Processes of one training look after each other: one that fails ends all of them, with its reason.

A process that waits in a collective operation for one that is gone may wait for half an hour. So a process that fails
writes its reason into the run directory, where the first counts, and a thread in each of the others looks for it.
One that was killed writes nothing, but its heartbeat stops: the first process watches all others, and they watch it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

FOLDER: Final = ".processes"
FAILURE: Final = "failure.json"
DONE: Final = "done"
POLL_S: Final = 2.0
SILENT_POLLS: Final = 20  # own looks at another's heartbeat, not seconds: a file system that stalls, stalls both
GRACE_S: Final = 5.0  # for a process to end by itself, for the same failure, in an orderly way


class Peers:
    """One process's part, as a context: `with Peers(...) as peers`. Does nothing where there is only one process.

    run: the run directory. on_failure: called with the reason, from a thread, before this process is ended because
    another failed.
    """

    def __init__(
        self, run: Path, rank: int, world: int, on_failure: Callable[[str], None], poll_s: float = POLL_S
    ) -> None:
        self.folder, self.rank, self.world = run / FOLDER, rank, world
        self.on_failure, self.poll_s = on_failure, poll_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)

    @staticmethod
    def prepare(run: Path) -> None:
        """Called by one process before any of them enters: nothing of an earlier session counts."""
        shutil.rmtree(run / FOLDER, ignore_errors=True)
        (run / FOLDER).mkdir(exist_ok=True)

    def __enter__(self) -> Peers:
        if self.world > 1:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        if self.world > 1:
            self._thread.join()
            if kind is None:
                self._beat(DONE)

    def report(self, reason: str) -> str:
        """Say why this process fails; returns the reason of the one that failed first, which may be another."""
        if self.world == 1:
            return reason
        text = json.dumps({"rank": self.rank, "reason": f"process {self.rank} of {self.world}: {reason}"})
        with contextlib.suppress(OSError), (self.folder / FAILURE).open("x", encoding="utf-8") as file:
            file.write(text)
        return self._failure() or reason

    def _failure(self) -> str | None:
        try:
            return str(json.loads((self.folder / FAILURE).read_text("utf-8"))["reason"])
        except (OSError, ValueError, KeyError):  # there is none, or it is being written
            return None

    def _beat(self, text: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / f"alive-{self.rank}").write_text(text)

    def _watch(self) -> None:
        others = range(1, self.world) if self.rank == 0 else (0,)
        last = dict.fromkeys(others, "")
        silent = dict.fromkeys(others, 0)
        beats = 0
        while not self._over.wait(self.poll_s):
            beats += 1
            self._beat(str(beats))
            if reason := self._failure():
                self._end(reason)
                return
            for other in others:
                heard = self._heard(other)
                silent[other] = silent[other] + 1 if heard == last[other] and heard != DONE else 0
                last[other] = heard
                if silent[other] >= SILENT_POLLS:
                    self._end(
                        self.report(
                            f"process {other} has given no sign of life for {SILENT_POLLS * self.poll_s:.0f} s: it was "
                            "killed (out of memory?) or its machine is gone"
                        )
                    )
                    return

    def _heard(self, other: int) -> str:
        try:
            return (self.folder / f"alive-{other}").read_text()
        except OSError:
            return ""

    def _end(self, reason: str) -> None:
        """End this process, whatever its main thread waits for, unless that ends by itself."""
        if self._over.wait(GRACE_S):
            return
        self.on_failure(reason)
        print(f"ended, because another process of this training failed: {reason}", file=sys.stderr, flush=True)
        os._exit(1)

"""Progress of long work on stderr: a bar on a terminal, plain lines elsewhere, so that logs of jobs show it, too."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Final

from tqdm import tqdm

FIRST_S: Final = 10.0  # the first line, where there is no terminal
EVERY_S: Final = 25.0  # the others


class Progress:
    """Counts what is done of `total` units (None: nobody knows) and shows count, rate and time left.

    Without a terminal a thread prints a line every `EVERY_S` seconds, also while a single step takes longer: a log that
    stands still looks like work that stands still. Work that is over before `FIRST_S` prints nothing. The rate leaves
    out what was done, and how long it took, before the first call of `update`: start-up, and what lay there already.
    """

    def __init__(self, total: int | None, unit: str, label: str = "") -> None:
        self.unit, self.label = unit, label
        self.note = ""
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=label or None,
            smoothing=0.05,
            disable=not _terminal(),
            dynamic_ncols=True,
            leave=False,
        )
        self._total, self.n, self._said = total, 0, False
        self._started = time.monotonic()
        self._base: tuple[float, int] | None = None  # when counting began, and what was there
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def total(self) -> int | None:
        return self._total

    @total.setter
    def total(self, value: int | None) -> None:
        self._total = self._bar.total = value

    def __enter__(self) -> Progress:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finished=kind is None)

    def start(self) -> Progress:
        """For those that cannot use `with`; `close` ends it."""
        if self._bar.disable:
            self._thread = threading.Thread(target=self._speak, daemon=True)
            self._thread.start()
        return self

    def close(self, finished: bool = True) -> None:
        self._over.set()
        self._bar.close()
        if self._thread is not None:
            self._thread.join()
            if self._said and finished:
                self._print()
            self._thread = None

    def update(self, n: int = 1, note: str | None = None) -> None:
        """`n` more units are done. note: a few words that stand at the end of the line from now on."""
        self.n += n
        if note is not None:
            self.note = note
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)
        if self._base is None:
            self._base = (time.monotonic(), self.n)

    def line(self) -> str:
        """For example "rendering: 120 of 500 samples (24%), 2.0 samples/s, 03:10 left"."""
        done = f"{self.n} of {self.total}" if self.total is not None else f"{self.n}"
        words = [f"{done} {self.unit}{'s' * (done != '1')}" + (f" ({self.n / self.total:.0%})" if self.total else "")]
        since, before = self._base or (self._started, 0)
        rate = (self.n - before) / max(time.monotonic() - since, 1e-9)
        spent = tqdm.format_interval(int(time.monotonic() - self._started))
        if rate:
            words.append(f"{rate:.3g} {self.unit}s/s" if rate >= 0.1 else f"{1 / rate:.3g} s/{self.unit}")
        words.append(f"{spent} so far")
        if rate and self.total is not None and self.n < self.total:
            words.append(f"about {tqdm.format_interval(int((self.total - self.n) / rate))} left")
        if self.note:
            words.append(self.note)
        return (f"{self.label}: " if self.label else "") + ", ".join(words)

    def _print(self) -> None:
        self._said = True
        print(self.line(), file=sys.stderr, flush=True)

    def _speak(self) -> None:
        wait = FIRST_S
        while not self._over.wait(wait):
            self._print()
            wait = EVERY_S


def _terminal() -> bool:
    """Whether a bar can be drawn: some containers give a terminal that is no column wide."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False

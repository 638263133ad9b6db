"""Ctrl-C and SIGTERM end work in order: the first lets work in hand finish, a second Ctrl-C ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopper:
    """Within `with Stopper(...) as stop`, `stop()` is true once a signal asked to stop.

    finishing: says, when the signal comes, what is still done. A second Ctrl-C raises KeyboardInterrupt at once.
    Signals are for the main thread; in any other nothing changes.
    """

    def __init__(self, finishing: Callable[[], str] = lambda: "", signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self.finishing, self.signals = finishing, signals
        self.asked = False
        self._old: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old = {s: signal.signal(s, self._ask) for s in self.signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        if words := self.finishing():
            # not through sys.stderr, whose lock the interrupted code may hold
            again = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
            heard = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            os.write(2, f"\ngen: {heard}: {words}{again}\n".encode())

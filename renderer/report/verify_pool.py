"""Processes that examine shards: they stop between two samples, leave signals to their parent, and end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Final

from renderer.errors import MachineError
from renderer.format.folder import read_info
from renderer.report.checks import Examiner

_ASK_S: Final = 0.2  # how often `stop` is asked and progress told
_OURS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # for the parent to judge


Prove = Callable[[Path, str, Examiner, Callable[[], None]], None]  # path, stem, examiner, heartbeat


class Stopped(Exception):
    """The work on a shard was given up."""


def run_shards(
    prove: Prove,
    path: Path,
    stems: list[str],
    cores: int,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> list[str]:
    """Call `prove` for shards in processes. Returns those left when `stop` became true."""
    context = get_context("spawn")
    counted, halt = context.Value("q", 0), context.Event()
    waiting, left, told = stems[::-1], dict.fromkeys(stems), 0
    pool = ProcessPoolExecutor(max(1, min(cores, len(stems))), context, _begin, (counted, halt))
    in_hand: dict[Future[bool], str] = {}
    try:
        while (waiting or in_hand) and not stop():
            with _signals_held():
                while waiting and len(in_hand) < cores + 1:
                    stem = waiting.pop()
                    in_hand[pool.submit(_prove, prove, str(path), stem)] = stem
            done, _ = wait(in_hand, _ASK_S, FIRST_COMPLETED)
            for future in done:
                if future.result():
                    del left[in_hand[future]]
                del in_hand[future]
            progress(counted.value - told)
            told = counted.value
    except BrokenProcessPool as error:
        raise MachineError(
            "a process that verifies was killed, probably for want of memory: give fewer cores and run the same again"
        ) from error
    finally:
        halt.set()
        pool.shutdown(cancel_futures=True)
    for future, stem in in_hand.items():  # some were ready as the stop came
        if not future.cancelled() and future.exception() is None and future.result():
            del left[stem]
    return list(left)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait; processes that are started meanwhile never get them."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


# ---------------------------------------------------------------- in the processes

_shared: dict[str, Any] = {}


def _begin(counted: Any, halt: Any) -> None:
    _shared.update(counted=counted, halt=halt)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _prove(prove: Prove, path: str, stem: str) -> bool:
    """Whether the shard was done, and not given up."""

    def heartbeat() -> None:
        if _shared["halt"].is_set():
            raise Stopped
        with _shared["counted"].get_lock():
            _shared["counted"].value += 1

    try:
        prove(Path(path), stem, _examiner(path), heartbeat)
    except Stopped:
        return False
    return True


@lru_cache(maxsize=1)
def _examiner(path: str) -> Examiner:
    return Examiner(read_info(Path(path)))

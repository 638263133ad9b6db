"""Commands of `gen` in processes of their own, which hear of a signal and save what they have."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from renderer.errors import HeadforgeError

STOPPED: Final = (75, 130)  # exit codes of trainings and renders that a signal stopped


def command(words: Sequence[str], name: str, stop: Callable[[], bool]) -> bool:
    """A render or a training in a process of its own, which hears of a signal; whether it came to its end."""
    process = subprocess.Popen(words, start_new_session=True)
    told = False
    try:
        while process.poll() is None:
            if stop() and not told:
                told = True
                process.terminate()
            time.sleep(0.05)
    finally:
        if process.poll() is None:  # a second Ctrl-C
            process.kill()
            process.wait()
    if process.returncode in STOPPED and told:
        return False
    if process.returncode:
        raise HeadforgeError(f"{name} ended with code {process.returncode}, see above; it ran: {' '.join(words[1:])}")
    return True

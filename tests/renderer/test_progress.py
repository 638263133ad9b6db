"""Progress where there is no terminal, and what a Ctrl-C says: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from renderer.progress import Progress

SLOW_STEP = """
import time
from renderer import progress
progress.FIRST_S = progress.EVERY_S = 0.2
with progress.Progress(40, "sample", "rendering") as bar:
    bar.update(10)
    bar.update(5, note="3 jobs")
    time.sleep(0.7)
    bar.update(25)
"""

LOOP = """
import sys, time
from renderer.stopper import Stopper
with Stopper(lambda: "finishing the 2 samples in hand") as stop:
    print("at work", flush=True)
    while not stop() or sys.argv[1] == "deaf":
        time.sleep(0.01)
print("finished", flush=True)
"""


def python(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_log_shows_progress_while_a_single_step_takes_long() -> None:
    process = python(SLOW_STEP)
    _, words = process.communicate(timeout=60)
    lines = words.splitlines()
    assert len(lines) >= 3 and "\r" not in words
    assert lines[0].startswith("rendering: 15 of 40 samples (38%), ") and lines[0].endswith(", 3 jobs")
    assert "samples/s" in lines[0] and " left" in lines[0] and " so far" in lines[0]
    assert lines[-1].startswith("rendering: 40 of 40 samples (100%)") and " left" not in lines[-1]


@pytest.mark.parametrize(("columns", "shown"), [(120, "|"), (0, "rendering: 40 of 40 samples (100%)")])
def test_a_terminal_shows_a_bar_if_it_has_room_for_one(columns: int, shown: str) -> None:
    process, terminal = pty.fork()
    if process == 0:
        code = f"import fcntl, struct, termios\nsize = struct.pack('HHHH', 40, {columns}, 0, 0)\n"
        code += f"fcntl.ioctl(2, termios.TIOCSWINSZ, size)\n{SLOW_STEP}"
        os.execv(sys.executable, [sys.executable, "-c", code])
    words = b""
    with contextlib.suppress(OSError):  # what Linux says when the other side has ended
        while data := os.read(terminal, 4096):
            words += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert shown in words.decode() and ("so far" in words.decode()) == (columns == 0)


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "sample", "reading") as bar:
        for _ in range(3):
            bar.update()
    assert capsys.readouterr().err == ""


def test_what_lay_there_before_does_not_count_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bar = Progress(1000, "sample")
    now[0] += 30
    bar.update(800)  # staged by an earlier run
    now[0] += 10
    bar.update(20)
    assert bar.line() == "820 of 1000 samples (82%), 2 samples/s, 00:40 so far, about 01:30 left"
    bar.total = None
    assert bar.line() == "820 samples, 2 samples/s, 00:40 so far"


def test_ctrl_c_says_what_it_finishes() -> None:
    process = python(LOOP, "polite")
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    out, words = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "finished\n"
    assert words == "\ngen: Ctrl-C: finishing the 2 samples in hand; press Ctrl-C again to stop at once\n"


def test_a_second_ctrl_c_stops_at_once() -> None:
    process = python(LOOP, "deaf")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    assert [process.stderr.readline() for _ in range(2)][1].startswith("gen: Ctrl-C: finishing")
    process.send_signal(signal.SIGINT)
    out, words = process.communicate(timeout=60)
    assert process.returncode != 0 and out == "" and words.strip().endswith("KeyboardInterrupt")


def test_sigterm_waits_for_no_second_one() -> None:
    process = python(LOOP, "polite")
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 0 and words == "\ngen: SIGTERM: finishing the 2 samples in hand\n"

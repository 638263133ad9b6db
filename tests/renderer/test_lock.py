"""One run at a time in a folder, also where machines do not see each other's locks."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from renderer import files
from renderer.errors import DatasetError

BUSY = "another run is at work"


def other_machine(beat: int = 0) -> dict[str, Any]:
    return {"id": "theirs", "host": "node7", "machine": "elsewhere", "pid": 4711, "since": 0.0, "beat": beat}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def sleeping(patch: pytest.MonkeyPatch, does: Any) -> None:
    """Every nap of the watch calls `does`; the watch ends after a few of them."""
    clock = iter(range(1000))
    patch.setattr(files.time, "monotonic", lambda: float(next(clock)))
    patch.setattr(files.time, "sleep", lambda seconds: does())


def test_of_two_processes_on_a_machine_the_second_is_told_who_is_at_work(lock: Path) -> None:
    with files.locked(lock, BUSY):
        with (
            pytest.raises(DatasetError, match=rf"{BUSY} \(process {os.getpid()} on ") as error,
            files.locked(lock, BUSY),
        ):
            pass
        assert "since 20" in str(error.value)
    with files.locked(lock, BUSY):
        pass
    assert lock.read_bytes() == b""  # given back


def test_a_holder_on_another_machine_that_lives_is_respected(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.write_text(json.dumps(other_machine()))
    sleeping(monkeypatch, lambda: lock.write_text(json.dumps(other_machine(beat=1))))
    said: list[str] = []
    with pytest.raises(DatasetError, match=rf"{BUSY} \(process 4711 on node7"), files.locked(lock, BUSY, said.append):
        pass
    assert "on another machine: looking for 20 s whether that is alive" in said[0] and len(said) == 1
    assert json.loads(lock.read_text())["id"] == "theirs"


def test_a_holder_on_another_machine_that_is_silent_is_taken_over(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.write_text(json.dumps(other_machine()))
    naps: list[int] = []
    sleeping(monkeypatch, lambda: naps.append(1))
    said: list[str] = []
    with files.locked(lock, BUSY, said.append):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert "no sign of life (process 4711 on node7" in said[1] and "taken over" in said[1] and len(naps) > 5


def test_a_holder_on_another_machine_that_ends_meanwhile_is_no_obstacle(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.write_text(json.dumps(other_machine()))
    sleeping(monkeypatch, lambda: lock.write_bytes(b""))
    with files.locked(lock, BUSY, lambda text: None):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"id": "of another version"}'])
def test_a_lock_file_without_a_holder_is_free(content: bytes, lock: Path) -> None:
    lock.write_bytes(content)
    with files.locked(lock, BUSY, pytest.fail):
        pass


HOLDER = """
import sys, threading, time
from pathlib import Path
from renderer import files
files.fcntl.flock = lambda handle, how: None  # mounted without locks
files._machine = lambda: "elsewhere"
files.BEAT_S = 0.05
with files.locked(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(lock: Path) -> Any:
    """A process that holds the lock as if from another machine."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_without_locks_between_machines_a_run_is_noticed_by_its_heartbeat_and_replaced_when_killed(
    holder: Any, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: None)
    with pytest.raises(DatasetError, match=rf"{BUSY} \(process {holder.pid} on "), files.locked(lock, BUSY, print):
        pass
    holder.kill()
    holder.wait()
    monkeypatch.setattr(files, "WATCH_S", 0.2)
    said: list[str] = []
    with files.locked(lock, BUSY, said.append):
        assert "taken over" in said[-1]


def test_a_killed_process_of_this_machine_is_no_obstacle(lock: Path) -> None:
    code = HOLDER.replace('files._machine = lambda: "elsewhere"', "").replace("files.fcntl.flock", "unused")
    process = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(DatasetError, match=BUSY), files.locked(lock, BUSY, pytest.fail):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    assert json.loads(lock.read_text())["pid"] == process.pid  # its name is still there
    with files.locked(lock, BUSY, pytest.fail):
        pass


def test_a_process_whose_lock_was_taken_over_is_stopped(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BEAT_S", 0.01)
    told = threading.Event()
    old = signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    said: list[str] = []
    try:
        with pytest.raises(DatasetError, match=r"node7.*took the lock from this process"):  # noqa: SIM117
            with files.locked(lock, BUSY, said.append):
                while not told.wait(0.1):  # a beat may fall between
                    lock.write_text(json.dumps(other_machine()))
    finally:
        signal.signal(signal.SIGTERM, old)
    assert "was taken over (process 4711 on node7" in said[0]
    assert json.loads(lock.read_text())["id"] == "theirs"

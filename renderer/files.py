"""Files that are whole or absent, also after a power cut; folders that are ours alone; one writer at a time.

What a power cut leaves of a file is what was synced: its content by a sync of the file, its name by a sync of the
folder that lists it. Hence the order everywhere: write under a temporary name, sync, rename, sync the folder; and what
announces another file (a manifest its tar) is written after that one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import signal
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError, MachineError

BEAT_S: Final = 5.0  # the holder of a lock renews its name so often
WATCH_S: Final = 20.0  # a holder on another machine that is silent for so long is dead


def cache_root() -> Path:
    """HEADFORGE_CACHE, else $XDG_CACHE_HOME/headforge, else ~/.cache/headforge (not created here)."""
    if own := os.environ.get("HEADFORGE_CACHE"):
        return Path(own).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "headforge"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- whole or absent


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last. File systems that cannot sync a folder (some network ones) keep names anyway."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it that are missing; each lasts."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Whole or not at all.

    durable: also across a power cut, and there once this returns. Without it (heartbeats, progress) nothing is synced.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def publish(local: Path, final: Path, sha256: str) -> None:
    """Bring a finished file to its final name, where it lasts.

    May cross file systems: copied beside its final name, compared with `sha256`, then renamed. `local` may be gone
    afterwards. Raises DatasetError where the copy is damaged.
    """
    partial = final.with_name(f".{final.name}.{uuid.uuid4().hex}.partial")
    try:
        if local.parent == final.parent:
            with local.open("rb") as file:
                os.fsync(file.fileno())
            local.replace(final)
        else:
            with local.open("rb") as source, partial.open("wb") as target:
                while chunk := source.read(1 << 22):
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            if file_sha256(partial) != sha256:
                raise DatasetError(f"{final} arrived damaged on its way from {local}: check the disk and run again")
            partial.replace(final)
        sync_folder(final.parent)
    finally:
        partial.unlink(missing_ok=True)


# ---------------------------------------------------------------- ours alone


def is_private(folder: Path) -> bool:
    """Is it a folder, not a link to one, that this user owns and nobody else may enter? False where there is none."""
    try:
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o077


def private_folder(folder: Path) -> Path:
    """Create a folder that only this user may enter, or take the one that is there if it is such a folder.

    For names that others can guess, in places where others may write: what lies there could be a trap. Raises
    MachineError.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not is_private(folder):
        raise MachineError(
            f"{folder} is there already and is not a folder of this user's alone (owner, mode 0700, no link), so others"
            " could change what is written to it: remove it, or choose another scratch"
        )
    return folder


# ---------------------------------------------------------------- one at a time


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: Path, busy: str, log: Callable[[str], None] = _say) -> Iterator[None]:
    """Hold the lock file `path`: one process at a time, on whatever machine.

    Between processes of a machine flock decides, and its lock dies with the process. On a file system that is mounted
    without locks (NFS with nolock) machines do not see each other's, so the holder keeps its name in the file and
    renews it; who finds the name of another machine watches it for `WATCH_S` by its own clock. Renewed: it is alive.
    Silent: it is taken over. A holder that was taken over (its machine slept) gets SIGTERM, as does one of two that
    came at the same moment, and the block ends with an error.

    busy: what is going on where the lock is held, and what to do, for the error. Raises DatasetError.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DatasetError(f"cannot write to {path}: {error.strerror}; check owner and mode") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise DatasetError(f"{busy}{_named(_holder(path))}") from error
            raise DatasetError(
                f"files cannot be locked on the disk of {path.parent} ({error.strerror}), so two runs could disturb"
                " each other: choose a folder on another disk, or have it mounted with locks (Lustre: the option flock)"
            ) from error
        _watch_other_machine(path, busy, log)
        heart = _Heart(path, log)
        heart.start()
        try:
            yield
        finally:
            heart.stop()
        if heart.other:
            raise DatasetError(f"{busy}{_named(heart.other)}: it took the lock from this process")
    finally:
        os.close(handle)


def _machine() -> str:
    """What tells a running system from all others; host names are given twice."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return platform.node()


def _holder(path: Path) -> dict[str, Any]:
    """What the lock file says of its holder; empty if nothing."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and {"id", "host", "machine", "pid", "since", "beat"} <= content.keys():
            return content
    return {}


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return ""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f" (process {holder['pid']} on {holder['host']}, since {since})"


def _watch_other_machine(path: Path, busy: str, log: Callable[[str], None]) -> None:
    """Returns once no other machine holds the lock. Raises DatasetError if one does and is alive."""
    found = _holder(path)
    if not found or found["machine"] == _machine():
        return  # of this machine flock knows
    log(f"{path} is held{_named(found)}, on another machine: looking for {WATCH_S:.0f} s whether that is alive")
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCH_S / 10))
        if not path.stat().st_size:
            return  # given back
        now = _holder(path)
        if now and now != found:
            raise DatasetError(f"{busy}{_named(now)}")
    log(f"{path}: no sign of life{_named(found)}; taken over")


class _Heart(threading.Thread):
    """Keeps this process's name in a lock file. `other`: who wrote another name there."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        super().__init__(name=f"lock {path}", daemon=True)
        self.path, self.log, self.other = path, log, dict[str, Any]()
        self._ended = threading.Event()
        self._own = {
            "id": uuid.uuid4().hex,
            "host": platform.node(),
            "machine": _machine(),
            "pid": os.getpid(),
            "since": time.time(),
        }
        self._write({**self._own, "beat": 0})

    def run(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_S):
            found = _holder(self.path)
            if found and found["id"] != self._own["id"]:
                self.other = found
                self.log(f"{self.path} was taken over{_named(found)}: stopping")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            beat += 1
            self._write({**self._own, "beat": beat})

    def stop(self) -> None:
        """Give the lock back, unless it has another holder."""
        self._ended.set()
        self.join()
        if _holder(self.path).get("id") == self._own["id"]:
            self._write(None)

    def _write(self, content: dict[str, Any] | None) -> None:
        """In place, as the lock is on this very file; closed each time, which is when other machines get to see it."""
        data = json.dumps(content).encode() if content else b""
        with contextlib.suppress(OSError):  # a full disk must not end a run
            handle = os.open(self.path, os.O_RDWR)
            try:
                os.pwrite(handle, data, 0)
                os.ftruncate(handle, len(data))
            finally:
                os.close(handle)

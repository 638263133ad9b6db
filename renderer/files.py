"""Files that are whole or absent, also after a power cut; folders that are ours alone; one writer at a time.

What a power cut leaves of a file is what was synced: its content by a sync of the file, its name by a sync of the
folder that lists it. Hence the order everywhere: write under a temporary name, sync, rename, sync the folder; and what
announces another file (a manifest its tar) is written after that one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from pathlib import Path

from renderer.errors import DatasetError, MachineError


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

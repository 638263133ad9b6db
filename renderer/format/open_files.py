"""Random access to more files than a process may have open."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError

MOST_OPEN: Final = 64  # of the 256 or 1,024 descriptors that a process is usually granted


class _OpenFile:
    """A descriptor that lives as long as somebody holds it."""

    def __init__(self, path: Path) -> None:
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.fd = -1
            raise DatasetError(f"cannot open {path}: {error.strerror}") from error

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class OpenFiles:
    """Keeps the files read last open, at most `most` of them. Safe to share between threads, and to pickle.

    A file that is dropped while a thread reads it closes once that read is done, since the thread holds it, too.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self.most = most
        self._opened = functools.lru_cache(most)(_OpenFile)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenFiles, (self.most,)

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """`size` bytes at `offset`, fewer at the end of the file. Raises DatasetError where it cannot be opened."""
        file = self._opened(path)
        return os.pread(file.fd, size, offset)

    def close(self) -> None:
        self._opened.cache_clear()

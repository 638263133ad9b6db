"""Sprite sheets of an evaluation, written by a process of its own so that training never waits for PNG compression.

    python -m trainer.training.sprites PENDING.npz RUN/eval EPOCH

PENDING.npz holds `tiles`, (rows, columns, H, W, 3) uint8, and is removed once the sheet stands.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.files import write_atomic
from renderer.install import ROOT


def sheet_name(epoch: int) -> str:
    return f"epoch-{epoch:04d}.png"


def write_sheet(tiles: npt.NDArray[np.uint8], path: Path) -> None:
    """(rows, columns, H, W, 3) uint8 to one PNG; row r of the array is row r of the sheet."""
    rows, columns, height, width, _ = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", compress_level=6)
    write_atomic(path, buffer.getvalue())


class SheetWriter:
    """Starts one process per sheet and keeps at most one running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, tiles: npt.NDArray[Any], epoch: int) -> None:
        """Hand a sheet over. Waits only if the one before is not finished yet."""
        self.wait()
        pending = self.folder / f".pending-{epoch:04d}.npz"
        np.savez(pending, tiles=tiles)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer.training.sprites", str(pending), str(self.folder), str(epoch)],
            cwd=ROOT,
            start_new_session=True,  # a signal meant for the trainer must not leave a sheet out
        )

    def wait(self) -> None:
        """Until the last sheet stands; a failure is reported, training goes on."""
        if self._process is None:
            return
        if code := self._process.wait():
            print(f"the process that writes evaluation images failed with code {code}", file=sys.stderr, flush=True)
        self._process = None


def main(arguments: Sequence[str]) -> None:
    pending, folder, epoch = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    with np.load(pending, allow_pickle=False) as file:
        tiles = file["tiles"]
    write_sheet(tiles, folder / sheet_name(epoch))
    pending.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])

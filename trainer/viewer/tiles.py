"""Tiles of samples in square JPEG sheets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

SHEET_SIDE: Final = 10  # tiles along the side of a sheet of the data set page
Bytes = npt.NDArray[np.uint8]


class TileSheets:
    """Collects tiles of several views into square JPEG sheets, `SHEET_SIDE` tiles wide."""

    def __init__(self, folder: Path, names: Sequence[str], most_px: int = 128) -> None:
        self.folder, self.most_px = folder, most_px
        self.tile: list[int] = [0, 0]  # width, height
        self._tiles: dict[str, list[Bytes]] = {name: [] for name in names}
        self._files: dict[str, list[str]] = {name: [] for name in names}

    def add(self, pictures: Mapping[str, Bytes]) -> None:
        if not self.tile[0]:
            height, width = next(iter(pictures.values())).shape[:2]
            scale = min(1.0, self.most_px / max(height, width))
            self.tile = [max(1, round(width * scale)), max(1, round(height * scale))]
        for name, picture in pictures.items():
            if picture.shape[:2] != (self.tile[1], self.tile[0]):
                resized = Image.fromarray(picture).resize((self.tile[0], self.tile[1]), Image.Resampling.BOX)
                picture = np.asarray(resized)
            self._tiles[name].append(picture)
        if len(next(iter(self._tiles.values()))) == SHEET_SIDE**2:
            self._flush()

    def _flush(self) -> None:
        for name, tiles in self._tiles.items():
            if not tiles:
                continue
            width, height = self.tile
            rows = math.ceil(len(tiles) / SHEET_SIDE)
            sheet = np.zeros((rows * height, SHEET_SIDE * width, 3), np.uint8)
            for i, tile in enumerate(tiles):
                y, x = i // SHEET_SIDE * height, i % SHEET_SIDE * width
                sheet[y : y + height, x : x + width] = tile
            file = f"sheet-{name}-{len(self._files[name]):04d}.jpg"
            Image.fromarray(sheet).save(self.folder / file, quality=90, subsampling=0)
            self._files[name].append(file)
            tiles.clear()

    def close(self) -> dict[str, list[str]]:
        """Write what is left; the files of each view in order."""
        self._flush()
        return self._files

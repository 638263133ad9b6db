"""A sheet of photos: each with its views to the right, and below it those of a second network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.data.pictures import Bytes
from trainer.uvmaps.faces import Face

ROW_PX: Final = 288
GAP_PX: Final = 4
CAPTION_PX: Final = 20
GROWN: Final = 1.15  # side of what is shown in sides of the window around the faces


def shown_part(faces: Sequence[Face], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a picture around its faces, as near to a square as it allows; all of it without a face."""
    if not faces:
        return slice(0, height), slice(0, width)
    windows = [face.window for face in faces]
    left, top = min(w.x for w in windows), min(w.y for w in windows)
    right, bottom = max(w.x + w.side for w in windows), max(w.y + w.side for w in windows)
    side = GROWN * max(right - left, bottom - top)

    def span(low: int, high: int, length: int) -> slice:
        start = round(min(max((low + high - side) / 2, 0), max(length - side, 0)))
        return slice(start, round(min(start + side, length)))

    return span(top, bottom, height), span(left, right, width)


@dataclass
class Sheet:
    """Gathers rows; `write` makes one PNG of them."""

    rows: list[tuple[str, Image.Image]] = field(default_factory=list)

    def add(self, caption: str, views: Sequence[Bytes], part: tuple[slice, slice]) -> None:
        """One row: the same part of several views of a picture, (H, W, 3) each, scaled to the height of a row."""
        tiles = [Image.fromarray(np.ascontiguousarray(view[part])) for view in views]
        width = max(1, round(tiles[0].width * ROW_PX / tiles[0].height))
        row = Image.new("RGB", ((width + GAP_PX) * len(tiles) - GAP_PX, ROW_PX), "white")
        for number, tile in enumerate(tiles):
            row.paste(tile.resize((width, ROW_PX), Image.Resampling.LANCZOS), (number * (width + GAP_PX), 0))
        self.rows.append((caption, row))

    def write(self, path: Path) -> None:
        """All rows beneath each other, each under its caption."""
        height = CAPTION_PX + ROW_PX + GAP_PX
        canvas = Image.new("RGB", (max(row.width for _, row in self.rows), height * len(self.rows)), "white")
        draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
        for number, (caption, row) in enumerate(self.rows):
            draw.text((2, number * height + 2), caption, fill=(60, 60, 60), font=font)
            canvas.paste(row, (0, number * height + CAPTION_PX))
        canvas.save(path)

"""From label rays to label images: coverage masks and UV maps. numpy only.

grid x grid label rays pass through every pixel, on a regular grid whose middle ray passes the pixel's centre. Each ray
tells which head it hit and at which UV (`renderer.labels.raster`). The UV image takes the middle rays, unblended; the
mask integrates all rays with the filter that the input image is sampled with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.format.sample_format import frame_size
from renderer.labels.pixel_filter import filtered

LOOKUP = 2048  # side of the face area's look-up table

T = TypeVar("T", bound=np.generic)
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""(row, column, bottom, right) in pixels."""


@dataclass(frozen=True)
class Rays:
    """Label rays of a part of the image.

    row, column: first pixel of the part; nothing is in the rest of the image. All else by ray, (h*grid, w*grid):
    head: number of the head hit, 0 for none. occluded: something worn or held hides it. uv: (..., 2). depth: metres
    along the viewing axis, infinite for none. opacity: share of the backdrop's light that does not come
    through.
    """

    row: int
    column: int
    head: npt.NDArray[np.int32]
    occluded: Bools
    uv: Floats
    depth: Floats
    opacity: Floats

    def cropped(self, box: Box, grid: int) -> Rays:
        """The rays of a box within the part."""
        row, column, bottom, right = box
        part = (
            slice((row - self.row) * grid, (bottom - self.row) * grid),
            slice((column - self.column) * grid, (right - self.column) * grid),
        )
        return Rays(
            row, column, self.head[part], self.occluded[part], self.uv[part], self.depth[part], self.opacity[part]
        )


def nothing(grid: int) -> Rays:
    """Rays of one pixel that hit nothing."""
    head, zero = np.zeros((grid, grid), np.int32), np.zeros((grid, grid), np.float32)
    return Rays(0, 0, head, head > 0, np.zeros((grid, grid, 2), np.float32), zero + np.inf, zero)


def load_face_area(path: Path) -> Bools:
    """(LOOKUP, LOOKUP) table over canonical UV, row 0 at V = 1: True inside the face area."""
    with Image.open(path) as image:
        big = image.convert("L").resize((LOOKUP, LOOKUP), Image.Resampling.BICUBIC)
    return np.asarray(big) >= 128


def face_rays(rays: Rays, area: Bools) -> Bools:
    """Which rays hit the face area of a head: (h*grid, w*grid)."""
    hit = rays.head > 0
    face = np.zeros(rays.head.shape, bool)
    face[hit] = look_up(area, rays.uv[hit])
    return face


def look_up(table: Bools, uv: npt.NDArray[Any]) -> Bools:
    """(..., 2) UV to (...): values of a table that `load_face_area` returns; False where it ends."""
    height, width = table.shape
    inside = ((uv >= 0) & (uv < 1)).all(axis=-1)
    u, v = uv[inside].T
    row, column = ((1.0 - v) * height).astype(np.int32), (u * width).astype(np.int32)
    found = np.zeros(inside.shape, bool)
    found[inside] = table[row.clip(0, height - 1), column.clip(0, width - 1)]
    return found


def shown(pixels: npt.NDArray[Any], own_uv: npt.NDArray[Any], uv: npt.NDArray[Any], visible: npt.NDArray[Any]) -> Bools:
    """(N,) which points of a head are visible, by the labels alone.

    pixels: (N, 2) column and row of the points. own_uv: (N, 2) their UV. uv: (H, W, 2) and visible: (H, W), the labels.
    A point is seen where one of the 3 x 3 pixels about it is visible face whose UV is within four pixels of its own.
    """
    height, width = uv.shape[:2]
    reach = 4 * spread(own_uv) / max(spread(pixels), 1.0)
    column, row = (np.floor(pixels).astype(np.int64)[:, axis, None] for axis in (0, 1))
    dy, dx = (d.ravel() for d in np.mgrid[-1:2, -1:2])
    c, r = column + dx, row + dy  # (N, 9)
    within = (c >= 0) & (r >= 0) & (c < width) & (r < height)
    within &= (column >= 0) & (row >= 0) & (column < width) & (row < height)
    c, r = c.clip(0, width - 1), r.clip(0, height - 1)
    off = np.abs(uv[r, c].astype(np.float64) - np.asarray(own_uv, np.float64)[:, None]).max(axis=2)
    return np.asarray((within & (visible[r, c] >= 0.5) & (off < reach)).any(axis=1))


def coverage(face: Bools, grid: int) -> Floats:
    """(h*grid, w*grid) rays to (h, w) coverage in [0, 1]."""
    return np.clip(filtered(face.astype(np.float64), grid), 0.0, 1.0).astype(np.float32)


def centre(values: npt.NDArray[T], grid: int) -> npt.NDArray[T]:
    """The middle ray of every pixel."""
    return values[grid // 2 :: grid, grid // 2 :: grid]


def place(part: npt.NDArray[T], row: int, column: int, resolution: int | Sequence[int]) -> npt.NDArray[T]:
    """A part of an image of a resolution, as `frame_size` takes it, in its place; zeros around it."""
    width, height = frame_size(resolution)
    full = np.zeros((height, width, *part.shape[2:]), part.dtype)
    full[row : row + part.shape[0], column : column + part.shape[1]] = part
    return full


def spread(points: npt.NDArray[Any]) -> float:
    """Root mean square distance of (N, D) points from their middle; 0 for none."""
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())) if len(points) else 0.0

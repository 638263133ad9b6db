"""The outermost surface of a head as seen from its middle: what is put on a head is fitted to it.

A head is star-shaped enough: from a point in its middle every direction has one outermost distance. A table of them
answers how far out cloth must lie, and how far a hand is from the skin. Head space, metres.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.compiled import compiled
from renderer.head.mesh_kit import unit

Points = npt.NDArray[np.float64]
Triangles = npt.NDArray[np.int32]

MIDDLE: Final = np.array([0.0, 0.0, 0.02])  # where distances are measured from
_ROWS, _COLUMNS = 120, 240  # of the table: 1.5 degrees, 3 mm on the skin


def lengths(vectors: Points) -> Points:
    """(...,) of (..., 3) vectors, in a third of the time that `numpy.linalg.norm` takes."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)))


def directions(vectors: Points) -> Points:
    """(..., 3) vectors scaled to length 1; those of no length stay."""
    return np.asarray(vectors / np.maximum(lengths(vectors), 1e-12)[..., None])


class Surface:
    """Distances of the outermost surface; `cover` adds what is put on."""

    def __init__(self, points: Points, triangles: Triangles) -> None:
        """points: (V, 3). triangles: (T, 3) of a closed mesh around MIDDLE."""
        self._table = np.zeros((_ROWS, _COLUMNS))
        self.cover(points, triangles)

    def copy(self) -> Surface:
        """The same, to be covered by itself."""
        other = copy(self)
        other._table = self._table.copy()
        return other

    def cover(self, points: Points, triangles: Triangles) -> None:
        """What lies further out than all so far is the outermost from now on."""
        _outermost(np.ascontiguousarray(points - MIDDLE, np.float64), np.ascontiguousarray(triangles), self._table)

    def distance(self, ways: Points) -> Points:
        """(...,) distance from MIDDLE to the surface along (..., 3) unit vectors, metres; bilinear in the table."""
        azimuth = np.arctan2(ways[..., 0], ways[..., 2])
        elevation = np.arcsin(np.clip(ways[..., 1], -1.0, 1.0))
        column = (azimuth / (2 * np.pi) + 0.5) * _COLUMNS - 0.5
        row = np.clip((0.5 - elevation / np.pi) * _ROWS - 0.5, 0, _ROWS - 1)
        left, top = np.floor(column).astype(np.int64), np.minimum(np.floor(row).astype(np.int64), _ROWS - 2)
        fx, fy = column - left, row - top
        a, b = left % _COLUMNS, (left + 1) % _COLUMNS
        upper = self._table[top, a] * (1 - fx) + self._table[top, b] * fx
        lower = self._table[top + 1, a] * (1 - fx) + self._table[top + 1, b] * fx
        return np.asarray(upper * (1 - fy) + lower * fy)

    def above(self, points: Points) -> Points:
        """(...,) how far (..., 3) points lie outside the surface along the line from MIDDLE; negative inside."""
        from_middle = points - MIDDLE
        away = lengths(from_middle)
        return np.asarray(away - self.distance(from_middle / np.maximum(away, 1e-9)[..., None]))

    def lifted(self, points: Points, by_m: float | Points = 0.0) -> Points:
        """(..., 3) points moved along the line from MIDDLE to lie `by_m` outside the surface."""
        ways = directions(points - MIDDLE)
        return np.asarray(MIDDLE + ways * (self.distance(ways) + by_m)[..., None])

    def outside(self, points: Points, by_m: float | Points = 0.0) -> Points:
        """(..., 3) points, those less than `by_m` outside the surface moved there."""
        from_middle = points - MIDDLE
        away = lengths(from_middle)
        ways = from_middle / np.maximum(away, 1e-12)[..., None]
        return np.asarray(MIDDLE + ways * np.maximum(away, self.distance(ways) + by_m)[..., None])

    def normal(self, point: Points) -> Points:
        """(3,) of the surface about a point, smoothed over 2 cm."""
        way = unit(point - MIDDLE)
        side = unit(np.cross([0.1, 1.0, 0.0], way))
        up = np.cross(way, side)
        ring = [point + 0.02 * (math.cos(a) * side + math.sin(a) * up) for a in np.linspace(0, 2 * np.pi, 8, False)]
        around = self.lifted(np.array(ring))
        area = np.cross(around - around.mean(axis=0), np.roll(around, -1, 0) - around.mean(axis=0)).sum(axis=0)
        return unit(area * np.sign(area @ way))


def taut(least: Points, *, fixed: npt.NDArray[np.bool_], rounds: int = 80, wrap: bool = False) -> Points:
    """Distances (H, W) of cloth stretched over an obstacle: smooth, and nowhere below `least`.

    fixed: (H, W) where the cloth is held at `least`. wrap: do the columns close to a ring? Relaxation of the obstacle
    problem: every point goes to the mean of its neighbours unless the obstacle is higher.
    """
    out = least.copy()
    for _ in range(rounds):
        across = (np.roll(out, 1, 1) + np.roll(out, -1, 1)) / 2
        if not wrap:
            across[:, 0], across[:, -1] = out[:, 0], out[:, -1]
        along = out.copy()
        along[1:-1] = (out[:-2] + out[2:]) / 2
        out = np.where(fixed, least, np.maximum(least, (across + along) / 2))
    return out


@compiled
def _outermost(points: Any, triangles: Any, table: Any) -> None:
    """points: (V, 3) about the middle. triangles: (T, 3). table: (rows, columns) of distances, raised where needed."""
    rows, columns = table.shape
    azimuths = (np.arange(columns) + 0.5) / columns * (2 * math.pi) - math.pi
    sines, cosines = np.sin(azimuths), np.cos(azimuths)
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        low, high, left, right = math.inf, -math.inf, 0.0, 0.0
        first = math.atan2(a[0], a[2])
        for corner in (a, b, c):
            elevation = math.atan2(corner[1], math.sqrt(corner[0] * corner[0] + corner[2] * corner[2]))
            turn = math.atan2(corner[0], corner[2]) - first
            turn -= 2 * math.pi * math.floor(turn / (2 * math.pi) + 0.5)
            low, high = min(low, elevation), max(high, elevation)
            left, right = min(left, turn), max(right, turn)
        if right - left > 0.6 * math.pi:  # about a pole: every column, and up or down to the pole
            left, right = -math.pi, math.pi
            low, high = (low - 0.1, math.pi / 2) if high > 0 else (-math.pi / 2, high + 0.1)
        top = max(0, math.floor((0.5 - high / math.pi) * rows) - 1)
        bottom = min(rows - 1, math.ceil((0.5 - low / math.pi) * rows) + 1)
        start = math.floor(((first + left) / (2 * math.pi) + 0.5) * columns) - 1
        count = min(columns, math.ceil((right - left) / (2 * math.pi) * columns) + 3)
        ax, ay, az = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
        bx, by, bz = c[1] * a[2] - c[2] * a[1], c[2] * a[0] - c[0] * a[2], c[0] * a[1] - c[1] * a[0]
        cx, cy, cz = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
        volume = a[0] * ax + a[1] * ay + a[2] * az
        for row in range(top, bottom + 1):
            elevation = (0.5 - (row + 0.5) / rows) * math.pi
            y, level = math.sin(elevation), math.cos(elevation)
            for step in range(count):
                column = (start + step) % columns
                x, z = level * sines[column], level * cosines[column]
                wa, wb, wc = x * ax + y * ay + z * az, x * bx + y * by + z * bz, x * cx + y * cy + z * cz
                if not ((wa >= 0 and wb >= 0 and wc >= 0) or (wa <= 0 and wb <= 0 and wc <= 0)):
                    continue
                total = wa + wb + wc
                if total != 0.0 and volume / total > table[row, column]:
                    table[row, column] = volume / total

"""The inside of a box in perspective: rooms, and streets where the lid is off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.compiled import compiled

Floats = npt.NDArray[np.float64]

_CORNER_M: Final = 0.35  # how far from an edge of the box it is darker
_CORNER_SHADE: Final = 0.3


@dataclass(frozen=True)
class Box:
    """Metres. x from -width/2 to the right, y from 0 up, z from 0 at the camera to -depth; open towards the camera.

    eye_m: (x, y) of the camera. yaw_rad: its turn to the left. focal: in picture widths. horizon: height of the horizon
    over the middle of the picture, in picture heights; uprights stay upright.
    """

    width_m: float
    height_m: float
    depth_m: float
    eye_m: tuple[float, float]
    yaw_rad: float
    focal: float
    horizon: float

    def seen(self, walls: Mapping[str, Image.Image], beyond: Image.Image, shaded: bool) -> Image.Image:
        """The box with pictures on its walls: left, right, back, floor and, if there is one, ceiling.

        beyond: the picture where no wall is, as large as the result. shaded: darker along the edges.
        """
        side = beyond.width
        image, nearest = np.array(beyond), np.full((side, side), np.inf)
        half, shade = self.width_m / 2, _CORNER_SHADE if shaded else 0.0
        along, up, away = np.eye(3) * [1.0, 1.0, -1.0]
        for name, wall in walls.items():
            corner, right, high, size = {  # the wall's lower left corner, and its directions
                "left": ((-half, 0.0, 0.0), away, up, (self.depth_m, self.height_m)),
                "right": ((half, 0.0, -self.depth_m), -away, up, (self.depth_m, self.height_m)),
                "back": ((-half, 0.0, -self.depth_m), along, up, (self.width_m, self.height_m)),
                "floor": ((-half, 0.0, 0.0), along, away, (self.width_m, self.depth_m)),
                "ceiling": ((-half, self.height_m, 0.0), along, away, (self.width_m, self.depth_m)),
            }[name]
            start = np.array(corner) - [*self.eye_m, 0.0]
            view = self.yaw_rad, self.focal, self.horizon
            _hang(np.asarray(wall), start, right, high, size, *view, shade, image, nearest)
        return Image.fromarray(image)

    def project(self, points: Floats, side: int) -> Floats:
        """(N, 3) points in metres to (N, 3): column, row, depth along the view."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        x, y, z = (points - [self.eye_m[0], self.eye_m[1], 0.0]).T
        depth = np.maximum(-(x * sin + z * cos), 1e-3)
        column = (0.5 + self.focal * (x * cos - z * sin) / depth) * side
        row = (0.5 - self.horizon - self.focal * y / depth) * side
        return np.stack([column, row, depth], axis=1)


@compiled
def _hang(
    wall: Any,  # (h, w, 3) bytes
    start: Any,  # (3,) its lower left corner, from the camera
    right: Any,
    high: Any,  # (3,) unit vectors along its sides
    size: Any,  # metres along them
    yaw: float,
    focal: float,
    horizon: float,
    shade: float,
    image: Any,
    nearest: Any,
) -> None:
    side, cos, sin = len(image), math.cos(yaw), math.sin(yaw)
    normal = np.array(
        [
            right[1] * high[2] - right[2] * high[1],
            right[2] * high[0] - right[0] * high[2],
            right[0] * high[1] - right[1] * high[0],
        ]
    )
    away = (normal * start).sum()
    for row in range(side):
        dy = (0.5 - (row + 0.5) / side - horizon) / focal
        for column in range(side):
            across = ((column + 0.5) / side - 0.5) / focal
            dx, dz = across * cos - sin, -(across * sin + cos)
            slope = normal[0] * dx + normal[1] * dy + normal[2] * dz
            if slope == 0.0:
                continue
            t = away / slope
            if not 0.0 < t < nearest[row, column]:
                continue
            x, y, z = t * dx - start[0], t * dy - start[1], t * dz - start[2]
            u = x * right[0] + y * right[1] + z * right[2]
            v = x * high[0] + y * high[1] + z * high[2]
            if not (0.0 <= u < size[0] and 0.0 <= v < size[1]):
                continue
            nearest[row, column] = t
            light = 1.0
            if shade > 0.0:
                light -= shade * math.exp(-min(u, size[0] - u, v, size[1] - v) / _CORNER_M)
            c = min(int(u / size[0] * wall.shape[1]), wall.shape[1] - 1)
            r = min(int((1.0 - v / size[1]) * wall.shape[0]), wall.shape[0] - 1)
            for k in range(3):
                image[row, column, k] = int(wall[r, c, k] * light)

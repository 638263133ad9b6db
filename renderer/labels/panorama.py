"""What the camera sees of a panorama behind everything, as Cycles' environment texture shows it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from renderer.compiled import compiled
from renderer.format.sample_format import frame_size
from renderer.head.pose import euler_matrix
from renderer.labels.camera import Resolution, at_unit_depth, second_camera
from renderer.parameters.params import Camera, Environment

Floats = npt.NDArray[np.float32]


def zoom(environment: Environment) -> npt.NDArray[np.float64]:
    """(3,) scale of directions in Blender's world before they are turned; a mirror is a negative one."""
    return np.array([-1.0 if environment.mirror else 1.0, 1.0, 1.0]) * [environment.scale, 1.0, environment.scale]


def backdrop(
    picture: npt.NDArray[Any], environment: Environment, camera: Camera, yaw_rad: float, resolution: Resolution
) -> Floats:
    """(H, W, 3): radiance at pixel centres of an image of this resolution.

    picture: (H, W, 3) equirectangular radiance, its bottom row first. yaw_rad: of the camera about the origin.
    """
    to_blender = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    turn = euler_matrix(environment.rotation_rad) * zoom(environment)
    matrix = turn @ to_blender @ second_camera(yaw_rad).T
    width, height = frame_size(resolution)
    x, y = at_unit_depth(np.arange(width) + 0.5, np.arange(height) + 0.5, camera, resolution)
    image = np.empty((height, width, 3), np.float32)
    _look(picture, matrix, x, y, np.float32(environment.strength), image)
    return image


@compiled
def _look(picture: Any, matrix: Any, xs: Any, ys: Any, strength: Any, image: Any) -> None:
    height, width, _ = picture.shape
    for row in range(len(ys)):
        for column in range(len(xs)):
            x, y = xs[column], ys[row]
            a = matrix[0, 0] * x + matrix[0, 1] * y - matrix[0, 2]
            b = matrix[1, 0] * x + matrix[1, 1] * y - matrix[1, 2]
            c = matrix[2, 0] * x + matrix[2, 1] * y - matrix[2, 2]
            u = (0.5 - math.atan2(b, a) / (2 * math.pi)) * width - 0.5
            v = (0.5 + math.atan2(c, math.hypot(a, b)) / math.pi) * height - 0.5
            left, low = math.floor(u), math.floor(v)
            fu, fv = u - left, v - low
            c0, c1 = int(left) % width, (int(left) + 1) % width
            r0, r1 = int(low) % height, (int(low) + 1) % height
            for k in range(3):
                below = picture[r0, c0, k] * (1.0 - fu) + picture[r0, c1, k] * fu
                above = picture[r1, c0, k] * (1.0 - fu) + picture[r1, c1, k] * fu
                image[row, column, k] = (below * (1.0 - fv) + above * fv) * strength

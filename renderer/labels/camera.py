"""The pinhole camera: projection, its inverse, and its matrices in OpenCV's conventions. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from renderer.format.sample_format import frame_size
from renderer.parameters.params import Camera

Points = npt.NDArray[np.float64]  # (V, 3)
Resolution = int | Sequence[int]  # as `frame_size` takes it


def second_camera(yaw_rad: float) -> Points:
    """(3, 3) rotation of the world that shows it as a camera turned by `yaw_rad` about the vertical axis does."""
    cos, sin = math.cos(-yaw_rad), math.sin(-yaw_rad)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def project(points: Points, camera: Camera, resolution: Resolution) -> Points:
    """World points to (V, 3): pixel column, pixel row (pixel centres at .5), depth in metres along the viewing axis.

    resolution: of the image, as `frame_size` takes it. Lens and shift go by the frame's width, whatever its height.
    Points behind the camera get a depth <= 0 and meaningless pixels.
    """
    depth = camera.distance_m - points[:, 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    scale = camera.focal_mm / camera.sensor_mm
    x = points[:, 0] / safe * scale + camera.shift_x + 0.5
    y = points[:, 1] / safe * scale + camera.shift_y + 0.5
    width, height = frame_size(resolution)
    return np.stack([x * width, (1.0 - y) * width + (height - width) / 2, depth], axis=1)


def at_unit_depth(column: Any, row: Any, camera: Camera, resolution: Resolution) -> tuple[Any, Any]:
    """Where the rays through points of the image cross the plane one unit before the camera: x right, y up.

    column, row: numbers or arrays as `project` gives them, pixel centres at .5.
    """
    tangent = camera.sensor_mm / camera.focal_mm
    width, height = frame_size(resolution)
    x = (column / width - 0.5 - camera.shift_x) * tangent
    y = (0.5 - (row - (height - width) / 2) / width - camera.shift_y) * tangent
    return x, y


def camera_matrix(camera: Camera, resolution: Resolution) -> Points:
    """(3, 3) intrinsics K as OpenCV has them: [column, row, 1] ~ K [x, y, z], x right, y down, z along the view."""
    width, height = frame_size(resolution)
    focal = camera.focal_mm / camera.sensor_mm * width
    column, row = (0.5 + camera.shift_x) * width, (0.5 - camera.shift_y) * width + (height - width) / 2
    return np.array([[focal, 0.0, column], [0.0, focal, row], [0.0, 0.0, 1.0]])


def world_to_camera(camera: Camera, yaw_rad: float = 0.0) -> Points:
    """(4, 4) extrinsics: world to the camera's space as `camera_matrix` takes it; yaw_rad: of a second camera."""
    out = np.diag([1.0, -1.0, -1.0, 1.0])
    out[2, 3] = camera.distance_m
    out[:3, :3] = out[:3, :3] @ second_camera(yaw_rad)
    return out


def unproject(depth: npt.NDArray[Any], camera: Camera) -> Points:
    """Depth image to positions: (H, W) metres along the viewing axis to (H, W, 3) in camera space.

    Camera space is that of `camera_matrix`. Where the depth is 0, nothing was hit, and the position is 0, too.
    """
    height, width = depth.shape
    row, column = np.mgrid[:height, :width] + 0.5
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(camera_matrix(camera, (width, height))).T
    return np.asarray(rays * depth[..., None].astype(np.float64))

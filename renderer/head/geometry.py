"""Vertices of a head as a pure function of its parameters: shape > scale > simple deform > noise > pose. numpy only.

Blender receives finished vertices, so that labels can be checked without Blender, and the checks are independent of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from renderer.parameters.params import Camera, Deform, Pose

Points = npt.NDArray[np.float64]  # (V, 3)


def rotation_matrix(pose: Pose) -> Points:
    """(3, 3): Rz(roll) Rx(-pitch) Ry(yaw)."""
    cy, sy = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    cp, sp = math.cos(-pose.pitch_rad), math.sin(-pose.pitch_rad)
    cr, sr = math.cos(pose.roll_rad), math.sin(pose.roll_rad)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(roll @ pitch @ yaw, dtype=np.float64)


def euler_matrix(rotation_rad: tuple[float, float, float]) -> Points:
    """(3, 3): Rz Ry Rx, Blender's Euler order XYZ."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(rotation_rad), np.sin(rotation_rad)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx, dtype=np.float64)


def posed(points: Points, pose: Pose) -> Points:
    """Head space to world."""
    return np.asarray(points @ rotation_matrix(pose).T + np.asarray(pose.position_m))


def unposed(points: Points, pose: Pose) -> Points:
    """World to head space, the inverse of `posed`."""
    return np.asarray((points - np.asarray(pose.position_m)) @ rotation_matrix(pose))


def deformed(points: Points, deform: Deform, low: float, high: float) -> Points:
    """Scale, twist, bend, taper, stretch and noise.

    points: (V, 3) in head space. low, high: vertical extent of the scaled skin in metres, the common frame in which
    twist, taper and stretch run from the lower to the upper end for every part of a head. The formulae are those of
    Blender's SimpleDeform modifier with default limits and the head's vertical axis as deform axis
    (tests/renderer/test_geometry.py compares the two).
    """
    out: Points = points * np.asarray(deform.scale)
    extent = max(high - low, 1e-9)
    for angle, deformer in ((deform.twist_rad, _twist), (deform.bend_rad, _bend)):
        if abs(angle) > 1e-7:
            out = deformer(out, angle / extent)
    if deform.taper:
        out = _taper(out, deform.taper / extent)
    if deform.stretch:
        out = _stretch(out, deform.stretch / extent)
    if deform.noise_m > 0:
        where = (out + np.asarray(deform.noise_offset_m)) / deform.noise_size_m
        out = out + deform.noise_m * perlin3(where, deform.noise_seed)
    return np.asarray(out)


# In head space Blender's deform axis Z is +Y, its X is +X and its Y is -Z.


def _twist(p: Points, factor: float) -> Points:
    cos, sin = np.cos(p[:, 1] * factor), np.sin(p[:, 1] * factor)
    bx, by = p[:, 0], -p[:, 2]
    return np.stack([bx * cos - by * sin, p[:, 1], -(bx * sin + by * cos)], axis=1)


def _bend(p: Points, factor: float) -> Points:
    # Blender's bend with deform axis Y leaves the depth alone and bends the vertical axis to the side.
    theta = p[:, 1] * factor
    cos, sin = np.cos(theta), np.sin(theta)
    side = p[:, 0] - 1.0 / factor
    return np.stack([side * cos + 1.0 / factor, -side * sin, p[:, 2]], axis=1)


def _taper(p: Points, factor: float) -> Points:
    grow = 1.0 + p[:, 1] * factor
    return np.stack([p[:, 0] * grow, p[:, 1], p[:, 2] * grow], axis=1)


def _stretch(p: Points, factor: float) -> Points:
    grow = p[:, 1] ** 2 * factor - factor + 1.0
    return np.stack([p[:, 0] * grow, p[:, 1] * (1.0 + factor), p[:, 2] * grow], axis=1)


def perlin3(points: Points, seed: int) -> Points:
    """Three independent gradient noises in about [-1, 1] at (V, 3) points. Source: Perlin, Improving noise, 2002."""
    rng = np.random.default_rng([seed, 0x9E37])
    permutation = rng.permutation(256)
    gradients = rng.normal(size=(3, 256, 3))
    gradients /= np.linalg.norm(gradients, axis=2, keepdims=True)
    gradients = np.ascontiguousarray(gradients.swapaxes(1, 2))  # by noise, axis, entry
    cell = np.floor(points)
    inside = points - cell
    corner = cell.astype(np.int64)
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    near_far = np.stack([1 - fade.T, fade.T])  # by side of the cell, axis, point
    towards = np.stack([inside.T, inside.T - 1.0])
    total = np.zeros((3, len(points)))
    for dx in (0, 1):
        along_x = permutation[(corner[:, 0] + dx) & 255]
        for dy in (0, 1):
            along_y = permutation[(along_x + corner[:, 1] + dy) & 255]
            weight_xy = near_far[dx, 0] * near_far[dy, 1]
            for dz in (0, 1):
                at = permutation[(along_y + corner[:, 2] + dz) & 255]
                weight = weight_xy * near_far[dz, 2]
                x, y, z = towards[dx, 0], towards[dy, 1], towards[dz, 2]
                for noise, (gx, gy, gz) in zip(total, gradients, strict=True):
                    noise += weight * (gx[at] * x + gy[at] * y + gz[at] * z)
    return np.asarray(1.5 * total.T)


def vertical_extent(points: Points, deform: Deform) -> tuple[float, float]:
    """Vertical extent of points after scaling, as `deformed` takes it."""
    heights = points[:, 1] * deform.scale[1]
    return float(heights.min()), float(heights.max())


# ---------------------------------------------------------------- camera


def second_camera(yaw_rad: float) -> Points:
    """(3, 3) rotation of the world that shows it as a camera turned by `yaw_rad` about the vertical axis does."""
    cos, sin = math.cos(-yaw_rad), math.sin(-yaw_rad)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def project(points: Points, camera: Camera, resolution: int) -> Points:
    """World points to (V, 3): pixel column, pixel row (pixel centres at .5), depth in metres along the viewing axis.

    Points behind the camera get a depth <= 0 and meaningless pixels.
    """
    depth = camera.distance_m - points[:, 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    scale = camera.focal_mm / camera.sensor_mm
    x = points[:, 0] / safe * scale + camera.shift_x + 0.5
    y = points[:, 1] / safe * scale + camera.shift_y + 0.5
    return np.stack([x * resolution, (1.0 - y) * resolution, depth], axis=1)


def at_unit_depth(column: Any, row: Any, camera: Camera, resolution: int) -> tuple[Any, Any]:
    """Where the rays through points of the image cross the plane one unit before the camera: x right, y up.

    column, row: numbers or arrays as `project` gives them, pixel centres at .5.
    """
    tangent = camera.sensor_mm / camera.focal_mm
    x = (column / resolution - 0.5 - camera.shift_x) * tangent
    y = (0.5 - row / resolution - camera.shift_y) * tangent
    return x, y


def camera_matrix(camera: Camera, resolution: int) -> Points:
    """(3, 3) intrinsics K as OpenCV has them: [column, row, 1] ~ K [x, y, z], x right, y down, z along the view."""
    focal = camera.focal_mm / camera.sensor_mm * resolution
    column, row = (0.5 + camera.shift_x) * resolution, (0.5 - camera.shift_y) * resolution
    return np.array([[focal, 0.0, column], [0.0, focal, row], [0.0, 0.0, 1.0]])


def world_to_camera(camera: Camera, yaw_rad: float = 0.0) -> Points:
    """(4, 4) extrinsics: world to the camera's space as `camera_matrix` takes it; yaw_rad: of a second camera."""
    out = np.diag([1.0, -1.0, -1.0, 1.0])
    out[2, 3] = camera.distance_m
    out[:3, :3] = out[:3, :3] @ second_camera(yaw_rad)
    return out


def head_to_world(pose: Pose) -> Points:
    """(4, 4) of a head's pose: `posed` as a matrix."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_matrix(pose), pose.position_m
    return out


def unproject(depth: npt.NDArray[Any], camera: Camera) -> Points:
    """Depth image to positions: (H, W) metres along the viewing axis to (H, W, 3) in camera space.

    Camera space is that of `camera_matrix`. Where the depth is 0, nothing was hit, and the position is 0, too.
    """
    side = depth.shape[0]
    row, column = np.mgrid[:side, : depth.shape[1]] + 0.5
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(camera_matrix(camera, side)).T
    return np.asarray(rays * depth[..., None].astype(np.float64))


def spread(points: Points) -> float:
    """Root mean square distance of (N, D) points from their middle; 0 for none."""
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())) if len(points) else 0.0

"""Rotations, and a head's pose between head space and the world. numpy only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from renderer.parameters.params import Pose

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


def head_to_world(pose: Pose) -> Points:
    """(4, 4) of a head's pose: `posed` as a matrix."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_matrix(pose), pose.position_m
    return out

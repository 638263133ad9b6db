"""The body below the head: a smooth form that follows the identity, stands upright and hangs its arms. numpy, scipy.

`body.npz` of the head pack holds it (blend_assets/README.md). Its space is the head's: metres, the origin midway
between the ears. The neck is where head and body meet: whatever is on it turns with both, by its height.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.spatial.transform import Rotation

from renderer.errors import AssetError
from renderer.head.mesh_kit import smoothstep
from renderer.head.model import HeadModel
from renderer.head.pack import check_hashes, read_npz
from renderer.head.pose import Points, rotation_matrix
from renderer.parameters.params import Clothes, Identity, Pose

FILE: Final = "body.npz"
NECK_M: Final = (-0.165, -0.085)  # heights on the average head between which the neck passes from body to head
NECK_RADIUS_M: Final = (0.07, 0.105)  # further from its axis are shoulders
NECK_AXIS_Z_M: Final = -0.006
NECK, LEFT, RIGHT = 0, 1, 2  # rows of `joints`


@dataclass(frozen=True)
class Body:
    """A loaded body. vertices: (V, 3) base shape; ears: (2,), joints: (3, 8), arms: (V, 2); operator: (V1, V) and
    faces (F1, 4) of the subdivided form; targets: by number of the head's targets, (indices, deltas in metres).
    """

    vertices: Points
    ears: npt.NDArray[np.int32]
    joints: npt.NDArray[np.int32]
    arms: Points
    operator: sp.csr_matrix
    faces: npt.NDArray[np.int32]
    targets: tuple[tuple[npt.NDArray[np.int32], Points], ...]

    def at_rest(self, model: HeadModel, identity: Identity) -> Points:
        """(V, 3) of an identity, arms spread, in the space of its head."""
        out = self.vertices.copy()
        weights: Mapping[int, float] = model.macro_weights(identity.macros) | model.slider_weights(identity.sliders)
        for number in sorted(weights):
            index, delta = self.targets[number]
            out[index] += delta * weights[number]
        return np.asarray(out - out[self.ears].mean(axis=0))

    def points(self, at_rest: Points, arms_rad: tuple[float, float]) -> Points:
        """(V1, 3) smooth points with the left and the right arm lowered."""
        out = at_rest.copy()
        for side, angle in enumerate(arms_rad):
            joint = at_rest[self.joints[LEFT + side]].mean(axis=0)
            turned = (at_rest - joint) @ Rotation.from_euler("z", angle * (-1, 1)[side]).as_matrix().T + joint
            out += self.arms[:, side : side + 1] * (turned - at_rest)
        return np.asarray(self.operator @ out)

    @cached_property
    def rest(self) -> Points:
        """(V1, 3) smooth points of the base shape: what patterns of garments are cut by."""
        return np.asarray(self.operator @ (self.vertices - self.vertices[self.ears].mean(axis=0)))


def load_body(folder: Path, model: HeadModel) -> Body:
    """The body of a head pack. Raises AssetError where it has none or it has been changed."""
    if not (folder / FILE).is_file():
        raise AssetError(f"head pack {folder} has no {FILE}: leave the spec's section `clothes` out")
    if problems := check_hashes(folder, (FILE,)):
        raise AssetError(f"{'; '.join(problems)}: run `gen assets build --force`")
    data = read_npz(folder / FILE)
    bounds, step = data["target_indptr"], float(model.info["target_step_m"])
    targets = tuple((data["target_index"][a:b], data["target_delta"][a:b] * step) for a, b in pairwise(bounds))
    vertices = data["vertices"].astype(np.float64)
    matrix = (data["sub_data"], data["sub_indices"], data["sub_indptr"])
    operator = sp.csr_matrix(matrix, shape=(len(data["sub_indptr"]) - 1, len(vertices)))
    arms = data["arms"].astype(np.float64)
    return Body(vertices, data["ears"], data["joints"], arms, operator, data["sub_faces"], targets)


def headness(rest: Points) -> npt.NDArray[np.float64]:
    """(V,) how far points (V, 3) of the average person turn with the head: 1 above the neck, 0 below and beside it."""
    (low, high), (slim, wide) = NECK_M, NECK_RADIUS_M
    radius = np.hypot(rest[:, 0], rest[:, 2] - NECK_AXIS_Z_M)
    return smoothstep((rest[:, 1] - low) / (high - low)) * (1 - smoothstep((radius - slim) / (wide - slim)))


def articulated(points: Points, share: npt.NDArray[Any], pivot: Points, head: Pose, clothes: Clothes) -> Points:
    """(V, 3) head space to the world: turned with the head by `share` (V,) and else with the body, about `pivot`."""
    turn = rotation_matrix(head)
    body = rotation_matrix(Pose(clothes.yaw_rad, clothes.pitch_rad, clothes.roll_rad, (0.0, 0.0, 0.0)))
    centre = np.asarray(head.position_m) + turn @ pivot
    vector = Rotation.from_matrix(body @ turn.T).as_rotvec()
    angle = float(np.linalg.norm(vector))
    out = (points - pivot) @ turn.T
    moves = share < 1
    if angle > 1e-9:
        out[moves] = _rotated(out[moves], vector / angle, angle * (1 - share[moves]))
    return np.asarray(out + centre)


def _rotated(points: Points, axis: Points, angles: npt.NDArray[Any]) -> Points:
    """(V, 3) points turned about an axis through the origin by an angle each (Rodrigues)."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    along = (points @ axis)[:, None] * axis
    return np.asarray(points * cos + np.cross(axis, points) * sin + along * (1 - cos))


def limited(angle_rad: float, limit_deg: float) -> float:
    """An angle within ± a limit: what a neck allows."""
    return math.copysign(min(abs(angle_rad), math.radians(limit_deg)), angle_rad)

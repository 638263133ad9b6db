"""From a UV map to space: where on the head each UV lies, and the head pose that a UV map shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.errors import AssetError
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.head.pose import rotation_matrix
from renderer.parameters.params import Pose as Turn

Floats = npt.NDArray[np.float64]
MAP_SIZE: Final = 256
FOCAL_BY_SIDE: Final = 1.2  # focal length in units of the image's longer side, where none is given
MIN_POINTS: Final = 40
MOST_POINTS: Final = 600


@dataclass(frozen=True)
class Pose:
    """p_camera = position + Rz(roll) Rx(-pitch) Ry(yaw) p_head: x right, y up, z to the viewer, as in
    `renderer.parameters.params`.

    error_px: mean distance of the correspondences from where this pose puts them.
    """

    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    position_m: tuple[float, float, float]
    focal_px: float
    error_px: float

    @property
    def rotation(self) -> Floats:
        """(3, 3) Rz(roll) Rx(-pitch) Ry(yaw)."""
        return rotation_matrix(Turn(self.yaw_rad, self.pitch_rad, self.roll_rad, (0.0, 0.0, 0.0)))


@lru_cache(maxsize=2)
def head_of(folder: Path) -> HeadModel:
    return load_head(folder)


def pack_head() -> HeadModel:
    """The head of the pack in the cache. Raises AssetError where there is none."""
    try:
        from blend_assets.standard import find_pack
    except ImportError as error:
        raise AssetError("the head pack cannot be found on this machine") from error
    found = find_pack()
    if found is None:
        raise AssetError("head pose and mesh need the head pack: run `gen assets build`")
    return head_of(found)


def landmark_uv() -> Tensor:
    """UVs of the 68 landmarks of the pack's head, (68, 2). Raises AssetError where there is none."""
    return torch.from_numpy(np.asarray(pack_head().landmarks_uv, np.float32))


class Chart:
    """The face's chart of canonical UV: which points of the smooth skin surround a UV."""

    def __init__(self, head: HeadModel) -> None:
        from scipy.spatial import Delaunay

        part = head.subdivided("skin")
        face = part.region == head.regions.index("face")
        corners, uv = part.faces[face].reshape(-1), part.uv[face].reshape(-1, 2).astype(np.float64)
        near = (np.abs(uv - 0.5) < 0.55).all(1)
        self._points, first = np.unique(corners[near], return_index=True)
        self._triangles = Delaunay(uv[near][first])

    def locate(self, uv: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], Floats]:
        """Skin points (K, 3) and their barycentric weights (K, 3) at (K, 2) UVs; -1 and 0 off the chart."""
        triangle = self._triangles.find_simplex(uv)
        transform = self._triangles.transform[triangle]
        two = np.einsum("kij,kj->ki", transform[:, :2], uv - transform[:, 2])
        weights = np.column_stack([two, 1 - two.sum(1)])
        on = (triangle >= 0)[:, None]
        return np.where(on, self._points[self._triangles.simplices[triangle]], -1), np.where(on, weights, 0.0)


@lru_cache(maxsize=2)
def _chart(folder: Path) -> Chart:
    return Chart(head_of(folder))


def chart(head: HeadModel) -> Chart:
    """The chart of a pack's head, made once."""
    return _chart(Path(head.folder))


@lru_cache(maxsize=2)
def _position_map(folder: Path, size: int) -> npt.NDArray[np.float32]:
    head = head_of(folder)
    points = head.subdivided("skin").points(head.identity_vertices())
    line = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(line, 1 - line)
    corners, weights = chart(head).locate(np.stack([u.ravel(), v.ravel()], 1))
    found = np.einsum("kij,ki->kj", points[corners], weights)
    found[corners[:, 0] < 0] = np.nan
    return np.asarray(found.reshape(size, size, 3), np.float32)


def position_map(head: HeadModel, size: int = MAP_SIZE) -> npt.NDArray[np.float32]:
    """Head-space position in metres of each UV on the average neutral head, (size, size, 3), V = 1 in row 0.

    NaN where the UV frame has no surface.
    """
    return _position_map(Path(head.folder), size)


def positions_at(head: HeadModel, uv: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(K, 3) positions on the average head of (K, 2) UVs; NaN outside the frame."""
    table = position_map(head)
    size = table.shape[0]
    column = np.floor(uv[:, 0] * size).astype(int)
    row = np.floor((1 - uv[:, 1]) * size).astype(int)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    found = table[row.clip(0, size - 1), column.clip(0, size - 1)]
    return np.where(inside[:, None], found, np.nan).astype(np.float32)


def head_pose(
    head: HeadModel, uv: npt.NDArray[Any], mask: npt.NDArray[Any], focal_px: float | None = None
) -> Pose | None:
    """The rotation that best explains a UV map as the average head, seen from afar. None where too little is seen.

    Least squares under scaled orthography, reweighted against outliers. With heads that differ from the average
    one, a full perspective fit (PnP) takes differences of shape for perspective and turns far off: on deformed heads
    with true UV maps its median error in yaw was 5 to 15 degrees, against 2.3 here. Angles are those to the line of
    sight. The distance follows from the focal length and the size of the average head.

    uv: (H, W, 2). mask: (H, W), above one half is face. focal_px: by default 1.2 times the image's longer side.
    """
    height, width = mask.shape
    focal = focal_px or FOCAL_BY_SIDE * max(height, width)
    rows, columns = np.divmod(np.flatnonzero(mask > 0.5), width)
    if len(rows) < MIN_POINTS:
        return None
    chosen = np.unique(np.linspace(0, len(rows) - 1, MOST_POINTS).astype(int))
    rows, columns = rows[chosen], columns[chosen]
    found = positions_at(head, uv[rows, columns])
    known = np.isfinite(found).all(1)
    if known.sum() < MIN_POINTS:
        return None
    space = found[known].astype(np.float64)
    pixels = np.stack([columns[known] + 0.5, rows[known] + 0.5], 1)
    weight = np.ones(len(space))
    for _ in range(7):
        rotation, scale, centre = _orthographic(space, pixels, weight)
        away = np.linalg.norm(space @ rotation[:2].T * [scale, -scale] + centre - pixels, axis=1)
        limit = 1.5 * max(float(np.median(away)), 0.3)
        weight = np.minimum(1.0, limit / np.maximum(away, 1e-9)) ** 2
    if not scale > 0:
        return None
    depth = focal / scale
    yaw, pitch, roll = angles(rotation)
    x, y = (centre - [width / 2, height / 2]) * depth / focal
    return Pose(yaw, pitch, roll, (float(x), float(-y), -depth), focal, float(away.mean()))


def _orthographic(space: Floats, pixels: Floats, weight: Floats) -> tuple[Floats, float, Floats]:
    """Rotation (3, 3), pixels per metre, and the pixel of the origin, that bring (K, 3) points to (K, 2) pixels."""
    share = weight[:, None] / weight.sum()
    middle, centre = (space * share).sum(0), (pixels * share).sum(0)
    root = np.sqrt(weight)[:, None]
    affine = np.linalg.lstsq((space - middle) * root, (pixels - centre) * [1, -1] * root, rcond=None)[0].T
    left, sizes, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
    scale = float(sizes.mean())
    return rotation, scale, centre - (rotation[:2] @ middle) * [scale, -scale]


def angles(rotation: Floats) -> tuple[float, float, float]:
    """(yaw, pitch, roll) of Rz(roll) Rx(-pitch) Ry(yaw)."""
    pitch = -math.asin(min(1.0, max(-1.0, float(rotation[2, 1]))))
    yaw = math.atan2(-float(rotation[2, 0]), float(rotation[2, 2]))
    roll = math.atan2(-float(rotation[0, 1]), float(rotation[1, 1]))
    return yaw, pitch, roll

"""What a position map holds: a mesh, 68 landmarks, the head's pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.head.model import HeadModel
from trainer.positions.texels import Floats, Map, texels
from trainer.uvmaps import head_pose

POSE_TEXELS: Final = 2000  # of the face area, evenly spread, that a pose is found from


# ---------------------------------------------------------------- mesh


@dataclass(frozen=True)
class FaceMesh:
    """The mesh whose vertices are the texels of the face area, as PRNet has it.

    side: of the map. texels: (K,) their numbers, row by row. triangles: (T, 3) of K, counter-clockwise as seen from
    outside the head. uv: (K, 2).
    """

    side: int
    texels: npt.NDArray[np.int64]
    triangles: npt.NDArray[np.int64]
    uv: Floats

    def vertices(self, positions: Map) -> npt.NDArray[np.float32]:
        """(K, 3) vertices of a map (3, S, S), in its space."""
        return np.ascontiguousarray(positions.reshape(3, -1)[:, self.texels].T)

    def position_map(self, vertices: npt.NDArray[np.float32]) -> Map:
        """(3, S, S) map of (K, 3) vertices, the inverse of `vertices`; zero off the face area."""
        out = np.zeros((3, self.side * self.side), np.float32)
        out[:, self.texels] = vertices.T
        return out.reshape(3, self.side, self.side)


def face_mesh(head: HeadModel, side: int, step: int = 1) -> FaceMesh:
    """The mesh of maps of a side. step: take every so many texels of a row and column, for speed."""
    return _face_mesh(Path(head.folder), side, step)


@lru_cache(maxsize=8)
def _face_mesh(folder: Path, side: int, step: int) -> FaceMesh:
    face = texels(head_pose.head_of(folder), side).face[step // 2 :: step, step // 2 :: step]
    number = np.full(face.shape, -1)
    number[face] = np.arange(face.sum())
    a, b, c, d = (n.ravel() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    whole = (np.stack([a, b, c, d]) >= 0).all(0)  # the texel to the right, the one below, and across
    triangles = np.concatenate([np.stack([a, c, b], 1)[whole], np.stack([b, c, d], 1)[whole]])
    row, column = (index * step + step // 2 for index in np.nonzero(face))
    uv = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], 1)
    return FaceMesh(side, row * side + column, triangles, uv)


# ---------------------------------------------------------------- landmarks and pose


def landmarks(positions: Tensor, landmark_uv: Tensor) -> Tensor:
    """(N, 68, 3) landmarks of maps (N, 3, S, S): bilinear at their UVs, (68, 2)."""
    grid = torch.stack([landmark_uv[:, 0] * 2 - 1, 1 - landmark_uv[:, 1] * 2], -1)
    grid = grid.to(positions)[None, None].expand(len(positions), -1, -1, -1)
    found = F.grid_sample(positions, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)


@dataclass(frozen=True)
class Poses:
    """The average head laid on maps in pixels.

    p_pixels = origin_px + pixels_per_m * flip(rotation @ p_head), in which flip turns y downwards. rotation: (N, 3, 3).
    pixels_per_m: (N,). origin_px: (N, 3).
    """

    rotation: Tensor
    pixels_per_m: Tensor
    origin_px: Tensor

    def angles(self, which: int = 0) -> tuple[float, float, float]:
        """Yaw, pitch and roll of one map in radians, as in `renderer.parameters.params.Pose`, to the line of sight."""
        return head_pose.angles(self.rotation[which].double().cpu().numpy())


def poses_of(positions: Tensor, head: HeadModel) -> Poses:
    """The poses that maps (N, 3, S, S) in pixels show: of the similarities that lay the average head on them.

    All of the face area counts alike. A person's own shape passes for a turn of a few degrees.
    """
    chosen, average = (t.to(positions.device) for t in _average(Path(head.folder), positions.shape[2]))
    flip = positions.new_tensor([1.0, -1.0, 1.0])
    target = positions.flatten(2)[:, :, chosen].transpose(1, 2).double() * flip
    middle, centre = average.mean(0), target.mean(1, keepdim=True)
    flat = average - middle
    left, sizes, right = torch.linalg.svd((target - centre).transpose(1, 2) @ flat)
    signs = torch.ones_like(sizes)
    signs[:, 2] = torch.det(left @ right).sign()
    rotation = (left * signs[:, None]) @ right
    scale = (sizes * signs).sum(1) / flat.square().sum()
    shift = centre[:, 0] - scale[:, None] * (rotation @ middle)
    return Poses(rotation.to(positions), scale.to(positions), (shift * flip).to(positions))


@lru_cache(maxsize=4)
def _average(folder: Path, side: int) -> tuple[Tensor, Tensor]:
    """Numbers of the texels a pose is found from, and where they are on the average neutral head, (K, 3) metres."""
    head = head_pose.head_of(folder)
    where = texels(head, side)
    inside = np.flatnonzero(where.face)
    chosen = inside[np.unique(np.linspace(0, len(inside) - 1, POSE_TEXELS).astype(int))]
    average = where.matrix[chosen] @ head.identity_vertices()
    return torch.from_numpy(chosen), torch.from_numpy(np.asarray(average))

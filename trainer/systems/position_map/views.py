"""A sample as one row of a sprite sheet: what went in, the map that came out, the true one, the mesh."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.head.model import HeadModel
from trainer.data.pictures import to_bytes
from trainer.positions.raster import rasterise
from trainer.positions.recover import face_mesh

COLUMNS: Final = ("input", "second view", "map", "true map", "mesh")
LIGHT: Final = (0.3, -0.4, 0.86)  # from the face to the light, in pixels: y grows downwards
OPACITY: Final = 0.75


def views(pictures: Tensor, estimate: Tensor, truth: Tensor | None, head: HeadModel) -> npt.NDArray[np.uint8]:
    """(columns, S, S, 3) in the order of `COLUMNS`.

    pictures: (3 or 6, S, S) in [0, 1]; without a second view its column is black, as that of the truth for a photo.
    estimate, truth: (3, S, S) in pixels of the picture.
    """
    first = pictures[None, :3].float().cpu()
    black = torch.zeros_like(first)
    second = pictures[None, 3:].float().cpu() if len(pictures) > 3 else black
    true = coloured(truth) if truth is not None else black
    tiles = [first, second, coloured(estimate), true, with_mesh(first, estimate, head)]
    return np.stack([to_bytes(tile) for tile in tiles])


def coloured(positions: Tensor) -> Tensor:
    """A map (3, S, S) as a picture (1, 3, S, S): x as red, y as green, z as blue, grey where it is 0."""
    values = positions[None].float().cpu() / positions.shape[2]
    return torch.cat([values[:, :2], values[:, 2:] + 0.5], 1)


def with_mesh(picture: Tensor, positions: Tensor, head: HeadModel) -> Tensor:
    """A picture (1, 3, S, S) with the shaded mesh of a map over it."""
    mesh: Any = face_mesh(head, positions.shape[2])
    points = torch.from_numpy(mesh.vertices(positions.float().cpu().numpy()))
    triangles = torch.from_numpy(mesh.triangles)
    seen = rasterise(points[None], triangles, *picture.shape[2:])
    shade = seen.interpolated(brightness(points, triangles)[None, None], triangles)
    cover = OPACITY * (seen.triangle >= 0).float()[:, None]
    return torch.lerp(picture, shade.expand_as(picture), cover.expand_as(picture))


def brightness(points: Tensor, triangles: Tensor) -> Tensor:
    """Of vertices (K, 3) of matt white skin, (K,) in [0, 1]; y of the points grows downwards."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    flat = torch.linalg.cross(c - a, b - a)  # outwards, for corners counter-clockwise in a picture whose y grows down
    normals = torch.zeros_like(points)
    for corner in range(3):
        normals.index_add_(0, triangles[:, corner], flat)
    return (F.normalize(normals, dim=1) @ points.new_tensor(LIGHT)).clamp(0, 1) * 0.8 + 0.2

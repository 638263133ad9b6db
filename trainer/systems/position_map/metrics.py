"""How far estimated maps are from true ones. One value per sample; the points are the texels of the face area.

Distances are divided by the size of the true face: the square root of width x height of its points' bounding box in x
and y (`trainer.positions.alignment`, normaliser "box").

nme            mean distance of the points in 3D, as the map has them
aligned_nme    the same after the rigid motion, without scaling, that brings corresponding points nearest
landmark_nme   mean distance of the 68 landmarks in the picture, x and y alone
naive_...      the same of the mean map, the answer of a predictor that looks at nothing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from trainer.positions.recover import landmarks
from trainer.training.breakdown import Rows, Values, by_edges

YAW_EDGES_DEG: Final = tuple(range(-90, 91, 20))  # the protocol's yaws lie in their middles
POINTS: Final = 4000  # of the face area, evenly spread, that errors are means over


def chosen(face: Tensor) -> Tensor:
    """Numbers of at most POINTS texels of the face area (S, S), row by row."""
    inside = face.flatten().nonzero().flatten()
    return inside[torch.linspace(0, len(inside) - 1, min(POINTS, len(inside)), device=face.device).round().long()]


def errors(estimate: Tensor, truth: Tensor, points: Tensor, landmark_uv: Tensor, start: str = "") -> dict[str, Tensor]:
    """Every metric, (N,) float32 each.

    estimate, truth: (N, 3, S, S) in pixels. points: numbers of the texels that count. landmark_uv: (68, 2). start: of
    the names.
    """
    a, b = (maps.flatten(2)[:, :, points].transpose(1, 2).double() for maps in (estimate, truth))
    size = (b[:, :, :2].amax(1) - b[:, :, :2].amin(1)).prod(1).sqrt()
    marks = landmarks(estimate, landmark_uv) - landmarks(truth, landmark_uv)
    found = {
        "nme": torch.linalg.vector_norm(a - b, dim=2).mean(1) / size,
        "aligned_nme": torch.linalg.vector_norm(moved(a, b) - b, dim=2).mean(1) / size,
        "landmark_nme": torch.linalg.vector_norm(marks[:, :, :2].double(), dim=2).mean(1) / size,
    }
    return {start + name: value.float() for name, value in found.items()}


def moved(points: Tensor, target: Tensor) -> Tensor:
    """(N, K, 3) points after the rigid motion of each set that brings them nearest to their targets (Kabsch 1976)."""
    flat, wanted = points - points.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
    left, _, right = torch.linalg.svd(wanted.transpose(1, 2) @ flat)
    signs = torch.ones_like(left[:, 0])
    signs[:, 2] = torch.det(left @ right).sign()
    rotation = (left * signs[:, None]) @ right
    laid: Tensor = flat @ rotation.transpose(1, 2) + target.mean(1, keepdim=True)
    return laid


def by_yaw(metrics: Mapping[str, Values], records: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows by signed yaw."""
    yaw = np.degrees([float(record["knobs"].get("pose.yaw_rad", np.nan)) for record in records])
    return by_edges(metrics, yaw, YAW_EDGES_DEG, "deg")

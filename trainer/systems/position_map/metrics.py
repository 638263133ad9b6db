"""How far estimated maps are from true ones. One value per sample; the points are the texels of the face area.

Distances are divided by the size of the true face: the square root of width x height of its points' bounding box in x
and y (`trainer.positions.alignment`, normaliser "box").

nme            mean distance of the points in 3D, as the map has them
aligned_nme    the same after the rigid motion, without scaling, that brings corresponding points nearest
landmark_nme   mean distance of the 68 landmarks in the picture, x and y alone
icp_nme        mean distance of points from the nearest true ones after ICP (Besl and McKay 1992) without scaling
naive_...      the same of the mean map, the answer of a predictor that looks at nothing

ICP starts from the motion that brings corresponding points nearest. It takes PARTNERS points, and forgets which point
of the face each is, so that shapes may slide along each other: its errors are smaller than `aligned_nme`. Published
figures are such ones, but differ in scaling and normaliser; icp_scaled_nme scales, too, and by_eyes divides by the
distance between the true outer corners of the eyes. All four are measured by `gen evaluate` alone, as ICP is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from trainer.positions.alignment import icp, similarity
from trainer.positions.recover import landmarks
from trainer.training.breakdown import Rows, Values, by_edges

YAW_EDGES_DEG: Final = tuple(range(-90, 91, 20))  # the protocol's yaws lie in their middles
POINTS: Final = 4000  # of the face area, evenly spread, that errors are means over
PARTNERS: Final = 1000  # of these, evenly spread, whose nearest true points ICP looks for
SETTLED: Final = 1e-4  # ICP ends where its mean distance changes by less than this part: 1 % of what is printed
OUTER_EYES: Final = (36, 45)  # of 68
ICP_ABOUT: Final = {
    "icp_nme": "after ICP without scaling, by the box of the face",
    "icp_scaled_nme": "after ICP with scaling, by the box of the face",
    "icp_nme_by_eyes": "after ICP without scaling, by the outer corners of the eyes",
    "icp_scaled_nme_by_eyes": "after ICP with scaling, by the outer corners of the eyes",
}


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


def icp_errors(
    estimate: Tensor, truth: Tensor, points: Tensor, landmark_uv: Tensor, start: str = ""
) -> dict[str, Tensor]:
    """The metrics of ICP_ABOUT, (N,) float32 each. Arguments as of `errors`."""
    eyes = landmarks(truth, landmark_uv)[:, list(OUTER_EYES)].double().cpu().numpy()
    apart = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1)
    found: dict[str, list[float]] = {start + name: [] for name in ICP_ABOUT}
    for a, b, by_eyes in zip(*(_clouds(maps, points) for maps in (estimate, truth)), apart, strict=True):
        box = float(np.sqrt(np.prod(np.ptp(b[:, :2], axis=0))))
        for name, scaled in (("icp_nme", False), ("icp_scaled_nme", True)):
            laid = similarity(a, b, scaled)(a)[:: max(1, len(a) // PARTNERS)]
            laid = icp(laid, b, scaled, settled=SETTLED)(laid)
            away = float(np.mean(cKDTree(b).query(laid)[0]))
            found[start + name].append(away / box)
            found[f"{start}{name}_by_eyes"].append(away / float(by_eyes))
    return {name: torch.tensor(values, device=truth.device) for name, values in found.items()}


def _clouds(maps: Tensor, points: Tensor) -> npt.NDArray[np.float64]:
    """(N, K, 3) points of maps (N, 3, S, S)."""
    return np.asarray(maps.flatten(2)[:, :, points].transpose(1, 2).double().cpu().numpy())


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

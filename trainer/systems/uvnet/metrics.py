"""Metrics that do not depend on the loss, so that runs can be compared. One value per sample; NaN = does not apply.

uv_error        mean over the pixels of the target mask of (|dU| + |dV|) / 2, in UV units: 0.01 is 1 % of the texture's
                side. NaN without a face.
mask_iou        intersection over union of mask > 0.5, NaN where neither has a face.
occluded_iou    the same for the face area that stays visible.
landmark_nme    68 landmarks found through the predicted UV map (`points.nearest_points`): mean distance in pixels to
                the projected landmarks of the head model, divided by sqrt(width x height) of the box around those,
                over the landmarks in view (`losses.landmarks_in_view`): inside the image, on the target mask, with
                target UV within `IN_VIEW_UV` of the canonical one (the others lie on a side of the face that no pixel
                shows). NaN with fewer than 5 in view, or with more than one head.
landmarks_used  share of the 68 that the NME counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from trainer.augmentation.samples import Samples
from trainer.systems.uvnet.losses import landmarks_in_view
from trainer.training.breakdown import Rows, Values, by_edges, by_knobs
from trainer.uvmaps.points import nearest_points

METRICS: Final = ("uv_error", "mask_iou", "occluded_iou", "landmark_nme", "landmarks_used")
YAW_EDGES_DEG: Final = (0, 15, 30, 45, 60, 75, 90, 180)
OCCLUSION_EDGES: Final = (0, 0.001, 0.1, 0.25, 0.5, 1)


def sample_metrics(prediction: Tensor, target: Samples, landmark_uv: Tensor | None) -> dict[str, Tensor]:
    """Every metric, (N,) float32 each. prediction: (N, 4, H, W). Landmarks only where target and UVs are given."""
    prediction = prediction.float()
    results = {
        "uv_error": uv_error(prediction[:, :2], target.uv, target.mask),
        "mask_iou": iou(prediction[:, 2:3], target.mask),
        "occluded_iou": iou(prediction[:, 3:4], target.occluded_mask),
    }
    if target.landmarks is not None and landmark_uv is not None:
        nme, used = landmark_nme(prediction[:, :3], target, landmark_uv)
        results |= {"landmark_nme": nme, "landmarks_used": used}
    return results


def uv_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute UV difference inside the mask, (N,). prediction, target: (N, 2, H, W). mask: (N, 1, H, W)."""
    inside = (mask > 0.5).to(prediction.dtype)
    total = ((prediction - target).abs().mean(1, keepdim=True) * inside).sum((1, 2, 3))
    pixels = inside.sum((1, 2, 3))
    return torch.where(pixels > 0, total / pixels.clamp(min=1), math.nan)


def iou(prediction: Tensor, target: Tensor) -> Tensor:
    """Intersection over union at 0.5, (N,). Both (N, 1, H, W)."""
    a, b = prediction > 0.5, target > 0.5
    union = (a | b).sum((1, 2, 3))
    return torch.where(union > 0, (a & b).sum((1, 2, 3)) / union.clamp(min=1), math.nan)


def landmark_nme(prediction: Tensor, target: Samples, landmark_uv: Tensor) -> tuple[Tensor, Tensor]:
    """NME and share of landmarks used, (N,) each; see the top of this file. prediction: (N, 3, H, W) U, V, mask."""
    assert target.landmarks is not None
    truth = target.landmarks.float()
    used = landmarks_in_view(target, landmark_uv)
    found = nearest_points(prediction[:, :2], prediction[:, 2:3], landmark_uv)
    known = torch.isfinite(truth)
    box = truth.masked_fill(~known, -math.inf).amax(1) - truth.masked_fill(~known, math.inf).amin(1)
    scale = box.clamp(min=0).prod(-1).clamp(min=1).sqrt()
    distance = (found - truth).norm(dim=-1) / scale[:, None]
    distance = torch.where(used, distance, torch.zeros_like(distance)).sum(1)
    count = used.sum(1)
    return torch.where(count >= 5, distance / count.clamp(min=1), math.nan), count / used.shape[1]


# ---------------------------------------------------------------- tables


def split_metrics(
    values: Mapping[str, Values],
    params: Sequence[Mapping[str, Any]],
    quantiles: int = 4,
    hidden: Values | None = None,
) -> dict[str, Rows]:
    """Metrics by yaw, occlusion share and every stored knob: knob -> rows of {label, count, metrics...}.

    values: (N,) per metric. params: the JSON record of each sample. hidden: (N,) share of the face that is occluded,
    where it is more than was rendered.
    """
    yaw = np.array([abs(math.degrees(p["knobs"].get("pose.yaw_rad", math.nan))) for p in params])
    if hidden is None:
        hidden = np.array([1 - p["measured"].get("visible_share", math.nan) for p in params], float)
    tables = {
        "|yaw|": by_edges(values, np.minimum(yaw % 360, 360 - yaw % 360), YAW_EDGES_DEG, "deg"),
        "occlusion share": by_edges(values, hidden, OCCLUSION_EDGES),
        **by_knobs(values, params, quantiles),
    }
    return {name: rows for name, rows in tables.items() if rows}

"""How far estimated parameters are from the true ones, beside a naive predictor of zero. One value per sample.

squared_error   |estimate - q|^2, the sum over all parameters. q is uniform in [-1, 1], so the naive predictor gets a
                third of their number on average.
naive_error     |q|^2: what the naive predictor gets on the same sample.
vertex_mm       mean distance between the vertices of the head rebuilt from the estimate and those of the true one.
naive_mm        the same for the average head in place of the estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from trainer.training.breakdown import Rows, Values, by_edges

YAW_EDGES_DEG: Final = tuple(range(-90, 91, 30))


def errors(estimate: Tensor, truth: Tensor, basis_mm: Tensor | None) -> dict[str, Tensor]:
    """Every metric, (N,) float32 each. estimate, truth: (N, P). basis_mm: (S, 3 V), vertices per shape parameter."""
    found = {"squared_error": (estimate - truth).square().sum(1), "naive_error": truth.square().sum(1)}
    if basis_mm is not None:
        found |= {"vertex_mm": distances(estimate - truth, basis_mm), "naive_mm": distances(truth, basis_mm)}
    return found


def distances(difference: Tensor, basis_mm: Tensor) -> Tensor:
    """Mean distance of the vertices, (N,), of heads whose parameters differ by (N, P); the first S are of the shape."""
    moved = difference[:, : len(basis_mm)] @ basis_mm
    found: Tensor = torch.linalg.vector_norm(moved.reshape(len(difference), -1, 3), dim=2).mean(1)
    return found


def by_parameter(estimate: Values, truth: Values, names: Sequence[str]) -> Rows:
    """A row for each parameter: its squared error and the naive predictor's. estimate, truth: (N, P)."""
    wrong, naive = ((estimate - truth) ** 2).mean(0), (truth**2).mean(0)
    return [
        {"label": name, "count": len(truth), "squared_error": float(wrong[p]), "naive_error": float(naive[p])}
        for p, name in enumerate(names)
    ]


def by_yaw(metrics: Mapping[str, Values], records: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows by signed yaw: a face may be easier to read from the side that training showed."""
    yaw = np.degrees([float(record["knobs"].get("pose.yaw_rad", np.nan)) for record in records])
    return by_edges(metrics, yaw, YAW_EDGES_DEG, "deg")

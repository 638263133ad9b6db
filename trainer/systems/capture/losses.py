"""Losses of vertices, and the stabilisation of shots: appendix A of Laine et al. 2017."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
_SINGULAR: Final = 1e-12  # of the largest variance: directions in which a prediction is flat are left as they are
ROUNDS: Final = 3  # of medians: the first is of frames that have not been brought together
STEPS: Final = 15  # of reweighting
SLACK_M: Final = 1e-5  # distances below it count like squares: weights stay finite


def squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error over all coordinates, (N,), in the square of the unit of prediction and truth (N, V, 3)."""
    return (prediction - truth).square().mean((1, 2))


def affine_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """`squared_error` after the affine map that brings each prediction nearest to its truth, both (N, V, 3); (N,).

    It does not see errors of stabilisation in the truth: turns, shifts, scalings and shears. The map goes from
    prediction to truth; the other way a prediction that shrinks to a point would be rewarded. Raises ValueError for
    a truth that carries gradients: it is a prediction in the truth's place.

    The map is the best one, so the loss does not change with it to first order: it is held constant for the gradient.
    """
    if truth.requires_grad:
        raise ValueError("affine_error fits the prediction to the truth, never the truth to the prediction")
    return squared_error(fitted(prediction, truth), truth)


def fitted(prediction: Tensor, truth: Tensor) -> Tensor:
    """Predictions after the affine maps that bring them nearest to the truth, (N, V, 3)."""
    with torch.no_grad(), torch.autocast(prediction.device.type, enabled=False):
        source, target = prediction.double(), truth.double()
        a, b = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
        centred = source - a
        gram = centred.transpose(1, 2) @ centred
        linear = torch.linalg.pinv(gram, rtol=_SINGULAR, hermitian=True) @ (centred.transpose(1, 2) @ (target - b))
        shift = b - a @ linear
    mapped: Tensor = prediction @ linear.to(prediction.dtype) + shift.to(prediction.dtype)
    return mapped


def stabilised(points: Floats) -> Floats:
    """A shot (F, V, 3), metres, each frame after the affine map that brings it nearest to the shot's median mesh in L1.

    L1 lets the many vertices that rest outvote those that an expression moves. For predictions of a network that was
    trained with `affine_error`, which does not care how each frame is mapped. Raises ValueError for a flat mesh.
    """
    found = points
    for _ in range(ROUNDS):
        target = np.median(found, axis=0)
        if np.linalg.matrix_rank(target - target.mean(0)) < 3:
            raise ValueError("a flat mesh has no affine map of its own")
        found = np.stack([_nearest(frame, target) for frame in found])
    return found


def _nearest(frame: Floats, target: Floats) -> Floats:
    """By iteratively reweighted least squares."""
    source = np.column_stack([frame, np.ones(len(frame))])
    weights = np.ones(len(frame))
    for _ in range(STEPS):
        scaled = source * weights[:, None]
        mapped = source @ np.linalg.solve(scaled.T @ source, scaled.T @ target)
        weights = 1 / np.maximum(np.linalg.norm(mapped - target, axis=1), SLACK_M)
    return np.asarray(mapped)

"""Meshes laid on each other, and how far apart they stay: similarities, ICP, normalised errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from renderer.errors import DatasetError

Floats = npt.NDArray[np.float64]
Normaliser = Literal["box", "outer_eyes"]
NORMALISERS: Final = {
    "box": "square root of width x height of the true points' bounding box in x and y",
    "outer_eyes": "distance between the true outer corners of the eyes in 3D",
}
STEPS: Final = 100
SETTLED: Final = 1e-9  # ICP ends where its mean distance changes by less than this part, unless told another


@dataclass(frozen=True)
class Similarity:
    """p -> scale * rotation @ p + shift."""

    rotation: Floats
    scale: float
    shift: Floats

    def __call__(self, points: Floats) -> Floats:
        """(K, 3) to (K, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.shift)

    def after(self, first: Similarity) -> Similarity:
        """This one applied to what `first` gives."""
        return Similarity(self.rotation @ first.rotation, self.scale * first.scale, self(first.shift[None])[0])


IDENTITY: Final = Similarity(np.eye(3), 1.0, np.zeros(3))


def similarity(points: Floats, target: Floats, scaled: bool = True, weights: Floats | None = None) -> Similarity:
    """The similarity (rigid motion, unless `scaled`) that brings (K, 3) points nearest to their (K, 3) targets.

    Least squares in closed form; mirror images are never made. Raises DatasetError for fewer than three points or for
    points in a line, which fix no rotation. Source: Umeyama 1991.
    """
    share = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    if len(points) != len(target) or len(points) < 3 or not share.sum() > 0:
        raise DatasetError(f"{len(points)} points cannot be laid on {len(target)}: as many, at least three, are needed")
    share = share[:, None] / share.sum()
    middle, centre = (points * share).sum(0), (target * share).sum(0)
    flat, wanted = points - middle, target - centre
    left, sizes, right = np.linalg.svd((wanted * share).T @ flat)
    if sizes[1] <= 1e-12 * max(sizes[0], 1e-300):
        raise DatasetError("the points lie in one place or in a line: no rotation can be told from them")
    signs = np.array([1.0, 1.0, math.copysign(1.0, np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((sizes * signs).sum() / (share * flat**2).sum()) if scaled else 1.0
    return Similarity(rotation, scale, centre - scale * rotation @ middle)


def icp(
    points: Floats, target: Floats, scaled: bool = False, covering: bool = False, settled: float = SETTLED
) -> Similarity:
    """Iterative closest points: the motion that lays (K, 3) points on a surface given as (M, 3) points of it.

    Each step takes for every point the nearest of `target` and solves `similarity` for these pairs; with `covering`,
    for every one of `target` the nearest point, so that points may reach beyond it, and cannot shrink into it. It finds
    the nearest minimum alone: the points must be roughly aligned. settled: it ends where its mean distance changes by
    less than this part. Source: Besl and McKay 1992.
    """
    from scipy.spatial import cKDTree

    tree, found, before = cKDTree(target), IDENTITY, math.inf
    for _ in range(STEPS):
        moved = found(points)
        away, nearest = cKDTree(moved).query(target) if covering else tree.query(moved)
        mean = float(np.mean(away))
        if abs(before - mean) <= settled * max(mean, 1e-12):
            break
        before = mean
        found = similarity(points[nearest] if covering else points, target if covering else target[nearest], scaled)
    return found


def size_of(points: Floats, normaliser: Normaliser, outer_eyes: Floats | None = None) -> float:
    """What errors are divided by, see NORMALISERS. points: (K, 3) true ones. outer_eyes: (2, 3) corners."""
    if normaliser == "outer_eyes":
        if outer_eyes is None:
            raise DatasetError("the normaliser outer_eyes needs the two outer corners of the eyes")
        return float(np.linalg.norm(outer_eyes[0] - outer_eyes[1]))
    return math.sqrt(float(np.prod(np.ptp(points[:, :2], axis=0))))


def nme(points: Floats, target: Floats, size: float) -> float:
    """Mean distance of (K, D) points from their (K, D) targets, divided by `size`."""
    return float(np.linalg.norm(points - target, axis=1).mean() / size)


def aligned_nme(
    points: Floats,
    target: Floats,
    align: Literal["none", "rigid", "similarity"],
    size: float,
    pairs: npt.NDArray[Any] | None = None,
) -> float:
    """`nme` of corresponding (K, 3) points after they were laid on their targets.

    align: not at all, by a rigid motion, or by one that scales, too. pairs: (K,) booleans, the points to align by.
    """
    if align == "none":
        return nme(points, target, size)
    chosen = slice(None) if pairs is None else pairs
    return nme(similarity(points[chosen], target[chosen], align == "similarity")(points), target, size)

"""A polyharmonic spline with phi(r) = r that carries landmarks to fixed places, and the picture about them along.

A warp looks up, for each pixel of the result, where it comes from: f(x) = sum_k w_k |x - c_k| + A x + b, with f(c_k) =
p_k, where c are the fixed places and p the landmarks in the picture. The weights solve a linear system of the fixed
places alone. So f is linear in the landmarks, and one matrix for all pictures tells each pixel what it takes of each
landmark: the warp is differentiable in picture and landmarks, and costs one product of matrices.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def spline_matrix(places: Tensor, at: Tensor) -> Tensor:
    """(P, K): by how much each of K landmarks counts at P points, for fixed places (K, 2); at: (P, 2).

    `spline_matrix(c, x) @ p` is f(x) for landmarks p (K, 2). Rows sum to 1.
    """
    count = len(places)
    basis = places.new_zeros(count + 3, count + 3)
    basis[:count, :count] = distances(places, places)
    basis[:count, count:] = affine(places)
    basis[count:, :count] = affine(places).T
    known = F.pad(torch.eye(count, dtype=places.dtype, device=places.device), (0, 0, 0, 3))
    weights = torch.linalg.solve(basis, known)  # (K + 3, K)
    matrix: Tensor = torch.cat([distances(at, places), affine(at)], 1) @ weights
    return matrix


def distances(first: Tensor, second: Tensor) -> Tensor:
    """phi(r) = r between (P, 2) and (K, 2): (P, K)."""
    return (first[:, None] - second[None]).square().sum(2).sqrt()


def affine(points: Tensor) -> Tensor:
    """(P, 3): 1, x, y."""
    return torch.cat([torch.ones_like(points[:, :1]), points], 1)


def pixel_centres(side_px: int, like: Tensor) -> Tensor:
    """(side^2, 2) places of the pixels of a square picture, row by row, in shares of its side."""
    line = (torch.arange(side_px, dtype=like.dtype, device=like.device) + 0.5) / side_px
    row, column = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([column.flatten(), row.flatten()], 1)


def warp(pictures: Tensor, landmarks: Tensor, matrix: Tensor) -> Tensor:
    """Pictures (N, C, S, S) with their landmarks (N, K, 2), in shares of the side, carried to the places of `matrix`.

    matrix: (T^2, K) of `spline_matrix` at the `pixel_centres` of the result, (N, C, T, T). What lies beyond a picture
    has the colour of its border.
    """
    side = round(len(matrix) ** 0.5)
    source = (matrix @ landmarks).reshape(len(landmarks), side, side, 2)
    return F.grid_sample(pictures, source * 2 - 1, "bilinear", "border", align_corners=False)

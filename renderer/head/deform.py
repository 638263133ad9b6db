"""Deformation of a head at rest: scale, Blender's simple deforms, noise. numpy only.

Blender receives finished vertices, so that labels can be checked without Blender, and the checks are independent of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renderer.parameters.params import Deform

Points = npt.NDArray[np.float64]  # (V, 3)


def deformed(points: Points, deform: Deform, low: float, high: float) -> Points:
    """Scale, twist, bend, taper, stretch and noise.

    points: (V, 3) in head space. low, high: vertical extent of the scaled skin in metres, the common frame in which
    twist, taper and stretch run from the lower to the upper end for every part of a head. The formulae are those of
    Blender's SimpleDeform modifier with default limits and the head's vertical axis as deform axis
    (tests/renderer/test_geometry.py compares the two).
    """
    out: Points = points * np.asarray(deform.scale)
    extent = max(high - low, 1e-9)
    for angle, deformer in ((deform.twist_rad, _twist), (deform.bend_rad, _bend)):
        if abs(angle) > 1e-7:
            out = deformer(out, angle / extent)
    if deform.taper:
        out = _taper(out, deform.taper / extent)
    if deform.stretch:
        out = _stretch(out, deform.stretch / extent)
    if deform.noise_m > 0:
        where = (out + np.asarray(deform.noise_offset_m)) / deform.noise_size_m
        out = out + deform.noise_m * perlin3(where, deform.noise_seed)
    return np.asarray(out)


def vertical_extent(points: Points, deform: Deform) -> tuple[float, float]:
    """Vertical extent of points after scaling, as `deformed` takes it."""
    heights = points[:, 1] * deform.scale[1]
    return float(heights.min()), float(heights.max())


# In head space Blender's deform axis Z is +Y, its X is +X and its Y is -Z.


def _twist(p: Points, factor: float) -> Points:
    cos, sin = np.cos(p[:, 1] * factor), np.sin(p[:, 1] * factor)
    bx, by = p[:, 0], -p[:, 2]
    return np.stack([bx * cos - by * sin, p[:, 1], -(bx * sin + by * cos)], axis=1)


def _bend(p: Points, factor: float) -> Points:
    # Blender's bend with deform axis Y leaves the depth alone and bends the vertical axis to the side.
    theta = p[:, 1] * factor
    cos, sin = np.cos(theta), np.sin(theta)
    side = p[:, 0] - 1.0 / factor
    return np.stack([side * cos + 1.0 / factor, -side * sin, p[:, 2]], axis=1)


def _taper(p: Points, factor: float) -> Points:
    grow = 1.0 + p[:, 1] * factor
    return np.stack([p[:, 0] * grow, p[:, 1], p[:, 2] * grow], axis=1)


def _stretch(p: Points, factor: float) -> Points:
    grow = p[:, 1] ** 2 * factor - factor + 1.0
    return np.stack([p[:, 0] * grow, p[:, 1] * (1.0 + factor), p[:, 2] * grow], axis=1)


def perlin3(points: Points, seed: int) -> Points:
    """Three independent gradient noises in about [-1, 1] at (V, 3) points. Source: Perlin, Improving noise, 2002."""
    rng = np.random.default_rng([seed, 0x9E37])
    permutation = rng.permutation(256)
    gradients = rng.normal(size=(3, 256, 3))
    gradients /= np.linalg.norm(gradients, axis=2, keepdims=True)
    gradients = np.ascontiguousarray(gradients.swapaxes(1, 2))  # by noise, axis, entry
    cell = np.floor(points)
    inside = points - cell
    corner = cell.astype(np.int64)
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    near_far = np.stack([1 - fade.T, fade.T])  # by side of the cell, axis, point
    towards = np.stack([inside.T, inside.T - 1.0])
    total = np.zeros((3, len(points)))
    for dx in (0, 1):
        along_x = permutation[(corner[:, 0] + dx) & 255]
        for dy in (0, 1):
            along_y = permutation[(along_x + corner[:, 1] + dy) & 255]
            weight_xy = near_far[dx, 0] * near_far[dy, 1]
            for dz in (0, 1):
                at = permutation[(along_y + corner[:, 2] + dz) & 255]
                weight = weight_xy * near_far[dz, 2]
                x, y, z = towards[dx, 0], towards[dy, 1], towards[dz, 2]
                for noise, (gx, gy, gz) in zip(total, gradients, strict=True):
                    noise += weight * (gx[at] * x + gy[at] * y + gz[at] * z)
    return np.asarray(1.5 * total.T)

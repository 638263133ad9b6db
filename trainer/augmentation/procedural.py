"""Pictures made of nothing: overlapping shapes of all sizes ("dead leaves", the statistics of natural pictures), walls.

Lee, Mumford and Huang 2001, "Occlusion models for natural images": sizes follow a power law, near hides far.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SHAPES: Final = 110
SMALLEST: Final = 0.012  # radius as a share of the side
LARGEST: Final = 0.5
WALL_SHARE: Final = 0.25  # of the pictures that are a plain wall


def procedural_picture(rng: np.random.Generator, side_px: int) -> Array:
    """One picture, (3, side, side) linear light."""
    return _wall(rng, side_px) if rng.random() < WALL_SHARE else _leaves(rng, side_px)


def _wall(rng: np.random.Generator, side: int) -> Array:
    """One colour, uneven light from one side, fine grain."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    slope = rng.normal(0, 0.5, 2)
    light = np.exp(slope[0] * x + slope[1] * y + rng.normal(0, rng.uniform(0, 0.08), (side, side)))
    return np.asarray(_colour(rng, 0.3)[:, None, None] * light, np.float32)


def _leaves(rng: np.random.Generator, side: int) -> Array:
    """Discs, boxes and bars with stripes, gradients or grain on them, the last one drawn in front."""
    picture = np.empty((3, side, side), np.float32)
    picture[:] = _colour(rng, 0.6)[:, None, None]
    power = rng.uniform(1, 2)  # of the cumulative distribution of radii; 2: the same look at every scale
    low, high = LARGEST**-power, SMALLEST**-power
    radii = (low + rng.random(SHAPES) * (high - low)) ** (-1 / power) * side
    palette = [_colour(rng, 0.6) for _ in range(12)]
    for radius in radii:
        _paint(rng, picture, float(radius), palette[rng.integers(len(palette))])
    return picture


def _paint(rng: np.random.Generator, picture: Array, radius: float, colour: Array) -> None:
    """One shape at a random place."""
    side = picture.shape[1]
    cx, cy = rng.uniform(0, side, 2)
    top, bottom = (int(np.clip(v, 0, side)) for v in (cy - 1.5 * radius, cy + 1.5 * radius + 1))
    left, right = (int(np.clip(v, 0, side)) for v in (cx - 1.5 * radius, cx + 1.5 * radius + 1))
    if top >= bottom or left >= right:
        return
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])  # what people build is upright
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    thin = rng.uniform(0.15, 1)
    distance: Any = np.hypot(along, across / thin) if rng.random() < 0.5 else np.maximum(abs(along), abs(across) / thin)
    cover = np.clip((radius - distance) * thin + 0.5, 0, 1)
    light = np.exp(rng.normal(0, 0.4) * along / radius + rng.normal(0, 0.4) * across / radius)
    if rng.random() < 0.3:
        light = light * (1 + rng.uniform(0.1, 0.6) * np.sin(along * 2 * np.pi / rng.uniform(3, 1 + radius + 3)))
    light = light * (1 + rng.normal(0, rng.uniform(0, 0.15), light.shape))
    part = picture[:, top:bottom, left:right]
    part += cover * (colour[:, None, None] * np.maximum(light, 0) - part)


def _colour(rng: np.random.Generator, spread: float) -> Array:
    """Linear R, G, B: brightness varies more than hue, warm and cold more than green and magenta."""
    warm, brightness = rng.normal(0, spread), rng.normal(-1.5, 0.8)
    hue = np.array([warm, rng.normal(0, spread / 3), -warm]) + rng.normal(0, spread / 3, 3)
    return np.asarray(np.exp(brightness + hue), np.float32)

"""Colour for fields: palettes, ramps, relief and dirt. Colours are sRGB-coded. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blend_assets.synthetic.fields import Field, Index, noise

Image = NDArray[np.float64]  # (256, 256, 3), sRGB-coded, nominally in [0, 1]
Colours = NDArray[np.float64]  # (n, 3), sRGB-coded


def hsv(h: float, s: float, v: float) -> Colours:
    """One sRGB-coded colour, (3,); hue in turns."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * h) % 6
    return np.asarray(v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1), dtype=np.float64)


def warm_hue(t: float) -> float:
    """A hue in turns for t in [0, 1): more room for red to yellow and for blue than for green and violet."""
    return float(np.interp(t, [0, 0.12, 0.3, 0.42, 0.55, 0.68, 0.85, 1], [0, 0.06, 0.12, 0.18, 0.42, 0.55, 0.7, 1]))


def palette(rng: np.random.Generator, n: int, contrast: float = 1.0) -> Colours:
    """N colours in order of brightness: a random hue scheme, from muted to loud."""
    hue = warm_hue(rng.random())
    spread = (0.03, 0.09, 0.33, 0.5)[int(rng.integers(4))]
    saturation = 0.1 + 0.8 * rng.random()
    values = 0.55 + contrast * (np.linspace(-0.42, 0.42, n) if n > 1 else np.zeros(1)) + rng.normal(0, 0.04, n)
    colours = [
        hsv(
            (hue + spread * float(rng.integers(-1, 2)) + rng.normal(0, 0.015)) % 1,
            float(np.clip(saturation + rng.normal(0, 0.12), 0, 1)),
            float(np.clip(v, 0.05, 0.98)),
        )
        for v in values
    ]
    return np.array(colours)


def loud(rng: np.random.Generator, n: int) -> Colours:
    """N colours of well-separated hues and mixed brightness, in random order."""
    hues = rng.random() + (np.arange(n) + rng.uniform(-0.3, 0.3, n)) / n
    loudness = rng.uniform(0.35, 1.0)
    colours = [hsv(warm_hue(h % 1), loudness * rng.uniform(0.5, 0.95), rng.uniform(0.3, 1.0)) for h in hues]
    extra = np.array([[0.95, 0.94, 0.9], [0.08, 0.08, 0.1]])[int(rng.integers(2))]
    colours[int(rng.integers(n))] = extra
    return np.asarray(np.array(colours)[rng.permutation(n)], dtype=np.float64)


def near(rng: np.random.Generator, bases: Sequence[tuple[float, float, float]], jitter: float = 0.04) -> Colours:
    """The given material colours (hue in turns, saturation, value), each a little off."""
    return np.array(
        [
            hsv(
                (h + rng.normal(0, jitter / 3)) % 1,
                float(np.clip(s + rng.normal(0, jitter * 1.5), 0, 1)),
                float(np.clip(v + rng.normal(0, jitter), 0, 1)),
            )
            for h, s, v in bases
        ]
    )


def ramp(t: Field, colours: Colours) -> Image:
    """Colours along t in [0, 1], linear between evenly spaced stops."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(t, stops, colours[:, c]) for c in range(3)], axis=-1)


def mix(a: Image | Colours, b: Image | Colours, t: Field) -> Image:
    """A where t is 0, B where it is 1."""
    return np.asarray(a + (b - a) * t[..., None], dtype=np.float64)


def relief(image: Image, height: Field, strength: float) -> Image:
    """IMAGE as if lit from the upper left over HEIGHT (strength 1: a unit step over ten pixels halves it)."""
    slope = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) + (np.roll(height, -1, 1) - np.roll(height, 1, 1))
    light = np.clip(1.0 + strength * 3.5 * slope, 0.25, 1.7)
    return np.asarray(image * light[..., None], dtype=np.float64)


def mottle(rng: np.random.Generator, image: Image, amount: float, beta: float = 1.2) -> Image:
    """IMAGE times 1 + AMOUNT of noise, mostly grey: the dirt that makes a flat pattern a material."""
    grey = noise(rng, beta)
    tint = np.stack([noise(rng, beta + 1) for _ in range(3)], axis=-1)
    return np.asarray(image * (1 + amount * grey[..., None] + 0.35 * amount * tint), dtype=np.float64)


def per_cell(rng: np.random.Generator, number: Index, count: int, colours: Colours, jitter: float) -> Image:
    """Each cell in one of COLOURS, its brightness off by JITTER (one deviation)."""
    chosen = colours[rng.integers(len(colours), size=count)] * (1 + jitter * rng.standard_normal((count, 1)))
    return np.asarray(chosen[number], dtype=np.float64)

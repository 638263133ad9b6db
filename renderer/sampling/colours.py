"""Random colours, linear RGB."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np

from renderer.parameters.params import RGB


def random_colour(rng: np.random.Generator, saturation: float, value: float | None) -> RGB:
    """A random hue with up to the given saturation; `value` None draws the brightness, too."""
    h, s, v = (float(x) for x in rng.random(3))
    return colorsys.hsv_to_rgb(h, s * saturation, 0.02 + 0.9 * v if value is None else value)


def hair_colour(rng: np.random.Generator) -> RGB:
    """Four of five from black over brown to blond, the rest of any colour. Multiplies a bright hair texture."""
    dye = float(rng.random())
    if dye < 0.2:
        return random_colour(rng, 1.0, None)
    t, red = float(rng.random()), float(rng.uniform(0.7, 1.0))
    return (0.03 + 1.0 * t, 0.02 + 0.75 * t * red, 0.015 + 0.45 * t * red)


def cloth_colour(rng: np.random.Generator) -> RGB:
    """Of clothes: often black, white, grey or navy, otherwise any, seldom loud."""
    kind = float(rng.random())
    if kind < 0.3:
        level = float(rng.uniform(0.008, 0.05))
        return (level, level, level * float(rng.uniform(1.0, 1.4)))
    if kind < 0.55:
        level = float(rng.uniform(0.3, 0.8))
        return (level, level * float(rng.uniform(0.94, 1.0)), level * float(rng.uniform(0.85, 1.0)))
    if kind < 0.65:
        return (0.015, 0.025, float(rng.uniform(0.06, 0.16)))
    return random_colour(rng, float(rng.uniform(0.3, 0.95)), float(rng.uniform(0.05, 0.7)))


def natural_hair_colour(rng: np.random.Generator, macros: Mapping[str, float]) -> RGB:
    """Albedo of hair by ancestry and age: black to brown, blond and red where Caucasian, grey with the years.

    macros: of an identity; those that it has not count as those of the average adult.
    """
    total = sum(macros.get(name, 1 / 3) for name in ("african", "asian", "caucasian")) or 1.0
    fair = macros.get("caucasian", 1 / 3) / total
    light = float(rng.beta(1.0, 1.6)) * (fair if fair > 0.3 else 0.12 * fair)
    red = 0.3 * float(rng.random() < 0.12) * fair
    colour = np.array([0.012, 0.008, 0.006]) + light * np.array([0.46, 0.29 - 0.15 * red, 0.13 - 0.12 * red])
    colour[0] += 0.18 * red
    years = macros.get("age", 0.5)
    grey = float(np.clip(rng.normal(2.2 * (years - 0.72), 0.25), 0, 1)) if years > 0.6 else 0.0
    colour = colour * (1 - grey) + grey * float(rng.uniform(0.18, 0.55)) * np.array([1.0, 0.97, 0.92])
    red_, green, blue = (float(v) for v in colour)
    return (red_, green, blue)

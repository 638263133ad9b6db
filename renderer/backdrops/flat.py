"""Made-up backdrops without perspective: plain walls, heaps of things, leaves."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from renderer.backdrops.paint import Painter

_LEAVES: Final = 600  # of a layer

Points = npt.NDArray[np.float64]


def plain(p: Painter, side: int) -> Image.Image:
    """A studio's backdrop or a bare wall: soft gradients, sometimes a faint structure or an edge."""
    base = p.colour((0.08, 1.0), saturation=0.7)
    picture = p.gradient((side, side), base, p.among(0.02, 0.35))
    if p.chance(0.4):
        picture = Image.blend(picture, p.texture((side, side)), p.among(0.03, 0.2))
    if p.chance(0.3):
        cut = p.among(-0.2, 1.2) * side
        lean = p.among(-0.15, 0.15) * side
        corners: list[tuple[float, float]] = [(cut, 0.0), (side, 0.0), (side, 1.0 * side), (cut + lean, 1.0 * side)]
        if p.chance(0.4):  # a wall that ends at a table or a floor
            corners = [(0.0, cut), (side, cut + lean), (side, side), (0.0, side)]
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        picture.paste(p.gradient((side, side), p.near(base, 0.5) if p.chance(0.5) else p.colour(), 0.3), mask=mask)
    return picture


def clutter(p: Painter, side: int) -> Image.Image:
    """Shapes of all sizes over each other: the statistics of natural pictures (dead leaves, Lee et al. 2001)."""
    picture = p.fill((side, side))
    least, most, power = 0.05, 0.8, p.among(0.1, 1.2)
    units = p.rng.random(int(p.rng.integers(15, 90)))
    sizes = (least**-power + units * (most**-power - least**-power)) ** (-1 / power)
    if p.chance(0.7):
        sizes = np.sort(sizes)[::-1]  # small things lie before large ones, or most would be hidden
    for size in sizes:
        wide, high = (max(2, round(side * size * p.among(0.4, 1.0))) for _ in range(2))
        x, y = (round(p.among(-0.1, 1.1) * side) for _ in range(2))
        thing(p, picture, (x - wide // 2, y - high // 2), (wide, high))
    return picture


def thing(p: Painter, picture: Image.Image, where: tuple[int, int], size: tuple[int, int]) -> None:
    """One shape, shaded, with a shadow."""
    wide, high = size
    mask = Image.new("L", size)
    draw, kind = ImageDraw.Draw(mask), int(p.rng.integers(4))
    if kind == 0:
        draw.ellipse((0, 0, wide - 1, high - 1), fill=255)
    elif kind == 1:
        draw.rounded_rectangle((0, 0, wide - 1, high - 1), p.among(0, 0.3) * min(size), fill=255)
    else:  # a turned rectangle or a polygon
        count = 4 if kind == 2 else int(p.rng.integers(3, 8))
        steps = np.arange(count) if kind == 2 else np.sort(p.rng.uniform(0, count, count))
        turn = 2 * math.pi * steps / count + p.among(0, 2 * math.pi)
        points = np.stack([(1 + np.cos(turn)) * wide / 2, (1 + np.sin(turn)) * high / 2], axis=1)
        draw.polygon([tuple(point) for point in points.tolist()], fill=255)
    if p.chance(0.5):
        shift = max(1, round(0.04 * min(size)))
        shadow = mask.point(lambda v: v // 3)
        picture.paste((0, 0, 0), (where[0] + shift, where[1] + shift), shadow)
    picture.paste(p.lit(p.fill(size), round_one=kind == 0), where, mask)


def sky(p: Painter, side: int) -> Image.Image:
    """Blue, grey or white, at times with clouds."""
    grey = p.among(0, 1)
    blue, white = np.array([90, 140, 215]), np.array([225, 228, 232])
    colour = tuple(int(c) for c in p.among(0.75, 1.1) * (blue * (1 - grey) + white * grey).clip(0, 230))
    picture = p.gradient((side, side), colour, 0.15)  # type: ignore[arg-type]
    return (
        Image.blend(picture, p.texture((side, side), repeat=(0.4, 1.0)), p.among(0.1, 0.3))
        if p.chance(0.3)
        else picture
    )


def foliage(p: Painter, side: int) -> Image.Image:
    """Bushes and trees before the sky, or a hedge that fills the picture."""
    picture = sky(p, side)
    green = (
        p.colour((0.3, 0.9)) if p.chance(0.2) else (int(p.among(30, 130)), int(p.among(70, 150)), int(p.among(10, 60)))
    )
    horizon = p.among(-0.3, 0.7)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(p.rng.integers(0, 5))):
        x, wide = p.among(0, side), p.among(0.01, 0.06) * side
        draw.line((x, side, x + p.among(-0.3, 0.3) * side, p.among(-0.2, 0.4) * side), (45, 35, 28), round(wide))
    layers = int(p.rng.integers(3, 6))
    for layer in range(layers):
        clumps = p.rng.uniform((0, horizon), (1, 1.1), (int(p.rng.integers(4, 14)), 2))
        leaf = side * p.among(0.008, 0.03) * (0.6 + layer / layers)
        shade = 0.35 + 0.75 * layer / layers
        leaves(p, draw, clumps * side, (0.07 + 0.1 / (1 + layer)) * side, leaf, green, shade)
    if p.chance(0.3):
        ground = round(p.among(0.7, 0.95) * side)
        picture.paste(p.lit(p.texture((side, side - ground))), (0, ground))
    return picture


def leaves(
    p: Painter,
    draw: ImageDraw.ImageDraw,
    clumps: Points,
    spread: float,
    leaf: float,
    green: tuple[int, int, int],
    shade: float,
) -> None:
    """Diamonds about the points `clumps` (N, 2), lighter above than below."""
    centres = clumps[p.rng.integers(len(clumps), size=_LEAVES)] + p.rng.normal(0, spread, (_LEAVES, 2))
    turn, light = p.rng.uniform(0, 2 * math.pi, _LEAVES), p.rng.uniform(0.6, 1.4, _LEAVES)
    along = leaf * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    across = 0.45 * along[:, ::-1] * [-1, 1]
    corners = np.stack([centres + along, centres + across, centres - along, centres - across], axis=1)
    colours = np.clip(np.outer(shade * light, green), 0, 255).astype(int)
    for diamond, colour in zip(corners.reshape(-1, 8).tolist(), colours.tolist(), strict=True):
        draw.polygon(diamond, fill=tuple(colour))

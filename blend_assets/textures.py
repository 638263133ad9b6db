"""Seeded, tileable material textures and HDR environments, synthesised with numpy alone.

They take the place of the 70 photographed material textures of Ronkainen 2017 and add a few worlds to the
HDRIs. Nothing here is downloaded and nothing imports bpy.

Conventions: textures are sRGB-coded, (256, 256, 3), row 0 at the top, and wrap around in both directions.
Environments are linear equirectangular radiance, (256, 512, 3), row 0 looking straight up and the middle
column along +X of a Blender world (z up).

Everything is computed in float64 from `np.random.default_rng` and a crc32 of the name, and the PNG files are
stored without compression, so that neither the platform's zlib nor its mathematics library alters the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderer.progress import Progress

SIZE_PX = 256
ENVIRONMENT_SHAPE = (256, 512, 3)
MAX_RADIANCE = 200.0  # bounds the sun lobes, for noise; far below the largest half float

Field = NDArray[np.float64]  # (256, 256), one value a pixel
Image = NDArray[np.float64]  # (256, 256, 3), sRGB-coded, nominally in [0, 1]
Colours = NDArray[np.float64]  # (n, 3), sRGB-coded
Index = NDArray[np.int64]

Y, X = (np.mgrid[0:SIZE_PX, 0:SIZE_PX] + 0.5) / SIZE_PX  # pixel centres in [0, 1)


# --- fields on the torus --------------------------------------------------------------------------------


def _filtered(rng: np.random.Generator, gain: Field) -> Field:
    """White noise times GAIN in frequency space: zero mean, unit deviation, wraps around."""
    spectrum = np.fft.fft2(rng.standard_normal((SIZE_PX, SIZE_PX))) * gain
    field = np.fft.ifft2(spectrum).real
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float64)


def _frequencies(stretch: tuple[float, float] = (1.0, 1.0)) -> Field:
    """Distance from the origin of frequency space, in cycles a tile; STRETCH lengthens features in x, y."""
    f = np.fft.fftfreq(SIZE_PX, 1.0 / SIZE_PX)
    return np.asarray(np.hypot(f[None, :] * stretch[0], f[:, None] * stretch[1]), dtype=np.float64)


def _noise(
    rng: np.random.Generator,
    beta: float = 2.0,
    low: float = 1.0,
    high: float = 128.0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> Field:
    """1/f^beta noise (power) between LOW and HIGH cycles a tile; zero mean, unit deviation."""
    f = _frequencies(stretch)
    gain = np.where(f > 0, np.maximum(f, low) ** (-beta / 2), 0.0)
    gain = gain * np.exp(-((f / high) ** 2)) * (1 - np.exp(-((f / low) ** 4)))
    return _filtered(rng, np.asarray(gain, dtype=np.float64))


def _blur(field: Field, sigma_px: float) -> Field:
    """Gaussian blur that wraps around."""
    gain = np.exp(-2 * (np.pi * sigma_px / SIZE_PX * _frequencies()) ** 2)
    return np.asarray(np.fft.ifft2(np.fft.fft2(field) * gain).real, dtype=np.float64)


def _flat(field: Field) -> Field:
    """The same order of values, spread evenly over [0, 1]."""
    rank = np.empty(field.size)
    rank[np.argsort(field, axis=None, kind="stable")] = np.arange(field.size)
    return np.asarray((rank / (field.size - 1)).reshape(field.shape), dtype=np.float64)


def _step(field: Field, edge: float, width: float) -> Field:
    """0 below EDGE, 1 above, a smooth ramp of total WIDTH between."""
    t = np.clip((field - edge) / width + 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float64)


def _sample(field: Field, x: Field, y: Field) -> Field:
    """FIELD at (x, y) in tile units, bilinear, wrapping around."""
    px, py = x * SIZE_PX - 0.5, y * SIZE_PX - 0.5
    x0, y0 = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
    wx, wy = px - x0, py - y0
    x0, y0 = x0 % SIZE_PX, y0 % SIZE_PX
    x1, y1 = (x0 + 1) % SIZE_PX, (y0 + 1) % SIZE_PX
    top = field[y0, x0] * (1 - wx) + field[y0, x1] * wx
    bottom = field[y1, x0] * (1 - wx) + field[y1, x1] * wx
    return np.asarray(top * (1 - wy) + bottom * wy, dtype=np.float64)


def _warp(rng: np.random.Generator, amount: float, beta: float = 3.0, low: float = 1.0) -> tuple[Field, Field]:
    """Coordinates of the tile, pushed about by AMOUNT (tile units, one deviation) of smooth noise."""
    return X + amount * _noise(rng, beta, low), Y + amount * _noise(rng, beta, low)


def _wrap(delta: Field) -> Field:
    """The shorter way around the torus, in [-0.5, 0.5)."""
    return np.asarray((delta + 0.5) % 1.0 - 0.5, dtype=np.float64)


def _cells(
    rng: np.random.Generator, n: int, jitter: float = 1.0, power: float = 2.0, x: Field = X, y: Field = Y
) -> tuple[Field, Field, Index]:
    """Worley cells from one jittered point in each of n x n squares, in the Minkowski metric POWER.

    Returns the distances to the nearest and second nearest point in squares, and the nearest one's number.
    """
    points = 0.5 + jitter * (rng.random((2, n, n)) - 0.5)
    cx, cy = x * n, y * n
    ix, iy = np.floor(cx).astype(np.int64), np.floor(cy).astype(np.int64)
    first = np.full(X.shape, 9.0)
    second = np.full(X.shape, 9.0)
    number = np.zeros(X.shape, dtype=np.int64)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            jx, jy = (ix + dx) % n, (iy + dy) % n
            ox = np.abs(ix + dx + points[0, jy, jx] - cx)
            oy = np.abs(iy + dy + points[1, jy, jx] - cy)
            d = (ox**power + oy**power) ** (1 / power)
            closer = d < first
            second = np.where(closer, first, np.minimum(second, d))
            number = np.where(closer, jy * n + jx, number)
            first = np.where(closer, d, first)
    return first, second, number


def _turing(rng: np.random.Generator, cycles: float, stretch: tuple[float, float], bias: float) -> Field:
    """Spots (BIAS away from 0) or labyrinths (near 0) in [-1, 1], with CYCLES features a tile."""
    f = _frequencies(stretch)
    gain = np.exp(-(((f - cycles) / (0.22 * cycles)) ** 2))
    field = rng.standard_normal(X.shape)
    for _ in range(6):
        field = np.asarray(np.fft.ifft2(np.fft.fft2(field) * gain).real, dtype=np.float64)
        field = np.tanh(1.6 * field / field.std() + bias)
    return np.asarray(field, dtype=np.float64)


def _streaks(angle: Field, length: int, grain: Field) -> Field:
    """GRAIN smeared along the directions ANGLE (radians), LENGTH steps each way; unit deviation."""
    c, s = np.cos(angle), np.sin(angle)
    total = grain.copy()
    for sign in (-1.0, 1.0):
        x, y = X.copy(), Y.copy()
        for _ in range(length):
            dx, dy = _sample(c, x, y), _sample(s, x, y)
            x, y = x + sign * dx * 1.4 / SIZE_PX, y + sign * dy * 1.4 / SIZE_PX
            total += _sample(grain, x, y)
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float64)


# --- colour ---------------------------------------------------------------------------------------------


def _hsv(h: float, s: float, v: float) -> Colours:
    """One sRGB-coded colour, (3,); hue in turns."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * h) % 6
    return np.asarray(v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1), dtype=np.float64)


def _hue(t: float) -> float:
    """A hue in turns for t in [0, 1): more room for red to yellow and for blue than for green and violet."""
    return float(np.interp(t, [0, 0.12, 0.3, 0.42, 0.55, 0.68, 0.85, 1], [0, 0.06, 0.12, 0.18, 0.42, 0.55, 0.7, 1]))


def _palette(rng: np.random.Generator, n: int, contrast: float = 1.0) -> Colours:
    """N colours in order of brightness: a random hue scheme, from muted to loud."""
    hue = _hue(rng.random())
    spread = (0.03, 0.09, 0.33, 0.5)[int(rng.integers(4))]
    saturation = 0.1 + 0.8 * rng.random()
    values = 0.55 + contrast * (np.linspace(-0.42, 0.42, n) if n > 1 else np.zeros(1)) + rng.normal(0, 0.04, n)
    colours = [
        _hsv(
            (hue + spread * float(rng.integers(-1, 2)) + rng.normal(0, 0.015)) % 1,
            float(np.clip(saturation + rng.normal(0, 0.12), 0, 1)),
            float(np.clip(v, 0.05, 0.98)),
        )
        for v in values
    ]
    return np.array(colours)


def _loud(rng: np.random.Generator, n: int) -> Colours:
    """N colours of well-separated hues and mixed brightness, in random order."""
    hues = rng.random() + (np.arange(n) + rng.uniform(-0.3, 0.3, n)) / n
    loudness = rng.uniform(0.35, 1.0)
    colours = [_hsv(_hue(h % 1), loudness * rng.uniform(0.5, 0.95), rng.uniform(0.3, 1.0)) for h in hues]
    extra = np.array([[0.95, 0.94, 0.9], [0.08, 0.08, 0.1]])[int(rng.integers(2))]
    colours[int(rng.integers(n))] = extra
    return np.asarray(np.array(colours)[rng.permutation(n)], dtype=np.float64)


def _near(rng: np.random.Generator, bases: Sequence[tuple[float, float, float]], jitter: float = 0.04) -> Colours:
    """The given material colours (hue in turns, saturation, value), each a little off."""
    return np.array(
        [
            _hsv(
                (h + rng.normal(0, jitter / 3)) % 1,
                float(np.clip(s + rng.normal(0, jitter * 1.5), 0, 1)),
                float(np.clip(v + rng.normal(0, jitter), 0, 1)),
            )
            for h, s, v in bases
        ]
    )


def _ramp(t: Field, colours: Colours) -> Image:
    """Colours along t in [0, 1], linear between evenly spaced stops."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(t, stops, colours[:, c]) for c in range(3)], axis=-1)


def _mix(a: Image | Colours, b: Image | Colours, t: Field) -> Image:
    """A where t is 0, B where it is 1."""
    return np.asarray(a + (b - a) * t[..., None], dtype=np.float64)


def _relief(image: Image, height: Field, strength: float) -> Image:
    """IMAGE as if lit from the upper left over HEIGHT (strength 1: a unit step over ten pixels halves it)."""
    slope = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) + (np.roll(height, -1, 1) - np.roll(height, 1, 1))
    light = np.clip(1.0 + strength * 3.5 * slope, 0.25, 1.7)
    return np.asarray(image * light[..., None], dtype=np.float64)


def _mottle(rng: np.random.Generator, image: Image, amount: float, beta: float = 1.2) -> Image:
    """IMAGE times 1 + AMOUNT of noise, mostly grey: the dirt that makes a flat pattern a material."""
    grey = _noise(rng, beta)
    tint = np.stack([_noise(rng, beta + 1) for _ in range(3)], axis=-1)
    return np.asarray(image * (1 + amount * grey[..., None] + 0.35 * amount * tint), dtype=np.float64)


def _per_cell(rng: np.random.Generator, number: Index, count: int, colours: Colours, jitter: float) -> Image:
    """Each cell in one of COLOURS, its brightness off by JITTER (one deviation)."""
    chosen = colours[rng.integers(len(colours), size=count)] * (1 + jitter * rng.standard_normal((count, 1)))
    return np.asarray(chosen[number], dtype=np.float64)


# --- families: one function each, from a generator to an image --------------------------------------------


def _cloud(rng: np.random.Generator) -> Image:
    """1/f^beta noise in a random colour basis, as the thesis's own noise images."""
    beta = rng.uniform(1.2, 3.0)
    basis = rng.normal(0, 1, (3, 3))
    basis /= np.linalg.norm(basis, axis=0)
    waves = np.stack([_noise(rng, beta + rng.uniform(-0.4, 0.4)) for _ in range(3)], axis=-1)
    return np.asarray(rng.uniform(0.35, 0.6, 3) + rng.uniform(0.16, 0.26) * waves @ basis, dtype=np.float64)


def _marble(rng: np.random.Generator) -> Image:
    """Polished marble: veins where warped noise crosses zero."""
    x, y = _warp(rng, rng.uniform(0.04, 0.1), 4.2)
    body = _flat(_sample(_noise(rng, 3.3), x, y))
    image = _ramp(body, _palette(rng, 4, rng.uniform(0.3, 0.9)))
    vein_colours = _palette(rng, 2)[int(rng.integers(2))]
    for width in (0.25, 0.1, 0.06):
        vein = np.exp(-np.abs(_sample(_noise(rng, 3.4, 1.5), x, y)) / width)
        image = _mix(image, vein_colours, np.asarray(vein * _step(_noise(rng, 3.0), 0.2, 1.5) * 0.85))
    return _mottle(rng, image, 0.025)


def _wood(rng: np.random.Generator) -> Image:
    """Sawn wood: contours of stretched noise as growth rings, fibres, and sometimes planks."""
    bases = (
        [(0.08, 0.45, 0.85), (0.06, 0.6, 0.5)],
        [(0.05, 0.7, 0.5), (0.03, 0.8, 0.22)],
        [(0.1, 0.3, 0.95), (0.09, 0.5, 0.72)],
        [(0.01, 0.65, 0.45), (0.02, 0.75, 0.2)],
        [(0.55, 0.25, 0.6), (0.57, 0.35, 0.3)],
        [(0.09, 0.12, 0.55), (0.08, 0.15, 0.25)],
    )[int(rng.integers(6))]
    pale, dark = _near(rng, bases)
    planks = (0, 0, 3, 4, 5)[int(rng.integers(5))]
    shift_x, shift_y, tone, gap = (np.zeros(X.shape) for _ in range(4))
    if planks:
        row = np.floor(X * planks).astype(np.int64)
        shift_x, shift_y = rng.random(planks)[row], rng.random(planks)[row]
        tone = rng.normal(0, 0.12, planks)[row]
        edge = np.asarray(np.abs(X * planks % 1 - 0.5) * 2, dtype=np.float64)
        joint = np.asarray(np.abs(_wrap(Y - rng.random(planks)[row])) * SIZE_PX, dtype=np.float64)
        gap = np.maximum(_step(edge, 1 - 0.02 * planks, 0.03), 1 - _step(joint, 1.2, 1.5))
    x, y = X + shift_x, Y + shift_y
    rings = _sample(_noise(rng, 4.6, 1.0, 60.0, (1.0, rng.uniform(3.5, 7.0))), x, y)
    phase = rings * rng.uniform(2.5, 5.0) % 1.0
    ring = np.where(phase < 0.8, phase / 0.8, (1 - phase) / 0.2) ** 1.7
    fibre = _sample(_noise(rng, 0.9, 4.0, 128.0, (1.0, 18.0)), x, y)
    image = _mix(pale, dark, np.asarray(np.clip(0.85 * ring + 0.16 * fibre + tone, 0, 1.2)))
    pores = _step(_sample(_noise(rng, 0.2, 20.0, 128.0, (1.0, 9.0)), x, y), 1.9, 0.5)
    return _mottle(rng, _mix(_mix(image, dark * 0.6, 0.6 * pores), dark * 0.25, gap), 0.04)


def _stone(rng: np.random.Generator) -> Image:
    """Cobbles or flagstones in mortar."""
    n = int(rng.integers(4, 9))
    x, y = _warp(rng, rng.uniform(0.006, 0.012), 3.2, 3.0)
    first, second, number = _cells(rng, n, rng.uniform(0.6, 0.95), rng.choice([1.6, 2.0, 3.0]), x, y)
    gap = second - first
    colours = _palette(rng, 4, 0.45) if rng.random() < 0.6 else _near(rng, [(0.09, 0.2, 0.6), (0.6, 0.1, 0.45)])
    image = _per_cell(rng, number, n * n, colours, 0.14)
    inside = _step(gap, 0.14, 0.1)
    dome = np.sqrt(np.clip(gap, 0, 0.7)) + 0.05 * _noise(rng, 2.2, 3.0)
    image = _relief(_mottle(rng, image, 0.12, 1.4), np.asarray(dome), 0.9)
    mortar = _mottle(rng, np.broadcast_to(_hsv(0.09, 0.12, rng.choice([0.18, 0.75])), image.shape), 0.12, 0.6)
    return _mix(mortar, image, inside)


def _leather(rng: np.random.Generator) -> Image:
    """Dyed leather: fine wrinkled cells pressed into one colour."""
    n = int(rng.integers(12, 30))
    x, y = _warp(rng, 0.012, 4.0, 2.0)
    first, second, _ = _cells(rng, n, 1.0, 2.0, x, y)
    height = _blur(np.sqrt(np.clip(second - first, 0, 0.5)), 0.8)
    hides = (
        [(0.06, 0.65, 0.3), (0.07, 0.6, 0.6)],
        [(0.02, 0.75, 0.2), (0.02, 0.8, 0.48)],
        [(0.1, 0.2, 0.1), (0.6, 0.1, 0.3)],
    )
    pick = int(rng.integers(5))
    dark, pale = _near(rng, hides[pick]) if pick < 3 else _palette(rng, 2, 0.35)
    tone = np.clip(_flat(_noise(rng, 2.6)) * 0.7 + 0.5 * (height - 0.2), 0, 1)
    image = _ramp(np.asarray(tone), np.stack([dark, pale]))
    image = _relief(image, height, rng.uniform(0.25, 0.5))
    return _mix(image, image * 0.35, np.asarray(1 - _step(height, 0.22, 0.3)) * 0.9)


def _scales(rng: np.random.Generator) -> Image:
    """Overlapping rows of scales, feathers or shingles."""
    n = 2 * int(rng.integers(3, 8))
    colours = (
        _palette(rng, 4)
        if rng.random() < 0.6
        else _near(rng, [(0.4, 0.3, 0.2), (0.3, 0.4, 0.45), (0.12, 0.5, 0.6), (0.12, 0.3, 0.9)])
    )
    iridescent = _ramp(_flat(_noise(rng, 3.0)), _loud(rng, 4))
    best = np.full(X.shape, -1.0)
    number = np.zeros(X.shape, dtype=np.int64)
    radius, pointed = rng.uniform(0.62, 0.7), rng.uniform(1.5, 2.4)
    for back in (1, 0):  # the row above laps over this one
        row = np.floor(Y * n).astype(np.int64) - back
        column = np.floor(X * n - 0.5 * (row % 2)).astype(np.int64)
        u = X * n - 0.5 * (row % 2) - column - 0.5
        v = Y * n - row
        reach = 1.85 * np.clip(1 - (np.abs(u) / radius) ** pointed, 0, 1) ** (1 / pointed)
        inside = (v < reach) & (best < 0)
        best = np.where(inside, v / np.maximum(reach, 0.05), best)
        number = np.where(inside, (row % n) * n + column % n, number)
    t = np.clip(best, 0, 1)
    image = _per_cell(rng, number, n * n, colours[1:3], 0.1)
    image = _mix(image, iridescent, np.full(X.shape, rng.choice([0.0, 0.35, 0.7])))
    image = _mix(image * 0.2, image * 1.1, np.asarray(np.clip(1.25 * t**1.2, 0, 1)))
    image = _mix(image, colours[3], np.asarray(0.75 * _step(t, 0.9, 0.12)))
    return _mottle(rng, image, 0.05)


def _weave(rng: np.random.Generator) -> Image:
    """Plain, basket or twill cloth with rounded threads in two colours."""
    n = 4 * int(rng.integers(3, 11))
    kind = int(rng.integers(3))
    warp_colour, weft_colour = _palette(rng, 2, rng.uniform(0.4, 1.0))[rng.permutation(2)]
    ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
    over = ((ix + iy) % 2 == 0, (ix // 2 + iy // 2) % 2 == 0, (ix + iy) % 4 < 2)[kind]
    fx, fy = X * n % 1 - 0.5, Y * n % 1 - 0.5
    across, along = np.where(over, fx, fy), np.where(over, fy, fx)
    height = np.sqrt(np.clip(1 - (2 * across) ** 2, 0, 1)) * (1 - 0.9 * (np.abs(along)) ** 2)
    tone_warp, tone_weft = rng.normal(0, 0.08, n)[ix], rng.normal(0, 0.08, n)[iy]
    image = np.where(over[..., None], warp_colour, weft_colour) * (1 + np.where(over, tone_warp, tone_weft)[..., None])
    fibre = np.where(over, _noise(rng, 0.4, 8, 128, (1, 8)), _noise(rng, 0.4, 8, 128, (8, 1)))
    image = image * (0.3 + 0.75 * height + 0.07 * fibre)[..., None]
    return _mottle(rng, image, 0.05, 2.0)


def _stripes(rng: np.random.Generator) -> Image:
    """Painted or printed stripes at any of several slopes, straight or wavy."""
    a, b = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2))[int(rng.integers(6))]
    repeats = int(rng.integers(1, 5))
    waves = _noise(rng, 4.0, 1.0, 8.0) * rng.choice([0.0, 0.0, 0.15, 0.4])
    phase = (repeats * (a * X + b * Y) + waves + 1e-4) % 1
    n = int(rng.integers(4, 11))
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.3, 1.6, n))])
    edges /= edges[-1]
    colours = _loud(rng, n) if rng.random() < 0.5 else _palette(rng, n)[rng.permutation(n)]
    image = colours[np.clip(np.searchsorted(edges, phase, side="right") - 1, 0, n - 1)]
    image = np.stack([_blur(image[..., c], 0.6) for c in range(3)], axis=-1)
    threads = _noise(rng, 0.5, 8, 128, (6, 1) if a else (1, 6))
    return _mottle(rng, image * (1 + 0.06 * threads[..., None]), 0.04)


def _brick(rng: np.random.Generator) -> Image:
    """A brick wall in running bond, every brick of its own colour and wear."""
    columns, rows = ((3, 6), (4, 8), (4, 10), (6, 12), (2, 6))[int(rng.integers(5))]
    wx, wy = _warp(rng, 0.0025, 1.6, 4.0)
    iy = np.floor(wy * rows).astype(np.int64)
    offset = 0.5 * (iy % 2) + rng.uniform(-0.08, 0.08, rows)[iy % rows]
    ix = np.floor(wx * columns + offset).astype(np.int64)
    fx, fy = (wx * columns + offset) % 1, wy * rows % 1
    margin = np.minimum(np.minimum(fx, 1 - fx) * SIZE_PX / columns, np.minimum(fy, 1 - fy) * SIZE_PX / rows)
    inside = _step(margin, rng.uniform(1.6, 2.8), 1.6)
    colours = (
        _near(rng, [(0.02, 0.65, 0.62), (0.04, 0.6, 0.5), (0.0, 0.55, 0.38), (0.05, 0.45, 0.7)])
        if rng.random() < 0.5
        else _palette(rng, 4, 0.5)
    )
    image = _per_cell(rng, (iy % rows) * columns + ix % columns, rows * columns, colours, 0.12)
    height = np.asarray(0.6 * _step(margin, 3, 5) + 0.12 * _noise(rng, 1.2, 6.0))
    mortar = np.broadcast_to(_hsv(0.1, 0.08, rng.uniform(0.35, 0.85)), image.shape)
    image = _mix(_mottle(rng, mortar, 0.07, 0.4), _mottle(rng, image, 0.1), inside)
    return _relief(image, height, 0.7)


def _tiles(rng: np.random.Generator) -> Image:
    """Glazed tiles: checker, hexagons, diamonds or a small mosaic, with grout."""
    kind = int(rng.integers(4))
    n = 2 * int(rng.integers(2, 5))
    colours = _loud(rng, 5) if kind == 3 else _palette(rng, 2, 1.0)
    if kind == 1:  # hexagons: nearest of two interleaved grids
        ny = round(n / 1.732)
        best, second, number = np.full(X.shape, 9.0), np.full(X.shape, 9.0), np.zeros(X.shape, dtype=np.int64)
        for k in range(2):
            for oy in (-1, 0, 1):
                for ox in (-1, 0, 1):
                    ix = np.floor(X * n + 0.5 * k).astype(np.int64) + ox
                    iy = np.floor(Y * ny + 0.5 * k).astype(np.int64) + oy
                    d = np.hypot(X * n - (ix + 0.5 - 0.5 * k), (Y * ny - (iy + 0.5 - 0.5 * k)) * n / ny)
                    closer = d < best
                    second = np.where(closer, best, np.minimum(second, d))
                    best = np.where(closer, d, best)
                    number = np.where(closer, 2 * ((iy % ny) * n + ix % n) + k, number)
        margin, count = (second - best) * SIZE_PX / n / 2, 2 * n * ny
    else:
        u, v = (X + Y, X - Y) if kind == 2 else (X, Y)
        m = 2 * n if kind == 3 else n
        ix, iy = np.floor(u * m).astype(np.int64) % m, np.floor(v * m + 1e-6).astype(np.int64) % m
        fx, fy = np.abs(u * m % 1 - 0.5), np.abs((v * m + 1e-6) % 1 - 0.5)
        margin = (0.5 - np.maximum(fx, fy)) * SIZE_PX / m
        number, count = (iy * m + ix, m * m) if kind == 3 else ((ix + iy) % 2 + 2 * (iy * m + ix), 2 * m * m)
    if kind in (0, 2):
        tone = 1 + 0.06 * rng.standard_normal((count, 1))
        image = np.asarray(colours[np.arange(count) % 2] * tone)[number]
    else:
        image = _per_cell(rng, number, count, colours, 0.08)
    swirl = _noise(rng, 3.0)
    image = image * (1 + 0.07 * swirl[..., None])
    edge = 0.8 if kind == 3 else 1.6
    height = np.asarray(_step(margin, 2 * edge, 3 * edge))
    grout = np.broadcast_to(_hsv(0.1, 0.05, rng.choice([0.2, 0.6, 0.9])), image.shape)
    return _relief(_mix(_mottle(rng, grout, 0.06), image, _step(margin, edge, 1.2)), height, 0.4)


def _dots(rng: np.random.Generator) -> Image:
    """Polka dots on printed cloth, in rows or scattered, one or two sizes."""
    n = 2 * int(rng.integers(2, 7))
    ground, *inks = _loud(rng, int(rng.integers(2, 6)))
    image = np.broadcast_to(ground, (*X.shape, 3))
    radius = rng.uniform(0.2, 0.4)
    jitter = float(rng.choice([0.0, 0.0, 1.0])) * (0.96 - 2 * radius)  # dots stay inside their squares
    for layer in range(2 if rng.random() < 0.4 else 1):
        size = radius * (0.45 if layer else 1.0)
        iy = np.floor(Y * n).astype(np.int64)
        shift = 0.5 * (iy % 2) + 0.5 * layer
        ix = np.floor(X * n + shift).astype(np.int64)
        cell = (iy % n) * n + ix % n
        dx = X * n + shift - ix - 0.5 + jitter * (rng.random(n * n)[cell] - 0.5)
        dy = Y * n - iy - 0.5 + jitter * (rng.random(n * n)[cell] - 0.5)
        ink = np.array(inks)[rng.integers(len(inks), size=n * n)][cell]
        image = _mix(image, ink, 1 - _step(np.hypot(dx, dy), size, 1.6 * n / SIZE_PX))
    cloth = _noise(rng, 0.3, 30, 128, (3, 1)) + _noise(rng, 0.3, 30, 128, (1, 3))
    return _mottle(rng, image * (1 + 0.035 * cloth[..., None]), 0.03)


def _camouflage(rng: np.random.Generator) -> Image:
    """Camouflage cloth, blotched or in square pixels."""
    x, y = _warp(rng, 0.02, 3.6, 3.0)
    if rng.random() < 0.35:
        n = 64
        x, y = (np.floor(x * n) + 0.5) / n, (np.floor(y * n) + 0.5) / n
    schemes = (
        [(0.18, 0.4, 0.35), (0.09, 0.45, 0.55), (0.25, 0.5, 0.22), (0.1, 0.3, 0.1)],
        [(0.1, 0.3, 0.8), (0.08, 0.45, 0.6), (0.07, 0.5, 0.4), (0.12, 0.2, 0.9)],
        [(0.58, 0.3, 0.7), (0.6, 0.5, 0.35), (0.6, 0.2, 0.9), (0.62, 0.6, 0.15)],
    )
    pick = int(rng.integers(4))
    colours = _palette(rng, 4)[rng.permutation(4)] if pick == 3 else _near(rng, schemes[pick])
    image = np.broadcast_to(colours[0], (*X.shape, 3))
    for colour, level in zip(colours[1:], (0.1, 0.5, 0.95), strict=True):
        image = _mix(image, colour, _step(_sample(_noise(rng, 4.4, 2.5, 40.0), x, y), level, 0.06))
    cloth = _noise(rng, 0.3, 40, 128, (3, 1)) + _noise(rng, 0.3, 40, 128, (1, 3))
    return _mottle(rng, image * (1 + 0.05 * cloth[..., None]), 0.03)


def _rust(rng: np.random.Generator) -> Image:
    """Painted or bare metal eaten by rust or patina, with pits and a flaking edge."""
    green = rng.random() < 0.35
    eaten = _near(
        rng,
        [(0.42, 0.45, 0.35), (0.45, 0.4, 0.6), (0.47, 0.3, 0.78)]
        if green
        else [(0.03, 0.7, 0.2), (0.05, 0.85, 0.5), (0.08, 0.85, 0.72)],
    )
    metal = _near(rng, [(0.06, 0.6, 0.5)])[0] if green else _palette(rng, 3)[int(rng.integers(1, 3))]
    x, y = _warp(rng, 0.015, 3.0, 4.0)
    where = _sample(_noise(rng, 2.7, 1.0), x, y)
    depth = where - rng.uniform(-0.5, 0.6)
    corroded = _step(depth, 0.0, 0.12)
    rough = _ramp(_flat(_noise(rng, 1.3) + 0.8 * depth), eaten)
    brushed = 1 + 0.05 * _noise(rng, 0.7, 3, 128, (14, 1))
    image = _mix(metal * brushed[..., None], rough, corroded)
    image = _mix(image, eaten[0] * 0.6, np.asarray(np.exp(-np.abs(depth) / 0.06) * 0.8))
    return _relief(_mottle(rng, image, 0.08), np.asarray(0.16 * corroded * _noise(rng, 1.8, 8.0)), 0.7)


def _fur(rng: np.random.Generator) -> Image:
    """Hair, fur or dry grass: streaks along a slowly turning direction."""
    angle = rng.uniform(0, 6.28) + rng.uniform(0.2, 0.9) * _noise(rng, 4.0, 1.0, 6.0)
    grain = _noise(rng, 0.3, 12.0, 128.0)
    strands = _streaks(angle, int(rng.integers(8, 22)), grain)
    patches = _noise(rng, 3.0)
    t = _flat(strands + rng.choice([0.3, 1.2]) * patches)
    coats = (
        [(0.07, 0.6, 0.12), (0.07, 0.6, 0.35), (0.08, 0.5, 0.6), (0.1, 0.35, 0.85)],
        [(0.1, 0.1, 0.2), (0.1, 0.08, 0.55), (0.1, 0.05, 0.8), (0.1, 0.03, 0.97)],
        [(0.2, 0.7, 0.1), (0.25, 0.7, 0.3), (0.23, 0.65, 0.5), (0.17, 0.55, 0.75)],
        [(0.02, 0.8, 0.15), (0.04, 0.8, 0.45), (0.06, 0.75, 0.7), (0.09, 0.6, 0.9)],
    )
    pick = int(rng.integers(6))
    image = _ramp(t, _near(rng, coats[pick]) if pick < 4 else _palette(rng, 4, rng.uniform(0.6, 1.0)))
    return _relief(image, np.asarray(0.12 * strands), 0.5)


def _terrazzo(rng: np.random.Generator) -> Image:
    """Chips of coloured stone in a ground of cement."""
    ground = _near(rng, [(0.1, 0.08, 0.85), (0.1, 0.05, 0.25), (rng.random(), 0.4, 0.7)])[int(rng.integers(3))]
    image = _mottle(rng, np.broadcast_to(ground, (*X.shape, 3)), 0.04, 0.6)
    colours = _loud(rng, 5) if rng.random() < 0.6 else _palette(rng, 5)
    for n in (30, 16, 9)[: int(rng.integers(2, 4))]:
        first, second, number = _cells(rng, n, 1.0, rng.choice([1.2, 2.0]))
        kept = rng.random(n * n)[number] < 0.5
        chip = _step(second - first, rng.uniform(0.2, 0.4), 0.06 * n / 16) * kept
        stones = _per_cell(rng, number, n * n, colours, 0.12)
        image = _mix(image, _mottle(rng, stones, 0.07), np.asarray(chip))
    return image


def _splatter(rng: np.random.Generator) -> Image:
    """Thrown paint: large ragged blots with a spray of droplets, several colours over a ground."""
    ground, *paints = _loud(rng, int(rng.integers(4, 7)))
    image = np.broadcast_to(ground, (*X.shape, 3))
    wet = np.zeros_like(X)
    for paint in paints:
        for _ in range(int(rng.integers(2, 5))):
            cx, cy = rng.random(2)
            dx, dy = _wrap(X - cx), _wrap(Y - cy)
            r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)
            size = rng.uniform(0.04, 0.17)
            ragged = np.ones_like(X)
            for k in range(3, 22, 3):
                spike = np.cos(k * theta + rng.uniform(0, 6.28)) * rng.normal(0, 0.6 / k**0.5)
                ragged += np.clip(spike, -0.3, 1.2)
            blot = 1 - _step(r / (size * np.clip(ragged, 0.4, 2.2)), 1.0, 0.012 / size)
            image, wet = _mix(image, paint, blot), np.maximum(wet * (1 - blot), blot)
        first, _, number = _cells(rng, 22, 1.0)
        sizes = rng.random(22 * 22) ** 6 * 0.45
        drops = _step(sizes[number] - first, 0.0, 0.12)
        image, wet = _mix(image, paint, drops), np.maximum(wet * (1 - drops), drops)
    return _mottle(rng, _relief(image, _blur(wet, 1.2), 0.6), 0.03)


def _plaid(rng: np.random.Generator) -> Image:
    """Tartan: one list of bands in both directions, mixed by a twill."""
    n = int(rng.integers(4, 8))
    colours = _loud(rng, n) if rng.random() < 0.6 else _palette(rng, n)[rng.permutation(n)]
    widths = rng.choice([0.15, 0.3, 1.0, 1.6], size=n)
    mirrored = np.concatenate([np.arange(n), np.arange(n)[::-1]])
    edges = np.concatenate([[0.0], np.cumsum(widths[mirrored])])
    edges /= edges[-1]
    repeats = int(rng.integers(1, 4))
    band_x = mirrored[np.searchsorted(edges, X * repeats % 1, side="right") - 1]
    band_y = mirrored[np.searchsorted(edges, Y * repeats % 1, side="right") - 1]
    px = np.arange(SIZE_PX)
    twill = ((px[None, :] + px[:, None]) // 2 % 2).astype(np.float64)
    twill = 0.5 + (twill - 0.5) * rng.uniform(0.3, 0.9)
    image = _mix(colours[band_x], colours[band_y], twill)
    return _mottle(rng, image * (1 + 0.08 * (twill[..., None] - 0.5)), 0.04)


def _animal(rng: np.random.Generator) -> Image:
    """Zebra, tiger, leopard, giraffe or invented coats, with short hair over them."""
    kind = int(rng.integers(4))
    hair = _streaks(1.4 + 0.4 * _noise(rng, 4.0, 1.0, 5.0), 6, _noise(rng, 0.3, 20.0, 128.0))
    invented = rng.random() < 0.3
    if kind == 0:  # zebra
        ground, ink = _near(rng, [(0.1, 0.08, 0.95), (0.1, 0.2, 0.08)])
        mark = _step(_sample(_turing(rng, rng.uniform(6, 9), (1.0, 1.7), 0.0), *_warp(rng, 0.03, 4.0)), 0.0, 0.5)
        marks = [(mark, ink)]
    elif kind == 1:  # tiger
        ground, ink = _near(rng, [(0.08, 0.75, 0.85), (0.05, 0.5, 0.1)])
        mark = _step(_turing(rng, rng.uniform(7, 11), (1.9, 1.0), -0.2), 0.3, 0.5)
        marks = [(mark, ink)]
    elif kind == 2:  # leopard: broken rings round tan hearts
        ground, ink, heart = _near(rng, [(0.1, 0.5, 0.88), (0.06, 0.6, 0.14), (0.08, 0.65, 0.62)])
        n = int(rng.integers(7, 11))
        x, y = _warp(rng, 0.012, 3.4, 4.0)
        first, _, number = _cells(rng, n, 0.75, 2.0, x, y)
        size = rng.uniform(0.27, 0.42, n * n)[number]
        inside = _step(size - first, 0.0, 0.06)
        ring = _step(0.09 - np.abs(first - size + 0.06), 0.0, 0.05) * _step(_noise(rng, 2.5, 6.0), -0.6, 0.4)
        marks = [(inside, heart), (np.asarray(ring), ink)]
    else:  # giraffe
        ink, ground = _near(rng, [(0.07, 0.7, 0.48), (0.1, 0.3, 0.92)])
        x, y = _warp(rng, 0.01, 4.0, 3.0)
        first, second, number = _cells(rng, int(rng.integers(4, 8)), 0.85, 2.0, x, y)
        marks = [(_step(second - first, 0.13, 0.06), ink)]
    if invented:
        ground, *inks = _loud(rng, len(marks) + 1)
        marks = [(mark, colour) for (mark, _), colour in zip(marks, inks, strict=True)]
    image = np.broadcast_to(ground, (*X.shape, 3)) * (1 + 0.12 * _noise(rng, 3.0)[..., None])
    for mark, colour in marks:
        image = _mix(image, colour, mark)
    return np.asarray(image * (1 + 0.1 * hair[..., None]), dtype=np.float64)


def _crackle(rng: np.random.Generator) -> Image:
    """Dried mud, old glaze or cooling lava: plates apart along dark or glowing cracks."""
    n = int(rng.integers(4, 8))
    x, y = _warp(rng, 0.01, 3.4, 4.0)
    first, second, _ = _cells(rng, n, 1.0, 2.0, x, y)
    fine_first, fine_second, _ = _cells(rng, 3 * n, 1.0, 2.0, x, y)
    coarse, fine = second - first, fine_second - fine_first
    lava = rng.random() < 0.4
    plate = _ramp(
        _flat(_noise(rng, 2.0)),
        _near(rng, [(0.03, 0.3, 0.08), (0.05, 0.25, 0.25)]) if lava else _palette(rng, 3, 0.4),
    )
    height = np.asarray(_step(coarse, 0.08, 0.14) * (0.6 + 0.4 * _step(fine, 0.1, 0.2)) + 0.04 * _noise(rng, 1.4, 4))
    image = _relief(_mottle(rng, plate, 0.1), height, 0.7)
    image = _mix(image * 0.45, image, _step(fine, 0.07, 0.1))
    if lava:
        glow = _near(rng, [(0.0, 0.95, 0.55), (0.05, 0.95, 1.0), (0.13, 0.6, 1.0)])
        heat = np.clip(1 - coarse / 0.22, 0, 1)
        return _mix(image, _ramp(np.asarray(heat), glow), _step(heat, 0.35, 0.6))
    return _mix(image * 0.15, image, _step(coarse, 0.06, 0.06))


def _knit(rng: np.random.Generator) -> Image:
    """Stocking stitch in wool, with a coloured pattern knitted in."""
    columns, rows = ((12, 16), (16, 20), (20, 28))[int(rng.integers(3))]
    u = X * columns % 1 - 0.5
    lean = 0.42 * np.abs(u) * 2
    v = (Y * rows + lean) % 1
    iy = np.floor(Y * rows + lean).astype(np.int64) % rows
    ix = np.floor(X * columns).astype(np.int64)
    strand = np.sin(np.pi * v) * np.clip(np.sin(np.pi * np.clip(np.abs(u) * 2, 0, 1)), 0, 1) ** 0.6
    n = int(rng.integers(2, 5))
    colours = _loud(rng, n)
    motif = rng.integers(n, size=(rows // 4, columns // 4))
    motif = np.concatenate([motif, motif[:, ::-1]], axis=1)
    motif = np.concatenate([motif, motif[::-1]], axis=0)
    if rng.random() < 0.5:  # rings of one colour
        motif = np.broadcast_to(motif[:, :1], motif.shape)
    image = colours[motif[iy % motif.shape[0], ix % motif.shape[1]]]
    twist = np.sin(2 * np.pi * (1.5 * v + 3 * np.abs(u)))
    wool = _noise(rng, 0.6, 10.0)
    return np.asarray(image * (0.25 + 0.85 * strand + 0.07 * twist + 0.06 * wool)[..., None], dtype=np.float64)


def _foliage(rng: np.random.Generator) -> Image:
    """Fallen or growing leaves, one over another, each with its rib."""
    schemes = (
        [(0.28, 0.7, 0.25), (0.25, 0.65, 0.45), (0.2, 0.6, 0.65)],
        [(0.02, 0.8, 0.45), (0.07, 0.85, 0.75), (0.12, 0.75, 0.8)],
        [(0.92, 0.4, 0.9), (0.97, 0.55, 0.8), (0.1, 0.1, 0.97)],
    )
    pick = int(rng.integers(4))
    colours = _palette(rng, 3) if pick == 3 else _near(rng, schemes[pick], 0.06)
    image = np.broadcast_to(colours[0] * 0.25, (*X.shape, 3)).copy()
    size = rng.uniform(0.07, 0.13)
    count = int(1.6 / size**2)
    slim, main = rng.uniform(0.35, 0.6), rng.uniform(0, 6.28)
    half = int(np.ceil(size * 1.25 * SIZE_PX))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1] / SIZE_PX
    for k in range(count):
        angle = main + rng.normal(0, 1.2)
        scale = size * rng.uniform(0.6, 1.2)
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / scale
        v = (dy * np.cos(angle) - dx * np.sin(angle)) / scale + 0.12 * (u * u - 0.3) * rng.normal()
        outline = slim * np.clip(1 - u * u, 0, 1) * (1 - 0.25 * u)
        inside = _step(outline - np.abs(v), 0.0, 2.0 / scale / SIZE_PX)
        tone = (0.45 + 0.6 * k / count) * (1 + 0.1 * rng.normal())
        colour = colours[int(rng.integers(3))] * tone
        rib = np.maximum(1 - np.abs(v) / 0.045, 0.35 * (np.cos(24 * (u - 1.2 * np.abs(v))) > 0.75))
        leaf = colour * (1 + 0.3 * np.clip(rib, 0, 1) - 0.25 * np.sign(v) * 0.5)[..., None]
        px = int(rng.integers(SIZE_PX)) + np.arange(-half, half + 1)
        py = int(rng.integers(SIZE_PX)) + np.arange(-half, half + 1)
        at = np.ix_(py % SIZE_PX, px % SIZE_PX)
        shade = np.roll(inside, (4, 3), (0, 1)) * 0.45
        image[at] *= (1 - shade)[..., None]
        image[at] = image[at] + (leaf - image[at]) * inside[..., None]
    return _mottle(rng, image, 0.05)


def _gravel(rng: np.random.Generator) -> Image:
    """Pebbles, sand or grit of mixed stones."""
    n = int(rng.integers(5, 16))
    image = np.broadcast_to(_hsv(0.09, 0.25, 0.15), (*X.shape, 3))
    height = np.zeros_like(X)
    colours = (
        _near(rng, [(0.09, 0.25, 0.75), (0.06, 0.35, 0.5), (0.6, 0.08, 0.5), (0.1, 0.1, 0.9), (0.02, 0.3, 0.35)])
        if rng.random() < 0.6
        else _palette(rng, 5)
    )
    for m in (2 * n, n):
        first, second, number = _cells(rng, m, 1.0, 2.0, *_warp(rng, 0.12 / m, 3.4, m / 2))
        stones = _per_cell(rng, number, m * m, colours, 0.15)
        kept = np.ones_like(X) if m == 2 * n else (rng.random(m * m) < 0.6)[number]
        inside = _step(second - first, 0.16, 0.12) * kept
        image = _mix(image * (1 - 0.4 * inside[..., None]), stones, np.asarray(inside))
        height = np.asarray(np.where(inside > 0.5, np.sqrt(np.clip(second - first, 0, 0.8)), height * 0.5))
    return _relief(_mottle(rng, image, 0.1, 0.8), _blur(height, 0.8), 0.8)


def _metal(rng: np.random.Generator) -> Image:
    """Brushed, hammered or tread-plate metal."""
    kind = int(rng.integers(3))
    base = _near(rng, [(0.58, 0.06, 0.7), (0.11, 0.55, 0.8), (0.05, 0.5, 0.7), (0.6, 0.15, 0.35)])[int(rng.integers(4))]
    sheen = 1 + 0.16 * _noise(rng, 4.0, 1.0, 6.0)
    image = np.broadcast_to(base, (*X.shape, 3)) * sheen[..., None]
    if kind == 0:
        hairlines = _noise(rng, 0.5, 2.0, 128.0, (25.0, 1.0))
        return np.asarray(image * (1 + 0.16 * hairlines)[..., None], dtype=np.float64)
    if kind == 1:
        first, _, _ = _cells(rng, int(rng.integers(9, 18)), 0.9)
        return _mottle(rng, _relief(image, _blur(np.asarray(first), 1.2), 1.1), 0.03)
    n = 2 * int(rng.integers(3, 7))
    ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
    fx, fy = X * n % 1 - 0.5, Y * n % 1 - 0.5
    sign = np.where((ix + iy) % 2 == 0, 1.0, -1.0)
    u, v = (fx + sign * fy) / 1.414, (fy - sign * fx) / 1.414
    bump = _blur(1 - _step(np.hypot(u / 0.5, v / 0.16), 1.0, 0.5), 0.8)
    worn = _mottle(rng, image * (0.75 + 0.3 * bump)[..., None], 0.07)
    return _relief(worn, bump, 0.8)


def _ornament(rng: np.random.Generator) -> Image:
    """Wallpaper, embroidery or carpet: noise folded by mirrors and cut into flat colours."""
    n = int(rng.integers(1, 4))
    u, v = np.abs(_wrap(X * n)), np.abs(_wrap(Y * n))
    folded_x, folded_y = np.maximum(u, v), np.minimum(u, v)
    octaves = rng.uniform(3.0, 4.2)
    field = _sample(_noise(rng, octaves, 3.0, 30.0), folded_x * 0.8, folded_y * 0.8)
    x2, y2 = folded_x * 0.8 + 0.02 * field, folded_y * 0.8
    field = field + 0.5 * _sample(_noise(rng, 3.2, 6.0, 50.0), x2, y2)
    colours = _loud(rng, int(rng.integers(3, 6)))
    levels = np.sort(rng.uniform(-1.2, 1.2, len(colours) - 1))
    image = np.broadcast_to(colours[0], (*X.shape, 3))
    for level, colour in zip(levels, colours[1:], strict=True):
        image = _mix(image, colour, _step(field, float(level), 0.12))
    threads = _noise(rng, 0.2, 40, 128, (4, 1))
    return _mottle(rng, image * (1 + 0.06 * threads[..., None]), 0.04)


def _floral(rng: np.random.Generator) -> Image:
    """Printed flowers of several sizes, scattered over cloth."""
    ground, leaf, *petals = _loud(rng, 6)
    image = np.broadcast_to(ground, (*X.shape, 3))
    for n, colours, share in ((9, leaf[None], 0.6), (5, np.array(petals), 0.9), (8, np.array(petals), 0.45)):
        offsets = 0.5 + 0.28 * (rng.random((2, n * n)) - 0.5)
        ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
        cell = iy * n + ix
        dx, dy = X * n - ix - offsets[0][cell], Y * n - iy - offsets[1][cell]
        r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)
        lobes = 2 if len(colours) == 1 else int(rng.integers(5, 9))
        turn = rng.uniform(0, 6.28, n * n)[cell]
        size = rng.uniform(0.22, 0.36, n * n)[cell]
        reach = size * (0.72 + 0.28 * np.cos(lobes * theta + turn))
        kept = (rng.random(n * n) < share)[cell]
        petal = _step(reach - r, 0.0, 1.8 * n / SIZE_PX) * kept
        shade = 0.65 + 0.45 * r / size
        image = _mix(image, colours[rng.integers(len(colours), size=n * n)][cell] * shade[..., None], np.asarray(petal))
        if lobes > 2:
            image = _mix(image, leaf * 0.4 + 0.55, np.asarray(_step(0.28 * size - r, 0.0, 1.8 * n / SIZE_PX) * kept))
    return _mottle(rng, image, 0.035)


def _geometric(rng: np.random.Generator) -> Image:
    """Chevrons, houndstooth, nested squares, triangles or waves, as printed paper."""
    kind = int(rng.integers(5))
    n = 2 * int(rng.integers(2, 6))
    colours = _loud(rng, 4) if rng.random() < 0.6 else _palette(rng, 4)
    u, v = X * n % 1, Y * n % 1
    ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
    if kind == 0:  # chevrons
        number = np.floor((Y * n + np.abs(u - 0.5)) * 2 + 1e-4).astype(np.int64) % 4
    elif kind == 1:  # houndstooth
        a, b = np.floor(u * 4).astype(np.int64), np.floor(v * 4).astype(np.int64)
        diagonal = (np.floor((u + v) * 4 + 1e-4).astype(np.int64) % 2) == 0
        number = np.where((a < 2) == (b < 2), np.where(a < 2, 0, 1), np.where(diagonal, 0, 1))
    elif kind == 2:  # nested squares
        number = np.floor(np.maximum(np.abs(u - 0.5), np.abs(v - 0.5)) * 7.99).astype(np.int64)
        number = (number + ix + iy) % 4
    elif kind == 3:  # triangles
        falling = (ix + iy) % 2 == 0
        side = np.where(falling, u + 1e-4 > v, u + v > 1 + 1e-4).astype(np.int64)
        number = rng.integers(4, size=2 * n * n)[2 * (iy * n + ix) + side]
    else:  # fish-scale waves of concentric rings
        row = np.floor(Y * 2 * n).astype(np.int64)
        du = (X * n + 0.5 * (row % 2)) % 1 - 0.5
        here = np.hypot(du, (Y * 2 * n - row - 1) / 2)
        du2 = (X * n + 0.5 * ((row + 1) % 2)) % 1 - 0.5
        below = np.hypot(du2, (Y * 2 * n - row - 2) / 2)
        r = np.where(here < 0.5, here, below)
        number = np.floor(r * 7.99).astype(np.int64) % 4
    image = np.stack([_blur(colours[number][..., c], 0.6) for c in range(3)], axis=-1)
    return _mottle(rng, image, 0.05)


def _water(rng: np.random.Generator) -> Image:
    """Caustics on water, oil film or agate: bright webs and bands in warped noise."""
    x, y = _warp(rng, rng.uniform(0.03, 0.06), 4.4)
    if rng.random() < 0.5:  # agate: many thin bands
        bands = _sample(_noise(rng, 4.6, 1.0, 30.0), x, y) * rng.uniform(1.0, 2.2) % 1
        colours = _palette(rng, 7)[rng.permutation(7)]
        return _mottle(rng, _ramp(np.asarray(bands), np.concatenate([colours, colours[:1]])), 0.04)
    web = np.ones_like(X)
    for n in (5, 8):
        first, second, _ = _cells(rng, n, 1.0, 2.0, *_warp(rng, 0.025, 3.0, 2.0))
        web = web * np.clip((second - first) * 1.6, 0.02, 1)
    light = np.clip(-np.log(web) / 5, 0, 1) ** 2.0
    deep, pale = _palette(rng, 2, 0.5)
    image = _ramp(_flat(_noise(rng, 3.0)), np.stack([deep * 0.7, deep, pale]))
    return _mix(image, np.array([0.95, 1.0, 0.97]), _blur(np.asarray(light), 0.7))


FAMILIES: dict[str, Callable[[np.random.Generator], Image]] = {
    "cloud": _cloud,
    "marble": _marble,
    "wood": _wood,
    "stone": _stone,
    "leather": _leather,
    "scales": _scales,
    "weave": _weave,
    "stripes": _stripes,
    "brick": _brick,
    "tiles": _tiles,
    "dots": _dots,
    "camouflage": _camouflage,
    "rust": _rust,
    "fur": _fur,
    "terrazzo": _terrazzo,
    "splatter": _splatter,
    "plaid": _plaid,
    "animal": _animal,
    "crackle": _crackle,
    "knit": _knit,
    "foliage": _foliage,
    "gravel": _gravel,
    "metal": _metal,
    "ornament": _ornament,
    "floral": _floral,
    "geometric": _geometric,
    "water": _water,
}

# The takes kept of each family, chosen by eye from a few dozen for variety of colour, contrast and frequency.
_TAKES: dict[str, tuple[int, ...]] = {
    "cloud": (1, 4, 5, 7, 13, 18, 22),
    "marble": (1, 4, 5, 6, 8),
    "wood": (1, 3, 6, 12, 17, 22),
    "stone": (1, 3, 4, 7),
    "leather": (1, 3, 5, 7),
    "scales": (1, 2, 5, 7),
    "weave": (1, 2, 7, 13, 21),
    "stripes": (2, 3, 4, 6, 8),
    "brick": (1, 3, 5, 7),
    "tiles": (1, 3, 4, 6, 7),
    "dots": (1, 2, 5, 7),
    "camouflage": (1, 3, 4, 7, 8),
    "rust": (1, 2, 3, 8),
    "fur": (1, 4, 5, 7),
    "terrazzo": (1, 4, 5, 7),
    "splatter": (1, 3, 6, 8),
    "plaid": (1, 2, 5, 6, 7),
    "animal": (3, 8, 10, 15, 5),
    "crackle": (1, 3, 4),
    "knit": (3, 5, 7, 8),
    "foliage": (2, 5, 7),
    "gravel": (1, 4, 5, 6),
    "metal": (2, 4, 7, 13, 21),
    "ornament": (1, 3, 4, 6),
    "floral": (1, 3, 5, 6),
    "geometric": (1, 2, 4, 6, 14, 21),
    "water": (1, 2, 6, 7),
}

TEXTURES: dict[str, tuple[str, int]] = {
    name: (family, zlib.crc32(name.encode()))
    for family, takes in _TAKES.items()
    for name in (f"{family}_{take:02d}" for take in takes)
}
"""Every texture by name: its family and its seed."""


def synthesise(name: str) -> NDArray[np.uint8]:
    """The texture NAME: (256, 256, 3) uint8, sRGB-coded, row 0 at the top, tileable in both directions.

    Raises KeyError, naming the known textures, if there is none of that name.
    """
    if name not in TEXTURES:
        raise KeyError(f"no texture {name!r}; known are {sorted(TEXTURES)}")
    family, seed = TEXTURES[name]
    image = FAMILIES[family](np.random.default_rng(seed))
    return np.asarray(np.floor(np.clip(image, 0, 1) * 255 + 0.5), dtype=np.uint8)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """IMAGE, (H, W, 3) uint8, as a PNG of stored (uncompressed) blocks.

    Compressors differ between builds of zlib; stored blocks have one spelling, so a hash can be written down.
    """
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    blocks = [rows[i : i + 65535] for i in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", k == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for k, block in enumerate(blocks)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_all(folder: Path) -> list[str]:
    """Write every texture to FOLDER/NAME.png, the same bytes on every machine.

    Returns the file names in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with Progress(len(TEXTURES), "texture", "synthesising") as bar:
        for name in TEXTURES:
            (folder / f"{name}.png").write_bytes(png_bytes(synthesise(name)))
            written.append(f"{name}.png")
            bar.update()
    return written


# --- environments -----------------------------------------------------------------------------------------

Radiance = NDArray[np.float64]  # (256, 512, 3), linear


def _directions() -> NDArray[np.float64]:
    """(256, 512, 3) unit vectors of the pixel centres: row 0 up (+Z), the middle column along +X."""
    rows, columns = ENVIRONMENT_SHAPE[:2]
    latitude = np.pi * (0.5 - (np.arange(rows) + 0.5) / rows)[:, None]
    longitude = 2 * np.pi * (0.5 - (np.arange(columns) + 0.5) / columns)[None, :]
    return np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude) * np.ones_like(longitude),
        ],
        axis=-1,
    )


_DIRECTIONS = _directions()


def _unit(rng: np.random.Generator, low_z: float = -1.0, high_z: float = 1.0) -> NDArray[np.float64]:
    """A direction, (3,), uniform on the sphere between two heights."""
    z = rng.uniform(low_z, high_z)
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z])


def _sphere_noise(rng: np.random.Generator, beta: float, waves: int = 60, highest: float = 48.0) -> Field:
    """(256, 512) 1/f^beta noise on the sphere, without pinched poles: plane waves cut by the sphere."""
    total = np.zeros(ENVIRONMENT_SHAPE[:2])
    for k in range(waves):
        frequency = highest ** (k / (waves - 1))  # evenly spread in octaves
        wave = np.sin(frequency * 3.0 * (_DIRECTIONS @ _unit(rng)) + rng.uniform(0, 2 * np.pi))
        total += frequency ** (1 - beta / 2) * wave
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float64)


def _lobe(towards: NDArray[np.float64], radius_rad: float, edge: float) -> Field:
    """(256, 512) 1 within RADIUS of a direction, falling to 0 over EDGE times the radius."""
    cosine = np.clip(_DIRECTIONS @ towards, -1, 1)
    angle = np.sqrt(np.maximum(2 - 2 * cosine, 0))  # the chord: the angle for small lobes, and no arccos
    return _step(np.asarray(-angle), -radius_rad, edge * radius_rad)


def _panel(centre: NDArray[np.float64], half_width: float, half_height: float, turn: float, soft: float) -> Field:
    """(256, 512) 1 inside a rectangle at distance 1 facing the origin, with SOFT edges; sizes as tangents."""
    up = np.array([0.0, 0.0, 1.0]) if abs(centre[2]) < 0.95 else np.array([1.0, 0.0, 0.0])
    side = np.cross(up, centre)
    side /= np.linalg.norm(side)
    above = np.cross(centre, side)
    side, above = np.cos(turn) * side + np.sin(turn) * above, np.cos(turn) * above - np.sin(turn) * side
    depth = _DIRECTIONS @ centre
    near = np.maximum(depth, 1e-3)
    u, v = np.abs(_DIRECTIONS @ side) / near, np.abs(_DIRECTIONS @ above) / near
    inside = _step(half_width - u, 0.0, soft) * _step(half_height - v, 0.0, soft)
    return np.asarray(inside * (depth > 0.05), dtype=np.float64)


def _noise_world(rng: np.random.Generator) -> Radiance:
    """Coloured 1/f noise all around, as the noise environment of the thesis, with a wide dynamic range."""
    basis = rng.normal(0, 1, (3, 3))
    basis /= np.linalg.norm(basis, axis=0)
    waves = np.stack([_sphere_noise(rng, 3.0, 150) for _ in range(3)], axis=-1)
    return np.asarray(0.35 * np.exp(1.1 * waves @ basis), dtype=np.float64)


def _dark_room(rng: np.random.Generator) -> Radiance:
    """A dim room: walls with a little texture and several bright rectangles, as windows and screens."""
    walls = np.array([0.05, 0.045, 0.04]) * rng.uniform(0.5, 1.5)
    image = walls * (1 + 0.25 * _sphere_noise(rng, 2.6)[..., None]) * (1.1 - 0.7 * _DIRECTIONS[..., 2:])
    for _ in range(int(rng.integers(3, 6))):
        colour = _hsv(rng.random(), rng.uniform(0, 0.6), 1.0) ** 2.2 * rng.uniform(3, 14)
        sizes = rng.uniform(0.1, 0.5, 2)
        light = _panel(_unit(rng, -0.2, 0.7), sizes[0], sizes[1], rng.normal(0, 0.1), 0.03)
        image = image + colour * light[..., None]
    return np.asarray(image, dtype=np.float64)


def _sky(rng: np.random.Generator, sun_height: float, haze: float, clouds: float) -> Radiance:
    """A gradient sky with a sun, clouds and a ground; SUN_HEIGHT is the sine of its elevation."""
    sun = _unit(rng, sun_height, sun_height)
    low = np.exp(-3.5 * max(sun_height, 0.0))  # 1 at sunset
    zenith = np.array([0.12, 0.28, 0.75]) * (1 - 0.65 * low)
    horizon = np.array([0.75, 0.85, 1.0]) * (1 - low) + np.array([1.1, 0.55, 0.25]) * low
    height = np.clip(_DIRECTIONS[..., 2], 0, 1)
    sky = zenith + (horizon - zenith) * ((1 - height) ** (6 - 4 * haze))[..., None]
    tint = np.array([1.0, 0.95 - 0.4 * low, 0.85 - 0.65 * low])
    towards = np.clip(_DIRECTIONS @ sun, 0, 1)
    sky = sky + tint * (0.9 * towards**24 + 0.35 * towards**4)[..., None] * (0.4 + haze)
    cover = _step(_sphere_noise(rng, 3.0), 1.2 - 2.4 * clouds, 1.6) * np.clip(height * 6, 0, 1)
    lit = (0.55 + 0.9 * towards**3)[..., None] * (0.75 * tint + 0.25 * horizon)
    sky = sky + (lit - sky) * (0.9 * cover)[..., None]
    sky = sky + tint * MAX_RADIANCE * (1 - 0.95 * clouds) * _lobe(sun, 0.05, 0.5)[..., None]
    soil = _hsv(rng.uniform(0.06, 0.3), 0.4, 0.45) ** 2.2
    ground = soil * (1 + 0.35 * _sphere_noise(rng, 2.4, 90)[..., None]) * (0.35 + max(sun_height, 0.0))
    return _blend(ground, sky, _step(_DIRECTIONS[..., 2], 0.0, 0.02))


def _blend(a: Radiance, b: Radiance, t: Field) -> Radiance:
    """A where t is 0, B where it is 1."""
    return np.asarray(a + (b - a) * t[..., None], dtype=np.float64)


def _studio(rng: np.random.Generator) -> Radiance:
    """A photographer's studio: a key and a fill softbox, a rim strip, a lamp above, a grey sweep."""
    grey = rng.uniform(0.03, 0.35)
    image = grey * (1 - 0.6 * _DIRECTIONS[..., 2:] ** 2) * np.ones(3)
    heading = rng.uniform(0, 2 * np.pi)
    for offset, z, width, height, power in (
        (0.7, 0.35, 0.45, 0.6, 9.0),
        (-0.9, 0.15, 0.6, 0.6, 2.5),
        (2.7, 0.3, 0.12, 0.8, 12.0),
        (0.0, 0.97, 0.35, 0.35, 4.0),
    ):
        angle = heading + offset + rng.normal(0, 0.15)
        ring = np.sqrt(1 - z * z)
        centre = np.array([ring * np.cos(angle), ring * np.sin(angle), z])
        colour = _hsv(rng.choice([0.09, 0.58]), rng.uniform(0.0, 0.2), 1.0)
        image = image + power * colour * _panel(centre, width, height, 0.0, 0.12)[..., None]
    return np.asarray(image, dtype=np.float64)


def _bokeh(rng: np.random.Generator) -> Radiance:
    """A town at night out of focus: many coloured discs near the horizon over dark blue."""
    z = _DIRECTIONS[..., 2]
    image = np.array([0.012, 0.016, 0.04]) * (1 + np.exp(-6 * np.abs(z)))[..., None]
    hues = (0.08, 0.1, 0.12, 0.0, 0.55, 0.6, 0.38, 0.85)
    for _ in range(160):
        towards = _unit(rng, *((-0.25, 0.3) if rng.random() < 0.8 else (-0.9, 0.9)))
        colour = _hsv(rng.choice(hues), rng.uniform(0.2, 0.95), 1.0) ** 2.2
        disc = _lobe(towards, rng.uniform(0.02, 0.09), 0.12)
        image = image + colour * disc[..., None] * 0.5 * np.exp(rng.uniform(0, 3.4))
    return np.asarray(image, dtype=np.float64)


def _neon(rng: np.random.Generator) -> Radiance:
    """A stage or corridor: long tubes of two saturated hues over near black, and their glow."""
    first = rng.random()
    hues = (first, (first + rng.uniform(0.3, 0.5)) % 1)
    image = np.full(ENVIRONMENT_SHAPE, 0.01)
    for k in range(12):
        colour = _hsv(hues[k % 2], 0.9, 1.0) ** 2.2
        centre, turn = _unit(rng, -0.6, 0.8), rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
        image = image + 16 * colour * _panel(centre, 0.02, rng.uniform(0.4, 1.2), turn, 0.015)[..., None]
        glow = np.clip(_DIRECTIONS @ centre, 0, 1) ** 6
        image = image + 0.12 * colour * glow[..., None]
    return image


_ENVIRONMENT_FAMILIES: dict[str, Callable[[np.random.Generator], Radiance]] = {
    "noise": _noise_world,
    "dark_room": _dark_room,
    "noon": lambda rng: _sky(rng, 0.8, 0.2, 0.3),
    "sunset": lambda rng: _sky(rng, 0.08, 0.7, 0.35),
    "overcast": lambda rng: _sky(rng, 0.5, 0.9, 0.95),
    "studio": _studio,
    "bokeh": _bokeh,
    "neon": _neon,
}

ENVIRONMENTS: tuple[str, ...] = (
    "noise_01",
    "noise_02",
    "dark_room_01",
    "dark_room_02",
    "noon_01",
    "sunset_01",
    "overcast_01",
    "studio_01",
    "studio_02",
    "bokeh_01",
    "neon_01",
)
"""Every environment by name; the part before the last underscore is its family."""


def environments(name: str) -> NDArray[np.float32]:
    """The world NAME: (256, 512, 3) float32 linear radiance in [0, MAX_RADIANCE], equirectangular.

    Row 0 looks up (+Z), the middle column along +X, as Blender reads an equirectangular environment.
    Raises KeyError, naming the known worlds, if there is none of that name.
    """
    if name not in ENVIRONMENTS:
        raise KeyError(f"no environment {name!r}; known are {list(ENVIRONMENTS)}")
    family = _ENVIRONMENT_FAMILIES[name.rsplit("_", 1)[0]]
    radiance = family(np.random.default_rng(zlib.crc32(name.encode())))
    return np.asarray(np.clip(radiance, 0, MAX_RADIANCE), dtype=np.float32)


def write_environments(folder: Path) -> list[str]:
    """Write every environment to FOLDER/NAME.exr (half float, ZIP); returns the file names in order.

    The pixels are the same on every machine; the bytes also depend on OpenEXR's version.
    """
    import OpenEXR

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with Progress(len(ENVIRONMENTS), "world", "synthesising") as bar:
        for name in ENVIRONMENTS:
            header: dict[str, Any] = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(header, {"RGB": environments(name).astype(np.float16)}).write(str(folder / f"{name}.exr"))
            written.append(f"{name}.exr")
            bar.update()
    return written

"""Random fields on the torus: noise, cells, spots and streaks that tile without a seam. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE_PX = 256

Field = NDArray[np.float64]  # (256, 256), one value a pixel
Index = NDArray[np.int64]

Y, X = (np.mgrid[0:SIZE_PX, 0:SIZE_PX] + 0.5) / SIZE_PX  # pixel centres in [0, 1)


def _filtered(rng: np.random.Generator, gain: Field) -> Field:
    """White noise times GAIN in frequency space: zero mean, unit deviation, wraps around."""
    spectrum = np.fft.fft2(rng.standard_normal((SIZE_PX, SIZE_PX))) * gain
    field = np.fft.ifft2(spectrum).real
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float64)


def frequencies(stretch: tuple[float, float] = (1.0, 1.0)) -> Field:
    """Distance from the origin of frequency space, in cycles a tile; STRETCH lengthens features in x, y."""
    f = np.fft.fftfreq(SIZE_PX, 1.0 / SIZE_PX)
    return np.asarray(np.hypot(f[None, :] * stretch[0], f[:, None] * stretch[1]), dtype=np.float64)


def noise(
    rng: np.random.Generator,
    beta: float = 2.0,
    low: float = 1.0,
    high: float = 128.0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> Field:
    """1/f^beta noise (power) between LOW and HIGH cycles a tile; zero mean, unit deviation."""
    f = frequencies(stretch)
    gain = np.where(f > 0, np.maximum(f, low) ** (-beta / 2), 0.0)
    gain = gain * np.exp(-((f / high) ** 2)) * (1 - np.exp(-((f / low) ** 4)))
    return _filtered(rng, np.asarray(gain, dtype=np.float64))


def blur(field: Field, sigma_px: float) -> Field:
    """Gaussian blur that wraps around."""
    gain = np.exp(-2 * (np.pi * sigma_px / SIZE_PX * frequencies()) ** 2)
    return np.asarray(np.fft.ifft2(np.fft.fft2(field) * gain).real, dtype=np.float64)


def equalised(field: Field) -> Field:
    """The same order of values, spread evenly over [0, 1]."""
    rank = np.empty(field.size)
    rank[np.argsort(field, axis=None, kind="stable")] = np.arange(field.size)
    return np.asarray((rank / (field.size - 1)).reshape(field.shape), dtype=np.float64)


def smoothstep(field: Field, edge: float, width: float) -> Field:
    """0 below EDGE, 1 above, a smooth ramp of total WIDTH between."""
    t = np.clip((field - edge) / width + 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float64)


def sample(field: Field, x: Field, y: Field) -> Field:
    """FIELD at (x, y) in tile units, bilinear, wrapping around."""
    px, py = x * SIZE_PX - 0.5, y * SIZE_PX - 0.5
    x0, y0 = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
    wx, wy = px - x0, py - y0
    x0, y0 = x0 % SIZE_PX, y0 % SIZE_PX
    x1, y1 = (x0 + 1) % SIZE_PX, (y0 + 1) % SIZE_PX
    top = field[y0, x0] * (1 - wx) + field[y0, x1] * wx
    bottom = field[y1, x0] * (1 - wx) + field[y1, x1] * wx
    return np.asarray(top * (1 - wy) + bottom * wy, dtype=np.float64)


def warp(rng: np.random.Generator, amount: float, beta: float = 3.0, low: float = 1.0) -> tuple[Field, Field]:
    """Coordinates of the tile, pushed about by AMOUNT (tile units, one deviation) of smooth noise."""
    return X + amount * noise(rng, beta, low), Y + amount * noise(rng, beta, low)


def wrap(delta: Field) -> Field:
    """The shorter way around the torus, in [-0.5, 0.5)."""
    return np.asarray((delta + 0.5) % 1.0 - 0.5, dtype=np.float64)


def cells(
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


def turing(rng: np.random.Generator, cycles: float, stretch: tuple[float, float], bias: float) -> Field:
    """Spots (BIAS away from 0) or labyrinths (near 0) in [-1, 1], with CYCLES features a tile."""
    f = frequencies(stretch)
    gain = np.exp(-(((f - cycles) / (0.22 * cycles)) ** 2))
    field = rng.standard_normal(X.shape)
    for _ in range(6):
        field = np.asarray(np.fft.ifft2(np.fft.fft2(field) * gain).real, dtype=np.float64)
        field = np.tanh(1.6 * field / field.std() + bias)
    return np.asarray(field, dtype=np.float64)


def streaks(angle: Field, length: int, grain: Field) -> Field:
    """GRAIN smeared along the directions ANGLE (radians), LENGTH steps each way; unit deviation."""
    c, s = np.cos(angle), np.sin(angle)
    total = grain.copy()
    for sign in (-1.0, 1.0):
        x, y = X.copy(), Y.copy()
        for _ in range(length):
            dx, dy = sample(c, x, y), sample(s, x, y)
            x, y = x + sign * dx * 1.4 / SIZE_PX, y + sign * dy * 1.4 / SIZE_PX
            total += sample(grain, x, y)
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float64)

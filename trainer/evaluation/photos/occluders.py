"""Occluders drawn over annotated photos: surgical masks, sunglasses, blobs.

Drawn by the 68 points, opaque, so that what they cover is known for every pixel. They are cruder than real ones and
meant to differ from those of the renderer and of the augmentation: no network has been trained on them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from trainer.data.pictures import Bytes
from trainer.evaluation.photos.annotations import Flags, Floats

FINE: Final = 4  # sub-pixels along a side: edges are antialiased
MASK_COLOURS: Final = ((168, 205, 222), (236, 238, 240), (35, 36, 40), (196, 180, 168), (190, 220, 190))
Values = npt.NDArray[np.float64]
Layer = tuple[Values, Values]
"""Colour (H, W, 3) of 0 to 255, and how far it covers, (H, W) in [0, 1]."""


def occlude(picture: Bytes, points: Floats, kind: str, name: str) -> tuple[Bytes, Flags]:
    """The picture with an occluder, and which pixels it covers wholly, (H, W). points: (68, 2), all known.

    The same for the same name and kind.
    """
    rng = np.random.default_rng(zlib.crc32(f"{kind} {name}".encode()))
    height, width = picture.shape[:2]
    colour, cover = KINDS[kind](points, (width, height), rng)
    mixed = picture * (1 - cover[..., None]) + colour * cover[..., None]
    return np.asarray((mixed + 0.5).clip(0, 255), np.uint8), cover > 0.99


def _filled(outlines: list[Floats], size: tuple[int, int]) -> Values:
    """How far polygons cover each pixel."""
    fine = Image.new("L", (size[0] * FINE, size[1] * FINE), 0)
    for outline in outlines:
        ImageDraw.Draw(fine).polygon([(float(x), float(y)) for x, y in outline * FINE - 0.5], fill=255)
    return np.asarray(fine.resize(size, Image.Resampling.BOX), np.float64) / 255


def _smooth(size: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Values:
    """Noise (H, W) in [0, 1] that changes over about so many pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size[1], size[0])), scale_px)
    return np.asarray((noise - noise.min()) / max(float(np.ptp(noise)), 1e-9))


def _scale(points: Floats) -> float:
    return float(np.sqrt(np.prod(np.ptp(points, axis=0))))


def surgical_mask(points: Floats, size: tuple[int, int], rng: np.random.Generator) -> Layer:
    """From the bridge of the nose to below the chin, pleated, with its loops."""
    chin = points[8] + 0.05 * (points[8] - points[28])
    upper = [points[1], 0.5 * (points[1] + points[28]) + 0.15 * (points[30] - points[27]), points[28],
             0.5 * (points[15] + points[28]) + 0.15 * (points[30] - points[27]), points[15]]  # fmt: skip
    lower = [points[13], points[11], points[10], chin, points[6], points[5], points[3]]
    cover = _filled([np.array(upper + lower)], size)
    down = (points[8] - points[28]) / np.linalg.norm(points[8] - points[28])
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    along = (x - points[28][0]) * down[0] + (y - points[28][1]) * down[1]
    pleats = 1 - 0.12 * (np.sin(along / _scale(points) * 45) > 0.8)
    shade = 0.75 + 0.35 * _smooth(size, _scale(points) / 8, rng)
    tint = np.array(MASK_COLOURS[rng.integers(len(MASK_COLOURS))], np.float64)
    return np.asarray(tint * (pleats * shade)[..., None]), cover


def sunglasses(points: Floats, size: tuple[int, int], rng: np.random.Generator) -> Layer:
    """Two dark lenses, round to square, and a bridge; lighter at the bottom, with a reflection."""
    eyes = [points[42:48].mean(0), points[36:42].mean(0)]
    across = eyes[0] - eyes[1]
    apart = float(np.linalg.norm(across))
    axes = np.array([across / apart, [-across[1] / apart, across[0] / apart]])
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    power = rng.uniform(0.45, 1.0)  # of a superellipse: 1 is an ellipse, less is nearer a rectangle
    lens = np.stack([np.sign(f) * np.abs(f) ** power for f in (np.cos(turn), np.sin(turn))], 1)
    lens *= apart * np.array([rng.uniform(0.42, 0.48), rng.uniform(0.3, 0.4)])
    outlines = [eye + 0.04 * apart * axes[1] + lens @ axes for eye in eyes]
    middle = points[27]
    bridge = np.array([[-0.2, -0.06], [0.2, -0.06], [0.2, 0.02], [-0.2, 0.02]]) * apart
    cover = _filled([*outlines, middle + bridge @ axes], size)
    y = np.mgrid[: size[1], : size[0]][0] + 0.5
    height = ((y - eyes[0][1]) / (0.4 * apart)).clip(-1, 1)
    tint = rng.uniform(5, 60, 3)
    glow = 60 * _smooth(size, apart / 5, rng) ** 3
    return (tint + 25 * (height + 1)[..., None] + glow[..., None]), cover


def blob(points: Floats, size: tuple[int, int], rng: np.random.Generator) -> Layer:
    """A smooth shape of any colour over a fifth to a half of the face's width."""
    centre = points[int(rng.integers(17, 68))] + rng.normal(0, 0.05, 2) * _scale(points)
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = sum(rng.normal(0, 0.25 / k) * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) for k in range(2, 6))
    radius = rng.uniform(0.13, 0.28) * _scale(points) * np.asarray(1 + waves).clip(0.4, 1.8)
    outline = centre + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    first, second = rng.uniform(10, 245, 3), rng.uniform(10, 245, 3)
    pattern = _smooth(size, _scale(points) / rng.uniform(6, 25), rng)[..., None]
    return np.asarray(first * pattern + second * (1 - pattern)), _filled([outline], size)


KINDS: Final[Mapping[str, Callable[[Floats, tuple[int, int], np.random.Generator], Layer]]] = {
    "surgical mask": surgical_mask,
    "sunglasses": sunglasses,
    "blob": blob,
}

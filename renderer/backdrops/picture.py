"""The picture behind everything, as linear radiance that fits the light of the scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft

from renderer.backdrops.flat import clutter, foliage, plain
from renderer.backdrops.paint import Painter
from renderer.backdrops.places import room, street
from renderer.labels import panorama
from renderer.labels.pixel_filter import filtered
from renderer.parameters.params import Backdrop, Camera, Environment, Light

Floats = npt.NDArray[np.float32]

MADE_UP: Final[Mapping[str, Callable[[Painter, int], Image.Image]]] = {
    "plain": plain,
    "clutter": clutter,
    "foliage": foliage,
    "room": room,
    "street": street,
}
_GRID: Final = 2  # points along a pixel's side
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)
_GRAY: Final = 0.18  # mean reflectance of a panorama's crop
_WHITE: Final = 4.0  # radiance of what is white in a picture, as lamps, windows and skies exceed paper


def backdrop_picture(
    b: Backdrop, resolution: int, textures: list[Path], photos: Mapping[str, Path], panorama_of: Callable[[str], Floats]
) -> Floats:
    """(resolution, resolution, 3), as if white paper had radiance 1.

    textures, photos: image files. panorama_of: the radiance of a panorama, (H, W, 3), the lowest row first.
    """
    side = resolution * _GRID
    if b.kind == "panorama":
        fine = _crop_of_panorama(b, panorama_of(b.name), resolution, side)
    else:
        if b.kind == "photo":
            picture = _crop_of_photo(b, photos[b.name], resolution, side)
        else:
            picture = MADE_UP[b.kind](Painter(np.random.default_rng(b.seed), textures), side)
        x = _linear(np.asarray(picture))
        fine = x * (1 + (_WHITE - 1) * x.min(axis=2, keepdims=True) ** 6)
    if b.mirror:
        fine = fine[:, ::-1]
    if b.blur > 0:
        fine = out_of_focus(fine, b.blur * side)
    return np.asarray(filtered(np.ascontiguousarray(fine), _GRID))


def paper_white(e: Environment, light: Light, picture: Floats | None) -> Floats:
    """(3,) radiance of white paper in the light of a scene, turned to the camera; its hue is half of the light's.

    picture: the panorama of the surroundings, (H, W, 3), where they have one.
    """
    around = np.asarray(e.colour if e.kind == "gray" else (0.5, 0.5, 0.5), np.float32)
    if picture is not None:
        rows = np.cos((np.arange(len(picture)) + 0.5) / len(picture) * math.pi - math.pi / 2)
        weights = (rows / rows.sum()).astype(np.float32)
        around = np.einsum("h,hwc->c", weights, np.minimum(picture, 50.0)) / picture.shape[1]
    sun = np.asarray(light.colour, np.float32) * light.strength * max(0.0, light.direction[2]) / math.pi
    radiance = around * np.float32(e.strength) + (sun if light.on else 0.0)
    level = max(float(radiance @ _LUMINANCE), 1e-3)
    return np.asarray(level * np.sqrt(np.maximum(radiance, 0.0) / level), np.float32)


def out_of_focus(image: Floats, radius_px: float) -> Floats:
    """(H, W, 3) as a lens out of focus shows it: each point is a disc. Edges are mirrored."""
    margin = math.ceil(radius_px) + 1
    padded = np.pad(image, [(margin, margin), (margin, margin), (0, 0)], mode="symmetric")
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in padded.shape[:2])
    disc = np.clip(radius_px + 0.5 - np.hypot(y[:, None], x), 0.0, 1.0).astype(np.float32)
    lens = fft.rfft2(disc / disc.sum())[..., None]
    blurred = fft.irfft2(fft.rfft2(padded, axes=(0, 1)) * lens, s=padded.shape[:2], axes=(0, 1))
    return np.maximum(blurred[margin:-margin, margin:-margin], 0.0).astype(np.float32)


def _crop_of_panorama(b: Backdrop, picture: Floats, resolution: int, side: int) -> Floats:
    """Level, uprights upright, from a wide view to one pixel for each of the panorama's; its mean is `_GRAY`."""
    native = picture.shape[1] / (2 * math.pi) / resolution  # focal length in picture widths
    wide = min(0.45, native)
    focal = wide * (native / wide) ** b.zoom
    camera = Camera(focal, 1.0, 1.0, 0.0, (b.across[1] - 0.5) * 0.6)
    turn = (0.0, 0.0, 2 * math.pi * b.across[0])
    still = Environment("hdri", b.name, 1.0, turn, 1.0, False, (0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0))
    fine = panorama.backdrop(picture, still, camera, 0.0, side)
    return fine * np.float32(_GRAY / max(float(np.minimum(fine, 20.0).mean(axis=(0, 1)) @ _LUMINANCE), 1e-4))


def _crop_of_photo(b: Backdrop, path: Path, resolution: int, side: int) -> Image.Image:
    """A square, from the whole height or width to two pixels for each of the photograph's."""
    with Image.open(path) as image:
        photo = image.convert("RGB")
    whole = min(photo.size)
    least = min(whole, resolution)
    edge = whole * (least / whole) ** b.zoom
    left, top = (place * (size - edge) for place, size in zip(b.across, photo.size, strict=True))
    return photo.resize(
        (side, side), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge), reducing_gap=2.0
    )


def _linear(srgb: npt.NDArray[Any]) -> Floats:
    x = np.arange(256, dtype=np.float32) / 255
    table = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return np.asarray(table[srgb])

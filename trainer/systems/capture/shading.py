"""A mesh from the front, shaded or coloured by its errors: triangles painted from back to front by Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Floats = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]
LIGHT: Final = np.array([0.35, 0.45, 0.82])  # towards it, in head space
SKIN: Final = np.array([226.0, 214.0, 202.0])
GROUND: Final = (24, 24, 24)
OVERSAMPLE: Final = 2
FULL_MM: Final = 3.0  # error that has the last colour
COLOURS: Final = np.array([[38, 60, 110], [60, 150, 160], [235, 220, 120], [230, 110, 50], [170, 20, 40]], float)


@dataclass(frozen=True)
class View:
    """An orthographic camera in front of a head: what is in the middle, and how many pixels a metre takes."""

    middle: tuple[float, float]
    scale: float
    height: int
    width: int

    @classmethod
    def of(cls, points: Floats, height: int, width: int) -> View:
        """One that shows all of the points (V, 3), with some room."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        extent = np.maximum((high - low) * 1.12, 1e-9)
        x, y = (low + high) / 2
        return cls((float(x), float(y)), float(min(width / extent[0], height / extent[1])), height, width)


def shaded(points: Floats, triangles: npt.NDArray[Any], view: View, error_mm: Floats | None = None) -> Bytes:
    """(H, W, 3). points: (V, 3) metres. error_mm: (V,), shown as colours in place of that of skin."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    front = np.flatnonzero((normals[:, 2] > 0) & (length > 0))
    front = front[np.argsort(corners[front, :, 2].mean(1))]
    light = np.clip(_smooth(normals, triangles, len(points))[front] @ LIGHT, 0.12, 1)[:, None]
    colours = SKIN if error_mm is None else colours_of(error_mm[triangles[front]].mean(1))
    paint = (light * colours if error_mm is None else (0.45 + 0.55 * light) * colours).astype(int)
    scale = view.scale * OVERSAMPLE
    x = (corners[front, :, 0] - view.middle[0]) * scale + view.width * OVERSAMPLE / 2
    y = view.height * OVERSAMPLE / 2 - (corners[front, :, 1] - view.middle[1]) * scale
    places = np.stack([x, y], 2).reshape(-1, 6).tolist()
    canvas = Image.new("RGB", (view.width * OVERSAMPLE, view.height * OVERSAMPLE), GROUND)
    draw = ImageDraw.Draw(canvas)
    for place, colour in zip(places, paint.tolist(), strict=True):
        draw.polygon(place, fill=tuple(colour))
    return np.asarray(canvas.resize((view.width, view.height), Image.Resampling.BOX), np.uint8)


def _smooth(normals: Floats, triangles: npt.NDArray[Any], vertices: int) -> Floats:
    """(F, 3) of unit length: of each triangle the mean of its corners' normals, which are those of all around them."""
    at = [np.bincount(triangles.ravel(), np.repeat(normals[:, axis], 3), vertices) for axis in range(3)]
    mean = _unit(np.stack(at, 1))[triangles].mean(1)
    return _unit(mean)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30))


def colours_of(error_mm: Floats) -> Floats:
    """(K,) to (K, 3): blue at 0, red from `FULL_MM` on."""
    place = np.clip(np.asarray(error_mm) / FULL_MM, 0, 1) * (len(COLOURS) - 1)
    low = np.minimum(place.astype(int), len(COLOURS) - 2)
    part = (place - low)[:, None]
    return np.asarray(COLOURS[low] * (1 - part) + COLOURS[low + 1] * part)

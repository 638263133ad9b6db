"""Masks against parts of faces labelled by hand.

Labels rarely say what a mask of a UV map says: they have no border to the neck that agrees with a template's, one code
for clear and for dark glasses, and nothing under hair. Such pixels are not counted.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from renderer.errors import FormatError
from trainer.evaluation.photos.annotations import Flags, Floats

CODES: Final = {
    "background": 0, "skin": 1, "nose": 2, "eye": 3, "brow": 4, "mouth": 5, "lips": 6, "glasses": 7, "hair": 8,
    "hat": 9, "ear": 10, "neck": 11, "other": 12, "outer": 13, "unknown": 255,
}  # fmt: skip
"""mouth: its inside. other: what covers a face, such as a hand. outer: skin that may belong to face, ear or neck."""
FACE: Final = ("skin", "nose", "brow", "lips")
NOT_COUNTED: Final = ("mouth", "eye", "ear", "neck", "outer", "unknown")
CORE: Final = (
    0.05  # of the square root of the hull's area: so far inside the hull, hair and hats cover face for certain
)
BORDER_PX: Final = 1  # pixels beside a border of the labels that are not counted
Target = npt.NDArray[np.int8]  # (H, W): 1 is face, 0 is not, -1 is not counted


def read_labels(path: Path, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Codes (H, W) of a PNG, scaled to a picture's (width, height). Raises FormatError on unknown codes."""
    try:
        with Image.open(path) as image:
            codes = np.asarray(image.resize(size, Image.Resampling.NEAREST) if image.size != size else image)
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise FormatError(f"{path} cannot be read as a picture: {error}") from error
    if codes.ndim != 2:
        raise FormatError(f"{path} has {codes.shape[-1]} channels: labels are one code per pixel")
    if unknown := sorted(set(np.unique(codes).tolist()) - set(CODES.values())):
        raise FormatError(f"{path} holds the codes {unknown[:5]}; known are {CODES}")
    return codes


def targets(codes: npt.NDArray[Any], hull: Floats) -> tuple[Target, Target]:
    """What the full and what the visible mask should be, borders of the labels not counted. hull: (n, 2) pixels."""

    def are(*names: str) -> Flags:
        return np.isin(codes, [CODES[name] for name in names])

    around = inside(hull, (codes.shape[1], codes.shape[0]))
    core = eroded(around, core_px(around))
    full = are(*FACE).astype(np.int8)
    full[are(*NOT_COUNTED)] = -1
    visible = full.copy()
    full[are("glasses")] = -1
    full[are("glasses") & around] = 1
    visible[are("glasses")] = -1
    full[are("hair", "hat") & around] = -1
    full[are("hair", "hat") & core] = 1
    for target in (full, visible):
        target[_near_border(target == 1)] = -1
    return full, visible


def core_px(around: Flags) -> int:
    """By how many pixels a hull is eroded."""
    return max(1, round(CORE * math.sqrt(max(1, int(around.sum())))))


def inside(polygon: Floats, size: tuple[int, int]) -> Flags:
    """Pixels of a polygon, (H, W). polygon: (n, 2) pixels from the corner. size: width, height."""
    image = Image.new("L", size, 0)
    corners = [(float(x), float(y)) for x, y in polygon - 0.5]  # Pillow counts from the first pixel's centre
    ImageDraw.Draw(image).polygon(corners, fill=1, outline=1)
    return np.asarray(image, bool)


def eroded(mask: Flags, pixels: int) -> Flags:
    """The mask without so many pixels of its rim; what lies beyond the picture's edge is no part of it."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(mask, iterations=pixels), bool)


def _near_border(face: Flags) -> Flags:
    """Pixels beside which, to the left or right, above or below, face ends."""
    near = np.zeros(face.shape, bool)
    rows, columns = face[:-1] != face[1:], face[:, :-1] != face[:, 1:]
    near[:-1] |= rows
    near[1:] |= rows
    near[:, :-1] |= columns
    near[:, 1:] |= columns
    return near


def scores(found: Flags, target: Target) -> dict[str, float]:
    """IoU, F1, precision and recall over the pixels that count; 0 where there is nothing to divide by."""
    hit, wrong = int((found & (target == 1)).sum()), int((found & (target == 0)).sum())
    missed = int((~found & (target == 1)).sum())
    return {
        "iou": hit / max(1, hit + wrong + missed),
        "f1": 2 * hit / max(1, 2 * hit + wrong + missed),
        "precision": hit / max(1, hit + wrong),
        "recall": hit / max(1, hit + missed),
    }

"""Contact sheets: tone-mapped pictures of samples, as in Ronkainen 2017, figures 3.9 and 3.10. Pure array functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Bytes = npt.NDArray[np.uint8]


def tone_map(radiance: npt.NDArray[Any]) -> Bytes:
    """(H, W, 3) linear radiance to sRGB bytes; highlights are rolled off rather than cut."""
    x = np.clip(radiance.astype(np.float32), 0.0, None)
    x = np.where(x < 0.5, x, 0.5 + 0.5 * (1.0 - np.exp(-2.0 * (x - 0.5))))
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return (np.clip(srgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def uv_picture(uv: npt.NDArray[Any]) -> Bytes:
    """(H, W, 2) UV to colours: U is red, V is green."""
    rgb = np.concatenate([uv.astype(np.float32), np.zeros((*uv.shape[:2], 1), np.float32)], axis=2)
    return (np.clip(rgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def mask_picture(mask: npt.NDArray[Any]) -> Bytes:
    """(H, W, 2) mask to colours: white is visible face, orange is face behind an occluder."""
    face, visible = (np.clip(mask[..., i].astype(np.float32), 0.0, 1.0) for i in (0, 1))
    hidden = np.clip(face - visible, 0.0, 1.0)[..., None] * np.array([1.0, 0.5, 0.1], np.float32)
    return (np.clip(visible[..., None] + hidden, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def triplet_picture(images: Mapping[str, npt.NDArray[Any]]) -> Bytes:
    """Input, UV and mask side by side."""
    parts = [tone_map(images["input"]), uv_picture(images["uv"]), mask_picture(images["mask"])]
    return np.concatenate(parts, axis=1)


def sheet(tiles: Sequence[Bytes], columns: int | None = None, captions: Sequence[str] = (), gap: int = 2) -> Bytes:
    """Tiles of one size to one picture, row by row, with an optional caption under each.

    columns: by default such that the sheet is about as wide as high. No tiles give one dark pixel.
    """
    if not tiles:
        return np.full((1, 1, 3), 24, np.uint8)
    height, width = tiles[0].shape[:2]
    lines = max((c.count("\n") + 1 for c in captions), default=0)
    step_y, step_x = height + 11 * lines + gap, width + gap
    columns = columns or max(1, round(math.sqrt(len(tiles) * step_y / step_x)))
    rows = math.ceil(len(tiles) / columns)
    canvas = Image.new("RGB", (columns * step_x - gap, rows * step_y - gap), (24, 24, 24))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=9)
    for i, tile in enumerate(tiles):
        x, y = i % columns * step_x, i // columns * step_y
        canvas.paste(Image.fromarray(tile), (x, y))
        if captions:
            draw.multiline_text((x + 2, y + height), captions[i], fill=(220, 220, 220), font=font, spacing=1)
    return np.asarray(canvas)


def caption(record: Mapping[str, Any]) -> str:
    """A few lines about a sample: index, pose, lens, surface, light."""
    k = record["knobs"]
    if not k["heads"]:
        return f"{record['index']}  no head\n{k['environment.kind']} {k['environment.name']}"
    degrees = {name: math.degrees(k[f"pose.{name}_rad"]) for name in ("yaw", "pitch", "roll")}
    return (
        f"{record['index']}  yaw {degrees['yaw']:.0f} pitch {degrees['pitch']:.0f} roll {degrees['roll']:.0f}\n"
        f"{k['camera.focal_mm']:.0f} mm  {k['surface.kind']} {k['surface.texture']}\n"
        f"{'open' if k['mouth_open'] else 'shut'}  {k['environment.kind']} {k['environment.name']}"
    )

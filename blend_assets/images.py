"""Turns the packages' images into those of the pack: masks, head crops of skins, proxy textures, environment maps."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from blend_assets.hm08 import SKIN_U0, SOCKET_SHIFT, U_FROM_V, V_FROM_U
from renderer.errors import AssetError
from renderer.format.sample_format import CENTRE_U

FACE_MASK_PX: Final = 1024
MASK_ROWS_PX: Final = 1024  # height of region masks in the skins' frame
PROXY_TEXTURE_PX: Final = 512
HALF_MAX: Final = 65504.0

Bytes = npt.NDArray[np.uint8]


def png(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    """Write (H, W) or (H, W, 3 or 4) bytes; no metadata, so equal pixels give equal files."""
    Image.fromarray(pixels).save(path, "PNG", optimize=True)


def face_mask(raw: bytes) -> Bytes:
    """The frontal mask in canonical UV: (1024, 1024) uint8, row 0 is V = 1, column 0 is U = 0, border at 128.

    The source is not quite symmetric and has JPEG noise: it is averaged with its mirror image about the face's midline
    and smoothed by about one of its texels.
    """
    source = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), np.float64)
    size = len(source)
    centre = (np.arange(FACE_MASK_PX) + 0.5) / FACE_MASK_PX
    u = (V_FROM_U[0] - V_FROM_U[1] * centre[::-1]) * size - 0.5  # source column of each V, top first
    sides = []
    for across in (centre, 2 * CENTRE_U - centre):
        v = (1 - (U_FROM_V[0] + U_FROM_V[1] * across)) * size - 0.5  # source row of each U
        rows, cols = np.meshgrid(v, u)
        sides.append(ndimage.map_coordinates(source, [rows, cols], order=1, mode="constant"))
    mask = ndimage.gaussian_filter((sides[0] + sides[1]) / 2, sigma=2.0)
    return np.asarray(np.rint(np.clip(mask, 0, 255)), np.uint8)


def _frame(source: npt.NDArray[np.uint8], uv: npt.NDArray[np.float32], sockets: npt.NDArray[np.bool_]) -> Bytes:
    """Crop a whole-body image (S, S, C) to the skins' frame, keeping only the texels of the head's charts.

    uv: (F, 4, 2) skin UVs of the faces with own texels; sockets: (F,) faces of the moved charts. Texels of no chart
    are filled smoothly from those that have one: nothing bleeds in, and no other body part is shipped. A chart's
    outermost texel is not trusted, since it may mix with what lies outside.
    """
    size = len(source)
    start = round(SKIN_U0 * size)
    width = size - start
    inside = np.zeros((2, size, width), bool)
    for moved in (False, True):
        canvas = Image.new("1", (width, size))
        draw = ImageDraw.Draw(canvas)
        for quad in uv[sockets == moved]:
            points = [(float(u) * width - 0.5, (1 - float(v)) * size - 0.5) for u, v in quad]
            draw.polygon(points, fill=1, outline=1)
        inside[int(moved)] = np.asarray(canvas)
    shift = [round(s * size) for s in SOCKET_SHIFT]
    rolled = np.roll(source, (-shift[1], shift[0]), axis=(0, 1))[:, start:]
    frame = np.where(inside[1][..., None], rolled, source[:, start:])
    trusted = ndimage.binary_erosion(inside[0]) | ndimage.binary_erosion(inside[1])
    return _fill(frame, trusted)


def _fill(image: Bytes, known: npt.NDArray[np.bool_]) -> Bytes:
    """Fill (H, W, C) outside `known` with blurs of growing width of what is known; the rest with the mean."""
    colour = image.astype(np.float64)
    out = np.where(known[..., None], colour, colour[known].mean(axis=0))
    todo = ~known
    for sigma in (1.0, 3.0, 9.0, 27.0):
        share = ndimage.gaussian_filter(known.astype(np.float64), sigma)
        use = todo & (share > 0.02)
        for channel in range(image.shape[2]):
            blurred = ndimage.gaussian_filter(colour[..., channel] * known, sigma)
            out[use, channel] = blurred[use] / share[use]
        todo &= ~use
    return np.asarray(np.rint(np.clip(out, 0, 255)), np.uint8)


def skin(raw: bytes, uv: npt.NDArray[np.float32], sockets: npt.NDArray[np.bool_]) -> Bytes:
    """Head crop of a whole-body skin: (S, 3/8 S, 3) uint8."""
    return _frame(np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")), uv, sockets)


def region_mask(raw: bytes, uv: npt.NDArray[np.float32], sockets: npt.NDArray[np.bool_]) -> Bytes:
    """A grey region mask (lips, ears, ...) in the skins' frame: (1024, 384) uint8."""
    grey = Image.open(io.BytesIO(raw)).convert("L").resize((MASK_ROWS_PX, MASK_ROWS_PX), Image.Resampling.BOX)
    return _frame(np.asarray(grey)[..., None], uv, sockets)[..., 0]


def proxy_texture(raw: bytes) -> Bytes:
    """RGBA texture of at most 512 px."""
    image = Image.open(io.BytesIO(raw)).convert("RGBA")
    image.thumbnail((PROXY_TEXTURE_PX, PROXY_TEXTURE_PX), Image.Resampling.LANCZOS)
    return np.array(image)


def decode_exr_module(text: str) -> bytes:
    """The EXR inside a JavaScript module `export default 'data:application/exr;base64,...'`."""
    found = re.search(r"data:application/exr;base64,([A-Za-z0-9+/=]+)", text)
    if found is None:
        raise AssetError("an environment map's module holds no base64 EXR")
    return base64.b64decode(found[1])


def environment(raw: bytes, path: Path) -> tuple[int, int]:
    """Rewrite an environment map as half-float ZIP RGB without negative values; return (width, height).

    DWA compression leaves slightly negative values, which gamma or colour steps would turn into NaN.
    """
    import OpenEXR

    source = path.with_suffix(".source")
    source.write_bytes(raw)
    try:
        with OpenEXR.File(str(source)) as file:
            channels = file.channels()
            if "RGB" in channels:
                pixels = np.asarray(channels["RGB"].pixels, np.float32)
            elif "RGBA" in channels:
                pixels = np.asarray(channels["RGBA"].pixels, np.float32)[..., :3]
            else:
                pixels = np.stack([np.asarray(channels[c].pixels, np.float32) for c in "RGB"], axis=-1)
    finally:
        source.unlink()
    pixels = np.clip(np.nan_to_num(pixels, nan=0.0, posinf=HALF_MAX), 0.0, HALF_MAX).astype(np.float16)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": np.ascontiguousarray(pixels)}) as out:
        out.write(str(path))
    return pixels.shape[1], pixels.shape[0]

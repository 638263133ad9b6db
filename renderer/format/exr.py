"""EXR images in memory. Equal pixels give equal bytes: the header holds no date, path or timing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR

from renderer.errors import FormatError
from renderer.format.sample_format import CHANNELS

Image = npt.NDArray[Any]


def encode(name: str, image: Image) -> bytes:
    """One image of a sample as EXR bytes, ZIP compressed.

    name: a key of `CHANNELS`. image: (H, W, C) or (H, W) float16 or float32; C as in `CHANNELS[name]`.
    Raises FormatError on another shape, dtype, or a value that is not finite.
    """
    channels = CHANNELS[name]
    planes = image[..., None] if image.ndim == 2 else image
    if planes.ndim != 3 or planes.shape[2] != len(channels) or planes.dtype not in (np.float16, np.float32):
        raise FormatError(
            f"image {name!r} is {image.dtype} {image.shape}; it needs (H, W, {len(channels)}) float16 or float32"
        )
    if not np.isfinite(planes).all():
        raise FormatError(f"image {name!r} holds values that are not finite")
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    data = {channel: np.ascontiguousarray(planes[..., i]) for i, channel in enumerate(channels)}
    buffer = io.BytesIO()
    OpenEXR.File(header, data).write(buffer)
    return buffer.getvalue()


def decode(name: str, data: bytes) -> Image:
    """The inverse of `encode`: (H, W, C) in the stored dtype, channels in the order of `CHANNELS[name]`.

    Raises FormatError if the bytes are not an EXR image with just these channels.
    """
    try:
        channels = OpenEXR.File(io.BytesIO(data), separate_channels=True).channels()
    except Exception as error:  # OpenEXR raises bare RuntimeError and others on corrupt data
        raise FormatError(f"image {name!r} is not a readable EXR file: {error}") from error
    if set(channels) != set(CHANNELS[name]):
        raise FormatError(f"image {name!r} has channels {sorted(channels)}; expected {sorted(CHANNELS[name])}")
    # Planes lie one after another, as in the file and as networks want them: interleaving would double the time.
    planes: Image = np.stack([channels[c].pixels for c in CHANNELS[name]])
    return planes.transpose(1, 2, 0)


def read_channels(path: Path) -> dict[str, Image]:
    """All channels of any EXR file, by name, each (H, W)."""
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            return {name: channel.pixels for name, channel in file.channels().items()}
    except Exception as error:
        raise FormatError(f"{path} is not a readable EXR file: {error}") from error

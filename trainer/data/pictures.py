"""Photos: their files read upright as sRGB bytes, bytes to tensors and back, and stored light as a photo shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from renderer.errors import FormatError

PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS: Final = 400_000_000  # of a file; larger ones are refused before they are decoded
BASE_GAMMA: Final = 2.2  # linear light to picture values, where gamma is not varied
LEVELS: Final = 256  # of picture values
ORIENTATION_TAG: Final = 0x0112  # of EXIF; from 5 on width and height are exchanged
Bytes = npt.NDArray[np.uint8]


def picture_values(linear: Tensor) -> Tensor:
    """Stored radiance to the picture values that a photo has: base gamma, clipped to [0, 1], in 256 levels."""
    return torch.round(linear.float().clamp(0, 1) ** (1 / BASE_GAMMA) * (LEVELS - 1)) / (LEVELS - 1)


def to_tensor(picture: Bytes) -> Tensor:
    """(H, W, 3) bytes to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_bytes(picture: Tensor) -> Bytes:
    """(1, 3, H, W) in [0, 1] to (H, W, 3) bytes."""
    return np.asarray((picture[0].clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy())


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo as it stands upright, without decoding it. Raises FormatError for no picture."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # `read_picture` bounds it
    try:
        with Image.open(path) as image:
            lying = image.getexif().get(ORIENTATION_TAG, 1) >= 5
            return (image.height, image.width) if lying else (image.width, image.height)
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise FormatError(f"{path} cannot be read as a picture: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def read_picture(path: Path, max_side: int) -> Bytes:
    """A photo as sRGB bytes, upright, scaled down to `max_side`. Raises FormatError for what is no picture."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # bounded here, with a message that helps
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise FormatError(f"{path} has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
            image.draft("RGB", (max_side, max_side))  # JPEG is decoded smaller at once
            image.thumbnail((max_side, max_side), Image.Resampling.BOX, reducing_gap=2.0)
            return np.asarray(_eight_bit(ImageOps.exif_transpose(image)).convert("RGB"))
    except FormatError:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise FormatError(f"{path} cannot be read as a picture: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits as 8 bits; Pillow's own conversion to RGB clips them, so that all turns white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, np.float32) / 257).round().clip(0, 255).astype(np.uint8))

"""Drawings over a picture: lines and points of the UV grid, discs, UV as colours.

Pure functions of float32 tensors, axes N, C, H, W, values of pictures in [0, 1]. Throughout:

    image    (N, 3, H, W)  a picture
    uv       (N, 2, H, W)  U, V at pixel centres; read only where the mask is positive
    mask     (N, 1, H, W)  how much of the pixel is face, in [0, 1]

Points are (x, y) pixels from the top left corner; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.pictures import Bytes, to_bytes, to_tensor
from trainer.uvmaps.points import find_points, regular_points
from trainer.uvmaps.textures import EPSILON, box_of

U_COLOUR = (1.0, 0.35, 0.25)  # lines of constant U
V_COLOUR = (0.25, 0.85, 1.0)  # lines of constant V


def grid_lines(
    image: Tensor,
    uv: Tensor,
    mask: Tensor,
    count: int = 20,
    width_px: float = 1.2,
    colours: Sequence[Sequence[float]] = (U_COLOUR, V_COLOUR),
) -> Tensor:
    """The picture with antialiased lines at every 1 / count of U and of V, `width_px` wide. (N, 3, H, W)."""
    top, bottom, left, right = box_of(mask)
    out = image.clone()
    if top >= bottom:
        return out
    part = (slice(None), slice(None), slice(top, bottom), slice(left, right))
    inside = mask[part] > 0.5
    for channel, colour in enumerate(colours):
        value = uv[part][:, channel : channel + 1]
        steps = value * count
        away = (steps - steps.round()).abs() / count  # in UV units
        pixels = away / slope(value, inside).clamp(min=EPSILON)
        alpha = (width_px / 2 + 0.5 - pixels).clamp(0, 1) * inside
        paint = torch.tensor(colour, dtype=image.dtype, device=image.device)[None, :, None, None]
        out[part] = out[part] * (1 - alpha) + paint * alpha
    return out


def slope(value: Tensor, inside: Tensor) -> Tensor:
    """Change of (N, 1, H, W) per pixel, uphill: towards the gentler neighbour inside, 0 where there is none."""
    total = torch.zeros_like(value)
    for axis in (2, 3):
        length = value.shape[axis]
        step = value.diff(dim=axis).abs()
        ok = inside.narrow(axis, 1, length - 1) & inside.narrow(axis, 0, length - 1)
        step = step.masked_fill(~ok, torch.inf)
        pad = [0, 0, 1, 1] if axis == 2 else [1, 1, 0, 0]
        padded = F.pad(step, pad, value=torch.inf)
        gentler = torch.minimum(padded.narrow(axis, 0, length), padded.narrow(axis, 1, length))
        total += gentler.masked_fill(torch.isinf(gentler), 0).square_()
    return total.sqrt_()


def grid_points(image: Tensor, uv: Tensor, mask: Tensor, count: int = 20, radius_px: float = 1.5) -> Tensor:
    """The picture with a dot at every crossing of the UV grid. (N, 3, H, W)."""
    points = find_points(uv, mask, regular_points(count).to(uv.device))
    return draw_points(image, points, radius_px)


def draw_points(
    image: Tensor, points: Tensor, radius_px: float = 1.5, colour: Sequence[float] = (0.2, 1.0, 0.4)
) -> Tensor:
    """The picture with antialiased discs at (N, K, 2) pixels; NaN is not drawn. (N, 3, H, W)."""
    n, _, height, width = image.shape
    reach = int(radius_px + 1.5)
    offsets = torch.arange(-reach, reach + 1, device=image.device)
    dy, dx = torch.meshgrid(offsets, offsets, indexing="ij")
    shown = torch.isfinite(points).all(-1)
    frame, _ = shown.nonzero(as_tuple=True)
    at = points[shown].to(image.dtype)
    column = at[:, 0].floor().long()[:, None] + dx.flatten()
    row = at[:, 1].floor().long()[:, None] + dy.flatten()
    away = torch.hypot(column + 0.5 - at[:, :1], row + 0.5 - at[:, 1:])
    alpha = (radius_px + 0.5 - away).clamp(0, 1)
    ok = (alpha > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = ((frame[:, None] * height + row) * width + column)[ok]
    cover = torch.zeros(n * height * width, dtype=image.dtype, device=image.device)
    cover.scatter_reduce_(0, place, alpha[ok].to(image.dtype), "amax")
    paint = torch.tensor(colour, dtype=image.dtype, device=image.device)[None, :, None, None]
    return torch.lerp(image, paint.expand_as(image), cover.view(n, 1, height, width))


def uv_colours(uv: Tensor) -> Tensor:
    """UV as a picture, (N, 3, H, W): U red, V green."""
    return torch.cat([uv, torch.zeros_like(uv[:, :1])], 1)


def sample_grid(picture: Bytes, uv: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Bytes:
    """A stored sample with the grid lines of its own UV. picture: (H, W, 3) bytes; uv, mask: (H, W, 2)."""
    with one_thread():
        inside = torch.from_numpy((mask[..., :1] > 0.999).astype(np.float32)).permute(2, 0, 1)[None]
        values = torch.from_numpy(uv.astype(np.float32)).permute(2, 0, 1)[None]
        return to_bytes(grid_lines(to_tensor(picture), values, inside, 16))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: for pictures this small, threads cost more than they bring, on a busy machine tenfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

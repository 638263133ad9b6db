"""Projections between a picture and the texture of its face (Ronkainen 2017, 3.8-3.9).

Pure functions of float32 tensors, axes N, C, H, W, values of pictures in [0, 1]. Throughout:

    image    (N, 3, H, W)  a picture
    uv       (N, 2, H, W)  U, V at pixel centres; read only where the mask is positive
    mask     (N, 1, H, W)  how much of the pixel is face, in [0, 1]
    texture  (N or 1, C, S, T)  V = 1 in row 0, U = 0 in column 0: as a texture is usually painted

Pixel (row, column) has its centre at (column + 0.5, row + 0.5) from the top left corner; texel (row, column) has its
centre at U = (column + 0.5) / T, V = 1 - (row + 0.5) / S.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6


def checker(size: int = 512, squares: int = 16) -> Tensor:
    """A texture that shows UV errors at a glance: coloured checkers whose hue tells where on the face they belong."""
    line = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(1 - line, line, indexing="ij")
    dark = ((u * squares).floor() + (v * squares).floor()) % 2
    colour = torch.stack([0.25 + 0.75 * u, 0.25 + 0.75 * v, 0.9 - 0.6 * u])
    return (colour * (1 - 0.55 * dark))[None]


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear look-up, (N, C, H, W). The border is repeated outward."""
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], -1)
    if texture.shape[0] == 1 < grid.shape[0]:
        texture = texture.expand(grid.shape[0], -1, -1, -1)
    return F.grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def texture_projection(image: Tensor, uv: Tensor, mask: Tensor, texture: Tensor, scale: int = 2) -> Tensor:
    """The picture with the texture laid over the face: UV scaled up, looked up, composited, scaled down.

    UV is scaled up with the mask as weight, so that what lies outside the mask does not bleed in. (N, 3, H, W).
    """
    top, bottom, left, right = box_of(mask)
    if top >= bottom:
        return image.clone()
    out = image.clone()
    part = (slice(None), slice(None), slice(top, bottom), slice(left, right))
    m = mask[part]
    both = torch.cat([uv[part] * m, m], 1)
    both = F.interpolate(both, scale_factor=scale, mode="bilinear", align_corners=False) if scale > 1 else both
    weight = both[:, 2:3]
    colours = sample_texture(texture, both[:, :2] / weight.clamp(min=EPSILON))
    laid = torch.cat([colours * weight, weight], 1)
    laid = F.avg_pool2d(laid, scale) if scale > 1 else laid
    out[part] = image[part] * (1 - laid[:, 3:4]) + laid[:, :3]
    return out


def box_of(mask: Tensor, margin: int = 1) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) around all that is positive in any image of the minibatch."""
    inside = mask.amax((0, 1)) > 0
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    if not len(rows):
        return 0, 0, 0, 0
    height, width = inside.shape
    return (
        max(int(rows[0]) - margin, 0),
        min(int(rows[-1]) + 1 + margin, height),
        max(int(columns[0]) - margin, 0),
        min(int(columns[-1]) + 1 + margin, width),
    )


def inverse_texture_projection(image: Tensor, uv: Tensor, mask: Tensor, size: int = 256) -> tuple[Tensor, Tensor]:
    """Every masked pixel splatted bilinearly to its place in the texture.

    image: (N, C, H, W). Returns the texture (N, C, size, size), zero where nothing fell, and the weight that fell on
    each texel, (N, 1, size, size).
    """
    n, channels = image.shape[:2]
    frame, row, column = (mask[:, 0] > 0).nonzero(as_tuple=True)
    weight = mask[frame, 0, row, column]
    u, v = uv[frame, 0, row, column], uv[frame, 1, row, column]
    x, y = u * size - 0.5, (1 - v) * size - 0.5
    left, top = x.floor(), y.floor()
    fx, fy = x - left, y - top
    left, top = left.long(), top.long()
    values = torch.cat([image[frame, :, row, column], torch.ones_like(weight)[:, None]], 1) * weight[:, None]
    total = torch.zeros(n * size * size, channels + 1, dtype=image.dtype, device=image.device)
    for dy in (0, 1):
        for dx in (0, 1):
            share = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
            tx, ty = left + dx, top + dy
            inside = (tx >= 0) & (tx < size) & (ty >= 0) & (ty < size)
            place = (frame * size + ty.clamp(0, size - 1)) * size + tx.clamp(0, size - 1)
            total.index_add_(0, place, values * (share * inside)[:, None])
    total = total.view(n, size, size, channels + 1).permute(0, 3, 1, 2)
    fallen = total[:, -1:]
    return total[:, :-1] / fallen.clamp(min=EPSILON), fallen.contiguous()


def sample_known(texture: Tensor, weight: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Look-up in a texture with holes: texels of no weight count nothing. Values, and how much was known (0 to 1).

    texture, weight: as `inverse_texture_projection` returns them.
    """
    known = (weight > EPSILON).to(texture.dtype)
    both = sample_texture(torch.cat([texture * known, known], 1), uv)
    share = both[:, -1:]
    return both[:, :-1] / share.clamp(min=EPSILON), share


def fill_holes(texture: Tensor, weight: Tensor) -> Tensor:
    """A texture without holes: they take the mean of what lies around them (push-pull over an image pyramid)."""
    known = (weight > EPSILON).to(texture.dtype)
    if texture.shape[2] <= 1 or texture.shape[3] <= 1 or bool((known > 0).all()):
        return texture
    height, width = texture.shape[2:]
    coarse_weight = F.avg_pool2d(known, 2, ceil_mode=True, count_include_pad=False)
    coarse = F.avg_pool2d(texture * known, 2, ceil_mode=True, count_include_pad=False) / coarse_weight.clamp(
        min=EPSILON
    )
    coarse = fill_holes(coarse, coarse_weight)
    around = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return texture * known + around * (1 - known)


def well_covered(weight: Tensor, reach: int = 4) -> Tensor:
    """1 where a fair share of the texels around were hit, so that gaps between splatted pixels close; else 0."""
    known = (weight > 0.05).to(weight.dtype)
    return (F.avg_pool2d(known, 2 * reach + 1, 1, reach) > 0.15).to(weight.dtype)


def closed_texture(texture: Tensor, weight: Tensor) -> Tensor:
    """A splatted texture with the gaps between its pixels closed, black where nothing was seen."""
    return fill_holes(texture, weight) * well_covered(weight)


def fitting_size(mask: Tensor, most: int = 1024) -> int:
    """Side of the texture that the pixels of one mask fill without gaps."""
    return min(max(round(0.9 * math.sqrt(float((mask > 0.5).sum()))), 32), most)


@dataclass
class TextureAccumulator:
    """A texture out of many frames: the median per texel over the frames that saw it best.

    An occluder, a highlight or a wrong UV that passes by moves a mean, but not a median. Keeps `frames` textures.
    """

    size: int = 256
    frames: int = 32

    def __post_init__(self) -> None:
        self._seen: deque[Tensor] = deque(maxlen=self.frames)

    def add(self, image: Tensor, uv: Tensor, mask: Tensor) -> None:
        """One frame, N = 1."""
        texture, weight = inverse_texture_projection(image, uv, mask, self.size)
        texture = texture.masked_fill(weight < 0.05, torch.nan)
        self._seen.append(texture[0].half())

    def texture(self) -> tuple[Tensor, Tensor]:
        """(1, 3, S, S), zero where no frame saw anything, and the share of the frames that saw each texel."""
        if not self._seen:
            return torch.zeros(1, 3, self.size, self.size), torch.zeros(1, 1, self.size, self.size)
        stack = torch.stack(list(self._seen)).float()
        known = torch.isfinite(stack[:, :1]).float().mean(0, keepdim=True)
        return torch.nan_to_num(stack.nanmedian(0, keepdim=True).values), known


def face_swap(
    image: Tensor, uv: Tensor, mask: Tensor, other: Tensor, other_uv: Tensor, other_mask: Tensor, size: int = 0
) -> Tensor:
    """The face of `other` on the head of `image`, through the texture; colours fitted to those of `image`.

    What `other` does not show is taken from `image`. size: of the texture; 0 = as fine as `other` shows it. All N = 1.
    """
    size = size or fitting_size(other_mask)
    texture, weight = inverse_texture_projection(other, other_uv, other_mask, size)
    wanted, wanted_weight = inverse_texture_projection(image, uv, mask, size)
    common = (weight > 0.05) & (wanted_weight > 0.05)
    if int(common.sum()) < 16:
        return image.clone()
    texture = fit_colours(texture, wanted, common)
    reach = _soften(well_covered(weight), max(1, size // 64))
    texture = fill_holes(texture, weight)
    both = sample_texture(torch.cat([texture, reach], 1), uv)
    alpha = both[:, 3:4] * _soften(mask, max(1, round(min(mask.shape[2:]) / 64))) * mask
    return image * (1 - alpha) + both[:, :3].clamp(0, 1) * alpha


def fit_colours(texture: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
    """Mean and spread per channel of `texture`, brought to those of `wanted` over the texels `where`."""
    chosen = where.expand_as(texture)
    source, goal = texture[chosen].view(texture.shape[1], -1), wanted[chosen].view(texture.shape[1], -1)
    gain = (goal.std(1) / source.std(1).clamp(min=1e-3)).clamp(0.3, 3)[None, :, None, None]
    return (texture - source.mean(1)[None, :, None, None]) * gain + goal.mean(1)[None, :, None, None]


def _soften(mask: Tensor, radius: int) -> Tensor:
    """Mask eroded and blurred, so that it ends softly inside."""
    size = 2 * radius + 1
    eroded = -F.max_pool2d(-F.pad(mask, [radius] * 4), size, 1)
    return F.avg_pool2d(F.pad(eroded, [radius] * 4, mode="replicate"), size, 1)

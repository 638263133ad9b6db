"""What a UV map is good for, drawn: projections between a picture and the texture (Ronkainen 2017, 3.8-3.9).

Pure functions of float32 tensors, axes N, C, H, W, values of pictures in [0, 1]. Throughout:

    image    (N, 3, H, W)  a picture
    uv       (N, 2, H, W)  U, V at pixel centres; read only where the mask is positive
    mask     (N, 1, H, W)  how much of the pixel is face, in [0, 1]
    texture  (N or 1, C, S, T)  V = 1 in row 0, U = 0 in column 0: as a texture is usually painted

Pixel (row, column) has its centre at (column + 0.5, row + 0.5), points are (x, y) from the top left corner; texel
(row, column) has its centre at U = (column + 0.5) / T, V = 1 - (row + 0.5) / S.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6
U_COLOUR = (1.0, 0.35, 0.25)  # lines of constant U
V_COLOUR = (0.25, 0.85, 1.0)  # lines of constant V


# ---------------------------------------------------------------- texture onto picture


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


# ---------------------------------------------------------------- picture into texture


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


# ---------------------------------------------------------------- grid lines and points


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


def regular_points(count: int = 20) -> Tensor:
    """UVs of the inner crossings of a count x count grid, ((count - 1)^2, 2)."""
    line = torch.arange(1, count, dtype=torch.float32) / count
    return torch.cartesian_prod(line, line)


def find_points(uv: Tensor, mask: Tensor, points_uv: Tensor) -> Tensor:
    """Where the picture shows given UVs: "inverse mocap". (N, K, 2) pixels (x, y), NaN where it does not.

    Neighbouring pixel centres make triangles in UV; the one that holds a point places it by its barycentric weights.
    Of several (two heads) the one that is largest in the picture counts. points_uv: (K, 2).
    """
    return torch.stack([_find_in_one(uv[i], mask[i, 0], points_uv) for i in range(uv.shape[0])])


def _find_in_one(uv: Tensor, mask: Tensor, points_uv: Tensor) -> Tensor:
    """uv: (2, H, W). mask: (H, W). Returns (K, 2)."""
    found = torch.full((len(points_uv), 2), torch.nan, dtype=uv.dtype, device=uv.device)
    inside = mask > 0.5
    whole = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:]
    quad = whole.flatten().nonzero().flatten()
    if not len(quad) or not len(points_uv):
        return found
    width = uv.shape[2]
    first = torch.div(quad, width - 1, rounding_mode="floor") * width + quad % (width - 1)
    flat = uv.flatten(1)
    corners = torch.stack([flat[:, first + step] for step in (0, 1, width, width + 1)])  # (4, 2, quads)
    low, high = corners.amin(0), corners.amax(0)
    order = points_uv[:, 0].argsort()
    sorted_u = points_uv[order, 0].contiguous()
    start = torch.searchsorted(sorted_u, low[0].contiguous())
    stop = torch.searchsorted(sorted_u, high[0].contiguous(), right=True)
    per_quad = stop - start
    which = torch.repeat_interleave(torch.arange(len(quad), device=uv.device), per_quad)
    offset = torch.arange(len(which), device=uv.device) - torch.repeat_interleave(
        per_quad.cumsum(0) - per_quad, per_quad
    )
    point = order[start[which] + offset]
    v = points_uv[point, 1]
    fits = (v >= low[1, which]) & (v <= high[1, which])
    which, point = which[fits], point[fits]
    target = points_uv[point]
    x = (first[which] % width).to(uv.dtype) + 0.5
    y = torch.div(first[which], width, rounding_mode="floor").to(uv.dtype) + 0.5
    best = torch.full((len(points_uv),), torch.inf, dtype=uv.dtype, device=uv.device)
    for triangle in ((0, 1, 2), (3, 2, 1)):
        a, b, c = (corners[k][:, which].T for k in triangle)
        ab, ac, ap = b - a, c - a, target - a
        area = _cross(ab, ac)
        safe = torch.where(area.abs() < 1e-12, torch.ones_like(area), area)
        wb, wc = _cross(ap, ac) / safe, _cross(ab, ap) / safe
        tolerance = 1e-4
        holds = (area.abs() >= 1e-12) & (wb >= -tolerance) & (wc >= -tolerance) & (wb + wc <= 1 + tolerance)
        sign = 1.0 if triangle[0] == 0 else -1.0
        at = torch.stack([x + (0.0 if sign > 0 else 1.0) + sign * wb, y + (0.0 if sign > 0 else 1.0) + sign * wc], -1)
        index, size, place = point[holds], area[holds].abs(), at[holds]
        smallest = best.scatter_reduce(0, index, size, "amin")
        wins = size == smallest[index]
        found[index[wins]] = place[wins]
        best = smallest
    return found


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def find_landmarks(uv: Tensor, mask: Tensor, landmark_uv: Tensor, reach_uv: float = 0.02) -> Tensor:
    """`find_points`, and where a point lies just outside the face area seen, the nearest pixel extended by its slope.

    Several of the 68 landmarks lie on the rim of the face area. reach_uv: how far outside a point may lie. (N, 68, 2).
    """
    from trainer.systems.uvnet import metrics

    found = find_points(uv, mask, landmark_uv)
    if not bool(torch.isnan(found).any()):
        return found
    for i in range(uv.shape[0]):
        lacking = torch.isnan(found[i, :, 0])
        if not bool(lacking.any()) or not bool((mask[i] > 0.5).any()):
            continue
        inside = (mask[i, 0] > 0.5).nonzero()
        nearest = torch.cdist(landmark_uv[lacking].to(uv.dtype), uv[i][:, inside[:, 0], inside[:, 1]].T).amin(1)
        near = metrics.find_landmarks(uv[i : i + 1], mask[i : i + 1], landmark_uv[lacking])[0]
        found[i, lacking] = torch.where((nearest <= reach_uv)[:, None], near, torch.nan)
    return found


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


def grid_points(image: Tensor, uv: Tensor, mask: Tensor, count: int = 20, radius_px: float = 1.5) -> Tensor:
    """The picture with a dot at every crossing of the UV grid. (N, 3, H, W)."""
    points = find_points(uv, mask, regular_points(count).to(uv.device))
    return draw_points(image, points, radius_px)


def uv_colours(uv: Tensor, mask: Tensor) -> Tensor:
    """UV as a picture: U red, V green, black outside the mask. (N, 3, H, W)."""
    shown = uv * (mask > 0.5)
    return torch.cat([shown, torch.zeros_like(shown[:, :1])], 1).clamp(0, 1)


# ---------------------------------------------------------------- many frames, two faces


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


def fitting_size(mask: Tensor, most: int = 1024) -> int:
    """Side of the texture that the pixels of one mask fill without gaps."""
    return min(max(round(0.9 * math.sqrt(float((mask > 0.5).sum()))), 32), most)


def well_covered(weight: Tensor, reach: int = 4) -> Tensor:
    """1 where a fair share of the texels around were hit, so that gaps between splatted pixels close; else 0."""
    known = (weight > 0.05).to(weight.dtype)
    return (F.avg_pool2d(known, 2 * reach + 1, 1, reach) > 0.15).to(weight.dtype)


def closed_texture(texture: Tensor, weight: Tensor) -> Tensor:
    """A splatted texture with the gaps between its pixels closed, black where nothing was seen."""
    return fill_holes(texture, weight) * well_covered(weight)


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

"""Where a UV map shows given UVs ("inverse mocap"), in two ways.

`find_points` is exact and gives nothing where a point is not seen: for what is drawn, exported and followed in video.
`nearest_points` answers wherever there is a face, in a few tensor operations: for the metrics of a training, whose
targets say which points count. `find_landmarks` is the first with the second for points just outside the face area.

    uv         (N, 2, H, W)  U, V at pixel centres
    mask       (N, 1, H, W)  above one half is face
    points_uv  (K, 2)        UVs looked for
    found      (N, K, 2)     pixels (x, y) from the top left corner; pixel centres lie at .5; NaN is not found
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def regular_points(count: int = 20) -> Tensor:
    """UVs of the inner crossings of a count x count grid, ((count - 1)^2, 2)."""
    line = torch.arange(1, count, dtype=torch.float32) / count
    return torch.cartesian_prod(line, line)


def find_points(uv: Tensor, mask: Tensor, points_uv: Tensor) -> Tensor:
    """Where the picture shows given UVs, (N, K, 2); NaN where it does not.

    Neighbouring pixel centres make triangles in UV; the one that holds a point places it by its barycentric weights.
    Of several (two heads) the smallest triangle in UV counts, which is that of the face largest in the picture.
    """
    return torch.stack([_find_in_one(uv[i], mask[i, 0], points_uv) for i in range(uv.shape[0])])


def _find_in_one(uv: Tensor, mask: Tensor, points_uv: Tensor) -> Tensor:
    """uv: (2, H, W). mask: (H, W). Returns (K, 2)."""
    found = torch.full((len(points_uv), 2), torch.nan, dtype=uv.dtype, device=uv.device)
    first = _quads(mask > 0.5)
    if not len(first) or not len(points_uv):
        return found
    width = uv.shape[2]
    flat = uv.flatten(1)
    corners = torch.stack([flat[:, first + step] for step in (0, 1, width, width + 1)])  # (4, 2, quads)
    which, point = _candidates(corners, points_uv)
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
        sign, corner = (1.0, 0.0) if triangle[0] == 0 else (-1.0, 1.0)
        at = torch.stack([x + corner + sign * wb, y + corner + sign * wc], -1)
        index, size, place = point[holds], area[holds].abs(), at[holds]
        smallest = best.scatter_reduce(0, index, size, "amin")
        wins = size == smallest[index]
        found[index[wins]] = place[wins]
        best = smallest
    return found


def _quads(inside: Tensor) -> Tensor:
    """Pixels whose neighbours to the right, below and across are inside, too, as indices into the flat (H, W) image."""
    width = inside.shape[1]
    whole = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:]
    quad = whole.flatten().nonzero().flatten()
    return torch.div(quad, width - 1, rounding_mode="floor") * width + quad % (width - 1)


def _candidates(corners: Tensor, points_uv: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a quad and a point inside its bounding box in UV: indices of both. corners: (4, 2, quads)."""
    low, high = corners.amin(0), corners.amax(0)
    order = points_uv[:, 0].argsort()
    sorted_u = points_uv[order, 0].contiguous()
    start = torch.searchsorted(sorted_u, low[0].contiguous())
    per_quad = torch.searchsorted(sorted_u, high[0].contiguous(), right=True) - start
    which = torch.repeat_interleave(torch.arange(corners.shape[2], device=corners.device), per_quad)
    before = torch.repeat_interleave(per_quad.cumsum(0) - per_quad, per_quad)
    offset = torch.arange(len(which), device=corners.device) - before
    point = order[start[which] + offset]
    v = points_uv[point, 1]
    fits = (v >= low[1, which]) & (v <= high[1, which])
    return which[fits], point[fits]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def find_landmarks(uv: Tensor, mask: Tensor, landmark_uv: Tensor, reach_uv: float = 0.02) -> Tensor:
    """`find_points`, and where a point lies just outside the face area seen, the nearest pixel extended by its slope.

    Several of the 68 landmarks lie on the rim of the face area. reach_uv: how far outside a point may lie. (N, 68, 2).
    """
    found = find_points(uv, mask, landmark_uv)
    if not bool(torch.isnan(found).any()):
        return found
    for i in range(uv.shape[0]):
        lacking = torch.isnan(found[i, :, 0])
        if not bool(lacking.any()) or not bool((mask[i] > 0.5).any()):
            continue
        inside = (mask[i, 0] > 0.5).nonzero()
        nearest = torch.cdist(landmark_uv[lacking].to(uv.dtype), uv[i][:, inside[:, 0], inside[:, 1]].T).amin(1)
        near = nearest_points(uv[i : i + 1], mask[i : i + 1], landmark_uv[lacking])[0]
        found[i, lacking] = torch.where((nearest <= reach_uv)[:, None], near, torch.nan)
    return found


def nearest_points(uv: Tensor, mask: Tensor, points_uv: Tensor) -> Tensor:
    """Pixels (x, y) of the nearest UVs, (N, K, 2); NaN only where the mask is empty.

    The pixel of nearest UV inside mask > 0.5, then one Newton step on the local slope of the map, of at most one pixel.
    """
    height, width = uv.shape[2:]
    flat = uv.flatten(2).transpose(1, 2)
    outside = (mask.flatten(1) <= 0.5)[:, None]
    wanted = points_uv.to(uv.dtype)
    # sample by sample: the distances of one alone, (K, H W), may be large
    pairs = zip(flat, outside, strict=True)
    nearest = torch.stack([torch.cdist(wanted, one).masked_fill_(out, math.inf).argmin(-1) for one, out in pairs])
    x, y = nearest % width, nearest // width
    x0, x1 = (x - 1).clamp(min=0), (x + 1).clamp(max=width - 1)
    y0, y1 = (y - 1).clamp(min=0), (y + 1).clamp(max=height - 1)

    def value(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column)[..., None].expand(-1, -1, 2)
        return flat.gather(1, index)

    slope_x = (value(y, x1) - value(y, x0)) / (x1 - x0)[..., None]
    slope_y = (value(y1, x) - value(y0, x)) / (y1 - y0)[..., None]
    missing = wanted - value(y, x)
    determinant = slope_x[..., 0] * slope_y[..., 1] - slope_x[..., 1] * slope_y[..., 0]
    step_x = (missing[..., 0] * slope_y[..., 1] - missing[..., 1] * slope_y[..., 0]) / determinant
    step_y = (missing[..., 1] * slope_x[..., 0] - missing[..., 0] * slope_x[..., 1]) / determinant
    step = torch.nan_to_num(torch.stack([step_x, step_y], -1), 0, 0, 0).clamp(-1, 1)
    pixels = torch.stack([x, y], -1).to(uv.dtype) + 0.5 + step  # whole numbers would become torch's default dtype
    empty = outside.all(-1)[..., None]
    return torch.where(empty, math.nan, pixels)

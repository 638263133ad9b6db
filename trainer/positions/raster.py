"""Triangles to pixels: a batched z-buffer out of tensor operations, on whatever device the vertices lie.

Every triangle is tested at the pixel centres of its bounding box, so triangles of any size leave no holes, and the
nearest wins. Projection is orthographic: vertices are pixels already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

EDGE: Final = 1e-5  # barycentric weights down to minus this count as inside, so that neighbours leave no gap


@dataclass(frozen=True)
class Seen:
    """What pixels show. triangle: (N, H, W) its number, -1 for none. weights: (N, 3, H, W) barycentric, 0 for none.

    depth: (N, H, W) towards the viewer, minus infinity for none.
    """

    triangle: Tensor
    weights: Tensor
    depth: Tensor

    def interpolated(self, values: Tensor, triangles: Tensor) -> Tensor:
        """(N, C, H, W) of values (N, C, K) or (1, C, K) at the vertices; 0 where nothing is seen."""
        n, height, width = self.triangle.shape
        corners = triangles[self.triangle.clamp(min=0).flatten(1)]  # (N, H W, 3)
        spread = values.expand(n, -1, -1)
        at = spread.gather(2, corners.flatten(1)[:, None].expand(-1, spread.shape[1], -1))
        found = (at.view(n, -1, height * width, 3) * self.weights.flatten(2).transpose(1, 2)[:, None]).sum(3)
        return found.view(n, -1, height, width)


def rasterise(vertices: Tensor, triangles: Tensor, height: int, width: int) -> Seen:
    """The nearest triangle at every pixel centre.

    vertices: (N, K, 3) x and y in pixels, z towards the viewer. triangles: (T, 3) of K; both sides are seen.
    """
    n = len(vertices)
    a, b, c = (vertices[:, triangles[:, corner]].reshape(-1, 3) for corner in range(3))  # (N T, 3)
    three = torch.stack([a, b, c])
    low, high = (three[..., :2].amin(0) - 0.5).ceil(), (three[..., :2].amax(0) - 0.5).floor()
    limit = low.new_tensor([width, height]) - 1
    low, high = low.clamp(min=0).minimum(limit + 1).long(), high.minimum(limit).clamp(min=-1).long()
    columns, rows = (high - low + 1).clamp(min=0).unbind(1)
    count = columns * rows
    which = torch.repeat_interleave(torch.arange(len(a), device=a.device), count)
    offset = torch.arange(len(which), device=a.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    column = low[which, 0] + offset % columns[which]
    row = low[which, 1] + torch.div(offset, columns[which], rounding_mode="floor")
    weights = _barycentric(a[which], b[which], c[which], column + 0.5, row + 0.5)
    inside = (weights >= -EDGE).all(1)  # NaN of triangles without an area is not
    which, column, row, weights = which[inside], column[inside], row[inside], weights[inside]
    depth = (weights * torch.stack([a[which, 2], b[which, 2], c[which, 2]], 1)).sum(1)
    place = (torch.div(which, len(triangles), rounding_mode="floor") * height + row) * width + column
    nearest = depth.new_full((n * height * width,), -torch.inf).scatter_reduce(0, place, depth, "amax")
    wins = (depth == nearest[place]).nonzero().flatten()
    best = torch.full_like(nearest, -1, dtype=torch.long).scatter_reduce(0, place[wins], wins, "amax")  # one of equals
    shown = best >= 0
    found, at = torch.full_like(best, -1), weights.new_zeros(len(best), 3)
    found[shown], at[shown] = which[best[shown]] % len(triangles), weights[best[shown]]
    return Seen(
        found.view(n, height, width), at.view(n, height, width, 3).permute(0, 3, 1, 2), nearest.view(n, height, width)
    )


def _barycentric(a: Tensor, b: Tensor, c: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(M, 3) weights of the corners (M, 3) at points of the picture; NaN where a triangle has no area in it."""
    abx, aby = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
    acx, acy = c[:, 0] - a[:, 0], c[:, 1] - a[:, 1]
    apx, apy = x - a[:, 0], y - a[:, 1]
    area = abx * acy - aby * acx
    wb, wc = (apx * acy - apy * acx) / area, (abx * apy - aby * apx) / area
    return torch.stack([1 - wb - wc, wb, wc], 1)

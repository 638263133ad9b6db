"""Strands of hair that grow out of the skin: they bend under their weight and lie on the head. numpy only.

A strand is a flat ribbon of a few faces, about as wide as a lock of a dozen hairs: a few thousand of them cover a head,
and rays of labels and of light meet the same triangles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from renderer.head.mesh_kit import Floats, Piece
from renderer.head.worn.site import Fitted, Site
from renderer.head.worn.surface import MIDDLE, directions, lengths

STEPS: Final = 8  # faces along a strand
_DOWN: Final = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class Roots:
    """Where strands grow. points, normals: (N, 3). numbers: (N, 4) uniform in [0, 1), a strand's own."""

    points: Floats
    normals: Floats
    numbers: Floats


def roots(site: Site, density: Floats, count: int, seed: int) -> Roots:
    """`count` roots on the skin. density: (F,) of the skin's quads, relative to their area."""
    rng = np.random.default_rng([seed, 0x4A17])
    corners = site.skin[np.where(site.faces < 0, site.faces[:, 2:3], site.faces)]
    area = np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1)
    total = np.cumsum(area * density)
    if not total[-1] > 0:
        return Roots(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 4)))
    face = np.searchsorted(total, rng.random(count) * total[-1])
    u, v = rng.random((2, count, 1))
    a, b, c, d = (corners[face, k] for k in range(4))
    points = (a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v
    normals = site.normals[site.faces[face, :3]].mean(axis=1)
    return Roots(points, directions(normals), rng.random((count, 4)))


def grown(
    site: Site,
    root: Roots,
    *,
    length_m: Floats,
    comb: Floats,
    lift: Floats | float,
    weight: float,
    layer_m: float,
    clear: float = 0.0,
    gather: Floats | None = None,
) -> Floats:
    """(N, STEPS + 1, 3) points along strands.

    length_m: (N,). comb: (N, 3) the way they are combed. lift: 0 along the skin, 1 straight off it. weight: how fast
    they bend down, per metre. layer_m: of hair on the head. clear: how far they give way to the face. gather: (3,)
    where they are tied.
    """
    step = (length_m / STEPS)[:, None]
    lifted = np.broadcast_to(lift, len(root.points))[:, None]
    along = comb - (comb * root.normals).sum(axis=1, keepdims=True) * root.normals
    way = directions(lifted * root.normals + (1 - lifted) * directions(along) + 0.12 * (root.numbers[:, :3] - 0.5))
    point = root.points - 0.001 * root.normals
    depth = layer_m * root.numbers[:, 3]
    sag = 0.0012 + length_m**2 / STEPS**2 / 0.7  # straight pieces between points must not cut through the head
    points = [point]
    loose = np.zeros((len(point), 1), bool)
    for k in range(STEPS):
        if gather is not None:
            to = gather - point
            loose |= lengths(to)[:, None] < np.maximum(0.02, 1.2 * step)
            way = directions(np.where(loose, way + 0.8 * _DOWN, 0.3 * way + directions(to)))
        way = directions(way + weight * step * _DOWN)
        if clear:
            ahead = directions(point - MIDDLE)
            before = np.clip((ahead[:, 2] - 0.35) / 0.4, 0, 1) * np.clip((0.75 - ahead[:, 1]) / 0.4, 0, 1)
            side = np.where(point[:, 0] + 0.01 * (root.numbers[:, 0] - 0.5) > 0, 1.0, -1.0)
            way = directions(way + clear * before[:, None] * np.stack([side, 0 * side, -0.6 + 0 * side], axis=1))
        point = site.skin_surface.outside(point + step * way, sag + depth * min(1.0, (k + 1) / 3))
        points.append(point)
    return np.stack(points, axis=1)


def curled(
    points: Floats, root: Roots, *, radius_m: float, turns_per_m: float, frizz_m: float, clump_m: float
) -> Floats:
    """Strands wound into curls, those that grow in one cell of `clump_m` alike, and frizzed each by itself."""
    way = np.gradient(points, axis=1)
    out = directions(points - MIDDLE)
    side = directions(np.cross(way, out))
    run = np.cumsum(lengths(way), axis=1)
    cell = np.floor(root.points / clump_m).astype(np.int64)
    phase = ((cell * [7, 157, 31]).sum(axis=1) * 0.618 % 1 + 0.15 * root.numbers[:, 0])[:, None] * 2 * np.pi
    turn = 2 * np.pi * turns_per_m * run + phase
    grow = np.linspace(0, 1, STEPS + 1)[None] ** 0.7
    wave = (radius_m * grow)[..., None] * (np.sin(turn)[..., None] * side + 0.8 * (1 + np.cos(turn))[..., None] * out)
    stray = frizz_m * grow[..., None] * (
        np.sin(9 * run / max(run.max(), 1e-6) + 40 * root.numbers[:, 1:2])[..., None] * side
        + (root.numbers[:, 2:3] - 0.3)[..., None] * out
    )  # fmt: skip
    return np.asarray(points + wave + stray, np.float64)


def tucked(site: Site, points: Floats) -> Floats:
    """(..., 3) points, those within a hat's reach pressed under it."""
    if site.hat is None:
        return points
    from_middle = points - MIDDLE
    away = np.maximum(lengths(from_middle), 1e-9)
    ways = from_middle / away[..., None]
    cloth = site.hat.distance(ways)
    under = np.maximum(np.minimum(away, cloth - 0.003), site.skin_surface.distance(ways) + 0.0003)
    return np.asarray(np.where((cloth > 0.03)[..., None], MIDDLE + ways * under[..., None], points))


def ribbons(points: Floats, root: Roots, width_m: Floats | float) -> Fitted:
    """Strands as ribbons that lie flat on the head, each rolled a little about itself, and pointed at the tip."""
    count, rows = points.shape[:2]
    way = directions(np.gradient(points, axis=1))
    out = directions(points - MIDDLE)
    side = directions(np.cross(way, out))
    roll = ((root.numbers[:, 1] - 0.5) * 1.6)[:, None, None]
    side = directions(np.cos(roll) * side + np.sin(roll) * out)
    taper = 1 - 0.75 * np.linspace(0, 1, rows) ** 3
    half = 0.5 * np.broadcast_to(width_m, count)[:, None] * taper[None]
    edges = np.stack([points - side * half[..., None], points + side * half[..., None]], axis=2)
    index = np.arange(count * rows * 2).reshape(count, rows, 2)
    faces = np.stack([index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 1], index[:, 1:, 0]], axis=-1).reshape(-1, 4)
    own = np.broadcast_to(root.numbers[:, None, None, 2], (count, rows, 2))
    share = np.broadcast_to(np.linspace(0, 1, rows)[None, :, None], (count, rows, 2))
    pattern = np.stack([own, share, 0 * own], axis=-1).reshape(-1, 3)
    piece = Piece(edges.reshape(-1, 3), faces)
    return Fitted(piece.vertices, piece.faces, np.zeros(len(faces), np.int32), pattern)

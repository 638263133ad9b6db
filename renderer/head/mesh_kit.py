"""Pieces of meshes: rings, tubes, ellipsoids and other closed surfaces, joined into one mesh. numpy only."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Mesh(NamedTuple):
    """A mesh of quads.

    vertices: (V, 3) float32, metres. faces: (F, 4) int32, anticlockwise from outside; a triangle repeats its last
    vertex. part: (F,) uint8, what a face belongs to, see the PARTS constant of each kind.
    """

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]
    part: npt.NDArray[np.uint8]


class Piece(NamedTuple):
    """A surface under construction: (V, 3) vertices, (F, 4) faces; `join` makes a mesh of several."""

    vertices: Floats
    faces: Ints


def join(pieces: list[tuple[Piece, int]], *, mirrored: bool = False) -> Mesh:
    """One mesh of pieces and their part numbers; MIRRORED reflects it about x = 0."""
    counts = np.cumsum([0] + [len(piece.vertices) for piece, _ in pieces])
    vertices = np.concatenate([piece.vertices for piece, _ in pieces])
    faces = np.concatenate([piece.faces + start for (piece, _), start in zip(pieces, counts[:-1], strict=True)])
    part = np.concatenate([np.full(len(piece.faces), number) for piece, number in pieces])
    if mirrored:
        vertices, faces = vertices * (-1.0, 1.0, 1.0), flipped(faces)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32), part.astype(np.uint8))


def flipped(faces: Ints) -> Ints:
    """The same faces seen from the other side; triangles keep their repeated last index."""
    triangle = faces[:, 3] == faces[:, 2]
    return np.where(triangle[:, None], faces[:, [1, 0, 2, 2]], faces[:, ::-1])


def _volume(vertices: Floats, faces: Ints) -> float:
    """Signed volume of a closed surface; positive if the faces look outwards."""
    a, b, c, d = (vertices[faces[:, k]] for k in range(4))
    return float(np.einsum("ij,ij->", np.cross(a, c), d - b)) / 6.0  # two triangles: a.(b x c) + a.(c x d)


def loft(rings: Floats, *, loop: bool = False) -> Piece:
    """A closed surface over (N, M, 3) rings of points: a torus if LOOP, else with its ends closed by fans."""
    n, m = rings.shape[:2]
    vertices = rings.reshape(-1, 3)
    if not loop:
        vertices = np.concatenate([vertices, rings[[0, -1]].mean(axis=1)])
    faces = _ring_faces(n, m, loop)
    return Piece(vertices, faces if _volume(vertices - vertices.mean(axis=0), faces) > 0 else flipped(faces))


@lru_cache(maxsize=64)
def _ring_faces(n: int, m: int, loop: bool) -> Ints:
    """(F, 4) faces over N rings of M points and, unless LOOP, over the middles of the first and the last ring."""
    index = np.arange(n * m).reshape(n, m)
    rows = index if not loop else np.concatenate([index, index[:1]])
    here, there = rows[:-1], rows[1:]
    faces = [np.stack([here, np.roll(here, -1, 1), np.roll(there, -1, 1), there], axis=-1).reshape(-1, 4)]
    if not loop:
        first, last = np.full(m, n * m), np.full(m, n * m + 1)
        faces.append(np.stack([np.roll(index[0], -1), index[0], first, first], axis=-1))
        faces.append(np.stack([index[-1], np.roll(index[-1], -1), last, last], axis=-1))
    return np.concatenate(faces)


def superellipse(count: int, exponent: float = 2.0) -> Floats:
    """(COUNT, 2) points of the superellipse |x|^e + |y|^e = 1, evenly spread by angle."""
    angle = 2 * np.pi * (np.arange(count) + 0.5) / count
    xy = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.asarray(xy / (np.abs(xy) ** exponent).sum(axis=1, keepdims=True) ** (1 / exponent), dtype=np.float64)


def moved(points: Floats, x: float, y: float, z: float) -> Floats:
    """POINTS, (3,) or (N, 3), shifted."""
    return np.asarray(points + np.array([x, y, z]), dtype=np.float64)


def unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float64)


def tube(
    path: Floats,
    radius: Floats | float,
    radius_up: Floats | float | None = None,
    *,
    side: Floats,
    count: int = 10,
    exponent: float = 2.0,
    loop: bool = False,
) -> Piece:
    """A tube along PATH (N, 3).

    Its sections have the half-width RADIUS along SIDE, (3,) or (N, 3), made perpendicular to the path, and the
    half-height RADIUS_UP (the same if None) across it. Both are scalars or (N,).
    """
    ahead, behind = np.roll(path, -1, 0), np.roll(path, 1, 0)
    if not loop:
        ahead[-1], behind[0] = path[-1], path[0]
    tangent = unit(ahead - behind)
    across = np.broadcast_to(side, path.shape)
    across = unit(across - (across * tangent).sum(axis=1, keepdims=True) * tangent)
    up = np.cross(tangent, across)
    wide = np.broadcast_to(radius, len(path))
    high = wide if radius_up is None else np.broadcast_to(radius_up, len(path))
    ring = superellipse(count, exponent)
    rings = (
        path[:, None]
        + across[:, None] * (wide[:, None] * ring[:, 0])[..., None]
        + up[:, None] * (high[:, None] * ring[:, 1])[..., None]
    )
    return loft(rings, loop=loop)


def ellipsoid(centre: Floats, axes: Floats, count: int = 12, rings: int = 9) -> Piece:
    """An ellipsoid; AXES is (3, 3), a row for each half-axis."""
    angle = np.pi * (np.arange(rings) + 0.5) / rings
    ring = superellipse(count)
    flat = np.sin(angle)[:, None, None] * (ring[:, :1] * axes[0] + ring[:, 1:] * axes[1])
    return loft(centre + flat + np.cos(angle)[:, None, None] * axes[2])


def revolved(profile: Floats, count: int = 32) -> Piece:
    """A closed surface of revolution about +Y; PROFILE is (N, 2) radius and height, end to end."""
    ring = superellipse(count)
    flat = profile[:, None, :1] * ring
    height = np.broadcast_to(profile[:, None, 1], flat.shape[:2])
    return loft(np.stack([flat[..., 0], height, flat[..., 1]], axis=-1))


def smoothstep(t: Floats) -> Floats:
    """Smooth step from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float64)


def spline(points: Floats, count: int) -> Floats:
    """(COUNT, 3) points along a Catmull-Rom spline through POINTS, evenly by parameter."""
    t = np.linspace(0, len(points) - 1, count)
    k = np.minimum(t.astype(np.int64), len(points) - 2)
    f = (t - k)[:, None]
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    a, b, c, d = (padded[k + i] for i in range(4))
    return np.asarray(b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a))))

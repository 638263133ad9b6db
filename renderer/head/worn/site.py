"""The head that things are fitted to, and the meshes they become."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from renderer.head.mesh_kit import Floats, Ints, Mesh, Piece
from renderer.head.worn.surface import MIDDLE, Surface, taut

ROWS, COLUMNS = 26, 64  # of `shell_over`


@dataclass(frozen=True)
class Site:
    """A head with its expression, at rest otherwise, in head space, metres.

    skin_surface: of the head alone. surface: of it and of all that it wears already, but hair. hat: of the hat alone, 0
    where there is none. skin: (V, 3) points of the subdivided skin; faces: (F, 4) its
    quads, -1 as fourth corner of a triangle. landmarks: (68, 3), iBUG order, the subject's right first. eyes, ears:
    (2, 3), right first.
    """

    skin_surface: Surface
    surface: Surface
    hat: Surface | None
    skin: Floats
    faces: npt.NDArray[np.int32]
    landmarks: Floats
    eyes: Floats
    ears: Floats

    @cached_property
    def normals(self) -> Floats:
        """(V, 3) unit normals of the skin."""
        return vertex_normals(self.skin, self.faces)


class Fitted(NamedTuple):
    """A thing on a head. faces: (F, 4) anticlockwise from outside; a triangle repeats its last vertex.

    slots: (F,), what of the thing a face is. pattern: (V, 3) where in its pattern a vertex lies: metres across and
    along cloth; for hairs a number of the hair's own in [0, 1), the share of its length, 0.
    """

    vertices: Floats
    faces: Ints
    slots: npt.NDArray[np.int32]
    pattern: Floats


def sheet(points: Floats, *, loop: bool = False) -> Piece:
    """A surface over (H, W, 3) points; with `loop` its columns close to a ring."""
    height, width = points.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    right = np.roll(index, -1, 1)
    if not loop:
        index, right = index[:, :-1], right[:, :-1]
    faces = np.stack([index[:-1], index[1:], right[1:], right[:-1]], axis=-1).reshape(-1, 4)
    return Piece(points.reshape(-1, 3), faces)


def fitted(pieces: list[tuple[Piece, int, Floats | None]]) -> Fitted:
    """One thing of (piece, slot, (V, 3) pattern; None: its own coordinates)."""
    starts = np.cumsum([0] + [len(piece.vertices) for piece, _, _ in pieces])
    return Fitted(
        np.concatenate([piece.vertices for piece, _, _ in pieces]),
        np.concatenate([piece.faces + start for (piece, _, _), start in zip(pieces, starts, strict=False)]),
        np.concatenate([np.full(len(piece.faces), slot, np.int32) for piece, slot, _ in pieces]),
        np.concatenate([piece.vertices if pattern is None else pattern for piece, _, pattern in pieces]),
    )


def of_mesh(mesh: Mesh, vertices: Floats) -> Fitted:
    """A mesh of the kits, its vertices moved."""
    return Fitted(vertices, mesh.faces.astype(np.int64), mesh.part.astype(np.int32), mesh.vertices.astype(np.float64))


def halves(faces: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """(2 F, 3) triangles of (F, 4) quads; the second half of a triangle that repeats its last vertex is empty."""
    return np.asarray(np.concatenate([faces[:, :3], faces[:, [0, 2, 3]]]), dtype=np.int32)


def cloth_pattern(points: Floats) -> Floats:
    """(H, W, 3) points of a sheet to (H * W, 3): metres across and along it, from its middle."""
    across = np.linalg.norm(np.diff(points, axis=1), axis=-1).mean(axis=0)
    along = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)
    x, y = (np.concatenate([[0.0], np.cumsum(steps)]) for steps in (across, along))
    grid = np.stack(np.broadcast_arrays(x[None] - x.mean(), y[:, None] - y.mean(), 0.0), axis=-1)
    return np.asarray(grid.reshape(-1, 3))


def vertex_normals(points: Floats, faces: npt.NDArray[np.int32]) -> Floats:
    """(V, 3) unit normals of (V, 3) points of quads, -1 as fourth corner of a triangle."""
    corners = points[np.where(faces < 0, faces[:, 2:3], faces)]
    area = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    flat = faces[:, 3] < 0
    area[flat] = np.cross(corners[flat, 1] - corners[flat, 0], corners[flat, 2] - corners[flat, 0])
    used, of_face = faces.ravel() >= 0, np.repeat(np.arange(len(faces)), 4)
    at, weights = faces.ravel()[used], area[of_face[used]]
    out = np.stack([np.bincount(at, weights[:, axis], len(points)) for axis in range(3)], axis=1)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def shell_over(site: Site, edge: Floats, pole: Floats, lift_m: float, rounds: int) -> Floats:
    """(ROWS, COLUMNS, 3) cloth stretched over the head from a pole to an edge, both directions from MIDDLE."""
    t = np.linspace(0, 1, ROWS)[:, None, None]
    angle = np.arccos(np.clip(edge @ pole, -1, 1))[None, :, None]
    ways = (np.sin((1 - t) * angle) * pole + np.sin(t * angle) * edge[None]) / np.sin(angle)
    ways[0] = pole
    least = site.surface.distance(ways) + lift_m
    for _ in range(40):  # the edge bridges hollows, too: an open mouth, the gap behind an ear
        least[-1] = np.maximum(least[-1], (np.roll(least[-1], 1) + np.roll(least[-1], -1)) / 2)
    held = np.zeros(least.shape, bool)
    held[-1] = True
    away = taut(least, fixed=held, rounds=rounds, wrap=True)
    away[0] = away[1].mean()
    return np.asarray(MIDDLE + ways * away[..., None])

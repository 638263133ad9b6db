"""The head that things are fitted to, and the meshes they become."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from renderer.head.mesh_kit import Floats, Ints, Mesh, Piece
from renderer.head.worn.surface import Surface


@dataclass(frozen=True)
class Site:
    """A head with its expression, at rest otherwise, in head space, metres.

    surface: of the head and of all that it wears already. skin: (V, 3) points of the subdivided skin; faces: (F, 4) its
    quads, -1 as fourth corner of a triangle. landmarks: (68, 3), iBUG order, the subject's right first. eyes, ears:
    (2, 3), right first.
    """

    surface: Surface
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

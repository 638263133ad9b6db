"""Shells: meshes cut out of another along levels, with hems. numpy and scipy only.

A shell's points are fixed weighted sums of the other mesh's, so that it is cut once and follows every shape of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from renderer.head.mesh_kit import unit

Points = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Sparse = Any  # scipy.sparse.csr_matrix, whose stubs disagree with each other

MAIN, TRIM = 0, 1  # material slots


@dataclass(frozen=True)
class Shell:
    """A garment's topology.

    rows: (N, V1) on the form's points. faces: (F, 4), -1 as fourth corner of a triangle. slots: (F,). lift: (N,) factor
    on the thickness. out, up: (N,) metres added away from the neck's axis and upwards.
    """  # fmt: skip

    rows: Sparse
    faces: Ints
    slots: Ints
    lift: Points
    out: Points
    up: Points


def normals(points: Points, faces: Ints) -> Points:
    """(V, 3) unit normals of a mesh of quads, each by the area of the faces around."""
    p = points[faces]
    cross = np.cross(p[:, 2] - p[:, 0], p[:, 3] - p[:, 1])
    sums = [np.bincount(faces.ravel(), np.repeat(cross[:, axis], 4), len(points)) for axis in range(3)]
    return unit(np.stack(sums, axis=1) + 1e-15)


def halves(faces: Ints) -> Ints:
    """(2 F, 3) triangles of (F, 4) quads."""
    return np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])


def split(rows: Sparse, triangles: Ints, level: Points) -> tuple[Sparse, Ints]:
    """Cut triangles along level = 0. level: (V1,) on the form. Returns the rows with those of new points, and triangles
    none of which lies on both sides.
    """  # fmt: skip
    value = np.asarray(rows @ level)
    value = np.where(np.abs(value) < 1e-6, -1e-6, value)
    above = value > 0
    mixed = above[triangles].any(axis=1) & ~above[triangles].all(axis=1)
    out = [triangles[~mixed]]
    number: dict[tuple[int, int], int] = {}
    ends: list[tuple[int, int, float]] = []

    def crossing(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in number:
            number[key] = rows.shape[0] + len(ends)
            ends.append((*key, float(value[key[0]] / (value[key[0]] - value[key[1]]))))
        return number[key]

    for corners in triangles[mixed]:
        lone = next(k for k in range(3) if (above[corners] == above[corners[k]]).sum() == 1)
        a, b, c = (int(v) for v in np.roll(corners, -lone))
        ab, ac = crossing(a, b), crossing(a, c)
        out.append(np.array([[a, ab, ac], [ab, b, c], [ab, c, ac]], np.int32))
    if ends:
        first, second, share = (np.array(column) for column in zip(*ends, strict=True))
        rows = sp.vstack([rows, sp.diags(1 - share) @ rows[first] + sp.diags(share) @ rows[second]]).tocsr()
    return rows, np.concatenate(out).astype(np.int32)


def border(triangles: Ints) -> Ints:
    """(E, 2) edges of one triangle, in its direction."""
    start, end = triangles.ravel().astype(np.int64), np.roll(triangles, -1, axis=1).ravel().astype(np.int64)
    size = int(triangles.max()) + 1
    single = ~np.isin(start * size + end, end * size + start)
    return np.asarray(np.stack([start[single], end[single]], axis=1), np.int32)


def hemmed(rows: Sparse, triangles: Ints, slots: Ints) -> Shell:
    """The triangles as a shell whose edges bend down to the form."""
    used, local = np.unique(triangles, return_inverse=True)
    local = local.reshape(-1, 3).astype(np.int32)
    edge = border(local)
    rim, inner = np.unique(edge, return_inverse=True)
    hem = np.concatenate([edge[:, ::-1], inner.reshape(-1, 2) + len(used)], axis=1).astype(np.int32)
    slot_of = np.zeros(len(used), np.int32)
    slot_of[local] = slots[:, None]
    faces = np.concatenate([np.column_stack([local, np.full(len(local), -1, np.int32)]), hem])
    lift = np.concatenate([np.ones(len(used)), np.zeros(len(rim))])
    kept = sp.vstack([rows[used], rows[used[rim]]]).tocsr()
    return Shell(
        kept, faces, np.concatenate([slots, slot_of[edge[:, 0]]]), lift, np.zeros(len(lift)), np.zeros(len(lift))
    )


def joined(pieces: list[Shell]) -> Shell:
    """One shell of several."""
    starts = np.cumsum([0, *(piece.rows.shape[0] for piece in pieces[:-1])])
    faces = [np.where(p.faces >= 0, p.faces + start, -1) for p, start in zip(pieces, starts, strict=True)]
    columns: list[Any] = [np.concatenate([getattr(p, name) for p in pieces]) for name in ("slots", "lift", "out", "up")]
    return Shell(sp.vstack([p.rows for p in pieces]).tocsr(), np.concatenate(faces).astype(np.int32), *columns)

"""Catmull-Clark subdivision of a fixed quad topology as one sparse matrix.

The operator depends on the topology alone, so it is built once per head pack and applied to every identity and
expression as `operator @ vertices`. Texture coordinates are interpolated **linearly** (edge midpoints and face
centroids) and never smoothed: a UV label then stays an affine function of the position inside each quad.
Source of the rules: Catmull and Clark 1978; boundary rule as in Blender and OpenSubdiv (edge and corner, smooth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Subdivision:
    """One Catmull-Clark step of a mesh with N vertices, E edges and F quads.

    operator: (N + E + F, N) CSR float64; rows are first the moved old vertices in their order, then one point per
    edge, then one per face. faces: (4F, 4) int32, quads 4f..4f+3 come from old face f, in corner order.
    """

    operator: sp.csr_matrix
    faces: IntArray


def _edges(faces: IntArray) -> tuple[IntArray, IntArray]:
    """Unique sorted edges (E, 2) and, per face and corner k, the edge from corner k to k + 1 (F, 4)."""
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    unique, inverse = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    return unique.astype(np.int32), inverse.reshape(faces.shape).astype(np.int32)


def _matrix(rows: Any, cols: Any, values: Any, shape: tuple[int, int]) -> sp.csr_matrix:
    """CSR from triplets; repeated entries are added."""
    return sp.csr_matrix((np.asarray(values, np.float64), (rows, cols)), shape=shape)


def catmull_clark(faces: IntArray, vertex_count: int) -> Subdivision:
    """Subdivide quads once.

    faces: (F, 4) int32, every index used is in [0, vertex_count); each vertex must belong to some face.
    Raises ValueError on triangles (index -1) or a vertex without a face.
    """
    faces = np.asarray(faces, np.int32)
    if faces.ndim != 2 or faces.shape[1] != 4 or faces.min() < 0:
        raise ValueError(f"expected quads of shape (F, 4) without -1, got {faces.shape}")
    n_faces = len(faces)
    edges, face_edge = _edges(faces)
    n_edges = len(edges)

    corner_face, edge_end = np.repeat(np.arange(n_faces), 4), np.repeat(np.arange(n_edges), 2)
    corners, ends = np.ones(4 * n_faces), np.ones(2 * n_edges)
    centroid = _matrix(corner_face, faces.ravel(), 0.25 * corners, (n_faces, vertex_count))
    midpoint = _matrix(edge_end, edges.ravel(), 0.5 * ends, (n_edges, vertex_count))
    edge_faces = _matrix(face_edge.ravel(), corner_face, corners, (n_edges, n_faces))
    vertex_face = _matrix(faces.ravel(), corner_face, corners, (vertex_count, n_faces))
    vertex_edge = _matrix(edges.ravel(), edge_end, ends, (vertex_count, n_edges))
    inner = np.asarray(edge_faces.sum(axis=1)).ravel() == 2

    # An inner edge's point is the mean of its two ends and its two face points; a boundary's is its midpoint.
    edge_point = (
        sp.diags(np.where(inner, 0.5, 1.0)) @ midpoint + sp.diags(np.where(inner, 0.25, 0.0)) @ edge_faces @ centroid
    )
    vertex_point = _vertex_points(vertex_face, vertex_edge, centroid, midpoint, edges[~inner])
    operator = sp.csr_matrix(sp.vstack([vertex_point, edge_point, centroid]))
    operator.sum_duplicates()
    operator.eliminate_zeros()
    operator.sort_indices()

    edge_id = vertex_count + face_edge
    face_id = (vertex_count + n_edges + np.arange(n_faces))[:, None].repeat(4, axis=1)
    new = np.stack([faces, edge_id, face_id, np.roll(edge_id, 1, axis=1)], axis=2)
    return Subdivision(operator, new.reshape(-1, 4).astype(np.int32))


def _vertex_points(
    vertex_face: sp.csr_matrix, vertex_edge: sp.csr_matrix, centroid: sp.csr_matrix, midpoint: sp.csr_matrix,
    boundary: IntArray,
) -> Any:  # fmt: skip
    """(N, N) operator that moves the old vertices. boundary: (B, 2) edges of one face."""
    count = vertex_face.shape[0]
    n = np.asarray(vertex_face.sum(axis=1)).ravel()  # valence
    if (n == 0).any():
        raise ValueError(f"{int((n == 0).sum())} vertices belong to no face")
    # Inside: (mean of face points + 2 * mean of edge midpoints + (n - 3) * old point) / n.
    inside = (
        sp.diags(1.0 / n**2) @ vertex_face @ centroid
        + sp.diags(2.0 / n**2) @ vertex_edge @ midpoint
        + sp.diags((n - 3.0) / n)
    )
    # On the boundary: 3/4 of the old point and 1/8 of each boundary neighbour.
    border = sp.diags(np.full(count, 0.75)) + _matrix(
        np.concatenate([boundary[:, 0], boundary[:, 1]]),
        np.concatenate([boundary[:, 1], boundary[:, 0]]),
        np.full(2 * len(boundary), 0.125),
        (count, count),
    )
    on_boundary = np.zeros(count, bool)
    on_boundary[boundary.ravel()] = True
    return sp.diags(np.where(on_boundary, 0.0, 1.0)) @ inside + sp.diags(np.where(on_boundary, 1.0, 0.0)) @ border


def subdivide_corners(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Linear interpolation of per-corner values (such as UVs) to the faces of one `catmull_clark` step.

    values: (F, 4, C). Returns (4F, 4, C) in the same type; midpoints and centroids, no smoothing.
    """
    mid = (values + np.roll(values, -1, axis=1)) / 2
    centre = values.mean(axis=1, keepdims=True).repeat(4, axis=1)
    new = np.stack([values, mid, centre, np.roll(mid, 1, axis=1)], axis=2)
    return np.asarray(new.reshape(-1, 4, values.shape[2]), values.dtype)

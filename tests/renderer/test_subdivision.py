"""Catmull-Clark as a matrix, against shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from renderer.head.subdivision import catmull_clark, subdivide_corners

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32)


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n x n quads of a flat square with its vertices."""
    points = np.array([[x, y, 0] for y in range(n + 1) for x in range(n + 1)], float)
    faces = [
        [y * (n + 1) + x, y * (n + 1) + x + 1, (y + 1) * (n + 1) + x + 1, (y + 1) * (n + 1) + x]
        for y in range(n)
        for x in range(n)
    ]
    return points, np.array(faces, np.int32)


def test_a_cube_becomes_the_known_rounded_one():
    step = catmull_clark(CUBE_FACES, 8)
    points = step.operator @ CUBE
    assert points.shape == (8 + 12 + 6, 3) and step.faces.shape == (24, 4)
    # Corner: (mean of face points + 2 * mean of edge midpoints) / 3 with valence 3, that is 5/9 of the corner.
    np.testing.assert_allclose(points[:8], CUBE * 5 / 9, atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(points[20:], axis=1), 1, atol=1e-12)


def test_every_row_is_an_average():
    for points, faces in ((CUBE, CUBE_FACES), grid(4)):
        operator = catmull_clark(faces, len(points)).operator
        np.testing.assert_allclose(np.asarray(operator.sum(axis=1)), 1.0, atol=1e-12)


def test_a_border_stays_on_its_line():
    points, faces = grid(4)
    step = catmull_clark(faces, len(points))
    fine = step.operator @ points
    bottom = np.flatnonzero((points[:, 1] == 0) & (points[:, 0] % 4 > 0))  # without the two corners
    assert len(bottom) == 3
    np.testing.assert_allclose(fine[bottom, 1], 0, atol=1e-12)
    inner = points[:, :2].min(axis=1) > 0
    inner &= points[:, :2].max(axis=1) < 4
    np.testing.assert_allclose(fine[: len(points)][inner], points[inner], atol=1e-12)


def test_new_quads_keep_the_winding_of_their_parent():
    points, faces = grid(3)
    step = catmull_clark(faces, len(points))
    corners = (step.operator @ points)[step.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    assert (normal[:, 2] > 0).all()


def test_uvs_are_interpolated_linearly_not_smoothed():
    points, faces = grid(3)
    uv = points[faces][..., :2]
    fine = subdivide_corners(uv)
    assert fine.shape == (36, 4, 2)
    np.testing.assert_allclose(fine[0], [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]])
    assert fine[..., 0].max() == 3 and fine.min() == 0


def test_triangles_and_loose_vertices_are_refused():
    with pytest.raises(ValueError, match="quads"):
        catmull_clark(np.array([[0, 1, 2, -1]], np.int32), 3)
    with pytest.raises(ValueError, match="no face"):
        catmull_clark(CUBE_FACES, 9)

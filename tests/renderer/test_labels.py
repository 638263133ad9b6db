"""Coverage and UV from label rays."""

from __future__ import annotations

import numpy as np
import pytest

from renderer.labels import maps
from renderer.labels.pixel_filter import filtered


@pytest.mark.parametrize("grid", [1, 3, 5, 7])
def test_full_and_empty_are_exact(grid: int) -> None:
    full = maps.coverage(np.ones((4 * grid, 4 * grid), bool), grid)
    assert full.shape == (4, 4) and (full == 1.0).all()
    assert (maps.coverage(np.zeros((4 * grid, 4 * grid), bool), grid) == 0.0).all()


def test_an_edge_through_pixel_centres_covers_half() -> None:
    grid = 31
    face = np.zeros((6 * grid, 6 * grid), bool)
    face[:, 3 * grid + grid // 2 + 1 :] = True  # from the middle of column 3 on
    row = maps.coverage(face, grid)[2]
    assert row[3] == pytest.approx(0.5, abs=0.05)
    assert 0 < row[2] < 0.1 and 0.9 < row[4] < 1  # the filter spans three pixels
    assert row[[0, 1, 5]] == pytest.approx([0, 0, 1], abs=1e-3)


@pytest.mark.parametrize("spread", [0.0, 0.6])
@pytest.mark.parametrize("grid", [1, 2, 3])
def test_filtering_small_pixels_moves_nothing(grid: int, spread: float) -> None:
    """A slope of colours stays where it is: the filter looks alike to both sides, for odd grids and for even ones."""
    x = (np.arange(8 * grid) + 0.5) / grid
    slope = np.stack([np.broadcast_to(x, (8 * grid, 8 * grid)), np.broadcast_to(x[:, None], (8 * grid, 8 * grid))], -1)
    centre = np.arange(8) + 0.5
    found = filtered(slope, grid, spread)
    assert found.shape == (8, 8, 2)
    np.testing.assert_allclose(found[3, 1:-1, 0], centre[1:-1], atol=1e-12)
    np.testing.assert_allclose(found[1:-1, 3, 1], centre[1:-1], atol=1e-12)


def test_a_finer_grid_comes_nearer_to_the_true_coverage() -> None:
    def disc(grid: int) -> np.ndarray:
        c = (np.arange(16 * grid) + 0.5) / grid - 8
        return maps.coverage(np.hypot(c[:, None] - 0.3, c[None] + 0.2) < 5.1, grid)

    reference = disc(63)
    errors = [np.sqrt(np.mean((disc(g) - reference) ** 2)) for g in (1, 3, 7)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_the_middle_ray_is_the_pixel_centre() -> None:
    grid = 5
    position = (np.arange(4 * grid) + 0.5) / grid
    assert maps.centre(np.broadcast_to(position[:, None], (20, 20)), grid)[:, 0] == pytest.approx([0.5, 1.5, 2.5, 3.5])


def test_rays_off_the_face_area_or_off_every_head_are_no_face() -> None:
    area = np.zeros((maps.LOOKUP, maps.LOOKUP), bool)
    area[: maps.LOOKUP // 2] = True  # V above one half
    uv = np.array([[[0.5, 0.9], [0.5, 0.1], [-1, -1], [0.5, 0.9]]], np.float32)
    head = np.array([[1, 1, 1, 0]], np.int32)
    zero = np.zeros((1, 4), np.float32)
    rays = maps.Rays(0, 0, head, zero > 0, uv, zero, zero)
    assert maps.face_rays(rays, area).tolist() == [[True, False, False, False]]


def test_a_part_lands_where_it_belongs() -> None:
    whole = maps.place(np.ones((2, 3, 1), np.float16), 4, 1, 8)
    assert whole.shape == (8, 8, 1) and whole.dtype == np.float16
    assert whole[4:6, 1:4].all() and whole.sum() == 6

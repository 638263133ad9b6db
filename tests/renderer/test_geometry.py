"""Deformation, pose and camera, each against an independent calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from renderer.head.deform import deformed, perlin3
from renderer.head.pose import posed, unposed
from renderer.labels.camera import camera_matrix, project, second_camera, unproject, world_to_camera
from renderer.parameters.params import Camera, Deform, Pose

STILL = Deform((1.0, 1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, (0.0, 0.0, 0.0), 0)


def test_positive_angles_turn_as_documented() -> None:
    nose, top = np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 0.0]])
    at = (0.0, 0.0, 0.0)
    assert posed(nose, Pose(0.3, 0, 0, at))[0, 0] > 0  # yaw: the face turns to the viewer's right
    assert posed(nose, Pose(0, 0.3, 0, at))[0, 1] > 0  # pitch: the face looks up
    assert posed(top, Pose(0, 0, 0.3, at))[0, 0] < 0  # roll: counter-clockwise in the image


def test_unposed_is_the_inverse_of_posed() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    pose = Pose(0.4, -0.3, 0.9, (0.1, -0.2, 0.3))
    assert unposed(posed(points, pose), pose) == pytest.approx(points, abs=1e-12)


def test_a_camera_shows_the_origin_in_the_middle_and_shift_moves_it() -> None:
    origin = np.zeros((1, 3))
    plain = project(origin, Camera(50, 36, 1.0, 0.0, 0.0), 128)[0]
    assert plain == pytest.approx([64, 64, 1.0])
    moved = project(origin, Camera(50, 36, 1.0, 0.25, 0.125), 128)[0]
    assert moved == pytest.approx([96, 48, 1.0])


def test_a_camera_scales_as_a_pinhole() -> None:
    camera = Camera(72, 36, 2.0, 0.0, 0.0)  # a 36 mm sensor behind 72 mm sees 1 m of an object at 2 m
    edge = project(np.array([[0.5, 0.0, 0.0]]), camera, 100)[0]
    assert edge[0] == pytest.approx(100.0)


def test_twist_turns_the_top_against_the_bottom_by_its_angle() -> None:
    deform = Deform((1, 1, 1), math.pi / 2, 0, 0, 0, 0, 1, (0, 0, 0), 0)
    ends = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    moved = deformed(ends, deform, -1.0, 1.0)
    angles = np.arctan2(moved[:, 2], moved[:, 0])
    assert abs(angles[1] - angles[0]) == pytest.approx(math.pi / 2)


def test_bend_keeps_the_length_of_the_middle_axis() -> None:
    axis = np.stack([np.zeros(200), np.linspace(-1, 1, 200), np.zeros(200)], axis=1)
    moved = deformed(axis, Deform((1, 1, 1), 0, 1.0, 0, 0, 0, 1, (0, 0, 0), 0), -1.0, 1.0)
    assert np.linalg.norm(np.diff(moved, axis=0), axis=1).sum() == pytest.approx(2.0, rel=1e-3)
    assert abs(moved[-1, 0] - moved[100, 0]) > 0.1


def test_noise_is_smooth_bounded_and_repeatable() -> None:
    line = np.stack([np.linspace(0, 5, 2000), np.full(2000, 0.3), np.full(2000, 0.7)], axis=1)
    a, b, c = (perlin3(line, seed) for seed in (1, 1, 2))
    assert (a == b).all() and not np.allclose(a, c)
    assert 0.2 < np.abs(a).max() <= 1.8
    assert np.abs(np.diff(a, axis=0)).max() < 0.03


def test_without_deformation_points_stay() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert (deformed(points, STILL, -1, 1) == points).all()


def test_unprojecting_a_depth_image_is_the_inverse_of_projecting() -> None:
    camera = Camera(50.0, 36.0, 0.8, 0.1, -0.2)
    depth = np.random.default_rng(2).uniform(0.5, 1.0, (24, 24))
    depth[3, 4] = 0
    seen = unproject(depth, camera)
    assert (seen[3, 4] == 0).all()
    inverse = np.linalg.inv(world_to_camera(camera))
    world = seen.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]
    pixels = project(world, camera, 24).reshape(24, 24, 3)
    row, column = np.mgrid[:24, :24] + 0.5
    hit = depth > 0
    assert np.allclose(pixels[hit], np.stack([column, row, depth], axis=-1)[hit])


def test_a_second_camera_is_a_turn_of_the_world() -> None:
    camera, points = Camera(50.0, 36.0, 0.8, 0.0, 0.0), np.random.default_rng(3).uniform(-0.1, 0.1, (9, 3))
    turned = project(points @ second_camera(0.4).T, camera, 64)
    seen = points @ world_to_camera(camera, 0.4)[:3, :3].T + world_to_camera(camera, 0.4)[:3, 3]
    flat = seen @ camera_matrix(camera, 64).T
    assert np.allclose(flat[:, :2] / flat[:, 2:], turned[:, :2]) and np.allclose(seen[:, 2], turned[:, 2])

"""The label rasteriser on meshes whose answer is known. Against Embree and Cycles: test_render.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renderer.head.parts import Part, Shown, Topology
from renderer.labels.maps import Rays
from renderer.labels.raster import Rasteriser
from renderer.parameters.params import Camera, Wear

CAMERA = Camera(focal_mm=36.0, sensor_mm=36.0, distance_m=1.0, shift_x=0.0, shift_y=0.0)  # sees [-.5, .5] at z = 0
SIDE = 16


def square(kind: str, z: float, *, size: float = 1.0, x: float = 0.0, name: str = "", slots: Any = None) -> Part:
    """A square across the view about (x, 0, z), UV from 0 to 1 over it."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    points = np.column_stack([(corners - 0.5) * size + [x, 0.0], np.full(4, z)]).astype(np.float32)
    topology = Topology(np.array([[0, 1, 2, 3]], np.int32), {"uv": corners[None]}, slots)
    return Part(kind, name or kind, topology, points)


def cast(*parts: Part, grid: int = 1, picture: Path = Path(), tint: float = 0.0, camera: Camera = CAMERA) -> Rays:
    head: Any = SimpleNamespace(wear=Wear(lens_tint=tint))
    scene = [Shown(part, 0, head) for part in parts]
    return Rasteriser(lambda part: picture).cast(scene, camera, 0.0, (0, 0, SIDE, SIDE), grid, SIDE)


def test_uv_and_depth_of_a_square() -> None:
    rays = cast(square("skin", 0.0, size=0.5), grid=3)
    middle = (np.arange(3 * SIDE) + 0.5) / (3 * SIDE)
    inside = np.abs(middle - 0.5) < 0.25
    assert (rays.head == np.outer(inside, inside)).all()
    u, v = (middle - 0.25) * 2, (0.75 - middle) * 2  # rows run down, V runs up
    hit = rays.head > 0
    want = np.stack(np.broadcast_arrays(u[None], v[:, None]), -1)
    np.testing.assert_allclose(rays.uv[hit], want[hit], atol=1e-6)
    assert (rays.depth[hit] == 1.0).all() and np.isinf(rays.depth[~hit]).all() and not rays.occluded.any()


def test_the_window_of_a_turned_and_shifted_camera_is_cut_from_the_whole() -> None:
    camera = Camera(focal_mm=50.0, sensor_mm=36.0, distance_m=1.0, shift_x=0.2, shift_y=-0.1)
    scene = [Shown(square("skin", 0.1, size=0.4), 0, None)]
    caster = Rasteriser(lambda part: Path())
    whole = caster.cast(scene, camera, 0.7, (0, 0, SIDE, SIDE), 2, SIDE)
    part = caster.cast(scene, camera, 0.7, (3, 5, 14, 15), 2, SIDE)
    assert part.row == 3 and part.column == 5 and part.head.any()
    assert (part.head == whole.head[6:28, 10:30]).all()
    np.testing.assert_allclose(part.uv, whole.uv[6:28, 10:30], atol=1e-6)


def test_no_ray_slips_through_between_triangles() -> None:
    """A crumpled sheet of random triangles, edges and corners of which lie on rays."""
    rng = np.random.default_rng(0)
    n = 64
    grid = np.stack(np.meshgrid(np.arange(n + 1), np.arange(n + 1)), -1).reshape(-1, 2) / n * 1.5 - 0.75
    points = np.column_stack([grid, rng.uniform(-0.01, 0.01, len(grid))])
    points[: len(points) // 2, 2] = 0.0  # here the corners lie on rays exactly
    first = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    quads = np.stack([first, first + 1, first + n + 2, first + n + 1], 1).astype(np.int32)
    sheet = Part("skin", "sheet", Topology(quads), points.astype(np.float32))
    assert (cast(sheet, grid=9).head == 1).all()


def test_a_floor_that_runs_behind_the_camera_is_seen_up_to_its_horizon() -> None:
    corners = np.array([[-9, -0.25, 9], [9, -0.25, 9], [9, -0.25, -99], [-9, -0.25, -99]], np.float32)
    floor = Part("skin", "floor", Topology(np.array([[0, 1, 2, 3]], np.int32)), corners)
    rays = cast(floor)
    assert not rays.head[: SIDE // 2].any() and rays.head[SIDE // 2 + 1 :].all()
    tangent = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    np.testing.assert_allclose(rays.depth[-1], 0.25 / tangent[-1], rtol=1e-5)


def test_what_lies_behind_the_camera_is_not_seen() -> None:
    assert not cast(square("skin", 1.5)).head.any()


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearest_surface_counts_whatever_the_order(order: int) -> None:
    parts = [square("skin", 0.0), square("teeth", 0.2, size=0.3), square("tongue", -0.2)]
    rays = cast(*parts[::order])
    hidden = rays.depth < 0.9
    assert hidden.sum() == 36 and (rays.head == ~hidden).all()  # 0.3 at 0.8 m spans 6 of 16 pixels


def test_things_in_front_veil_the_face_and_leave_its_uv() -> None:
    bare = cast(square("skin", 0.0))
    held = cast(square("prop", 0.2, size=0.3), square("skin", 0.0), square("prop", -0.2, name="behind"))
    assert held.occluded.sum() == 36 and (held.head == 1).all()
    assert (held.uv == bare.uv).all()


@pytest.mark.parametrize(("tint", "dark"), [(0.0, False), (0.4, False), (0.6, True)])
def test_only_a_dark_lens_is_in_the_way(tint: float, dark: bool) -> None:
    quads = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int32)
    frame, lens = (square("glasses", 0.2, size=0.15, x=x).vertices for x in (-0.25, 0.25))
    both = Part("glasses", "g", Topology(quads, slots=np.array([0, 1], np.int32)), np.concatenate([frame, lens]))
    rays = cast(square("skin", 0.0), both, tint=tint)
    assert rays.occluded[:, : SIDE // 2].any()
    assert rays.occluded[:, SIDE // 2 :].any() == dark


def test_hair_is_where_its_picture_is_opaque(tmp_path: Path) -> None:
    alpha = np.zeros((4, 4), np.uint8)
    alpha[0] = 255  # the top row of the picture: the upper quarter, half of it blended with the next row
    Image.fromarray(np.stack([alpha] * 4, -1)).save(tmp_path / "hair.png")
    hair = square("hair", 0.0001, x=0.001)  # off the rays: one along the diagonal would meet both triangles
    rays = cast(square("skin", 0.0), hair, picture=tmp_path / "hair.png")
    assert rays.occluded[: SIDE // 4].all() and not rays.occluded[SIDE // 4 :].any()


def test_opacity_is_what_all_layers_together_stop(tmp_path: Path) -> None:
    """A solid square, half hidden by a card of opacity 0.6 that is as wide as the view, with a lens before all."""
    Image.fromarray(np.full((2, 2, 4), 153, np.uint8)).save(tmp_path / "card.png")
    parts = [square("skin", 0.0, size=0.5), square("hair", -0.1, size=1.2, x=0.001)]
    lens = square("glasses", 0.1, size=1.2, x=0.001, slots=np.array([1], np.int32))
    head: Any = SimpleNamespace(wear=Wear(lens_tint=0.5))
    for worn, through in (([], 1.0), ([lens], 0.47)):
        scene = [Shown(part, 0, head) for part in parts + worn]
        caster = Rasteriser(lambda part: tmp_path / "card.png")
        found = caster.cast(scene, CAMERA, 0.0, (0, 0, SIDE, SIDE), 1, SIDE).opacity
        assert (found[4:12, 4:12] == 1).all()
        np.testing.assert_allclose(found[:4], 1 - 0.4 * through, atol=2e-3)  # opacities are 255ths


def test_lashes_belong_to_the_face_and_stick_out_of_it(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2, 4), 255, np.uint8)).save(tmp_path / "lashes.png")
    rays = cast(square("skin", 0.0, size=0.5), square("lashes", 0.1, size=1.2), picture=tmp_path / "lashes.png")
    assert (rays.head[4:12, 4:12] == 1).all() and not rays.occluded.any()
    assert (rays.opacity == 1).all()

"""Pictures behind everything: what they are made of, that they stand upright, and that nothing but the spec decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renderer.backdrops.box import Box
from renderer.backdrops.picture import MADE_UP, backdrop_picture, out_of_focus, paper_white
from renderer.errors import AssetError
from renderer.head.catalog import Catalog, build_catalog
from renderer.head.model import HeadModel
from renderer.parameters.params import Backdrop, Environment, Light, to_record
from renderer.parameters.spec import BACKDROPS, Spec, parse_spec
from renderer.sampling.draw import draw

SIDE = 48
STILL = Backdrop("plain", "", 3, (0.3, 0.5), 0.0, False, 0.0, 1.0)


def seen(b: Backdrop, catalog: Catalog, panorama: np.ndarray | None = None) -> np.ndarray:
    textures = list(catalog.textures.values())
    return backdrop_picture(b, SIDE, textures, catalog.backdrops, lambda name: np.asarray(panorama, np.float32))


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_made_up_picture_is_a_function_of_its_seed(kind: str, catalog: Catalog) -> None:
    one, again, other = (seen(replace(STILL, kind=kind, seed=seed), catalog) for seed in (3, 3, 4))
    assert one.shape == (SIDE, SIDE, 3) and np.isfinite(one).all() and one.min() >= 0
    assert (one == again).all() and not (one == other).all()
    mirrored = seen(replace(STILL, kind=kind, mirror=True), catalog)
    assert np.allclose(mirrored, one[:, ::-1], atol=1e-5)


def test_every_kind_can_be_drawn_and_only_named_ones_have_names(catalog: Catalog, model: HeadModel) -> None:
    assert set(BACKDROPS) == {"world", "panorama", "photo", *MADE_UP}
    weights: Mapping[str, float] = {kind: 1.0 for kind in BACKDROPS if kind != "photo"}
    spec = parse_spec({"environment": {"backdrop": weights, "backdrop_blur_share": 0.5}}, "test")
    drawn = [draw(spec, 1, i, catalog, model, "abcdef").environment.backdrop for i in range(120)]
    assert {b.kind if b else "world" for b in drawn} == set(weights)
    assert all(bool(b.name) == (b.kind == "panorama") for b in drawn if b)
    blurred = [b.blur for b in drawn if b and b.blur]
    assert 0.3 < len(blurred) / sum(b is not None for b in drawn) < 0.7 and 0.004 <= min(blurred) < max(blurred) <= 0.04


def test_without_backdrops_nothing_is_recorded(catalog: Catalog, model: HeadModel) -> None:
    assert "backdrop" not in to_record(draw(Spec(), 1, 0, catalog, model, "abcdef"))["environment"]


def test_surroundings_may_turn_about_the_vertical_alone(catalog: Catalog, model: HeadModel) -> None:
    level = parse_spec({"environment": {"rotate_about": "vertical"}}, "test")
    for i in range(5):
        free, turned = (draw(s, 1, i, catalog, model, "abcdef").environment.rotation_rad for s in (Spec(), level))
        assert turned == (0.0, 0.0, free[2]) and all(free)


@pytest.mark.parametrize("zoom", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("across", [(0.1, 0.2), (0.7, 0.9)])
def test_a_panorama_stands_upright(zoom: float, across: tuple[float, float], catalog: Catalog) -> None:
    """Bright sky over dark ground: each column grows brighter upwards."""
    rows = np.linspace(0.1, 1.0, 256)  # the lowest first
    panorama = np.broadcast_to(rows[:, None, None], (256, 512, 3))
    image = seen(replace(STILL, kind="panorama", name="x", zoom=zoom, across=across), catalog, panorama)
    assert (np.diff(image[2:-2, :, 0], axis=0) < 0).all()
    assert image.mean() == pytest.approx(0.18, rel=0.05)


def test_photographs_are_cut_from_the_users_folder(tmp_path: Path, catalog: Catalog) -> None:
    ramp = np.linspace(40, 200, 300).astype(np.uint8)
    Image.fromarray(np.broadcast_to(ramp[:, None, None], (300, 400, 3))).save(tmp_path / "ramp.png")
    photo = replace(STILL, kind="photo", name="own/ramp")
    owned = replace(catalog, backdrops={"own/ramp": tmp_path / "ramp.png"})
    whole, part = seen(photo, owned)[..., 0], seen(replace(photo, zoom=1.0), owned)[..., 0]
    assert np.ptp(part) < 0.4 * np.ptp(whole)  # 48 rows of 300
    assert whole[0, 0] == pytest.approx(((40 / 255 + 0.055) / 1.055) ** 2.4, abs=0.01)


def test_photographs_need_a_folder(head_pack: Path, tmp_path: Path) -> None:
    spec = parse_spec({"environment": {"backdrop": {"photo": 1}}}, "test")
    with pytest.raises(AssetError, match=r"environment\.backdrop asks for photographs.*assets\.backdrops"):
        build_catalog(head_pack, spec)
    Image.new("RGB", (64, 64), (90, 80, 70)).save(tmp_path / "grey.png")
    own = parse_spec({"environment": {"backdrop": {"photo": 1}}, "assets": {"backdrops": [str(tmp_path)]}}, "test")
    catalog = build_catalog(head_pack, own)
    assert list(catalog.backdrops) == ["own/grey"] and "backdrops/own/grey" in catalog.identity()["own"]


def test_blur_spreads_a_point_over_a_disc_and_loses_no_light() -> None:
    image = np.zeros((41, 41, 3), np.float32)
    image[20, 20] = 5
    blurred = out_of_focus(image, 6.0)
    assert blurred.sum() == pytest.approx(15, rel=1e-4)
    y, x = np.mgrid[-20:21, -20:21]
    far = np.hypot(x, y)
    assert blurred[far > 7].max() < 1e-5 and np.ptp(blurred[far < 5]) < 1e-5
    assert np.allclose(out_of_focus(np.ones((20, 30, 3), np.float32), 4.0), 1, atol=1e-5)


def test_white_paper_is_as_bright_as_its_light() -> None:
    gray = Environment("gray", "", 1.0, (0, 0, 0), 2.0, False, (0.4, 0.4, 0.4), 1.0, (0, 0, 0))
    off, on = Light(False, (0, 0, 1), 3.0, 0.1, (1, 1, 1)), Light(True, (0, 0, 1), 3.0, 0.1, (1, 1, 1))
    assert paper_white(gray, off, None) == pytest.approx([0.8] * 3)
    assert paper_white(gray, on, None) == pytest.approx([0.8 + 3 / np.pi] * 3)
    panorama = np.full((64, 128, 3), 0.25, np.float32)
    assert paper_white(replace(gray, kind="hdri"), off, panorama) == pytest.approx([0.5] * 3, rel=1e-3)


def test_walls_are_where_their_corners_are_projected() -> None:
    """Things that stand in a room are placed by `project`: it must agree with how walls are drawn."""
    box = Box(4.0, 3.0, 5.0, (0.4, 1.5), 0.3, 0.6, 0.05)
    wall = Image.new("RGB", (40, 30), (255, 0, 0))
    side = 200
    picture = np.asarray(box.seen({"back": wall}, Image.new("RGB", (side, side)), shaded=False))[..., 0]
    corners = np.array([[x, y, -5.0] for x in (-2.0, 2.0) for y in (0.0, 3.0)])
    middle = np.array([0.0, 1.5, -5.0])
    shown = 0
    for corner in corners:
        for share, expected in ((0.97, 255), (1.03, 0)):
            column, row, depth = box.project((middle + share * (corner - middle))[None], side)[0]
            if 0 <= column < side and 0 <= row < side and depth > 0:
                shown += 1
                assert picture[int(row), int(column)] == expected
    assert shown >= 4

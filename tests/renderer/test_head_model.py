"""The head pack's content and its evaluator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from renderer.errors import AssetError, SpecError
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.head.proxy import load_proxy, proxy_vertices

MALE = {"sex": 1.0, "age": 0.8, "african": 1.0, "asian": 0.0, "caucasian": 0.0}


@pytest.fixture(scope="module")
def head(head_pack: Path) -> HeadModel:
    return load_head(head_pack)


def skin_points(head: HeadModel, vertices: np.ndarray) -> np.ndarray:
    """Skin vertices only."""
    return vertices[np.unique(head.faces[head.part_faces("skin")])]


def test_the_head_is_life_size_upright_and_looks_along_z(head: HeadModel):
    average = head.identity_vertices()
    face = head.faces[head.face_region == head.regions.index("face")]
    low, high = average[face].min((0, 1)), average[face].max((0, 1))
    assert 0.15 < high[0] - low[0] < 0.20 and 0.19 < high[1] - low[1] < 0.25
    tip, chin, brow = (head.landmarks(average)[i] for i in (30, 8, 19))
    assert tip[2] == pytest.approx(high[2], abs=0.002)
    assert chin[1] < tip[1] < brow[1] and brow[0] < 0  # the subject's right brow comes first


def test_the_origin_is_between_the_ears_of_every_identity(head: HeadModel):
    ears = list(head.info["origin_vertices"])
    for macros in ({}, MALE, {"age": 0.0}, {"height": 1.0, "weight": 1.0}):
        vertices = head.evaluate(macros, {"ears/l-ear-trans-down-up": 1.0}, {"jawOpen": 1.0})
        np.testing.assert_allclose(vertices[ears].mean(axis=0), 0, atol=1e-9)


def test_canonical_uv_is_upright_and_the_mask_fills_the_unit_square(head: HeadModel):
    from PIL import Image

    uv = head.landmarks_uv
    assert uv.min() > 0 and uv.max() < 1
    assert uv[0, 0] < uv[36, 0] < uv[45, 0] < uv[16, 0]  # U grows to the viewer's right
    assert uv[8, 1] < uv[57, 1] < uv[33, 1] < uv[27, 1] < uv[19, 1]  # V grows to the forehead
    mask = np.asarray(Image.open(head.mask_path))
    assert mask.shape == (1024, 1024) and mask.dtype == np.uint8
    inside = mask >= 128
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert min(rows[0], 1023 - rows[-1], cols[0], 1023 - cols[-1]) >= 0
    assert rows[-1] - rows[0] > 980 and cols[-1] - cols[0] > 980
    assert np.abs(mask[:, :1021].astype(int) - mask[:, 1020::-1]).max() < 12  # symmetric about U = 0.4987
    for number in range(17, 68):
        u, v = uv[number]
        value = mask[int((1 - v) * 1024), int(u * 1024)]
        assert value > 128 or number in {36, 39, 42, 45, 60, 61, 62, 63, 64, 65, 66, 67} | set(range(36, 48)), number


def test_canonical_uv_is_one_to_one_on_the_face(head: HeadModel):
    skin = head.subdivided("skin")
    uv = skin.uv[skin.region == head.regions.index("face")].astype(float)
    d1, d2 = uv[:, 2] - uv[:, 0], uv[:, 3] - uv[:, 1]
    area = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    assert len(area) == 4 * 3116
    assert (area > 0).all()  # no flipped quad: with a single chart's border this means no overlap
    others = skin.uv[skin.region != head.regions.index("face")]
    assert (others == -1).all()


def test_landmarks_lie_on_both_surfaces_and_are_symmetric(head: HeadModel):
    average = head.identity_vertices()
    coarse = head.landmarks(average)
    fine = head.landmarks_smooth(head.subdivided("skin").points(average))
    assert np.linalg.norm(coarse - fine, axis=1).max() < 0.003
    pairs = [(0, 16), (8, 8), (17, 26), (31, 35), (36, 45), (39, 42), (48, 54), (59, 55), (60, 64), (67, 65)]
    for right, left in pairs:
        np.testing.assert_allclose(coarse[right] * [-1, 1, 1], coarse[left], atol=1e-5)
    np.testing.assert_allclose(head.landmarks_bary.sum(axis=1), 1, atol=1e-6)


def test_lip_distance_tells_open_from_closed(head: HeadModel):
    rest = head.identity_vertices()
    shut = head.lip_gap(rest)
    assert shut == head.neutral_lip_gap < 0.003
    assert head.lip_gap(head.expressed(rest, {"jawOpen": 0.5})) > 0.01
    # A dropped jaw with closed lips is a closed mouth.
    assert head.lip_gap(head.expressed(rest, {"jawOpen": 1.0, "mouthClose": 1.0})) < 0.003


def test_the_lips_of_an_expression_need_no_other_vertices(head: HeadModel) -> None:
    rest = head.identity_vertices(MALE, {"mouth/mouth-angles-down-up": 0.5})
    for units in ({}, {"jawOpen": 0.3}, dict.fromkeys(head.units, 0.2)):
        assert head.expressed_lip_gap(rest, units) == head.lip_gap(head.expressed(rest, units))


def test_a_remembered_identity_cannot_be_changed(head: HeadModel) -> None:
    rest = head.identity_vertices(MALE)
    with pytest.raises(ValueError, match="read-only"):
        rest += 1.0
    assert head.identity_vertices(dict(MALE)) is rest


def test_evaluate_is_identity_then_expression(head: HeadModel):
    sliders, units = {"nose/nose-hump-decr-incr": -0.5}, {"jawOpen": 0.3, "eyeBlinkLeft": 1.0}
    both = head.evaluate(MALE, sliders, units)
    np.testing.assert_allclose(both, head.expressed(head.identity_vertices(MALE, sliders), units), atol=1e-12)
    again = head.evaluate(MALE, sliders, dict(reversed(units.items())))
    assert both.dtype == np.float64 and (both == again).all()  # bit-equal, whatever the order given


def test_macros_blend_as_makehuman_does(head: HeadModel):
    for macros in ({}, MALE, {"sex": 0.25, "age": 0.1, "weight": 0.9, "muscle": 0.2}):
        weights = head.macro_weights(macros)
        race = [w for i, w in weights.items() if len(head.info["targets"][i]["factors"]) == 3]
        assert sum(race) == pytest.approx(1.0)
    assert (head.identity_vertices({"african": 0.2, "asian": 0.2, "caucasian": 0.2}) == head.identity_vertices()).all()
    child, adult = (skin_points(head, head.identity_vertices({"age": a})) for a in (0.1, 0.5))
    assert np.ptp(child[:, 0]) < np.ptp(adult[:, 0])


def test_all_targets_are_there(head: HeadModel):
    kinds = [t["kind"] for t in head.info["targets"]]
    assert kinds.count("expression") == 52 and kinds.count("identity") == 348 and kinds.count("macro") > 330
    for info in head.slider_info.values():
        if info["mirror"]:
            assert head.slider_info[info["mirror"]]["mirror"] == info["name"]
    sided = [n for n in head.sliders if n.split("/")[1].startswith(("l-", "r-"))]
    assert len(sided) > 50 and all(head.slider_info[n]["mirror"] for n in sided)
    used = {t for s in head.slider_info.values() for t in (s["neg"], s["pos"]) if t}
    assert used == {t["name"] for t in head.info["targets"] if t["kind"] == "identity"}


def test_mirrored_sliders_give_a_mirrored_head(head: HeadModel):
    left = head.identity_vertices({}, {"eyes/l-eye-scale-decr-incr": 0.7})
    right = head.identity_vertices({}, {"eyes/r-eye-scale-decr-incr": 0.7})
    skin = np.unique(head.faces[head.part_faces("skin")])
    skin = skin[head.mirror[skin] >= 0]
    assert len(skin) > 3000
    np.testing.assert_allclose(left[skin], right[head.mirror[skin]] * [-1, 1, 1], atol=1e-3)


def test_wrong_names_and_values_are_refused(head: HeadModel):
    with pytest.raises(SpecError, match="unknown macro"):
        head.identity_vertices({"gender": 0.5})
    with pytest.raises(SpecError, match="allowed is"):
        head.identity_vertices({"age": 1.5})
    with pytest.raises(SpecError, match="allowed is"):
        head.identity_vertices({"age": float("nan")})
    with pytest.raises(SpecError, match="unknown identity slider"):
        head.identity_vertices({}, {"nose/big": 1.0})
    with pytest.raises(SpecError, match="one-sided"):
        head.identity_vertices({}, {"head/head-oval": -1.0})
    with pytest.raises(SpecError, match="unknown expression unit"):
        head.evaluate(units={"smile": 1.0})
    with pytest.raises(SpecError, match="is inf"):
        head.evaluate(units={"jawOpen": float("inf")})


def test_the_subdivided_skin_is_one_mesh_with_one_open_border(head: HeadModel):
    skin = head.subdivided("skin")
    points = skin.points(head.identity_vertices())
    assert points.shape == (skin.operator.shape[0], 3) and skin.faces.max() == len(points) - 1
    assert len(points) == 17817
    edges = np.sort(np.stack([skin.faces, np.roll(skin.faces, -1, 1)], 2).reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2 and (count == 1).sum() == 96  # the neck's lower edge, 48 edges, subdivided once
    assert points[unique[count == 1], 1].max() < -0.12
    np.testing.assert_allclose(np.asarray(skin.operator.sum(axis=1)), 1, atol=1e-12)


def test_eyes_turn_with_the_gaze_units(head: HeadModel):
    rest = head.identity_vertices(MALE)
    looking = head.expressed(rest, {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0})  # both to the subject's left
    for part in ("eye_l", "eye_r"):
        index = np.unique(head.faces[head.part_faces(part)])
        front = index[np.argsort(rest[index, 2])[-6:]]
        moved = (looking - rest)[front].mean(axis=0)
        assert moved[0] > 0.003 and abs(moved[1]) < 0.002
    if head.proxy_names("eyes"):
        eyes = load_proxy(head, "eyes", "HighPolyEyes")
        before, after = (proxy_vertices(head, eyes, v, rest) for v in (rest, looking))
        for side in (before[:, 0] > 0, before[:, 0] < 0):
            front = np.flatnonzero(side)[np.argsort(before[side, 2])[-30:]]
            assert (after - before)[front, 0].mean() > 0.003


def test_bound_meshes_stay_on_the_head(head: HeadModel):
    bound = head.info["proxies"]
    assert bound or head.missing, "a pack without bound meshes must say so"
    for macros in ({}, MALE, {"age": 0.0}):
        vertices = head.identity_vertices(macros)
        skin = skin_points(head, vertices)
        low, high = skin.min(axis=0) - 0.6, skin.max(axis=0) + 0.12  # long hair hangs to the waist
        for entry in bound:
            proxy = load_proxy(head, entry["kind"], entry["name"])
            points = proxy_vertices(head, proxy, vertices, vertices)
            assert np.isfinite(points).all()
            assert (points > low).all() and (points < high).all(), entry["name"]
            np.testing.assert_allclose(proxy.weights.sum(axis=1), 1, atol=0.02)
            assert all(path.is_file() for path in proxy.textures.values())


def test_unknown_items_are_named_in_the_error(head: HeadModel):
    with pytest.raises(AssetError, match="no hair 'mohawk'"):
        load_proxy(head, "hair", "mohawk")
    with pytest.raises(AssetError, match="no subdivided 'lashes'"):
        head.subdivided("lashes")


def test_a_damaged_pack_is_refused(head_pack: Path, tmp_path: Path):
    for name in ("head.npz", "head.json", "files.json"):
        shutil.copy(head_pack / name, tmp_path / name)
    load_head(tmp_path)
    data = bytearray((tmp_path / "head.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "head.npz").write_bytes(data)
    with pytest.raises(AssetError, match="has been changed"):
        load_head(tmp_path)
    (tmp_path / "head.npz").unlink()
    with pytest.raises(AssetError, match="is missing"):
        load_head(tmp_path)


def test_another_format_is_refused(head_pack: Path, tmp_path: Path):
    from blend_assets.build import seal_pack

    shutil.copy(head_pack / "head.npz", tmp_path / "head.npz")
    info = json.loads((head_pack / "head.json").read_text("utf-8")) | {"format": 99}
    (tmp_path / "head.json").write_text(json.dumps(info), "utf-8")
    seal_pack(tmp_path)
    with pytest.raises(AssetError, match="format 99"):
        load_head(tmp_path)

"""The body below a head and its clothes: where they are, what they hide, and what they leave alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from blend_assets.build import seal_pack
from renderer.errors import AssetError
from renderer.head.body import articulated, headness, load_body
from renderer.head.catalog import Catalog, build_catalog
from renderer.head.garments import PATTERNS, shell
from renderer.head.model import HeadModel
from renderer.head.parts import WORN, Part, PartBuilder, Shown
from renderer.head.pose import posed
from renderer.head.shells import normals
from renderer.labels import maps
from renderer.labels.camera import project
from renderer.labels.raster import Rasteriser
from renderer.labels.reference import head_from_record
from renderer.parameters.looks import GARMENTS
from renderer.parameters.params import Camera, Clothes, Garment, Head, Pose, Wear, to_record
from renderer.parameters.spec import Spec, parse_spec
from renderer.sampling.draw import draw

SPEC = parse_spec(
    {
        "clothes": {"share": 1}, "heads": {"empty_share": 0}, "deform": dict.fromkeys(
            ("twist_deg", "bend_deg", "taper", "stretch", "noise_m"), 0
        ),
    },
    "the test",
)  # fmt: skip
CAMERA = Camera(50.0, 36.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def builder(model: HeadModel, catalog: Catalog) -> PartBuilder:
    return PartBuilder(model, catalog)


def garment(kind: str, **more: Any) -> Garment:
    return replace(Garment(kind, (1, 1, 1), (1, 1, 1), "", 1.0, 1.0, 0.003, 0.002, 1), **more)


def dressed(
    model: HeadModel,
    catalog: Catalog,
    kinds: Sequence[str],
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    index: int = 3,
) -> Head:
    """A head turned by an angle on a body that faces the camera."""
    head = draw(SPEC, 0, index, catalog, model, "abcdef").heads[0]
    clothes = Clothes(0.0, 0.0, 0.0, (0.4, 0.4), tuple(garment(kind) for kind in kinds))
    pose = Pose(math.radians(yaw_deg), math.radians(pitch_deg), 0.0, (0.0, 0.0, 0.0))
    return replace(head, pose=pose, clothes=clothes, wear=Wear())


def of_kind(parts: Sequence[Part], kind: str) -> list[Part]:
    return [part for part in parts if part.kind == kind]


@pytest.mark.parametrize("kind", GARMENTS)
def test_every_garment_is_a_sound_mesh_near_the_body(
    kind: str, model: HeadModel, catalog: Catalog, builder: PartBuilder
) -> None:
    head = dressed(model, catalog, [kind])
    cloth = of_kind(builder.build(head), "clothes")[-1]
    faces = cloth.topology.faces
    assert np.isfinite(cloth.vertices).all() and faces.max() == len(cloth.vertices) - 1
    body = load_body(model.folder, model)
    points = body.points(body.at_rest(model, head.identity), (0.4, 0.4))
    upright = posed(points, Pose(0.0, 0.0, 0.0, (0.0, 0.0, 0.0)))
    away = cKDTree(upright).query(cloth.vertices)[0]
    assert np.median(away) < 0.02 and away.max() < 0.09


def test_patterns_differ_as_their_names_say(model: HeadModel) -> None:
    body = load_body(model.folder, model)
    heights, widths = {}, {}
    for name, pattern in PATTERNS.items():
        cut = shell(body, pattern)
        rest = np.asarray(cut.rows @ body.rest)
        middle = rest[(np.abs(rest[:, 0]) < 0.01) & (rest[:, 2] > 0.0)]
        heights[name], widths[name] = middle[:, 1].max(), np.abs(rest[:, 0]).max()
    assert heights["rollneck"] > heights["tee"] > heights["vneck"] > heights["jacket"]
    assert widths["jumper"] > 1.3 * widths["tee"] > 1.3 * widths["tank"]
    assert widths["jumper"] == pytest.approx(widths["hoodie"])
    assert set(PATTERNS) == set(GARMENTS)


def test_head_and_landmarks_stay_where_they_are_and_the_neck_bends(
    model: HeadModel, catalog: Catalog, builder: PartBuilder
) -> None:
    head = dressed(model, catalog, ["tee"], yaw_deg=50, pitch_deg=-20)
    bent, stiff = builder.skin_points(head), builder.skin_points(replace(head, clothes=None))
    off = np.linalg.norm(bent - stiff, axis=1)
    assert off[builder.face_vertices].max() < 1e-9
    assert off.max() > 0.03  # the neck's lower end stays with the body
    assert np.array_equal(builder.landmarks(head), builder.landmarks(replace(head, clothes=None)))
    edge = builder.skin.faces[builder.skin.faces[:, 3] >= 0]
    lengths = [np.linalg.norm(p[edge] - np.roll(p[edge], 1, axis=1)[...], axis=-1).max() for p in (bent, stiff)]
    assert lengths[0] < 2.5 * lengths[1]  # nothing is torn


def test_the_body_stays_upright_while_the_head_turns(model: HeadModel, catalog: Catalog, builder: PartBuilder) -> None:
    parts = [of_kind(builder.build(dressed(model, catalog, ["jumper"], yaw)), "clothes")[0] for yaw in (-50, 0, 50)]
    shoulders = [
        part.vertices[np.abs(part.topology.rest[:, 0]) > 0.6] for part in parts if part.topology.rest is not None
    ]
    assert len(shoulders) == 3
    assert (
        max(np.linalg.norm(s - shoulders[1], axis=1).max() for s in shoulders) < 0.05
    )  # the neck's base moves a little


def test_a_point_turns_with_body_or_head_by_its_share() -> None:
    points = np.array([[0.1, -0.3, 0.0], [0.1, 0.1, 0.0]])
    head = Pose(math.radians(40), 0.0, 0.0, (0.0, 0.0, 0.0))
    clothes = Clothes(math.radians(-10), 0.0, 0.0, (0.0, 0.0), ())
    out = articulated(points, np.array([0.0, 1.0]), np.zeros(3), head, clothes)
    assert np.allclose(out[1], posed(points[1:], head))
    assert np.allclose(out[0], posed(points[:1], replace(head, yaw_rad=math.radians(-10))))
    half = articulated(points, np.array([0.5, 0.5]), np.zeros(3), head, clothes)
    assert np.allclose(half, posed(points, replace(head, yaw_rad=math.radians(15))))
    assert headness(np.array([[0.0, -0.3, 0.0], [0.0, 0.0, 0.0], [0.17, -0.1, 0.0]])).tolist() == [0.0, 1.0, 0.0]


def cast(builder: PartBuilder, head: Head, size: int = 96) -> tuple[Any, Any]:
    """Face and visible face (size, size) of one head."""
    shown = [Shown(part, 0, head) for part in builder.build(head)]
    rays = Rasteriser(builder.picture).cast(shown, CAMERA, 0.0, (0, 0, size, size), 1, size)
    face = maps.face_rays(rays, maps.load_face_area(builder.model.mask_path))
    return face, face & ~rays.occluded


@pytest.mark.parametrize("kinds", [["tee"], ["tank"], ["shirt", "jacket"], ["hoodie"]])
def test_clothes_and_bare_shoulders_are_never_face(
    kinds: list[str], model: HeadModel, catalog: Catalog, builder: PartBuilder
) -> None:
    head = dressed(model, catalog, kinds)
    alone, _ = cast(builder, replace(head, clothes=None))
    face, _ = cast(builder, head)
    assert alone.sum() > 300
    assert not (face & ~alone).any()  # no ray that misses the bare head's face hits one now
    body = project(np.concatenate([p.vertices for p in of_kind(builder.build(head), "clothes")]), CAMERA, 96)
    assert body[:, 1].max() > 90 and not face[-6:].any()
    for part in of_kind(builder.build(head), "body"):
        assert (part.topology.uvs["uv"] < 0).all()


def test_a_collar_before_the_chin_hides_the_face_behind_it(
    model: HeadModel, catalog: Catalog, builder: PartBuilder
) -> None:
    head = dressed(model, catalog, ["hoodie"])
    forward = np.array([0, 0.12, 0.14], np.float32)
    parts = [
        replace(part, vertices=part.vertices + forward) if part.kind == "clothes" else part
        for part in builder.build(head)
    ]
    shown = [Shown(part, 0, head) for part in parts]
    rays = Rasteriser(builder.picture).cast(shown, CAMERA, 0.0, (0, 0, 96, 96), 1, 96)
    face = maps.face_rays(rays, maps.load_face_area(builder.model.mask_path))
    assert (face & rays.occluded).sum() > 20 and "clothes" in WORN


def test_a_body_follows_its_identity(model: HeadModel) -> None:
    body = load_body(model.folder, model)
    identity = draw(SPEC, 0, 3, build_catalog(model.folder, SPEC), model, "abcdef").heads[0].identity

    def width(**macros: float) -> float:
        points = body.points(body.at_rest(model, replace(identity, macros=macros, sliders={})), (0.0, 0.0))
        waist = (np.abs(body.rest[:, 1] + 0.5) < 0.03) & (np.abs(body.rest[:, 0]) < 0.2)
        return float(np.abs(points[waist, 0]).max())

    assert width(weight=1.0) > 1.05 * width(weight=0.0)
    assert width(age=0.19) < 0.85 * width(age=0.5)


def test_normals_point_outwards(model: HeadModel) -> None:
    body = load_body(model.folder, model)
    away = normals(body.rest, body.faces)
    trunk = (np.abs(body.rest[:, 0]) < 0.16) & (np.abs(body.rest[:, 1] + 0.4) < 0.1)
    from_axis = body.rest[trunk] * (1.0, 0.0, 1.0)
    assert trunk.sum() > 100 and np.mean((away[trunk] * from_axis).sum(axis=1) > 0) > 0.99


def test_records_hold_clothes_and_give_the_head_back(model: HeadModel, catalog: Catalog) -> None:
    head = draw(SPEC, 0, 4, catalog, model, "abcdef").heads[0]
    params = draw(SPEC, 0, 4, catalog, model, "abcdef")
    stored = json.loads(json.dumps(to_record(params)))["heads"][0]
    assert stored["clothes"]["garments"]
    assert head_from_record(stored) == head


def test_necks_turn_no_further_than_necks_do(model: HeadModel, catalog: Catalog) -> None:
    turned = []
    for i in range(60):
        for head in draw(SPEC, 0, i, catalog, model, "abcdef").heads:
            assert head.clothes is not None
            turned.append(math.degrees(abs(head.pose.yaw_rad - head.clothes.yaw_rad)))
            assert abs(head.pose.pitch_rad - head.clothes.pitch_rad) <= math.radians(35) + 1e-9
    assert 20 < max(turned) <= 65 + 1e-9


def test_without_clothes_there_is_no_body_and_no_trace_of_one(model: HeadModel, catalog: Catalog) -> None:
    params = draw(Spec(), 0, 4, catalog, model, "abcdef")
    assert params.heads and params.heads[0].clothes is None
    assert "clothes" not in to_record(params)["heads"][0]


def test_a_pack_without_a_body_is_refused_in_words(model: HeadModel, tmp_path: Path) -> None:
    for name in ("head.npz", "head.json"):
        (tmp_path / name).symlink_to(model.folder / name)
    seal_pack(tmp_path)
    with pytest.raises(AssetError, match=r"has no body.npz: leave the spec's section `clothes` out"):
        load_body(tmp_path, model)

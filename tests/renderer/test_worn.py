"""What is fitted to a head: it lies on the skin, it hides the face, and it leaves the face's labels alone."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from renderer.format.dataset import open_dataset
from renderer.head.catalog import Catalog, build_catalog
from renderer.head.pack import load_head
from renderer.head.parts import Part, PartBuilder, Shown, triangles
from renderer.head.pose import unposed
from renderer.head.worn.kinds import KINDS
from renderer.head.worn.site import halves
from renderer.head.worn.surface import MIDDLE, Surface, taut
from renderer.labels.raster import Rasteriser
from renderer.labels.reference import head_from_record
from renderer.parameters.params import Camera, Head, Wear, Worn, flat_knobs, to_record
from renderer.parameters.spec import parse_spec
from renderer.run.claim import STAGING, claim
from renderer.run.context import prepare
from renderer.run.local import render_shards
from renderer.run.plan import make_plan
from renderer.run.pool import PoolOptions
from renderer.sampling.draw import draw

SPEC = parse_spec(
    {"heads": {"empty_share": 0, "several_share": 0}, "surface": {"kinds": {"skin": 1}}, "deform": {"noise_m": 0}},
    "the tests",
)
CAMERA = Camera(focal_mm=85.0, sensor_mm=36.0, distance_m=0.75, shift_x=0.0, shift_y=0.0)
SIDE = 48
BLACK = (0.0, 0.0, 0.0)
SEEDS = range(3)


@pytest.fixture(scope="module")
def catalog(head_pack: Path) -> Catalog:
    return build_catalog(head_pack, SPEC)


@pytest.fixture(scope="module")
def builder(head_pack: Path, catalog: Catalog) -> PartBuilder:
    return PartBuilder(load_head(head_pack), catalog)


def wearing(builder: PartBuilder, seed: int, *kinds: str) -> Head:
    """A head of the spec that wears one thing of each kind."""
    head = draw(SPEC, 5, seed, builder.catalog, builder.model, "tag").heads[0]
    shapes = [asdict(KINDS[kind].random(np.random.default_rng([seed, n]))) for n, kind in enumerate(kinds)]
    things = [Worn(k, shape, BLACK, BLACK, "plain", 0.01, 0.5) for k, shape in zip(kinds, shapes, strict=True)]
    return replace(head, wear=Wear(fitted=tuple(things)))


def shown(builder: PartBuilder, head: Head) -> list[Shown]:
    return [Shown(part, 0, head) for part in builder.build(head)]


def cast(builder: PartBuilder, scene: list[Shown]) -> Any:
    return Rasteriser(builder.picture).cast(scene, CAMERA, 0.0, (0, 0, SIDE, SIDE), 1, SIDE)


def hits(corners: Any, start: Any, way: Any) -> Any:
    """Distances along a ray to the (T, 3, 3) triangles that it meets, by the plain formula of Moeller and Trumbore."""
    a, ab, ac = corners[:, 0] - start, corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(way, ac)
    det = (ab * p).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = -(a * p).sum(1) / det
        q = np.cross(-a, ab)
        v, t = q @ way / det, (ac * q).sum(1) / det
    return t[(u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)]


def first_hits(parts: list[Part], directions: Any) -> Any:
    """(N,) distance along rays from the camera to the first triangle of parts; infinite for none."""
    corners = np.concatenate([p.vertices[triangles(p.topology)[0]] for p in parts]).astype(np.float64)
    return np.array([hits(corners, [0.0, 0.0, CAMERA.distance_m], way).min(initial=np.inf) for way in directions])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_visible_is_off_exactly_where_a_thing_is_before_the_face(builder: PartBuilder, kind: str) -> None:
    hidden = 0
    for seed in SEEDS:
        scene = shown(builder, wearing(builder, seed, kind))
        rays = cast(builder, scene)
        rows, columns = np.nonzero(rays.head)
        some = np.random.default_rng(seed).permutation(len(rows))[:25]
        rows, columns = rows[some], columns[some]
        step = CAMERA.sensor_mm / CAMERA.focal_mm / SIDE
        x, y = (columns + 0.5 - SIDE / 2) * step, (SIDE / 2 - rows - 0.5) * step
        ways = np.column_stack([x, y, np.full(len(x), -1.0)])
        thing = first_hits([s.part for s in scene if s.part.kind == "fitted"], ways)
        rest = first_hits([s.part for s in scene if s.part.kind not in ("fitted", "brows", "lashes")], ways)
        assert (rays.occluded[rows, columns] == (thing < rest)).all(), (kind, seed)
        hidden += int((thing < rest).sum())
    assert hidden > 0, f"{kind} hid nothing"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_worn_leaves_face_and_uv_as_they_are(builder: PartBuilder, kind: str) -> None:
    head = wearing(builder, 1, kind)
    worn, bare = cast(builder, shown(builder, head)), cast(builder, shown(builder, replace(head, wear=Wear())))
    np.testing.assert_array_equal(worn.head, bare.head)
    np.testing.assert_array_equal(worn.uv, bare.uv)


def test_a_mask_covers_mouth_and_chin_and_no_skin_comes_through(builder: PartBuilder) -> None:
    for seed in SEEDS:
        head = wearing(builder, seed, "mask")
        head = replace(head, pose=replace(head.pose, yaw_rad=0.0, pitch_rad=0.0, roll_rad=0.0))
        scene = shown(builder, head)
        rays = cast(builder, scene)
        marks = builder.landmarks(head)[[8, 48, 54, 57]] - [0.0, 0.0, CAMERA.distance_m]
        marks[0] += [0.0, 0.006, 0.0]  # the chin's outline itself may be seen from the front
        scale = CAMERA.focal_mm / CAMERA.sensor_mm * SIDE
        column, row = (SIDE / 2 + scale * np.array([marks[:, 0], -marks[:, 1]]) / -marks[:, 2]).astype(int)
        face = rays.head[row, column] > 0
        assert face.any() and rays.occluded[row, column][face].all(), seed


def test_a_touching_hand_is_on_the_skin_and_not_in_it(builder: PartBuilder) -> None:
    for seed in range(8):
        head = wearing(builder, seed, "touch")
        parts = {part.kind: part for part in builder.build(head)}
        skin, hand = parts["skin"], parts["fitted"].vertices
        corners = skin.vertices[triangles(skin.topology)[0]]
        centres = corners.mean(axis=1)
        distance, _ = cKDTree(np.concatenate([centres, corners[:, 0]])).query(hand)
        place = f"{head.wear.fitted[0].shape['place']} {seed}"
        assert distance.min() < 0.004, f"{place}: the hand is in the air"
        far = np.flatnonzero((distance > 0.006) & (distance < 0.03))
        for point in hand[far[:: max(1, len(far) // 15)]]:
            crossed = len(hits(corners.astype(np.float64), point.astype(np.float64), np.array([0.13, 0.97, 0.21])))
            assert crossed % 2 == 0, f"{place}: deep in the skin"


def test_a_hand_takes_its_colour_from_the_cheek(builder: PartBuilder) -> None:
    part = next(p for p in builder.build(wearing(builder, 0, "touch")) if p.kind == "fitted")
    uv, cheek = part.topology.uvs["uv"], builder.skin.uvs["uv"]
    assert 0.02 < np.ptp(uv[..., 0]) < 0.2
    near = (np.abs(cheek - uv.mean(axis=(0, 1))) < 0.02).all(axis=(1, 2))
    rest = builder.skin.rest
    assert rest is not None and near.any()
    where = rest[builder.skin.faces[near, 0]].mean(axis=0) * 0.24
    assert 0.02 < where[0] < 0.07 and where[2] > 0.05, where  # on the outside, at the side of the face


def test_a_record_gives_back_what_is_worn(builder: PartBuilder) -> None:
    head = wearing(builder, 2, *sorted(KINDS))
    params = replace(draw(SPEC, 5, 2, builder.catalog, builder.model, "tag"), heads=(head,))
    record = json.loads(json.dumps(to_record(params)))
    again = head_from_record(record["heads"][0])
    for one, other in zip(builder.build(head), builder.build(again), strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.vertices, other.vertices)
    assert flat_knobs(params)["wear.fitted.mask"] is True


def test_hair_under_a_hat_is_pressed_below_it(builder: PartBuilder) -> None:
    for seed in SEEDS:
        head = wearing(builder, seed, "hat", "hair")
        hat, hair = (part.vertices for part in builder.build(head) if part.kind == "fitted")
        alone = [part.vertices for part in builder.build(wearing(builder, seed, "hat"))][-1]
        np.testing.assert_array_equal(hat, alone)  # hair does not lift it
        pose = head.pose
        cloth = Surface(unposed(hat.astype(np.float64), pose), halves(builder.build(head)[-2].topology.faces.clip(0)))
        away = unposed(hair.astype(np.float64), pose) - MIDDLE
        length = np.linalg.norm(away, axis=1)
        over = cloth.distance(away / length[:, None])
        assert (length[over > 0.06] < over[over > 0.06] + 0.001).mean() > 0.93, seed


def test_beards_and_crowns_are_for_whom_they_suit(builder: PartBuilder) -> None:
    spec = parse_spec(
        {
            "heads": {"empty_share": 0, "several_share": 0},
            "occluders": {"beard_share": 1, "hair_share": 1, "strand_share": 1, "natural_hair_share": 1},
        },
        "the tests",
    )
    heads = [draw(spec, 1, index, builder.catalog, builder.model, "tag").heads[0] for index in range(150)]
    for head in heads:
        macros, kinds = head.identity.macros, {thing.kind for thing in head.wear.fitted}
        assert ("beard" in kinds) == (macros["sex"] > 0.5 and macros["age"] > 0.35)
        assert "hair" in kinds and not head.wear.hair
    colours = {thing.colour for head in heads for thing in head.wear.fitted if thing.kind == "hair"}
    assert len(colours) > 140
    by_age = [(h.identity.macros["age"], sum(h.wear.fitted[-1].colour)) for h in heads]
    assert np.mean([c for age, c in by_age if age > 0.85]) > 2 * np.mean([c for age, c in by_age if age < 0.6])


def test_nothing_of_short_hair_lies_on_the_neck(builder: PartBuilder) -> None:
    """The neck of a dressed head bends, and hair does not: what lay there would come through the skin."""
    head = wearing(builder, 0, "hair")
    short = {**head.wear.fitted[0].shape, "top_m": 0.01, "side_m": 0.01, "tied": 0.0, "count": 200}
    head = replace(head, wear=Wear(fitted=(replace(head.wear.fitted[0], shape=short),)))
    hair = next(part for part in builder.build(head) if part.kind == "fitted").vertices
    lowest = unposed(hair.astype(np.float64), head.pose)[:, 1].min()
    assert lowest > unposed(builder.landmarks(head), head.pose)[8, 1]  # the chin


def test_nothing_is_fitted_unless_asked_for(builder: PartBuilder) -> None:
    for index in range(40):
        params = draw(SPEC, 0, index, builder.catalog, builder.model, "tag")
        assert not params.heads[0].wear.fitted
        assert "fitted" not in to_record(params)["heads"][0]["wear"]


def test_the_surface_of_a_ball_is_round_at_its_poles_too() -> None:
    rng = np.random.default_rng(0)
    ring = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    level = np.linspace(0, np.pi, 31)
    x, y, z = np.outer(np.sin(level), np.sin(ring)), np.cos(level)[:, None], np.outer(np.sin(level), np.cos(ring))
    points = MIDDLE + 0.1 * np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3)
    index = np.arange(31 * 60).reshape(31, 60)
    a, b, c, d = index[:-1], np.roll(index, -1, 1)[:-1], np.roll(index, -1, 1)[1:], index[1:]
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3).astype(np.int32)
    surface = Surface(points, faces)
    ways = rng.normal(size=(5000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    np.testing.assert_allclose(surface.distance(ways), 0.1, atol=0.0006)
    np.testing.assert_allclose(surface.above(MIDDLE + 0.13 * ways), 0.03, atol=0.0006)
    assert surface.normal(MIDDLE + np.array([0.0, 0.0, 0.1])) @ [0, 0, 1] > 0.999


def test_cloth_is_nowhere_below_what_it_lies_on_and_bridges_hollows() -> None:
    least = np.full((21, 21), 1.0)
    least[8:13, 8:13] = 0.5  # a hollow
    held = np.zeros(least.shape, bool)
    held[[0, -1]] = held[:, [0, -1]] = True
    cloth = taut(least, fixed=held, rounds=200)
    assert (cloth >= least).all() and cloth[10, 10] > 0.98


@pytest.mark.blender
def test_every_kind_is_rendered_and_excluded_from_labels_where_the_spec_says_so(
    head_pack: Path, tmp_path: Path
) -> None:
    shares = {f"{name}_share": 0.7 for name in ("hair", "beard", "mask", "headwear", "wisps", "touch", "held")}
    raw = {
        "name": "worn",
        "render": {"resolution": 24, "samples_per_pixel": 1, "denoise": False, "hidden_face": "excluded"},
        "heads": {"empty_share": 0, "several_share": 0},
        "surface": {"kinds": {"skin": 1}},
        "occluders": {
            **shares,
            "strand_share": 0.7,
            "headphones_share": 0.5,
            "muffler_share": 0.5,
            "sunglasses_share": 0.5,
        },
    }
    context = prepare(parse_spec(raw, "the tests"), 2, log=lambda text: None)
    claim(tmp_path, context)
    plan = make_plan(tmp_path, context, 12, 12)
    report = render_shards(context, list(plan.ranges), tmp_path, tmp_path / STAGING, PoolOptions(1, 1))
    assert not report.skipped
    seen = set()
    for reader, entry in open_dataset(tmp_path).entries():
        record = reader.params(entry)
        seen |= {(thing["kind"], thing["shape"].get("cut")) for thing in record["heads"][0]["wear"].get("fitted", ())}
        face, visible = np.moveaxis(reader.image(entry, "mask"), 2, 0)
        np.testing.assert_array_equal(face, visible)
        assert not reader.image(entry, "uv")[face == 0].any()
    assert {kind for kind, _ in seen} == set(KINDS)

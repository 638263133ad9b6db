"""Shots show one actor who performs: units to their extremes, speech whose sounds run into each other, takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderer.format.dataset import open_dataset
from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.params import SampleParams
from renderer.parameters.spec import Spec
from renderer.report import proof
from renderer.run.claim import STAGING, claim
from renderer.run.context import prepare
from renderer.run.local import render_shards
from renderer.run.plan import make_plan
from renderer.run.pool import PoolOptions
from renderer.sampling.draw import draw
from renderer.sampling.shots import Shot, expression_space, range_of_motion, takes
from renderer.sampling.speech import PANGRAMS, PHONES, length_s, utter
from renderer.strict import override

FRAMES = 200


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec("actor")


Drawer = Callable[..., SampleParams]


@pytest.fixture(scope="module")
def drawn(spec: Spec, model: HeadModel, catalog: Catalog) -> Drawer:
    def one(index: int, seed: int = 0, **settings: Any) -> SampleParams:
        chosen = override(spec, {k.replace("__", "."): v for k, v in settings.items()}, "the test")
        return draw(chosen, seed, index, catalog, model, "abc123")

    return one


def shot(model: HeadModel, number: int = 0, frames: int = FRAMES) -> Shot:
    def rng(topic: str) -> np.random.Generator:
        return np.random.default_rng([number, len(topic)])

    return Shot(rng, number, frames, 30.0, model.units)


def test_all_shots_show_one_actor_in_one_light_and_one_frame(drawn: Drawer) -> None:
    first, *others = [drawn(0), drawn(77), drawn(3 * FRAMES + 5), drawn(FRAMES, seed=9)]
    for other in others:
        assert (other.camera, other.light, other.environment) == (first.camera, first.light, first.environment)
        assert other.second_camera_yaw_rad == first.second_camera_yaw_rad == pytest.approx(np.radians(45))
        for part in ("identity", "surface", "interior", "wear", "deform"):
            assert getattr(other.heads[0], part) == getattr(first.heads[0], part), part
        assert other.heads[0].pose != first.heads[0].pose
        assert other.cycles_seed != first.cycles_seed
    assert drawn(0, shot__actor_seed=2).heads[0].identity != first.heads[0].identity
    assert drawn(FRAMES, shot__actor_seed=-1).heads[0].identity != drawn(0, shot__actor_seed=-1).heads[0].identity


def test_light_and_camera_of_an_actor_rest_whatever_their_range(drawn: Drawer) -> None:
    wide = {"light__elevation_deg": [-40, 40], "light__azimuth_deg": [-60, 60], "camera__shift": 0.5}
    frames = [drawn(i, **wide) for i in (0, 50, FRAMES + 3)]
    assert len({f.light.direction for f in frames}) == len({f.camera for f in frames}) == 1
    assert len({drawn(i, shot__actor_seed=-1, **wide).light.direction for i in (0, 50)}) == 2


def test_kinds_take_turns_and_the_record_names_them(spec: Spec, drawn: Drawer) -> None:
    kinds = [drawn(clip * FRAMES + 7).extra for clip in range(6)]
    assert [k["kind"] for k in kinds] == [*spec.shot.kinds, *spec.shot.kinds[:2]]
    assert kinds[5] == {"clip": 5, "frame": 7, "kind": "expressions"}


def test_the_face_moves_in_every_shot_but_never_jumps(drawn: Drawer, model: HeadModel) -> None:
    rest = model.identity_vertices()
    for clip in range(4):
        heads = [drawn(clip * FRAMES + frame).heads[0] for frame in range(60, 90)]
        points = np.stack([model.expressed(rest, head.expression.units) for head in heads])
        assert all(0 < v <= 1 for head in heads for v in head.expression.units.values())
        steps = np.linalg.norm(np.diff(points, axis=0), axis=2).max(axis=1)
        assert 0.0005 < steps.max() < 0.014  # lids and lips are the quickest: a blink takes a quarter of a second


def test_a_range_of_motion_takes_every_unit_to_its_extreme_alone_and_in_pairs(model: HeadModel) -> None:
    alone, pairs, together = set(), set(), 5
    for number in range(40):  # shots go on where the one before ended
        for frame in range(FRAMES):
            units = range_of_motion(shot(model, number), frame / 30)
            if min(units.values()) == 1.0:
                (alone if len(units) == 1 else pairs).add(tuple(units))
    left_out = {u for u in model.units if u.startswith(("eyeLook", "tongueOut"))}
    assert {units[0] for units in alone} | {"mouthClose"} == set(model.units) - left_out
    assert ("mouthClose", "jawOpen") in pairs and ("mouthSmileLeft", "mouthSmileRight") in pairs
    assert len(pairs) > 40 and max(map(len, pairs)) < together


def test_pangrams_hold_every_sound_of_english() -> None:
    spoken = [phone for phones in PANGRAMS.values() for phone in phones.split() if phone != "-"]
    assert set(spoken) == PHONES and len(PHONES) == 39


def test_lips_meet_for_p_and_a_vowel_shows_its_neighbours() -> None:
    def peak(*phones: str, unit: str) -> float:
        said = utter(phones, 1.0, 1.0)
        return max(said.at(t).get(unit, 0.0) for t in np.arange(0.3, length_s(phones, 1.0) - 0.3, 0.01))

    opened = utter(("AA", "P", "AA"), 1.0, 1.0)
    middle = opened.middles[2]
    assert opened.at(middle)["jawOpen"] < 0.05 < 0.2 < peak("AA", "P", "AA", unit="jawOpen")
    assert opened.at(middle)["mouthPress"] > 0.2
    assert peak("P", "AA", "P", unit="jawOpen") < peak("AA", "AA", "AA", unit="jawOpen")  # a vowel between lips
    rounded = peak("W", "IY", "W", unit="mouthPucker")
    assert peak("S", "IY", "S", unit="mouthPucker") < 0.05 < rounded


def test_takes_walk_in_a_space_that_holds_most_of_what_expressions_differ_in(model: HeadModel) -> None:
    mean, basis = expression_space(model.units)
    assert mean.shape == (52,) and basis.shape == (8, 52)
    sizes = np.linalg.norm(basis, axis=1)
    assert (np.diff(sizes) <= 1e-6).all() and sizes[0] > 0.4
    walked = np.array(
        [[takes(shot(model, n), t).get(u, 0.0) for u in model.units] for n in range(3) for t in (0, 3, 6)]
    )
    assert walked.min() >= 0 and walked.max() <= 1 and walked.std(axis=0).max() > 0.1


@pytest.mark.blender
def test_rendered_shots_are_sound_and_hold_the_vertices_that_moved(spec: Spec, head_pack: Path, tmp_path: Path) -> None:
    small = {"render.resolution": [36, 48], "render.samples_per_pixel": 1, "render.labels": ["vertices", "view2"]}
    chosen = override(spec, small | {"sequence.frames": 2, "shot.fps": 2.0, "occluders.hair_share": 0}, "the test")
    context = prepare(chosen, 4, log=lambda text: None)
    claim(tmp_path, context)
    plan = make_plan(tmp_path, context, 8, 2)
    render_shards(context, list(plan.ranges), tmp_path, tmp_path / STAGING, PoolOptions(1, 1))
    data = open_dataset(tmp_path)
    assert proof.verify(tmp_path, 1).problems == []
    points = np.concatenate([shard.image(entry, "vertices") for shard, entry in data.entries()])
    assert points.shape == (8, 4467, 3) and data.clip_frames == 2 and data.info["fps"] == 2.0
    moved = np.linalg.norm(points[1::2] - points[::2], axis=2)  # the two frames of each shot
    assert (moved.max(axis=1) > 1e-3).all()
    assert np.median(moved) < 1e-4  # the pose is not in them: what no unit moves stays where it is

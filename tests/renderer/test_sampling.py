"""Sample N is a function of (spec, seed, N) alone, and its knobs are distributed as the spec says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest

from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.limits import Gauss, Uniform
from renderer.parameters.params import SampleParams, flat_knobs, to_record
from renderer.parameters.spec import HeadsSpec, SequenceSpec, Spec, parse_spec
from renderer.run.plan import missing_ranges
from renderer.sampling.draw import draw
from renderer.sampling.expression import OPEN_LIPS_M
from renderer.sampling.streams import ClipStreams, Streams
from renderer.strict import to_plain


@pytest.fixture(scope="session")
def drawn(model: HeadModel, catalog: Catalog) -> list[SampleParams]:
    return [draw(Spec(), 1, i, catalog, model, "abcdef") for i in range(600)]


def test_resharding_changes_no_sample(model: HeadModel, catalog: Catalog) -> None:
    def one(i: int) -> bytes:
        return json.dumps(to_record(draw(Spec(), 5, i, catalog, model, "abcdef")), sort_keys=True).encode()

    by_ten = [one(i) for r in missing_ranges([], 30, 10) for i in range(*r)]
    by_seven = [one(i) for r in missing_ranges([], 30, 7) for i in range(*r)]
    backwards = [one(i) for i in reversed(range(30))][::-1]
    assert len(by_ten) == 30 and len(set(by_ten)) == 30
    assert by_ten == by_seven == backwards


def test_another_seed_or_index_is_another_sample(model: HeadModel, catalog: Catalog) -> None:
    a, b, c = (draw(Spec(), s, i, catalog, model, "t00000") for s, i in ((0, 0), (1, 0), (0, 1)))
    assert a.camera != b.camera and a.camera != c.camera and b.camera != c.camera


def test_changing_one_knob_leaves_the_others_alone(model: HeadModel, catalog: Catalog) -> None:
    other = parse_spec(to_plain(Spec()) | {"deform": {"twist_deg": [0, 90]}}, "x")
    changed = set()
    for i in range(5):
        a, b = (flat_knobs(draw(spec, 3, i, catalog, model, "t00000")) for spec in (Spec(), other))
        changed |= {name for name in a if a[name] != b.get(name)}
    assert changed == {"deform.twist_rad"}


@pytest.mark.parametrize(("axis", "limit"), [("yaw", 90), ("pitch", 40), ("roll", 45)])
def test_pose_keeps_its_limit_in_999_of_1000(drawn: list[SampleParams], axis: str, limit: float) -> None:
    angles = np.degrees([getattr(p.heads[0].pose, f"{axis}_rad") for p in drawn if p.heads])
    assert len(angles) > 500
    assert angles.std() == pytest.approx(limit / 3.2905, rel=0.12)
    assert np.abs(angles).max() < limit * 1.3


def test_half_of_the_mouths_are_open_by_lip_distance(drawn: list[SampleParams], model: HeadModel) -> None:
    heads = [h for p in drawn for h in p.heads]
    is_open = np.array([h.expression.mouth_open for h in heads])
    assert abs(is_open.mean() - 0.5) < 4 * math.sqrt(0.25 / len(heads))
    for head in heads[:50]:
        v = model.evaluate(head.identity.macros, head.identity.sliders, head.expression.units)
        assert (model.lip_gap(v) > OPEN_LIPS_M) == head.expression.mouth_open


def test_light_is_never_behind_the_head(drawn: list[SampleParams]) -> None:
    directions = np.array([p.light.direction for p in drawn])
    assert (directions[:, 2] >= 0).all()
    assert np.linalg.norm(directions, axis=1) == pytest.approx(np.ones(len(directions)))
    assert directions[:, 2].mean() == pytest.approx(0.5, abs=0.06)  # uniform on the half sphere


def test_at_most_two_thirds_of_the_head_leave_the_frame(drawn: list[SampleParams]) -> None:
    out = 0
    for p in drawn:
        fill = p.camera.focal_mm / p.camera.sensor_mm * 0.24 / p.camera.distance_m
        out += abs(p.camera.shift_x) > 0.5 + fill / 6
    assert out <= 4  # 0.1 % of 600, with room for chance


def test_empty_and_several_heads_come_in_their_shares(model: HeadModel, catalog: Catalog) -> None:
    spec = replace(Spec(), heads=HeadsSpec(0.3, 0.3, 3))
    counts = np.bincount([len(draw(spec, 2, i, catalog, model, "t00000").heads) for i in range(300)], minlength=4)
    assert abs(counts[0] / 300 - 0.3) < 0.11
    assert abs((counts[2] + counts[3]) / 300 - 0.3) < 0.11
    assert counts[2] and counts[3]


def test_a_record_is_plain_json_and_names_every_knob(drawn: list[SampleParams]) -> None:
    params = next(p for p in drawn if p.heads)
    knobs = flat_knobs(params)
    json.dumps(to_record(params), allow_nan=False)
    expected = {
        "pose.yaw_rad", "deform.twist_rad", "deform.bend_rad", "deform.taper", "deform.stretch", "deform.noise_m",
        "deform.scale.x", "camera.focal_mm", "camera.shift_x", "light.direction.z", "environment.name",
        "environment.rotation_rad.y", "environment.scale", "surface.texture", "surface.texture_scale",
        "surface.colour.x", "surface.colour_mix", "surface.face", "surface.face_mix", "surface.flip",
        "surface.gloss_mix", "surface.roughness", "mouth_open",
    }  # fmt: skip
    assert expected <= set(knobs)


def test_the_none_scenario_varies_nothing_but_the_head(model: HeadModel, catalog: Catalog) -> None:
    samples = [draw(load_spec("none"), 0, i, catalog, model, "t00000") for i in range(10)]
    assert len({p.camera for p in samples}) == 1
    assert {round(math.degrees(p.heads[0].pose.yaw_rad), 6) for p in samples} == {45.0}
    assert {p.environment.kind for p in samples} == {"gray"}
    assert len({p.heads[0].identity.pca for p in samples}) == 10


# ---------------------------------------------------------------- clips

FRAMES = 8
MOVING = {
    "pose.yaw_rad", "pose.pitch_rad", "pose.roll_rad", "camera.shift_x", "camera.shift_y", "light.direction.x",
    "light.direction.y", "light.direction.z", "expression.gaze_yaw_rad", "expression.gaze_pitch_rad",
}  # fmt: skip


def clips_of(spec: Spec, frames: int = FRAMES) -> Spec:
    return replace(spec, sequence=SequenceSpec(frames, 60))


@pytest.fixture(scope="session")
def clips(model: HeadModel, catalog: Catalog) -> list[list[SampleParams]]:
    """36 clips of the smoke spec: empty images, several heads and all occluders are among them."""
    spec = clips_of(load_spec("smoke"))
    return [[draw(spec, 1, FRAMES * c + f, catalog, model, "abcdef") for f in range(FRAMES)] for c in range(36)]


def test_in_a_clip_only_pose_expression_and_light_direction_move(clips: list[list[SampleParams]]) -> None:
    moved = set()
    for clip in clips:
        for a, b in pairwise(clip):
            before, after = flat_knobs(a), flat_knobs(b)
            assert before.keys() == after.keys()
            moved |= {name for name in before if before[name] != after[name]}
            assert a.props == b.props and a.environment == b.environment and a.cycles_seed != b.cycles_seed
            for one, other in zip(a.heads, b.heads, strict=True):
                assert (one.identity, one.deform, one.surface) == (other.identity, other.deform, other.surface)
                assert (one.interior, one.wear) == (other.interior, other.wear)
                assert one.expression.units.keys() - GAZE == other.expression.units.keys() - GAZE
    assert moved == MOVING
    assert {len(clip[0].heads) for clip in clips} >= {0, 1, 2}
    assert [(p.extra["clip"], p.extra["frame"]) for p in clips[3]] == [(3, f) for f in range(FRAMES)]


GAZE = {f"eyeLook{way}{side}" for way in ("In", "Out", "Up", "Down") for side in ("Left", "Right")}


def test_in_a_clip_the_motion_is_smooth(clips: list[list[SampleParams]]) -> None:
    heads = [[p.heads[0] for p in clip] for clip in clips if clip[0].heads]
    yaw = np.degrees([[h.pose.yaw_rad for h in clip] for clip in heads])
    units = np.array([[sum(v for u, v in h.expression.units.items() if u not in GAZE) for h in clip] for clip in heads])
    assert 0.5 < np.abs(np.diff(yaw)).mean() < 3  # degrees per frame
    for path in (yaw, units):
        assert np.abs(np.diff(path, 2)).mean() < 0.15 * np.abs(np.diff(path)).mean()


def test_a_frame_of_a_clip_is_drawn_by_itself(
    clips: list[list[SampleParams]], model: HeadModel, catalog: Catalog
) -> None:
    spec = clips_of(load_spec("smoke"))
    for index in (37, 5, 100):
        assert draw(spec, 1, index, catalog, model, "abcdef") == clips[index // FRAMES][index % FRAMES]


def test_a_clip_is_not_the_motion_of_a_single_image_of_the_same_seed(model: HeadModel, catalog: Catalog) -> None:
    still, clip = (draw(spec, 1, 0, catalog, model, "abcdef") for spec in (Spec(), clips_of(Spec())))
    assert still.camera.focal_mm != clip.camera.focal_mm and still.environment != clip.environment


def test_the_mouth_of_a_clip_stays_open_or_closed_by_lip_distance(
    clips: list[list[SampleParams]], model: HeadModel
) -> None:
    classes = []
    for clip in clips:
        for heads in zip(*(p.heads for p in clip), strict=True):
            open_now = {
                model.lip_gap(model.evaluate(h.identity.macros, h.identity.sliders, h.expression.units)) > OPEN_LIPS_M
                for h in heads
            }
            assert open_now == {heads[0].expression.mouth_open}
            classes.append(heads[0].expression.mouth_open)
    assert len(classes) > 30 and 0.2 < np.mean(classes) < 0.8


def test_a_moving_knob_has_the_distribution_of_a_still_one_at_every_frame() -> None:
    for frame in (0, 7, 5000):
        streams = [ClipStreams(2, clip, frame, 60) for clip in range(3000)]
        gauss = np.array([s.moving_gauss("a", Gauss(3.2905)) for s in streams])
        uniform = np.array([s.moving_uniform("b", Uniform(-1, 3)) for s in streams])
        assert kstest(gauss, "norm").pvalue > 1e-3
        assert kstest(uniform, "uniform", (-1, 4)).pvalue > 1e-3


def test_in_a_single_image_a_moving_knob_is_drawn_as_any_other() -> None:
    for index in range(200):
        s = Streams(4, index)
        assert s.moving_uniform("x", Uniform(-60.3, 17.7)) == s.uniform("x", Uniform(-60.3, 17.7))
        assert s.moving_gauss("x", Gauss(40)) == s.gauss("x", Gauss(40))

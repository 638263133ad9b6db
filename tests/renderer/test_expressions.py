"""Sets of face units go together: what a smile, a wink or a gaze does to the vertices of the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderer.errors import SpecError
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.parameters.params import Expression, Identity
from renderer.parameters.spec import EXPRESSION_SETS, Spec, parse_spec
from renderer.sampling.expression import draw_expression, wants_open
from renderer.sampling.expression_sets import SETS
from renderer.sampling.streams import streams

AVERAGE = Identity({}, {})
LEFT_CORNER, RIGHT_CORNER, UPPER_LIP, LOWER_LIP = 54, 48, 51, 57  # iBUG


@pytest.fixture(scope="module")
def model(head_pack: Path) -> HeadModel:
    return load_head(head_pack)


def drawn(model: HeadModel, sets: Mapping[str, float], count: int = 40, **more: Any) -> list[Expression]:
    expression = {"sets": dict(sets), "blink_share": 0, "gaze_deg": 0, "set_strength": 1, **more}
    spec = parse_spec({"expression": expression}, "the test")
    return [draw_expression(spec, streams(spec.sequence, 5, i), "head0.", AVERAGE, model) for i in range(count)]


def moved(model: HeadModel, expression: Expression) -> Any:
    """(68, 3) by how much each landmark has moved, metres."""
    at_rest = model.identity_vertices()
    return model.landmarks(model.expressed(at_rest, expression.units)) - model.landmarks(at_rest)


def eye_height(model: HeadModel, units: Mapping[str, float], upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
    points = model.landmarks(model.expressed(model.identity_vertices(), units))
    return float((points[list(upper), 1] - points[list(lower), 1]).mean())


LEFT_EYE, RIGHT_EYE = ((43, 44), (47, 46)), ((37, 38), (41, 40))


def test_a_smile_raises_and_spreads_the_corners_of_the_mouth(model: HeadModel) -> None:
    smiles = drawn(model, {"smile": 1})
    off = np.stack([moved(model, smile) for smile in smiles])
    assert (off[:, [LEFT_CORNER, RIGHT_CORNER], 1] > 0.002).all()
    assert (off[:, LEFT_CORNER, 0] - off[:, RIGHT_CORNER, 0] > 0.002).all()
    assert all({"cheekSquintLeft", "eyeSquintRight"} <= smile.units.keys() for smile in smiles)


def test_sadness_lowers_them_and_surprise_raises_the_brows(model: HeadModel) -> None:
    corners = [LEFT_CORNER, RIGHT_CORNER]
    assert all(moved(model, e)[corners, 1].mean() < -0.001 for e in drawn(model, {"sadness": 1}))
    assert all(moved(model, e)[17:27, 1].mean() > 0.001 for e in drawn(model, {"surprise": 1}))
    assert all(moved(model, e)[[20, 23], 1].mean() < -0.001 for e in drawn(model, {"anger": 1}))


@pytest.mark.parametrize("name", [name for name in EXPRESSION_SETS if name not in ("random", "speech")])
def test_mouths_are_open_as_often_as_their_set_says(model: HeadModel, name: str) -> None:
    share = np.mean([e.mouth_open for e in drawn(model, {name: 1}, 120)])
    assert abs(share - SETS[name].open_share) < 0.15


def test_the_mouth_is_as_drawn(model: HeadModel) -> None:
    spec = parse_spec({"expression": {"sets": dict.fromkeys(EXPRESSION_SETS, 1.0)}}, "the test")
    expressions, wishes = [], []
    for i in range(200):
        s = streams(spec.sequence, 2, i)
        expressions.append(draw_expression(spec, s, "head0.", AVERAGE, model))
        wishes.append(wants_open(spec, s))
    assert [e.mouth_open for e in expressions] == wishes
    assert 40 < sum(wishes) < 160


def test_a_wink_closes_one_eye(model: HeadModel) -> None:
    closed = []
    for wink in drawn(model, {"wink": 1}):
        heights = [eye_height(model, wink.units, *eye) for eye in (LEFT_EYE, RIGHT_EYE)]
        closed.append(int(np.argmin(heights)))
        assert min(heights) < 0.4 * max(heights)
    assert set(closed) == {0, 1}


def test_uneven_blinks_differ_between_the_eyes(model: HeadModel) -> None:
    for share, least, most in ((0.0, 0.0, 0.0), (1.0, 0.1, 1.0)):
        blinks = drawn(model, {"neutral": 1}, blink_share=1, uneven_blink_share=share)
        apart = [abs(e.units["eyeBlinkLeft"] - e.units["eyeBlinkRight"]) for e in blinks]
        assert all(least <= d <= most for d in apart)


def test_asymmetry_tilts_a_smile_and_none_leaves_it_even(model: HeadModel) -> None:
    def tilt(asymmetry: float) -> float:
        smiles = drawn(model, {"smile": 1}, asymmetry=asymmetry)
        return float(np.mean([abs(e.units["mouthSmileLeft"] - e.units["mouthSmileRight"]) for e in smiles]))

    assert tilt(0.0) == 0.0
    assert tilt(0.1) < tilt(0.3) and tilt(0.3) > 0.02


def test_upper_lids_follow_the_gaze(model: HeadModel) -> None:
    for i in range(20):
        stiff, soft = (drawn(model, {"neutral": 1}, i + 1, gaze_deg=60, lids_follow=follow)[i] for follow in (0.0, 1.0))
        heights = [eye_height(model, e.units, *LEFT_EYE) for e in (stiff, soft)]
        assert stiff.gaze_pitch_rad == soft.gaze_pitch_rad
        assert (heights[1] > heights[0]) == (stiff.gaze_pitch_rad > 0)


def test_eyes_that_look_at_something_near_turn_inwards(model: HeadModel) -> None:
    near, far = (drawn(model, {"neutral": 1}, 1, gaze_distance_m=d)[0] for d in (0.3, 10.0))
    assert near.units["eyeLookInLeft"] == near.units["eyeLookInRight"] > far.units["eyeLookInLeft"] > 0


def test_every_name_of_the_spec_is_a_set_and_its_units_exist(model: HeadModel) -> None:
    assert {*EXPRESSION_SETS} == {*SETS, "speech", "random"}
    for name, chosen in SETS.items():
        for stem in {**chosen.always, **chosen.opened, **chosen.closed, **chosen.one_side}:
            assert {stem, f"{stem}Left"} & set(model.units), f"{name}: {stem}"


def test_without_sets_nothing_is_drawn_otherwise(model: HeadModel) -> None:
    plain = Spec()
    random = replace(plain, expression=replace(plain.expression, sets={"random": 1.0}))
    for i in range(5):
        one, other = (
            draw_expression(spec, streams(spec.sequence, 3, i), "head0.", AVERAGE, model) for spec in (plain, random)
        )
        assert one == other


def test_a_wrong_name_or_a_gaze_into_the_eyes_is_refused() -> None:
    with pytest.raises(SpecError, match="one of rest, neutral, smile"):
        parse_spec({"expression": {"sets": {"grin": 1}}}, "x")
    with pytest.raises(SpecError, match=r"x: expression\.gaze_distance_m starts at 0"):
        parse_spec({"expression": {"gaze_distance_m": [0, 1]}}, "x")

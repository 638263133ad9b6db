"""Listed yaws and pitches, and where the second camera stands: what pairs of views are drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from renderer.errors import SpecError
from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.labels.camera import second_camera
from renderer.parameters.identity import spec_identity
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.params import SampleParams
from renderer.parameters.spec import Spec, parse_spec
from renderer.sampling.draw import draw


def drawn(spec: Spec, model: HeadModel, catalog: Catalog, count: int) -> list[SampleParams]:
    return [draw(spec, 3, index, catalog, model, "abcdef") for index in range(count)]


def angles_deg(samples: list[SampleParams], axis: str) -> Any:
    return np.degrees([getattr(sample.heads[0].pose, f"{axis}_rad") for sample in samples])


def test_pairs_show_every_yaw_alike_from_two_sides(model: HeadModel, catalog: Catalog) -> None:
    samples = drawn(load_spec("pairs"), model, catalog, 120)
    yaw = angles_deg(samples, "yaw")
    counts, _ = np.histogram(yaw, np.linspace(-90, 90, 5))
    assert counts.sum() == 120 and counts.min() > 15
    assert np.abs(angles_deg(samples, "pitch")).max() > 10
    for sample, angle in zip(samples, yaw, strict=True):
        face = second_camera(sample.second_camera_yaw_rad) @ [np.sin(np.radians(angle)), 0, np.cos(np.radians(angle))]
        seen_at = np.degrees(np.arctan2(face[0], face[2]))
        assert abs(seen_at) == pytest.approx(abs(abs(angle) - 30), abs=1e-6)  # front to side, and side to front


def test_the_protocol_goes_through_its_grid_in_27_samples(model: HeadModel, catalog: Catalog) -> None:
    samples = drawn(load_spec("pairs_protocol"), model, catalog, 28)
    poses = list(zip(angles_deg(samples, "yaw").round(6), angles_deg(samples, "pitch").round(6), strict=True))
    wanted = {(yaw, pitch) for yaw in range(-80, 81, 20) for pitch in (-15, 0, 15)}
    assert set(poses[:27]) == wanted and poses[27] == poses[0]
    assert samples[27].heads[0].identity != samples[0].heads[0].identity


def test_lists_are_drawn_from_at_random_and_added_to_what_else_turns_a_head(model: HeadModel, catalog: Catalog) -> None:
    still = {"yaw_deg": 0, "pitch_deg": 0, "yaw_fixed_deg": 5}
    spec = parse_spec(
        {"pose": {**still, "yaws_deg": [10, 20], "pitches_deg": [0, 7]}, "heads": {"empty_share": 0}}, "t"
    )
    poses = [(p.pose.yaw_rad, p.pose.pitch_rad) for s in drawn(spec, model, catalog, 40) for p in s.heads[:1]]
    found = {tuple(np.degrees(pose).round(6).tolist()) for pose in poses}
    assert found == {(15, 0), (15, 7), (25, 0), (25, 7)}


def test_a_second_camera_may_stand_at_a_place_of_its_own(model: HeadModel, catalog: Catalog) -> None:
    camera = {"second_yaw_deg": -90, "second_side": "fixed"}
    samples = drawn(parse_spec({"camera": camera}, "t"), model, catalog, 5)
    assert np.degrees([s.second_camera_yaw_rad for s in samples]) == pytest.approx([-90] * 5)
    turned = second_camera(samples[0].second_camera_yaw_rad) @ [0, 0, 1]
    assert turned == pytest.approx([1, 0, 0], abs=1e-9)  # from the viewer's left the face looks to the right


def test_at_rest_the_knobs_change_neither_draws_nor_identity(model: HeadModel, catalog: Catalog) -> None:
    yaws = np.degrees([s.second_camera_yaw_rad for s in drawn(Spec(), model, catalog, 60)])
    assert (np.abs(yaws) >= 15).all() and (np.abs(yaws) <= 45).all() and yaws.min() < 0 < yaws.max()
    identity = spec_identity(Spec())
    assert not {"yaws_deg", "pitches_deg", "in_turn"} & set(identity["pose"])
    assert not {"second_yaw_deg", "second_side"} & set(identity["camera"])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"pose": {"in_turn": True}}, "nothing to take in turn: give yaws_deg or pitches_deg"),
        ({"pose": {"yaws_deg": [0, 200]}}, "yaws_deg"),
        ({"camera": {"second_yaw_deg": [45, 15]}}, "the low end is above the high end"),
        ({"camera": {"second_side": "left"}}, "second_side"),
    ],
)
def test_bad_values_are_refused_in_one_line(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as found:
        parse_spec(raw, "spec.yaml")
    assert "\n" not in str(found.value)

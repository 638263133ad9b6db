"""The spec `thesis` draws within the ranges of the thesis's own render script, restated here in its own units."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from renderer.format.dataset import open_dataset
from renderer.head.catalog import Catalog, build_catalog
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.labels.reference import head_from_record
from renderer.parameters.identity import spec_identity
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.limits import Uniform
from renderer.parameters.params import SampleParams, flat_knobs, to_record
from renderer.parameters.spec import LightSpec, Spec, parse_spec
from renderer.run.claim import STAGING, claim
from renderer.run.context import prepare
from renderer.run.local import render_shards
from renderer.run.pool import PoolOptions
from renderer.sampling.draw import draw
from renderer.strict import to_plain

COUNT = 400


@pytest.fixture(scope="module")
def model(head_pack: Path) -> HeadModel:
    return load_head(head_pack)


@pytest.fixture(scope="module")
def catalog(head_pack: Path) -> Catalog:
    return build_catalog(head_pack, load_spec("thesis"))


@pytest.fixture(scope="module")
def drawn(model: HeadModel, catalog: Catalog) -> list[SampleParams]:
    return [draw(load_spec("thesis"), 1, i, catalog, model, "abcdef") for i in range(COUNT)]


def values(drawn: list[SampleParams], name: str) -> npt.NDArray[np.float64]:
    return np.array([flat_knobs(p)[name] for p in drawn], np.float64)


@pytest.mark.parametrize(
    ("knob", "low", "high", "unit"),
    [
        ("deform.scale.x", 0.07, 0.13, 0.1),  # 0.1 is the model's own size
        ("deform.scale.y", 0.07, 0.13, 0.1),
        ("deform.scale.z", 0.07, 0.13, 0.1),
        ("deform.twist_rad", -10, 10, 180 / math.pi),
        ("deform.bend_rad", -10, 20, 180 / math.pi),
        ("deform.taper", -0.15, 0.15, 1),
        ("deform.stretch", -0.03, 0.03, 1),
        ("camera.focal_mm", 20, 70, 32 / 36),  # on Blender 2.7's sensor of 32 mm; ours has 36
        ("light.strength", 1, 5, 1),
        ("environment.scale", 0.2, 2, 1),
        ("environment.strength", 0.1, 2, 1),
        ("surface.texture_scale", 0.1, 2, 1),
        ("surface.colour_mix", 0.2, 0.8, 1),
        ("surface.gloss_mix", 0, 1, 1),
        ("surface.roughness", 0.3, 0.6, 1),
        ("surface.face_gamma", 0.8, 2.5, 1),
        ("surface.face_saturation", 0.8, 1.1, 1),
    ],
)
def test_uniform_knobs_fill_the_scripts_range(
    drawn: list[SampleParams], knob: str, low: float, high: float, unit: float
) -> None:
    """unit: what the script writes for one of ours."""
    got = values(drawn, knob) * unit
    margin = (high - low) * 0.03
    assert low - 1e-9 <= got.min() < low + margin and high - margin < got.max() <= high + 1e-9


@pytest.mark.parametrize(
    ("knob", "sigma"),
    [
        ("pose.pitch_rad", math.radians(40) / 3),
        ("pose.roll_rad", math.radians(45) / 3),
        ("pose.yaw_rad", math.radians(90) / 3),
        ("camera.shift_x", 0.6 / 3),
        ("camera.shift_y", 0.6 / 3),
    ],
)
def test_gaussian_knobs_have_a_third_of_the_scripts_range_as_sigma(
    drawn: list[SampleParams], knob: str, sigma: float
) -> None:
    assert values(drawn, knob).std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * COUNT))
    limit = {"pose.pitch_rad": "pitch_deg", "pose.roll_rad": "roll_deg", "pose.yaw_rad": "yaw_deg"}.get(knob)
    spec = load_spec("thesis")
    stated = math.radians(getattr(spec.pose, limit).limit) if limit else spec.camera.shift_widths
    assert stated / 3.2905 == pytest.approx(sigma, rel=1e-3)


def test_light_comes_from_the_scripts_angles(drawn: list[SampleParams]) -> None:
    x, y, z = np.array([p.light.direction for p in drawn]).T
    elevation, azimuth = np.degrees(np.arcsin(y)), np.degrees(np.arctan2(x, z))
    assert -45 <= elevation.min() < -42 and 42 < elevation.max() <= 45
    assert -65 <= azimuth.min() < -61 and 61 < azimuth.max() <= 65
    assert all(p.light.on for p in drawn)
    assert np.degrees(max(p.light.angle_rad for p in drawn)) <= np.degrees(2 * math.atan(0.2))


def test_the_camera_keeps_its_distance_and_the_lens_makes_the_size(drawn: list[SampleParams]) -> None:
    assert {p.camera.distance_m for p in drawn} == {0.5625}
    fill = values(drawn, "camera.focal_mm") / 36 * 0.24 / 0.5625
    assert fill.mean() == pytest.approx(0.6, abs=0.03)  # with it, a shift of 0.6 leaves two thirds out of the frame


def test_nothing_is_drawn_that_the_script_does_not_have(drawn: list[SampleParams]) -> None:
    assert {len(p.heads) for p in drawn} == {1} and not any(p.props for p in drawn)
    heads = [p.heads[0] for p in drawn]
    assert not any(h.wear.hair or h.wear.hat or h.wear.glasses for h in heads)
    assert not any(h.interior.eyes or h.interior.mouth or h.interior.brows or h.interior.lashes for h in heads)
    assert not any(value for h in heads for value in h.identity.sliders.values())
    is_open = np.mean([h.expression.mouth_open for h in heads])
    assert abs(is_open - 0.5) < 4 * math.sqrt(0.25 / COUNT)


# ---------------------------------------------------------------- the knobs it needs


def test_knobs_at_rest_change_no_tag_and_no_record(model: HeadModel, catalog: Catalog) -> None:
    """Data sets from before these knobs existed keep their keys, and `gen verify` draws the records they hold."""
    identity = spec_identity(Spec())
    assert not {"distance_m", "shift_widths"} & identity["camera"].keys()
    assert not {"direction", "elevation_deg", "azimuth_deg"} & identity["light"].keys()
    assert not {"face_gamma", "face_saturation"} & identity["surface"].keys()
    assert parse_spec(identity, "x") == Spec()
    params = draw(Spec(), 1, 4, catalog, model, "abcdef")
    assert params.heads and "face_gamma" not in json.dumps([to_record(params), flat_knobs(params)])


def test_knobs_in_use_are_part_of_tag_and_record(drawn: list[SampleParams]) -> None:
    spec = load_spec("thesis")
    identity = spec_identity(spec)
    assert identity["camera"]["distance_m"] == [0.5625, 0.5625] and identity["light"]["direction"] == "angles"
    assert parse_spec(identity, "x") == spec
    surface = to_record(drawn[0])["heads"][0]["surface"]
    assert head_from_record(to_record(drawn[0])["heads"][0]) == drawn[0].heads[0]
    assert 0.8 <= surface["face_gamma"] <= 2.5 and 0.8 <= surface["face_saturation"] <= 1.1


def test_angles_at_the_edge_of_the_half_sphere_are_never_behind_the_head(model: HeadModel, catalog: Catalog) -> None:
    light = LightSpec(direction="angles", elevation_deg=Uniform(-90, 90), azimuth_deg=Uniform(-90, 90))
    directions = [draw(replace(Spec(), light=light), 1, i, catalog, model, "t00000").light.direction for i in range(50)]
    assert min(z for _, _, z in directions) >= 0
    assert [math.hypot(*d) for d in directions] == pytest.approx([1.0] * 50)


@pytest.mark.blender
def test_gamma_and_saturation_change_the_face_texture(head_pack: Path, tmp_path: Path) -> None:
    def mean_colour(name: str, gamma: float, saturation: float) -> npt.NDArray[np.float64]:
        """Mean albedo of the face in one sample."""
        plain = to_plain(load_spec("thesis"))
        plain["surface"] |= {"face_mix": 1, "face_gamma": gamma, "face_saturation": saturation}
        plain["render"] |= {"labels": ["albedo"], "samples_per_pixel": 4, "resolution": 48}
        plain["camera"] |= {"shift_widths": 0}
        context = prepare(parse_spec(plain, "test"), 3, log=lambda text: None)
        out = tmp_path / name
        claim(out, context)
        report = render_shards(context, [(0, 1)], out, out / STAGING, PoolOptions(1, 1))
        assert not report.skipped
        shard, entry = next(iter(open_dataset(out).entries()))
        face = shard.image(entry, "mask")[..., 0] == 1
        assert face.sum() > 50
        return np.asarray(shard.image(entry, "albedo")[face].astype(np.float64).mean(axis=0))

    rest, dark, gray = mean_colour("rest", 1, 1), mean_colour("dark", 2.5, 1), mean_colour("gray", 1, 0)
    assert dark.max() < 0.7 * rest.max()
    assert np.ptp(rest) > 0.02 and np.ptp(gray) < 0.005

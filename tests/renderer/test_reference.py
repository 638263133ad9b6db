"""A check that cannot fail is none: labels and records that are wrong are found, right ones are not. No Blender."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import cKDTree

from renderer.head.catalog import build_catalog
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.labels import maps
from renderer.labels.camera import project, second_camera
from renderer.labels.record import sample_record
from renderer.labels.reference import Reference, head_from_record
from renderer.labels.vertices import skin_mesh, vertices_label, vertices_problem
from renderer.parameters.params import Camera
from renderer.parameters.spec import parse_spec
from renderer.run.context import RenderContext
from renderer.sampling.draw import draw

SIDE = 128
SPEC = {
    "heads": {"empty_share": 0, "several_share": 0},
    "pose": {"yaw_deg": 20, "pitch_deg": 10},
    "camera": {"fill": 0.8, "shift": 0},
}


@dataclass(frozen=True)
class Sample:
    reference: Reference
    record: dict[str, Any]
    images: dict[str, Any]


@pytest.fixture(scope="module")
def sample(head_pack: Path) -> Sample:
    """A sample with labels made by interpolation between the projected vertices of the front of the face."""
    spec = parse_spec(SPEC, "the tests")
    context = RenderContext(spec, 5, head_pack, Path("none"), load_head(head_pack), build_catalog(head_pack, spec))
    reference = Reference(context.info())
    params = draw(spec, 5, 0, context.catalog, context.model, context.tag)
    skin = next(p for p in reference.builder.build(params.heads[0], bare=True) if p.kind == "skin").vertices
    seen = project(skin[reference.points].astype(np.float64), params.camera, SIDE)
    front = reference._faces_camera(skin.astype(np.float64), params.camera)
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    uv = LinearNDInterpolator(seen[front, :2], reference.uv[front])(column, row)
    mask = np.isfinite(uv[..., :1]).repeat(2, axis=2).astype(np.float64)
    measured = {"face_share": 0.2}
    images = {"uv": np.nan_to_num(uv), "mask": mask}
    record = json.loads(json.dumps(sample_record(params, spec, reference.builder, measured, images)))
    return Sample(reference, record, images)


def problems(sample: Sample, **changed: Any) -> str:
    return "\n".join(sample.reference.uv_problems(sample.record, {**sample.images, **changed}, []))


def test_labels_that_fit_the_geometry_pass(sample: Sample) -> None:
    found = sample.reference.agreement(sample.record, sample.images["uv"], sample.images["mask"][..., 0])
    assert found is not None and found.expected > 200 and found.near > 0.9 * found.pure > 100
    assert problems(sample) == ""


def test_noise_inside_the_mask_is_found(sample: Sample) -> None:
    noise = np.random.default_rng(1).random((SIDE, SIDE, 2)) * (sample.images["mask"] > 0)
    assert "fits the geometry at" in problems(sample, uv=noise)


@pytest.mark.parametrize("shift", [1, 4, 10, 30])
def test_uv_and_mask_shifted_together_are_found(sample: Sample, shift: int) -> None:
    moved = {name: np.roll(image, shift, axis=1) for name, image in sample.images.items()}
    assert problems(sample, **moved)


def test_what_the_face_itself_hides_is_told_from_what_is_wrong(sample: Sample) -> None:
    """Seen from the side, points behind the nose show the nose's UV: no fault. Any other UV there is one."""
    reference, camera = sample.reference, Camera(**sample.record["camera"])
    skin = reference.skin(sample.record["heads"][0]) @ second_camera(1.2).T
    pixels = project(skin[reference.face_points], camera, SIDE)
    pairs = cKDTree(pixels[:, :2]).query_pairs(2.0, output_type="ndarray")
    back = pixels[pairs[:, 0], 2] > pixels[pairs[:, 1], 2]
    behind, before = np.where(back, pairs.T, pairs.T[::-1])
    apart = pixels[behind, 2] - pixels[before, 2] > 0.02
    behind, before = behind[apart], before[apart]
    assert len(behind) > 20

    def hidden(points: Any, shown: Any) -> float:
        yardstick = np.full(len(points), 0.05)
        uv = reference.face_uv.data[shown]
        return float(reference._hidden(skin, camera, pixels[points], uv, SIDE, yardstick).mean())

    elsewhere = np.random.default_rng(2).permutation(len(pixels))[: len(behind)]
    far_off = np.hypot(*(pixels[elsewhere, :2] - pixels[behind[: len(elsewhere)], :2]).T) > 10
    assert hidden(behind, before) == 1 and hidden(before, behind) == 0
    assert far_off.any() and hidden(behind[: len(elsewhere)][far_off], elsewhere[far_off]) == 0


def test_a_mask_that_misses_the_face_is_found(sample: Sample) -> None:
    empty = {name: np.zeros_like(image) for name, image in sample.images.items()}
    assert "the mask holds 0 of" in problems(sample, **empty)


def test_a_record_is_compared_with_a_fresh_draw(sample: Sample) -> None:
    def found(record: dict[str, Any]) -> str:
        return "\n".join(sample.reference.record_problems(record, sample.images))

    forged = json.loads(json.dumps(sample.record))
    assert found(forged) == ""
    forged["knobs"]["pose.yaw_rad"] += 0.001
    assert "knobs.pose.yaw_rad is" in found(forged)
    other = json.loads(json.dumps(sample.record))
    other["index"] = 1
    assert "is not what (spec, seed, index) gives" in found(other)
    surplus = {**sample.record, "note": "mine"}
    assert "note is not a parameter" in found(surplus)


def test_landmarks_are_visible_where_the_labels_show_them(sample: Sample) -> None:
    (seen,) = sample.record["landmarks_visible"]
    assert sum(seen) > 45  # the interpolated labels end inside the jaw
    for view, expected in (({"mask": np.zeros((SIDE, SIDE, 2))}, 0), ({"uv": sample.images["uv"][:, ::-1]}, 20)):
        (hidden,) = _visible(sample.reference, sample.record, {**sample.images, **view})
        assert sum(hidden) <= expected


def _visible(reference: Reference, record: dict[str, Any], images: dict[str, Any]) -> list[list[bool]]:
    heads = [np.array(pixels) for pixels in record["landmarks_px"]]
    return [maps.shown(p, reference.model.landmarks_uv, images["uv"], images["mask"][..., 1]).tolist() for p in heads]


def test_the_records_matrices_are_the_projection(sample: Sample) -> None:
    record = sample.record
    k, extrinsics, pose = (np.array(record[n]) for n in ("camera_matrix", "world_to_camera", "head_to_world"))
    marks = np.column_stack([np.array(record["landmarks_m"][0]), np.ones(68)])
    seen = (extrinsics @ pose[0] @ marks.T)[:3]
    pixels = (k @ seen)[:2] / seen[2]
    assert np.abs(pixels.T - record["landmarks_px"][0]).max() < 0.02  # the record rounds to 0.01 mm
    assert np.abs(seen[2] - record["landmarks_depth_m"][0]).max() < 1e-4


def test_draw_meshes_and_record_share_one_evaluated_head(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = sample.reference
    sums: list[int] = []
    add = HeadModel._add
    monkeypatch.setattr(HeadModel, "_add", lambda model, out, weights: (sums.append(1), add(model, out, weights))[1])
    params = draw(reference.spec, 77, 0, reference.catalog, reference.model, "tag")
    for head in params.heads:
        reference.builder.build(head)
        reference.builder.landmarks(head)
    assert params.heads and len(sums) == 3 * len(params.heads)  # macros, sliders and units, each once


def test_vertices_that_are_not_the_records_are_found(sample: Sample) -> None:
    heads = tuple(head_from_record(head) for head in sample.record["heads"])
    builder = sample.reference.builder
    used, faces = skin_mesh(sample.reference.model)
    label = vertices_label(builder, heads)
    assert label.shape == (1, len(used), 3) and faces.max() == len(used) - 1
    assert vertices_problem(label, builder, heads) == ""
    moved = label.copy()
    moved[0, 1000, 1] += 1e-4
    assert "differ from the record's head by 0.100 mm" in vertices_problem(moved, builder, heads)
    assert "has (1, 4467, 3)" in vertices_problem(label[:, 1:], builder, heads)
    assert not vertices_label(builder, ()).any()
    assert any(
        "vertices differ" in p
        for p in sample.reference.problems(sample.record, {**sample.images, "vertices": moved}, [])
    )

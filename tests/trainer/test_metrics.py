"""Metrics against plain loops, and the tables by knob."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trainer.augmentation.samples import Samples
from trainer.systems.uvnet.metrics import iou, sample_metrics, split_metrics, uv_error
from trainer.uvmaps.points import nearest_points


@pytest.fixture
def target(synthetic) -> Samples:
    """Four faces of 128 x 128, and one image without."""
    made = [synthetic.face(i, 128, empty=i == 4) for i in range(5)]
    images = {n: torch.tensor(np.stack([m[0][n] for m in made])).float().permute(0, 3, 1, 2) for n in made[0][0]}
    mask = (images["mask"] >= 0.999).float()
    points = torch.full((5, 68, 2), math.nan)
    for i in range(4):
        points[i] = torch.tensor(made[i][1]["landmarks_px"][0])
    return Samples(images["input"], images["uv"] * mask[:, :1], mask[:, :1], mask[:, :1] * mask[:, 1:], points)


def test_uv_error_equals_a_loop_over_pixels(synthetic):
    made = [synthetic.face(i, 48, empty=i == 4) for i in range(5)]
    images = {n: torch.tensor(np.stack([m[0][n] for m in made])).float().permute(0, 3, 1, 2) for n in ("uv", "mask")}
    target = SimpleNamespace(uv=images["uv"], mask=(images["mask"][:, :1] >= 0.999).float())
    noise = torch.rand(5, 2, 48, 48, generator=torch.Generator().manual_seed(0)) * 0.1
    found = uv_error(target.uv + noise, target.uv, target.mask)
    assert math.isnan(found[4])
    for i in range(4):
        errors = [
            (abs(noise[i, 0, y, x]) + abs(noise[i, 1, y, x])) / 2
            for y in range(48)
            for x in range(48)
            if target.mask[i, 0, y, x] > 0.5
        ]
        assert len(errors) > 100 and float(found[i]) == pytest.approx(float(np.mean(errors)), rel=1e-4)
    assert found[:4].mean() == pytest.approx(0.05, rel=0.05)


def test_iou_counts_both_ways_of_being_wrong():
    a, b, none = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    a[..., :2], b[..., 1:3] = 1, 1
    assert iou(a, b).item() == pytest.approx(1 / 3) and iou(a, a).item() == 1 and iou(a, none).item() == 0
    assert math.isnan(iou(none, none).item())


def test_the_true_uv_map_finds_the_landmarks_to_a_fraction_of_a_pixel(target, synthetic):
    canonical = torch.tensor(synthetic.landmark_uv).float()
    truth = torch.cat([target.uv, target.mask, target.occluded_mask], 1)
    metrics = sample_metrics(truth, target, canonical)
    assert metrics["uv_error"][:4].max() == 0 and metrics["mask_iou"][:4].min() == 1
    assert metrics["landmark_nme"][:4].max() < 0.003 and math.isnan(metrics["landmark_nme"][4])
    assert metrics["landmarks_used"][:4].min() > 0.9 and metrics["landmarks_used"][4] == 0
    found = nearest_points(target.uv, target.mask, canonical)
    distance = (found - target.landmarks).norm(dim=-1)[:4]
    assert distance.median() < 0.1
    assert found[4].isnan().all()


@pytest.fixture
def bf16_by_default():
    """As within Fabric's "bf16-true"."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(before)


def test_landmarks_are_found_as_exactly_where_the_default_is_half_precision(target, synthetic, bf16_by_default):
    canonical = torch.tensor(synthetic.landmark_uv, dtype=torch.float32)
    found = nearest_points(target.uv, target.mask, canonical)
    assert found.dtype == torch.float32  # bfloat16 would round pixels above 64 to halves
    assert (found - target.landmarks).norm(dim=-1)[:4].median() < 0.1


def test_distances_to_all_pixels_are_held_for_one_sample_at_a_time(target, synthetic, monkeypatch):
    shapes, cdist = [], torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda a, b: shapes.append(a.shape[:-1] + b.shape[-2:-1]) or cdist(a, b))
    nearest_points(target.uv, target.mask, torch.tensor(synthetic.landmark_uv).float())
    assert shapes == [(68, 128 * 128)] * 5


def test_landmarks_that_are_not_known_leave_the_box_alone(target, synthetic):
    canonical = torch.tensor(synthetic.landmark_uv).float()
    inner = target.landmarks[:1].clone()
    middle = inner.mean(1, keepdim=True)
    inner[(inner - middle).abs().amax(-1) > 15] = math.nan
    one = replace(target, **{n: getattr(target, n)[:1] for n in ("input", "uv", "mask", "occluded_mask")})
    truth = torch.cat([one.uv, one.mask, one.occluded_mask], 1)
    moved = torch.roll(truth, 3, dims=-1)
    known = inner[0][inner[0].isfinite().all(-1)]
    assert 5 <= len(known) < 68
    found = sample_metrics(moved, replace(one, landmarks=inner), canonical)["landmark_nme"]
    box = known.amax(0) - known.amin(0)
    assert float(found[0]) == pytest.approx(3 / math.sqrt(float(box.prod())), rel=0.05)


def test_nme_is_the_shift_over_the_box(target, synthetic):
    canonical = torch.tensor(synthetic.landmark_uv).float()
    moved = [torch.roll(t, 3, dims=-1) for t in (target.uv, target.mask, target.occluded_mask)]
    metrics = sample_metrics(torch.cat(moved, 1), target, canonical)
    for i in range(4):
        box = target.landmarks[i].amax(0) - target.landmarks[i].amin(0)
        assert float(metrics["landmark_nme"][i]) == pytest.approx(3 / math.sqrt(float(box.prod())), rel=0.03)


def test_metrics_are_split_by_yaw_occlusion_and_every_knob():
    rng = np.random.default_rng(0)
    yaw = rng.uniform(-90, 90, 200)
    params = [
        {
            "knobs": {"pose.yaw_rad": math.radians(a), "hair": "ab"[i % 2], "beard": i % 4 == 0, "fixed": 3.0},
            "measured": {"visible_share": 1.0 if i % 2 else 0.6},
        }
        for i, a in enumerate(yaw)
    ]
    values = {"uv_error": np.abs(yaw) / 90}
    values["uv_error"][3] = math.nan
    tables = split_metrics(values, params)
    assert set(tables) == {"|yaw|", "occlusion share", "pose.yaw_rad", "hair", "beard"}
    rows = tables["|yaw|"]
    assert sum(r["count"] for r in rows) == 200 and rows[0]["label"] == "0..15 deg"
    means = [r["uv_error"] for r in rows]
    assert means == sorted(means) and means[0] < 0.15 < 0.8 < means[-1]
    assert [(r["label"], r["count"]) for r in tables["hair"]] == [("a", 100), ("b", 100)]
    assert {r["label"]: r["count"] for r in tables["beard"]} == {"False": 150, "True": 50}
    assert [r["count"] for r in tables["pose.yaw_rad"]] == [50] * 4
    assert {r["label"]: r["count"] for r in tables["occlusion share"]} == {"0..0.001": 100, "0.25..0.5": 100}

"""Temporal stability: what jitter counts, what it forgives, and what it leaves out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from renderer.format.dataset import open_dataset
from renderer.format.sample_format import UV_FRAME
from trainer.augmentation.samples import Samples
from trainer.commands.evaluate import evaluate as evaluate_command
from trainer.evaluation import jitter
from trainer.evaluation.report import table, write_dataset_report
from trainer.evaluation.results import Work, measure
from trainer.systems.uvnet.config import NetworkConfig, UVNetConfig
from trainer.systems.uvnet.network import make_network
from trainer.training.checkpoint import save_weights

FRAMES, CLIPS = 8, 4
TINY = NetworkConfig(levels=2, initial_features=4, filter_sizes=(3, 3, 1))


def one_clip(frames: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(frames, np.int64), np.arange(frames)


def test_independent_errors_give_a_jitter_of_their_own_size() -> None:
    errors = np.random.default_rng(0).normal(0, 0.5, (400, 50, 2))  # of 0.5 px along each axis
    assert np.nanmean(jitter.jitter(errors, *one_clip(400))) == pytest.approx(0.5 * math.sqrt(2), rel=0.02)


def test_errors_that_stay_or_grow_steadily_are_no_jitter() -> None:
    drift = np.arange(10.0)[:, None, None] * [0.5, -0.2] + [3.0, 1.0]
    values = jitter.jitter(np.repeat(drift, 7, axis=1), *one_clip(10))
    assert np.isnan(values[[0, -1]]).all()
    assert values[1:-1] == pytest.approx(np.zeros(8), abs=1e-12)


def test_the_cut_between_clips_and_a_missing_frame_are_no_motion() -> None:
    points = np.zeros((8, 3, 2))
    points[4:] = 100.0
    clip = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    frame = np.array([0, 1, 2, 3, 0, 1, 3, 4])  # frame 2 of clip 1 is missing
    values = jitter.jitter(points, clip, frame)
    assert np.flatnonzero(np.isfinite(values)).tolist() == [1, 2] and values[1] == 0


def test_a_point_counts_where_three_consecutive_frames_show_it() -> None:
    points = np.zeros((5, 2, 2))
    points[:, 1] = [[0, 0], [math.nan, 0], [0, 0], [0, 0], [6, 0]]
    values = jitter.jitter(points, *one_clip(5))
    assert values[1] == values[2] == 0
    assert values[3] == pytest.approx(6 / math.sqrt(6) / math.sqrt(2))  # RMS over both points
    assert np.isnan(jitter.jitter(points[:2], *one_clip(2))).all()


def test_a_limit_takes_whole_clips_spread_evenly() -> None:
    positions = np.arange(60)
    chosen = jitter.thinned(positions, positions // 6, 20)
    assert sorted(set(chosen // 6)) == [0, 4, 9] and len(chosen) == 18
    assert len(jitter.thinned(positions, positions // 6, 1)) == 6


@pytest.fixture(scope="module")
def clips(synthetic: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of a face that slides; the UV is exact but for half floats."""
    path: Path = synthetic.write_dataset(
        tmp_path_factory.mktemp("clips") / "clips", FRAMES * CLIPS, size=64, clip_frames=FRAMES
    )
    return path


class Trembling(torch.nn.Module):
    """Knows the truth of all samples in order, shifted by `shift` plus noise of `tremble` in UV, frame by frame."""

    def __init__(self, truth: Samples, shift: float, tremble: float) -> None:
        super().__init__()
        self.truth = truth
        self.offsets = shift + tremble * torch.randn(len(truth.uv), 2, generator=torch.Generator().manual_seed(0))
        self.at = 0

    def forward(self, picture: Tensor) -> Tensor:
        rows = slice(self.at, self.at + len(picture))
        self.at += len(picture)
        uv = self.truth.uv[rows] + self.offsets[rows, :, None, None]
        return torch.cat([uv, self.truth.mask[rows], self.truth.occluded_mask[rows]], 1)


@pytest.fixture
def trembling(synthetic: SimpleNamespace) -> Callable[..., Work]:
    """A network at work on the whole of a data set."""

    def make(path: Path, shift: float, tremble: float) -> Work:
        every = range(len(open_dataset(path)))
        work: Work = synthetic.work_with(path, lambda truth: Trembling(truth, shift, tremble), every)
        return work

    return make


def means_of(work: Work) -> dict[str, float]:
    tracks = measure(work, range(len(work.reader)), batch_size=5).tracks
    assert tracks is not None
    means: dict[str, float] = jitter.report(tracks, FRAMES)["means"]
    return means


def test_jitter_tells_a_trembling_network_from_one_that_is_only_off(
    clips: Path, trembling: Callable[..., Work]
) -> None:
    exact, off = means_of(trembling(clips, 0, 0)), means_of(trembling(clips, 0.03, 0))
    shaky = means_of(trembling(clips, 0, 0.02))
    assert exact["jitter_px"] == exact["position_error_px"] == 0 and exact["found_share"] == 1
    assert off["position_error_px"] > 1 and off["jitter_px"] < 0.05
    assert 0.5 < shaky["jitter_px"] / shaky["position_error_px"] < 1.5 and shaky["jitter_px"] > 0.5
    for means in (exact, off, shaky):
        assert 0 < means["jitter_floor_px"] < 0.05  # half floats
        assert means["jitter_truth_px"] < 0.05  # the face slides at an even pace


def test_a_report_on_clips_states_jitter_and_what_it_means(clips: Path, tmp_path: Path) -> None:
    save_weights(
        tmp_path / "w.safetensors",
        make_network(TINY, 0).state_dict(),
        UVNetConfig(network=TINY),
        {"run_id": "x", "uv_frame": UV_FRAME},
    )
    words = [str(tmp_path / "w.safetensors"), str(clips), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(evaluate_command, words)
    assert result.exit_code == 0, result.output
    assert f"{CLIPS} clips" in result.output and "second difference" in result.output
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())["jitter"]
    assert [c["clip"] for c in report["clips"]] == list(range(CLIPS)) and report["frames_per_clip"] == FRAMES
    assert set(report["means"]) == set(report["definitions"]) == set(jitter.DEFINITIONS)
    assert (tmp_path / "out" / "jitter.svg").read_text().startswith("<?xml")


def test_a_known_tremble_is_in_table_samples_and_plot(
    clips: Path, tmp_path: Path, trembling: Callable[..., Work]
) -> None:
    means, work = means_of(trembling(clips, 0, 0.02)), trembling(clips, 0, 0.02)
    results = measure(work, range(len(work.reader)), batch_size=5)
    report = write_dataset_report(results, trembling(clips, 0, 0), tmp_path)
    assert report["metrics"]["jitter_px"] == pytest.approx(means["jitter_px"], rel=1e-4)
    assert report["per_sample"][0]["jitter_px"] is None and report["per_sample"][1]["jitter_px"] > 0
    assert "jitter_px" in table(report)


def test_without_clips_jitter_is_left_out_and_the_table_says_so(
    small: Path, tmp_path: Path, trembling: Callable[..., Work]
) -> None:
    work = trembling(small, 0, 0.01)
    results = measure(work, range(len(work.reader)))
    assert results.tracks is None and "jitter_px" not in results.values
    report = write_dataset_report(results, trembling(small, 0, 0.01), tmp_path)
    assert "gen render --sequence" in table(report) and not (tmp_path / "jitter.svg").exists()

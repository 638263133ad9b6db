"""`gen evaluate`: values per sample, held-out choice, reports, annotated photos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from renderer.errors import DatasetError
from renderer.format.sample_format import UV_FRAME
from renderer.strict import to_yaml
from trainer.augmentation.samples import Samples
from trainer.commands.evaluate import evaluate as evaluate_command
from trainer.data.reader import SampleReader
from trainer.evaluation import plots
from trainer.evaluation.results import WORST, Results, at_work, measure, positions_to_measure
from trainer.systems.uvnet.config import NetworkConfig, UVNetConfig
from trainer.systems.uvnet.network import make_network
from trainer.training.checkpoint import save_weights
from trainer.training.system import Metric
from trainer.viewer import page as pages

TINY = NetworkConfig(levels=2, initial_features=4, filter_sizes=(3, 3, 1))
IMAGES = ("input", "uv", "mask")


class Answers(torch.nn.Module):
    """Knows the truth of the samples it is asked for, off by `error` in U."""

    def __init__(self, truth: Samples, error: float) -> None:
        super().__init__()
        self.truth, self.error, self.at = truth, error, 0

    def forward(self, picture: Tensor) -> Tensor:
        part: Samples = self.truth
        rows = slice(self.at, self.at + len(picture))
        self.at += len(picture)
        uv = part.uv[rows] + torch.tensor([self.error, 0.0]).view(1, 2, 1, 1)
        return torch.cat([uv, part.mask[rows], part.occluded_mask[rows]], 1)


def weights_of(path: Path) -> Path:
    save_weights(
        path, make_network(TINY, 0).state_dict(), UVNetConfig(network=TINY), {"run_id": "x", "uv_frame": UV_FRAME}
    )
    return path


def test_the_metrics_of_a_known_error_are_that_error(small: Path, synthetic: SimpleNamespace) -> None:
    positions = list(range(1, 25))
    work = synthetic.work_with(small, lambda truth: Answers(truth, 0.04), positions)
    result = measure(work, positions, batch_size=7)
    assert len(result.keys) == 24 and result.keys[0] == work.reader.keys[1]
    faces = np.isfinite(result.values["uv_error"])
    assert faces.sum() == 22  # samples 10 and 20 show no face
    assert result.values["uv_error"][faces] == pytest.approx(0.02, abs=1e-5)
    assert result.values["mask_iou"][faces] == pytest.approx(1)
    assert 0 < np.nanmean(result.values["landmark_nme"]) < 0.08


def damage(path: Path, position: int, member: str) -> str:
    shard, entry = SampleReader(path, IMAGES).entry(position)
    with shard.tar.open("r+b") as file:
        file.seek(entry.members[member].offset)
        file.write(bytes(entry.members[member].size))
    return entry.key


def test_damaged_samples_are_left_out_and_named_up_to_a_limit(make_dataset: Any, tmp_path: Path) -> None:
    path = make_dataset(30)
    keys = [damage(path, 4, "uv.exr"), damage(path, 17, "json")]
    run = make_run(tmp_path / "run", path, "abc123")
    result = CliRunner().invoke(evaluate_command, [str(run), str(path), "--all", "--batch-size", "5"])
    assert result.exit_code == 0, result.output
    assert "28 samples of data" in result.output and f"2 damaged samples left out: {', '.join(keys)}" in result.output
    report = json.loads((run / "evaluation-data" / "evaluation.json").read_text())
    assert report["skipped"].keys() == set(keys) and len(report["per_sample"]) == 28
    whole = measure(at_work(run, path), [0, 1, 2], batch_size=1, workers=0)
    together = {row["key"]: row["uv_error"] for row in report["per_sample"]}
    expected = [together[key] for key in whole.keys]
    assert whole.values["uv_error"].tolist() == pytest.approx(expected, rel=1e-4, nan_ok=True)
    refused = CliRunner().invoke(evaluate_command, [str(run), str(path), "--all", "--max-bad", "1"])
    assert isinstance(refused.exception, DatasetError) and "more than --max-bad = 1" in str(refused.exception)


def test_the_worst_samples_come_first_and_those_without_a_face_never() -> None:
    values = {"uv_error": np.array([0.1, np.nan, 0.5, 0.3])}
    result = Results("x", (Metric("uv_error", "UV error"),), ("a", "b", "c", "d"), values, ({}, {}, {}, {}))
    assert result.worst(count=10) == [2, 3, 0]
    more_is_better = (Metric("uv_error", "UV error", higher_is_better=True),)
    assert replace(result, metrics=more_is_better).worst(count=10) == [0, 3, 2]


def test_the_curve_of_errors_ends_below_one_where_some_never_arrive() -> None:
    x, y = plots.error_curve(np.array([0.3, np.nan, 0.1, 0.2]))
    assert x.tolist() == [0.1, 0.2, 0.3] and y.tolist() == [0.25, 0.5, 0.75]


def make_run(path: Path, small: Path, tag: str) -> Path:
    path.mkdir()
    weights_of(path / "weights.safetensors")
    (path / "config.yaml").write_text(to_yaml(UVNetConfig()))
    (path / "meta.json").write_text(json.dumps({"data": {"tag": tag, "path": str(small)}}))
    (path / "log.jsonl").touch()
    return path


def test_a_run_is_tested_on_what_was_held_out_of_its_own_data(small: Path, tmp_path: Path) -> None:
    reader = SampleReader(small, IMAGES)
    own = make_run(tmp_path / "own", small, "abc123")
    held_out, note = positions_to_measure(reader, own, everything=False)
    assert held_out.tolist() == reader.split(0.1)[1].tolist() and 0 < len(held_out) < 70 and "held out" in note
    assert len(positions_to_measure(reader, own, everything=True)[0]) == 70
    assert len(positions_to_measure(reader, make_run(tmp_path / "other", small, "zzz999"), everything=False)[0]) == 70


def test_the_command_writes_a_report_that_the_page_of_the_run_shows(small: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", small, "abc123")
    result = CliRunner().invoke(evaluate_command, [str(run), str(small), "--all"])
    assert result.exit_code == 0, result.output
    assert "70 samples of small" in result.output and "uv_error" in result.output and "|yaw|" in result.output
    folder = run / "evaluation-small"
    report = json.loads((folder / "evaluation.json").read_text())
    assert len(report["per_sample"]) == 70 and len(report["worst"]["rows"]) == WORST
    errors = [row["metrics"]["uv_error"] for row in report["worst"]["rows"]]
    assert errors == sorted(errors, reverse=True)
    assert "--only" in report["worst"]["rows"][0]["command"] and "--seed 7" in report["worst"]["rows"][0]["command"]
    with Image.open(folder / "worst.png") as sheet:
        assert sheet.size == (32 * len(report["worst"]["columns"]), 32 * WORST)
    for name in ("curves.svg", "knobs.svg"):
        assert (folder / name).read_text().startswith("<?xml")
    page = pages.build_page([run])
    shown = json.loads((page.index.parent / "data.js").read_text().removeprefix("window.HEADFORGE = ").rstrip(";\n"))
    assert len(shown["runs"][0]["worst"]["rows"]) == WORST
    assert (page.index.parent / shown["runs"][0]["worst"]["file"]).is_file()


def test_mirrored_answers_are_reported_in_a_folder_of_their_own(small: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", small, "abc123")
    reports = []
    for extra in ([], ["--mirrored"]):
        result = CliRunner().invoke(evaluate_command, [str(run), str(small), "--all", *extra])
        assert result.exit_code == 0, result.output
        folder = run / ("evaluation-small-mirrored" if extra else "evaluation-small")
        reports.append(json.loads((folder / "evaluation.json").read_text()))
    assert "mirror" in reports[1]["note"] and "mirror" not in reports[0]["note"]
    assert reports[0]["metrics"]["uv_error"] != reports[1]["metrics"]["uv_error"]


def test_equal_evaluations_give_equal_plots(small: Path, tmp_path: Path, synthetic: SimpleNamespace) -> None:
    result = measure(synthetic.work_with(small, lambda truth: Answers(truth, 0.1), [1, 2, 3]), [1, 2, 3])
    for name in "ab":
        plots.plot_curves(result, tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()

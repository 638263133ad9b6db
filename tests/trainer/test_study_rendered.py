"""A study of two scenarios, rendered: what it shows of samples are the heads that networks estimated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from renderer.cli import main
from renderer.format.dataset import open_dataset
from trainer.study.measure import load

STUDY = {
    "name": "two",
    "training": "train_headparams_small",
    "train": {
        "schedule.max_samples": 64, "data.batch_size": 4, "data.workers": 0, "network.input_px": 64,
        "network.features": 8, "data.test_share": 0.3, "output.tensorboard": False, "output.images": False,
        "device.precision": "32-true", "device.threads": 1,
    },
    "render": {"render.resolution": 64},
    "count": 10,
    "scenarios": {"none": {"spec": "none"}, "angle": {"spec": "angle"}},
    "test": {"count": 6, "other_count": 4},
    "shown": 2,
}  # fmt: skip


@pytest.mark.blender
def test_heads_that_were_estimated_are_rendered_beside_the_true_ones(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    out = tmp_path / "out"
    ended = CliRunner().invoke(main, ["study", str(tmp_path / "study.yaml"), "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    about = json.loads((out / "shown" / "shown.json").read_text())
    names = ["none: saliency", "none: head", "angle: saliency", "angle: head"]
    assert about["columns"] == ["input", *names, "true head"] and about["side"] == 64
    with Image.open(out / "shown" / "shown.png") as sheet:
        assert sheet.size == (6 * 64, 2 * 64)
        tiles = np.asarray(sheet).reshape(2, 64, 6, 64, 3).transpose(0, 2, 1, 3, 4)
    assert all(tile.std() > 2 for row in tiles for tile in row)
    found = {name: load(out / "results" / f"{name}-0-on-angle.npz") for name in ("none", "angle")}
    places = [found["none"].keys.index(key) for key in about["rows"]]
    wanted = [found["none"].given["truth"], found["none"].given["estimate"], found["angle"].given["estimate"]]
    entries = open_dataset(out / "shown" / "heads").entries()
    rendered = [shard.params(entry)["heads"][0]["identity"]["pca"]["q"] for shard, entry in entries]
    np.testing.assert_allclose(rendered, np.concatenate([part[places] for part in wanted]), atol=1e-5)
    assert (found["none"].values["vertex_mm"] > 0).all() and set(found["none"].traits) >= {"sex", "age"}
    page = (out / "index.html").read_text()
    assert "shown/shown.png" in page and "Who is estimated worse" in page
    before = {
        p: p.stat().st_mtime_ns for p in out.glob("**/*") if p.is_file() and p.parent != out and "specs" not in p.parts
    }
    again = CliRunner().invoke(main, ["study", str(tmp_path / "study.yaml"), "--out", str(out)])
    assert again.exit_code == 0 and "all 12 steps are done, 11 of them before" in again.output
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())

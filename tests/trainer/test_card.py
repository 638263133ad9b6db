"""What is given to others of a run: weights in 16 bits, ONNX that computes the same, and a model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from renderer.format.sample_format import UV_FRAME
from trainer.evaluation.card import model_card, ship
from trainer.systems.registry import parse_config
from trainer.systems.runs import load_trained
from trainer.systems.uvnet.photo_network import make_photo_network
from trainer.training.checkpoint import read_weights, save_weights

DATA = {"training_samples": 900, "test_samples": 100, "name": "photo", "tag": "abcdef"}


def run_of(folder: Path) -> Path:
    """What a card reads of a run."""
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps({"parameters": 1234567, "commit": "c0ffee", "data": DATA}))
    (folder / "config.yaml").write_text("data: {batch_size: 10}\nstart: ''\npretrained: true\n")
    return folder


def test_files_for_others_are_half_as_large_and_compute_what_the_rounded_network_computes(tmp_path: Path) -> None:
    run, config = run_of(tmp_path / "run"), parse_config({"network": {"kind": "photo"}}, "test")
    network = make_photo_network(config.network, 0).eval()
    torch.nn.init.normal_(network.last.weight, std=0.3, generator=torch.Generator().manual_seed(1))  # at first: flat
    about = {"run_id": "photo-1", "uv_frame": UV_FRAME, "step": "2000", "input_px": "96"}
    save_weights(run / "weights.safetensors", network.state_dict(), config, about)
    files = ship(run, tmp_path / "out")
    assert [path.name for path in files] == ["photo.safetensors", "photo.onnx", "MODEL_CARD.md"]
    assert sum(path.stat().st_size for path in files) < 12e6
    assert {t.dtype for t in read_weights(files[0])[0].values()} == {torch.float16, torch.int64}
    shipped = load_trained(files[0]).module
    session = onnxruntime.InferenceSession(str(files[1]), providers=["CPUExecutionProvider"])
    for size in ((2, 3, 64, 64), (1, 3, 50, 70)):
        picture = torch.rand(size, generator=torch.Generator().manual_seed(5))
        (found,) = session.run(None, {"image": picture.numpy()})
        expected = shipped(picture).numpy()
        assert np.abs(found - expected).max() < 1e-3 and expected[:, 2].std() > 0.01
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() in files[2].read_text() for path in files[:2])


def test_a_card_shows_what_was_measured_of_the_run(tmp_path: Path) -> None:
    run, file = run_of(tmp_path / "run"), tmp_path / "photo.onnx"
    (run / "evaluation-mixed").mkdir(parents=True)
    file.write_bytes(b"abc")
    splits = {"|yaw|": [{"label": "0..15 deg", "count": 7, "uv_error": 0.0314}], "light.on": []}
    report = {"samples": 100, "dataset": "photo", "note": "held out", "metrics": {"mask_iou": 0.75}, "splits": splits}
    (run / "evaluation-mixed" / "evaluation.json").write_text(json.dumps(report))
    card = model_card(run, {"run_id": "photo-1", "step": "2000", "input_px": "96"}, [file])
    for words in ("1,234,567 parameters", "step 2,000: 20,000 samples seen of 900 of the spec `photo`",
                  "weights of ImageNet", "ImageNet's",
                  f"| `photo.onnx` | 3 | `{hashlib.sha256(b'abc').hexdigest()}` |", "|  | 100 | 0.750 |",
                  "| 0..15 deg | 7 | 0.031 |", "## Limits", "Apache-2.0"):  # fmt: skip
        assert words in card, words
    assert "light.on" not in card

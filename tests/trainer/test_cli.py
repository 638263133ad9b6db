"""The commands: thin, with a dry run, clear errors, and files where they say."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from renderer.errors import FormatError, HeadforgeError, SpecError
from trainer.augmentation.config import STAGES
from trainer.commands.augment import augment_collages
from trainer.commands.export import export
from trainer.commands.train import INTERRUPTED, train
from trainer.systems import runs
from trainer.systems.registry import parse_config
from trainer.systems.uvnet.config import NetworkConfig
from trainer.systems.uvnet.network import make_network
from trainer.training import export as exporting
from trainer.training.checkpoint import read_weights, save_weights

TINY = {"levels": 1, "initial_features": 4, "filter_sizes": [3, 1]}


def run(command, *arguments: object) -> Result:
    """Run a command as `gen` does; its own errors are for `gen` to print."""
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=True)


@pytest.fixture
def spec(tmp_path: Path, environments: Path) -> Path:
    raw = {
        "name": "cli",
        "data": {"batch_size": 8},
        "network": TINY,
        "schedule": {"max_samples": 16},
        "augment": {"environments": str(environments), "environment_height_px": 64},
        "device": {"accelerator": "cpu"},
        "output": {"images": False, "tensorboard": False},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_train_checks_trains_and_resumes(spec: Path, small: Path, tmp_path: Path):
    runs = tmp_path / "runs"
    plan = run(train, spec, "--data", small, "--runs", runs, "--set", "data.batch_size=4", "--dry-run")
    assert plan.exit_code == 0 and "63, held out 7" in plan.output and not runs.exists()
    shown = yaml.safe_load(plan.output.split("---\n")[1])
    assert parse_config(shown, "dry run").data.batch_size == 4
    done = run(train, spec, "--data", small, "--runs", runs)
    assert done.exit_code == 0, done.output
    (folder,) = runs.iterdir()
    assert f"finished at step 2: {folder}" in done.output
    assert "finished at step 2" in run(train, "--resume", folder).output
    assert run(train, "--resume", folder, "--dry-run").exit_code == 0


def test_a_sweep_is_checked_whole_before_its_first_run(spec: Path, small: Path, tmp_path: Path):
    sweep, runs = tmp_path / "sweep.yaml", tmp_path / "runs"
    sweep.write_text("base: spec.yaml\nvary: {data.batch_size: [8, 64]}")
    broken = run(train, sweep, "--data", small, "--runs", runs)
    assert isinstance(broken.exception, SpecError) and "fewer than" in str(broken.exception) and not runs.exists()
    sweep.write_text("base: spec.yaml\nvary: {data.batch_size: [8, 4]}")
    assert run(train, sweep, "--data", small, "--runs", runs).output.count("finished") == 2
    assert len({p.name.split("-")[1] for p in runs.iterdir()}) == 2  # each has its own run-ID
    assert isinstance(run(train, sweep, "--data", small, "--only", 2).exception, SpecError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give either"),
        (("spec.yaml", "--resume", "x"), "give either"),
        (("--resume", "x", "--set", "a=b"), "own config"),
        (("{spec}", "--set", "loss.uv"), "KEY=VALUE"),
        (("{spec}", "--set", "loss.landmark=1"), "did you mean 'landmarks'"),
        (("{spec}", "--set", "data.path=["), "not YAML"),
        (("{spec}",), "--data"),
        (("none.yaml",), "no training spec"),
        (("train_uvnet_smal", "--data", "x"), "did you mean 'train_uvnet_small'"),
        (("--resume", "nowhere"), "not a run directory"),
    ],
)
def test_wrong_options_are_explained(spec: Path, arguments, words):
    result = run(train, *(str(spec) if a == "{spec}" else a for a in arguments))
    assert isinstance(result.exception, HeadforgeError) and words in str(result.exception)


@pytest.mark.parametrize("command", [train, export])
def test_help_has_examples(command):
    assert f"gen {command.name}" in run(command, "--help").output


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    config = parse_config({"network": TINY}, "x")
    path = tmp_path / "weights.safetensors"
    save_weights(path, make_network(config.network, 3).state_dict(), config, {"run_id": "r-1", "uv_frame": "f"})
    return path


@pytest.mark.parametrize("patch_size", [1, 2])
def test_exports_compute_what_torch_computes(weights: Path, tmp_path: Path, patch_size: int):
    out = tmp_path / "out"
    config = parse_config({"network": {**TINY, "patch_size": patch_size}}, "x")
    save_weights(weights, make_network(config.network, 3).state_dict(), config, {"run_id": "r-1", "uv_frame": "f"})
    assert "would write" in run(export, weights, "--out", out, "--dry-run").output and not out.exists()
    done = run(export, weights, "--out", out)
    assert done.exit_code == 0, (done.output, done.exception)
    assert sorted(p.name for p in out.iterdir()) == ["r-1.json", "r-1.onnx", "r-1.pt2", "r-1.safetensors"]
    import onnxruntime

    network = runs.load_trained(out / "r-1.safetensors").module
    image = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(str(out / "r-1.onnx"), providers=["CPUExecutionProvider"])
    onnx = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    assert torch.allclose(onnx, network(image), atol=1e-4) and onnx.std() > 0.01
    even = image[:, :, :36, :48]
    assert torch.allclose(torch.export.load(out / "r-1.pt2").module()(even), network(even), atol=1e-5)
    with pytest.raises(SpecError, match="unknown formats tflite"):
        runs.export(weights, out, ("tflite",))


def test_an_export_stays_in_its_folder_and_can_be_repeated_there(weights: Path, tmp_path: Path):
    tensors, architecture, header = read_weights(weights)
    config = parse_config(architecture, "x")
    about = {k: v for k, v in header.items() if k not in ("architecture", "weights_version", "system")}
    save_weights(weights, tensors, config, {**about, "run_id": "../../escaped"})
    out = tmp_path / "a" / "out"
    (again,) = runs.export(weights, out, ("safetensors",))
    assert again.path == out / "escaped.safetensors" and sorted(p.name for p in tmp_path.iterdir()) == [
        "a",
        weights.name,
    ]
    assert runs.export(again.path, out, ("safetensors",)) == [again]
    runs.load_trained(again.path)


def test_weights_that_do_not_name_their_network_are_refused(weights: Path):
    tensors, _, header = read_weights(weights)
    safetensors.torch.save_file(tensors, weights, {k: v for k, v in header.items() if k != "architecture"})
    with pytest.raises(FormatError, match="does not say what it is for"):
        runs.load_trained(weights)


def test_an_export_that_differs_is_not_written(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting, "ONNX_TOLERANCE", 0.0)
    with pytest.raises(HeadforgeError, match="was not written"):
        runs.export(weights, tmp_path / "out", ("onnx",))
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_the_augmentation_collage_shows_every_stage(small: Path, spec: Path, tmp_path: Path):
    paths = augment_collages(small, tmp_path / "pictures", spec, columns=5)
    assert [p.name for p in paths] == ["augment-input.png", "augment-targets.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (110 + 5 * 32, (len(STAGES) - 1 + 2) * 32)  # no background without the label
    with pytest.raises(SpecError, match="70 samples"):
        augment_collages(small, tmp_path, spec, columns=100)


def test_the_network_config_of_weights_is_the_one_saved(weights: Path):
    trained = runs.load_trained(weights)
    network, header = trained.module, trained.header
    assert network.config == NetworkConfig(levels=1, initial_features=4, filter_sizes=(3, 1))
    assert header["run_id"] == "r-1"


def test_ctrl_c_saves_a_checkpoint_and_says_so(spec: Path, small: Path, tmp_path: Path):
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "renderer.cli", "train", str(spec), "--data", str(small), "--runs", str(runs)]
    command += ["--set", "schedule.max_samples=10000000", "--set", "output.log_steps=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(
        "cli: "
    )  # device, precision, samples and budget, before anything is read
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/log.jsonl")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, words = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, words
    assert "gen: Ctrl-C: finishing the step in hand and saving a checkpoint; press Ctrl-C again" in words
    assert "interrupted at step" in out and "go on with: gen train --resume" in words
    (run_folder,) = runs.iterdir()
    assert list((run_folder / "checkpoints").iterdir())

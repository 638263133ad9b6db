"""Going on from any checkpoint, also where the network draws random numbers; and what a run keeps of its past."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from renderer.errors import FormatError, SpecError
from renderer.strict import override
from trainer.commands.train import train
from trainer.systems import runs
from trainer.systems.uvnet.network import make_network
from trainer.systems.uvnet.system import UVNetSystem, UVTask
from trainer.training import loop
from trainer.training.checkpoint import checkpoints, load_checkpoint, read_weights
from trainer.training.run_dir import RunDir


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_weights(path)[0]


@pytest.fixture
def kept(config):
    """A finished run of 21 steps with all its checkpoints."""
    return RunDir(
        runs.train(override(config, {"output.checkpoint_steps": 4, "output.keep_checkpoints": 99}, "test")).run
    )


def test_a_run_goes_on_from_an_older_checkpoint_and_later_ones_are_set_aside(kept):
    before, lines = weights(kept.weights), [(x["kind"], x["step"], x.get("loss")) for x in kept.lines()]
    best_step = int(read_weights(kept.best_weights)[2]["step"])
    names = [path.name for path in checkpoints(kept.checkpoints)]
    assert "step-0000000012.pt" in names and names[-1] == "step-0000000021.pt" and best_step == 21
    assert runs.resume(kept.path, "step-0000000012").state == "finished"
    assert all(torch.equal(weights(kept.weights)[name], t) for name, t in before.items())
    again = [(x["kind"], x["step"], x.get("loss")) for x in kept.lines() if "resumed" not in x.get("text", "")]
    assert again == lines
    aside = {path.name for path in (kept.checkpoints / "set-aside").iterdir()}
    assert aside == {*(n for n in names if n > "step-0000000012.pt"), "weights-best.safetensors"}
    assert read_weights(kept.best_weights)[2]["step"] == "21"


def test_a_damaged_checkpoint_is_refused_with_the_command_that_goes_on_without_it(kept):
    newest = checkpoints(kept.checkpoints)[-1]
    newest.write_bytes(newest.read_bytes()[:-2000])
    with pytest.raises(FormatError, match=r"cannot be read .* gen train --resume RUN --from step-0000000020"):
        runs.resume(kept.path)
    assert json.loads(kept.status.read_text())["state"] == "failed"  # and how far it was is still known
    assert json.loads(kept.status.read_text())["step"] == 21
    result = CliRunner().invoke(train, ["--resume", str(kept.path), "--from", "20"])
    assert result.exit_code == 0 and "finished at step 21" in result.output


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(kept):
    with pytest.raises(SpecError, match=r"--from 13: there is no such checkpoint .* step-0000000012, step-0000000014"):
        runs.resume(kept.path, "13")
    assert json.loads(kept.status.read_text())["state"] == "finished"


def test_a_network_with_dropout_resumes_bit_equal(config, monkeypatch):
    def dropping(system, config):
        network = make_network(config.network, config.seed)
        network.last.register_forward_pre_hook(lambda module, inputs: F.dropout(inputs[0], 0.2, module.training))
        return {"network": network}

    monkeypatch.setattr(UVNetSystem, "modules", dropping)
    config = override(config, {"output.checkpoint_steps": 5, "output.keep_checkpoints": 99}, "test")
    run = RunDir(runs.train(config).run)
    reference = weights(run.weights)
    torch.manual_seed(99)  # whatever else draws, before and after
    runs.resume(run.path, "10")
    assert all(torch.equal(weights(run.weights)[name], t) for name, t in reference.items())
    other = weights(RunDir(runs.train(override(config, {"seed": 1}, "test")).run).weights)
    assert any(not torch.equal(other[name], t) for name, t in reference.items())


def test_no_process_and_no_step_draws_what_another_does():
    drawn = []
    for seed, step, rank in ((0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 0, 0)):
        loop.seed_step(seed, step, rank)
        drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 4 and drawn[0] == drawn[-1]


def test_the_best_weights_are_kept_beside_the_last(config, monkeypatch):
    scores = iter((0.9, 0.5, 0.7))
    monkeypatch.setattr(UVTask, "score", lambda task, means: next(scores))
    run = RunDir(runs.train(override(config, {"output.keep_checkpoints": 9}, "test")).run)
    tensors, _, header = read_weights(run.best_weights)
    assert (header["step"], header["score"], header["input_px"]) == ("14", "0.5", "32")
    second = load_checkpoint(run.checkpoints / "step-0000000014.pt", config)["modules"]["network"]
    assert all(torch.equal(tensors[name], t) for name, t in second.items())
    assert any(not torch.equal(weights(run.weights)[name], t) for name, t in tensors.items())


@pytest.mark.parametrize("moment", ["open_source", "make_models", "make_average"])
def test_a_failure_during_set_up_leaves_a_status(config, monkeypatch, moment):
    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(loop, moment, fail)
    with pytest.raises(RuntimeError, match="no memory"):
        runs.train(override(config, {"schedule.ema": 0.9}, "test"))
    (run,) = Path(config.output.runs).iterdir()
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["message"], status["step"]) == ("failed", "RuntimeError: no memory", 0)


def test_losses_of_training_and_test_are_weighted_alike(config):
    changes = {
        "augment": {name: {"enabled": False} for name in ("occlusion", "channel_shuffle", "exposure", "noise")}
        | {"gamma": {"share": 0.0}},
        "loss.mask": [1, 12], "loss.uv": [3, 0.5], "loss.balance": [0, 1],
        "schedule.lr": [0.0, 0.0], "schedule.max_samples": 32,
        "data.limit": 8, "data.test_on_train": True, "output.log_steps": 1,
    }  # fmt: skip
    run = RunDir(runs.train(override(config, changes, "test")).run)
    train_losses, test_losses = ([x["loss"] for x in run.lines() if x["kind"] == kind] for kind in ("train", "test"))
    assert len(train_losses) == len(test_losses) == 4 and test_losses[-1] > 1.5 * test_losses[0]
    assert train_losses[1:] == pytest.approx(test_losses[:-1], rel=1e-4)  # nothing was learnt in between

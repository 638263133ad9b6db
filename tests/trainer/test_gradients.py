"""Gradients: their norm, what half precision skips, and that nothing trained by what is not finite is ever kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from renderer.strict import override
from trainer.systems import runs
from trainer.systems.uvnet.system import UVTask
from trainer.training import loop
from trainer.training.checkpoint import checkpoints, load_checkpoint
from trainer.training.optimisers import make_optimiser
from trainer.training.state import NonFiniteError
from trainer.training.system import Optimiser
from trainer.training.updates import gives_up, norm_and_clip


def network_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    network(torch.rand(3, 4)).pow(2).sum().backward()
    return network


def test_a_gradient_is_clipped_as_torch_does():
    ours, torchs = network_with_gradients(), network_with_gradients()
    norm = norm_and_clip(torch.optim.SGD(ours.parameters(), 1.0), 0.1, None)
    assert norm > 0.1 and norm == nn.utils.clip_grad_norm_(torchs.parameters(), 0.1)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours.parameters(), torchs.parameters(), strict=True))
    assert norm_and_clip(torch.optim.SGD(ours.parameters(), 1.0), 0.0, None) == pytest.approx(
        0.1, rel=1e-4
    )  # just measured


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_gradient_that_overflows_half_precision_is_skipped_and_training_goes_on(config, kind):
    schedule = override(config, {"schedule.optimiser": kind}, "test").schedule
    network = nn.Conv2d(1, 1, 3)
    optimiser, scaler = (
        make_optimiser([network], Optimiser(("network",), schedule), "16-mixed"),
        torch.amp.GradScaler("cpu"),
    )
    start = network.weight.detach().clone()

    def step(loss: torch.Tensor) -> float:
        scaler.scale(loss).backward()
        norm = norm_and_clip(optimiser, 0.5, scaler)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
        return float(norm)

    overflow = step(network.weight.sum() * 1e35)  # finite, but not as large as the scale makes it
    assert overflow == float("inf") and torch.equal(network.weight, start) and scaler.get_scale() == 2**15
    assert step(network.weight.sum()) == pytest.approx(3) and not torch.equal(network.weight, start)
    while not gives_up(scaler):
        step(network.weight.sum() * float("nan"))
    assert 0.25 < scaler.get_scale() < 1


@pytest.mark.parametrize("grad_clip", [0.0, 0.5])
def test_a_gradient_that_is_not_finite_stops_the_run_at_its_step_and_names_the_samples(config, monkeypatch, grad_clip):
    total_loss, training_samples, keys = UVTask.total_loss, UVTask.training_samples, []

    def watched(task, minibatch, progress):
        keys[:] = minibatch.keys if minibatch.epoch == 1 else []
        return training_samples(task, minibatch, progress)

    def steep(task, terms, progress=1.0):
        total = total_loss(task, terms, progress)
        return total + (total - total.detach()).sqrt() if keys else total  # 0, with an infinite slope

    monkeypatch.setattr(UVTask, "training_samples", watched)
    monkeypatch.setattr(UVTask, "total_loss", steep)
    with pytest.raises(NonFiniteError, match="the gradient is not finite") as caught:
        runs.train(override(config, {"schedule.grad_clip": grad_clip, "output.checkpoint_steps": 1}, "test"))
    assert len(keys) == 8 and all(key in str(caught.value) for key in keys)
    (run,) = Path(config.output.runs).iterdir()
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and keys[0] in status["message"] and status["step"] == 7
    newest = checkpoints(run / "checkpoints")[-1]
    assert newest.name == "step-0000000007.pt"
    stored = load_checkpoint(newest, config)["modules"]["network"]
    assert all(torch.isfinite(t).all() for t in stored.values())


@pytest.mark.parametrize(("part", "words"), [("network", "weights"), ("average", "averaged weights")])
def test_weights_that_are_not_finite_are_never_stored(config, monkeypatch, part, words):
    update = loop.update_average

    def poison(average, network, decay, step):
        update(average, network, decay, step)
        if step == 9:
            poisoned = {"network": network, "average": average}[part]
            next(poisoned.parameters()).data[0] = float("inf")

    monkeypatch.setattr(loop, "update_average", poison)
    changes = {"schedule.ema": 0.9, "output.checkpoint_steps": 2}
    with pytest.raises(NonFiniteError, match=f"the {words} are not finite at step 10"):
        runs.train(override(config, changes, "test"))
    (run,) = Path(config.output.runs).iterdir()
    assert checkpoints(run / "checkpoints")[-1].name == "step-0000000008.pt"

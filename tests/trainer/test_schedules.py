"""Learning rates and momentum against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from renderer.errors import SpecError
from renderer.strict import read
from trainer.training.config import OptimiserConfig
from trainer.training.optimisers import make_optimiser, set_rates
from trainer.training.schedules import (
    Moment,
    cosine,
    inverse,
    inverse_sqrt,
    learning_rate,
    linear,
    momentum,
    ramp_down,
    ramp_up,
)
from trainer.training.system import Optimiser

SHARES = (0.0, 0.25, 0.5, 1.0)


def rates(settings: OptimiserConfig, **about) -> list[float]:
    return [learning_rate(settings, Moment(share=s, samples_seen=int(1000 * s), **about)) for s in SHARES]


def test_a_constant_rate_stays():
    assert rates(OptimiserConfig(decay="constant", lr=(0.1, 0.0))) == [0.1] * 4


def test_two_phases_step_or_fall_from_where_the_second_starts():
    step, fall = (OptimiserConfig(decay=decay, lr=(0.1, 0.01)) for decay in ("step", "linear"))
    assert rates(step) == rates(fall) == [0.1] * 4
    assert rates(step, phase=1) == [0.01] * 4
    assert rates(fall, phase=1, second_phase_from=0.25)[1:] == pytest.approx([0.1, 0.1 - 0.09 / 3, 0.01])


def test_a_line_and_a_cosine_go_from_the_first_rate_to_the_last():
    assert [linear(1.0, 0.2, s) for s in SHARES] == pytest.approx([1.0, 0.8, 0.6, 0.2])
    assert [cosine(1.0, 0.2, s) for s in SHARES] == pytest.approx([1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.2])
    assert rates(OptimiserConfig(decay="cosine", lr=(1.0, 0.2))) == [cosine(1.0, 0.2, s) for s in SHARES]


def test_the_inverse_square_root_starts_after_its_unit():
    assert [inverse_sqrt(1.0, n, 100) for n in (0, 50, 100, 400, 10_000)] == pytest.approx([1, 1, 1, 0.5, 0.1])
    settings = OptimiserConfig(decay="inverse_sqrt", lr=(0.1, 0.0), decay_samples=250)
    assert rates(settings) == pytest.approx([0.1, 0.1, 0.1 / math.sqrt(2), 0.05])


def test_the_inverse_decay_is_that_of_caffe():
    gamma, power, batch = 1e-4, 0.75, 64  # base_lr (1 + gamma iteration)^-power
    for iteration in (0, 100, 10_000, 100_000):
        caffe = 0.01 * (1 + gamma * iteration) ** -power
        assert inverse(0.01, iteration * batch, round(batch / gamma), power) == pytest.approx(caffe)
    settings = OptimiserConfig(decay="inverse", lr=(0.1, 0.0), decay_samples=1000, decay_power=1.0)
    assert rates(settings) == pytest.approx([0.1, 0.08, 0.1 / 1.5, 0.05])


def test_ramps_rise_geometrically_and_fall_smoothly():
    assert [ramp_up(s, 0.5) for s in SHARES] == pytest.approx([1e-3, math.sqrt(1e-3), 1, 1])
    assert [ramp_down(s, 0.5) for s in (0, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.5, 0])
    assert ramp_up(0.0, 0.0) == ramp_down(1.0, 0.0) == 1  # none
    settings = OptimiserConfig(decay="inverse_sqrt", lr=(0.1, 0.0), decay_samples=250, ramp_up=0.5, ramp_down=0.25)
    assert rates(settings) == pytest.approx([1e-4, 0.1 * math.sqrt(1e-3), 0.1 / math.sqrt(2), 0], abs=1e-12)


def test_momentum_follows_the_phase_or_the_ramp_down():
    phases = OptimiserConfig(decay="step", beta1=(0.9, 0.99))
    assert [momentum(phases, Moment(phase=phase)) for phase in (0, 1)] == [0.9, 0.99]
    ramped = OptimiserConfig(decay="inverse_sqrt", beta1=(0.9, 0.5), ramp_down=0.5)
    assert [momentum(ramped, Moment(share=s)) for s in (0, 0.5, 0.75, 1)] == pytest.approx([0.9, 0.9, 0.7, 0.5])


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_optimisers_are_made_by_name_and_step_at_the_rate_of_the_moment(kind):
    settings = OptimiserConfig(optimiser=kind, decay="linear", lr=(1.0, 0.5), beta1=(0.8, 0.6))
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    optimiser = make_optimiser([first, second], Optimiser(("first", "second"), settings), "32-true")
    assert isinstance(optimiser, torch.optim.Adam if kind == "adam" else torch.optim.SGD)
    assert len(optimiser.param_groups[0]["params"]) == 4
    assert set_rates(optimiser, settings, Moment(share=1.0, phase=1)) == (0.5, 0.6)
    group = optimiser.param_groups[0]
    assert group["lr"] == 0.5 and (group["betas"][0] if kind == "adam" else group["momentum"]) == 0.6


def test_sgd_decays_weights_and_muon_refuses_to():
    settings = OptimiserConfig(optimiser="sgd", lr=(0.1, 0.1), beta1=(0.0, 0.0), weight_decay=0.5)
    module = nn.Linear(1, 1, bias=False)
    before = float(module.weight.detach())
    optimiser = make_optimiser([module], Optimiser(("m",), settings), "32-true")
    module.weight.grad = torch.zeros_like(module.weight)
    optimiser.step()
    assert float(module.weight.detach()) == pytest.approx(before * (1 - 0.1 * 0.5))
    with pytest.raises(SpecError, match=r"weight_decay is 0\.1, which muon does not have"):
        read(OptimiserConfig, {"optimiser": "muon", "weight_decay": 0.1}, "test")

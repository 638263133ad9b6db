"""The full spec trains with the settings of the thesis's published trainer, restated here in its own terms."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.augmentation.config import STAGES
from trainer.augmentation.stages import BASE_GAMMA
from trainer.ramp import Ramp
from trainer.systems.registry import load_config
from trainer.systems.uvnet.config import UVNetConfig
from trainer.systems.uvnet.losses import active_terms


@pytest.fixture(scope="module")
def spec() -> UVNetConfig:
    return load_config(Path(__file__).resolve().parents[2] / "jobspecs" / "train_uvnet.yaml")


def test_steps_are_those_of_the_thesis(spec: UVNetConfig) -> None:
    schedule = spec.schedule
    assert spec.data.batch_size == 40 and spec.data.test_limit == 1000
    assert schedule.optimiser == "adam" and schedule.lr[0] == 1e-4 and schedule.beta1[0] == 0.9
    assert schedule.lr[1] == 1e-5 and schedule.decay == "step"  # the text's second phase
    assert schedule.ema == schedule.grad_clip == 0


def test_augmentations_are_those_of_the_thesis(spec: UVNetConfig) -> None:
    augment = spec.augment
    on = {name for name in STAGES if getattr(augment, name).enabled}
    assert on == {"occlusion", "channel_shuffle", "exposure", "gamma", "noise"}
    assert augment.occlusion.share == augment.channel_shuffle.share == Ramp(0.5, 0.5)
    assert augment.exposure.share == augment.gamma.share == augment.noise.share == Ramp(1, 1)
    assert [2**stop for stop in augment.exposure.stops] == [0.5, 2.0]
    exponents = sorted(BASE_GAMMA / gamma for gamma in augment.gamma.gamma)
    assert exponents == pytest.approx([0.5, 1.5], abs=0.005)
    assert augment.noise.limit.start == pytest.approx(0.333 * 0.15, abs=1e-3) and augment.noise.limit.end == 0


def test_the_loss_is_that_of_the_thesis(spec: UVNetConfig) -> None:
    loss = spec.loss
    seven = ["uv", "mask", "occluded_mask", "uv_dudx", "uv_dudy", "uv_dvdx", "uv_dvdy"]
    assert active_terms(loss) == seven and loss.combine == "sum"
    assert loss.uv == Ramp(2, 2)  # there a sum over U and V, here their mean
    assert {getattr(loss, name) for name in seven[1:]} == {Ramp(1, 1)}
    assert 2 * loss.erosion_px + 1 == 3
    assert loss.overshoot == "counts" and loss.balance == Ramp(0, 0)

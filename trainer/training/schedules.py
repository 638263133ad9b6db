"""How learning rates and momentum change in the course of a training: pure functions of how far it is.

`learning_rate` and `momentum` choose by the settings of an optimiser; the curves below them are what they choose from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from trainer.training.config import OptimiserConfig

RAMP_UP_FROM: Final = 1e-3  # of the rate, at the first step


@dataclass(frozen=True)
class Moment:
    """Where a training is. share: of it that is done, in [0, 1]; the default is its end.

    phase: 0, or 1 once the held-out error has levelled off or `schedule.second_phase_at` is reached, which was when
    the share was `second_phase_from`.
    """

    step: int = 0  # steps taken before
    samples_seen: int = 0
    share: float = 1.0
    phase: int = 0
    second_phase_from: float = 1.0


def learning_rate(settings: OptimiserConfig, now: Moment) -> float:
    """Of the step that comes next."""
    first, last = settings.lr
    if settings.decay == "step":
        rate = settings.lr[now.phase]
    elif settings.decay == "linear":
        rate = first if now.phase == 0 else linear(first, last, now.share, now.second_phase_from)
    elif settings.decay == "cosine":
        rate = cosine(first, last, now.share)
    elif settings.decay == "inverse_sqrt":
        rate = inverse_sqrt(first, now.samples_seen, settings.decay_samples)
    elif settings.decay == "inverse":
        rate = inverse(first, now.samples_seen, settings.decay_samples, settings.decay_power)
    else:
        rate = first
    return rate * ramp_up(now.share, settings.ramp_up) * ramp_down(now.share, settings.ramp_down)


def momentum(settings: OptimiserConfig, now: Moment) -> float:
    """Adam's beta1 or SGD's momentum: of the phase, or moving from the first to the second with the ramp down."""
    first, last = settings.beta1
    if settings.decay in ("step", "linear"):
        return settings.beta1[now.phase]
    return last + (first - last) * ramp_down(now.share, settings.ramp_down)


def linear(first: float, last: float, share: float, start: float = 0.0) -> float:
    """From `first` when the share was `start` to `last` at the end."""
    left = (1 - share) / max(1 - start, 1e-9)
    return last + (first - last) * left


def cosine(first: float, last: float, share: float) -> float:
    """Half a period of a cosine, from `first` to `last` (Loshchilov and Hutter 2017, without restarts)."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def inverse_sqrt(first: float, samples: int, unit: int) -> float:
    """`first` for the first `unit` samples, then falling with 1 / sqrt(samples)."""
    return first * min(1.0, math.sqrt(unit / max(samples, 1)))


def inverse(first: float, samples: int, unit: int, power: float) -> float:
    """first (1 + samples / unit)^-power: Caffe's policy "inv", whose gamma is batch size / unit."""
    return float(first * (1 + samples / unit) ** -power)


def ramp_up(share: float, length: float) -> float:
    """Factor that grows geometrically from `RAMP_UP_FROM` to 1 while the first `length` of the training is done."""
    return float(RAMP_UP_FROM ** (1 - share / length)) if share < length else 1.0


def ramp_down(share: float, length: float) -> float:
    """Factor that falls from 1 to 0, smoothly at both ends, while the last `length` of the training is done."""
    left = 1 - share
    return 0.5 * (1 - math.cos(math.pi * left / length)) if left < length else 1.0

"""Pose and mouth of many samples against the spec: sums that can be merged, tests that rarely err on sound samples.

The tests are exact for Gaussian knobs (their mean is Gaussian, their mean square chi-square) and for shares (binomial),
and on the safe side elsewhere: a uniform part has lighter tails than a Gaussian of the same spread, and frames of
a clip, which resemble each other, count as one draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any, Final

from scipy.stats import binom, chi2

from renderer.parameters.spec import PoseSpec, Spec
from renderer.sampling.expression import wants_open
from renderer.sampling.streams import streams

ANGLES: Final = ("yaw", "pitch", "roll")
FALSE_ALARM: Final = 1e-6  # probability that a sound data set fails any of the tests
STUBBORN: Final = 0.02  # share of mouths that may be open or closed against the draw; the pack's head has 0.3 %
_TESTS: Final = 2 * len(ANGLES) + 1


def _zeros() -> dict[str, float]:
    return dict.fromkeys(ANGLES, 0.0)


@dataclass
class Sums:
    """Sufficient statistics of samples. Angles are deviations from the spec's mean, so that no digits cancel."""

    heads: int = 0  # samples with a head; all else is about the first head of each
    deviation: dict[str, float] = field(default_factory=_zeros)  # by angle: sum, in degrees
    square: dict[str, float] = field(default_factory=_zeros)  # by angle: sum of squares
    against: int = 0  # mouths that are open though drawn closed, or closed though drawn open

    def add(self, record: Mapping[str, Any], spec: Spec, seed: int | None) -> None:
        """One sample by its record. seed: None where other code drew it. Raises KeyError where a knob is missing."""
        if not record["heads"]:
            return
        knobs = record["knobs"]
        degrees = {name: math.degrees(knobs[f"pose.{name}_rad"]) for name in ANGLES}
        degrees["yaw"] -= 180.0 * knobs.get("pose.away", False)
        self.heads += 1
        if seed is not None and not spec.shot.kinds:  # a mouth that performs opens and closes
            wish = wants_open(spec, streams(spec.sequence, seed, record["index"]))
            self.against += knobs["mouth_open"] != wish
        for name, value in degrees.items():
            off = value - expected(spec.pose, name)[0]
            self.deviation[name] += off
            self.square[name] += off * off

    def merge(self, other: Sums) -> None:
        self.heads += other.heads
        self.against += other.against
        for name in ANGLES:
            self.deviation[name] += other.deviation[name]
            self.square[name] += other.square[name]

    def to_plain(self) -> dict[str, Any]:
        """For JSON; `Sums(**plain)` is the inverse."""
        return asdict(self)


def expected(pose: PoseSpec, angle: str) -> tuple[float, float]:
    """Mean and standard deviation of an angle, degrees."""
    variance, mean = getattr(pose, f"{angle}_deg").sigma ** 2, 0.0
    if angle == "yaw":
        low, high = pose.yaw_uniform_deg.low, pose.yaw_uniform_deg.high
        variance += (high - low) ** 2 / 12
        mean = pose.yaw_fixed_deg + (low + high) / 2
    return mean, math.sqrt(variance)


def statistics_problems(sums: Sums, spec: Spec, false_alarm: float = FALSE_ALARM) -> Iterator[str]:
    """Where the samples are not distributed as the spec says, in words; sound ones are named with `false_alarm`."""
    if not sums.heads:
        return
    n, frames = sums.heads, spec.sequence.frames or 1
    draws = max(1, n // frames)  # only clips are drawn independently
    alarm = false_alarm / _TESTS
    z = -NormalDist().inv_cdf(alarm / 2)
    low, high = float(chi2.ppf(alarm / 2, draws)) / draws, float(chi2.isf(alarm / 2, draws)) / draws
    for name in ANGLES:
        mean, sigma = expected(spec.pose, name)
        off, square = sums.deviation[name] / n, sums.square[name] / n
        if not abs(off) <= z * sigma / math.sqrt(draws) + 1e-9:  # also where it is no number
            yield f"mean {name} is {mean + off:.3f} degrees, the spec's is {mean:.3f}"
        if not low * sigma**2 - 1e-12 <= square <= high * sigma**2 + 1e-12:
            yield f"spread of {name} is {math.sqrt(square):.3f} degrees, the spec's is {sigma:.3f}"
    own_head = bool(spec.assets.head)  # may lack the units that open a mouth
    most = float(binom.isf(alarm, -(-n // frames), STUBBORN)) * frames
    if not own_head and sums.against > most:
        yield f"{sums.against} of {n} mouths are open or closed against the draw; {int(most)} may be"

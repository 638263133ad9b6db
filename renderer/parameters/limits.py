"""What a knob of a spec may be drawn from: uniform between two ends, Gaussian within a limit, or weights of kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from renderer.errors import SpecError
from renderer.strict import Numbers

_Z_999: Final = NormalDist().inv_cdf(0.9995)  # 99.9 % read as two-sided, docs/design/0002


@dataclass(frozen=True)
class Uniform(Numbers):
    """Uniform between `low` and `high`; equal ends are a fixed value."""

    low: float
    high: float

    def check(self) -> None:
        if self.low > self.high:
            raise SpecError("the low end is above the high end")


@dataclass(frozen=True)
class Gauss(Numbers):
    """Zero-mean Gaussian, given by the limit within which 99.9 % of the draws fall (two-sided, docs/design/0002)."""

    limit: float

    @property
    def sigma(self) -> float:
        """Standard deviation."""
        return self.limit / _Z_999


def check_weights(name: str, weights: Mapping[str, float]) -> None:
    """Raises SpecError where no kind has a weight."""
    if not sum(weights.values()) > 0:
        raise SpecError(f"{name} is {dict(weights)!r}; its weights add up to nothing")

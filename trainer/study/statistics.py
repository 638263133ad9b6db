"""Figures of a study from errors per sample: medians beside a naive predictor, with bootstrap intervals. numpy only.

A network trained with several seeds gives errors (R, N): R repeats on N test samples. Intervals are those of 95 % of
`RESAMPLES` resamples of both, repeats and samples, with replacement; the samples are the same for all scenarios, so
that differences are between pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES: Final = 1000
SHARE: Final = 95.0  # of the resamples in an interval


@dataclass(frozen=True)
class Interval:
    """An estimate and its bounds."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3) -> str:
        """As "0.712 [0.690, 0.735]"."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def median_ratio(errors: Floats, naive: Floats | None) -> float:
    """Median over repeats and samples, divided by the naive predictor's. errors: (R, N). naive: (N,) or None."""
    middle = float(np.nanmedian(errors))
    return middle if naive is None else middle / float(np.nanmedian(naive))


def interval(
    errors: Floats, naive: Floats | None = None, statistic: Callable[[Floats, Floats | None], float] = median_ratio
) -> Interval:
    """A statistic of errors (R, N), and naive ones (N,), with its interval."""
    drawn = [statistic(errors[r][:, s], None if naive is None else naive[s]) for r, s in resamples(*errors.shape)]
    return _interval(statistic(errors, naive), drawn)


def difference(errors: Floats, base: Floats, naive: Floats | None = None) -> Interval:
    """How much higher the median ratio of `errors` is than that of `base`, both (R, N) on the same samples."""

    def apart(a: Floats, b: Floats, n: Floats | None) -> float:
        return median_ratio(a, n) - median_ratio(b, n)

    pairs = zip(resamples(*errors.shape), resamples(*base.shape), strict=True)
    drawn = [apart(errors[r][:, s], base[q][:, s], None if naive is None else naive[s]) for (r, s), (q, _) in pairs]
    return _interval(apart(errors, base, naive), drawn)


def resamples(repeats: int, samples: int) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Repeats and samples of each resample; the samples depend on their number alone."""
    rows, columns = np.random.default_rng([0, repeats]), np.random.default_rng([1, samples])
    return [
        (rows.integers(repeats, size=repeats), columns.integers(samples, size=samples)) for _ in range(RESAMPLES)
    ]  # fmt: skip


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    low, high = np.nanpercentile(drawn, [50 - SHARE / 2, 50 + SHARE / 2])
    return Interval(value, float(low), float(high))


def moving_average(x: Floats, y: Floats, at: Floats, width: float) -> tuple[Floats, Floats]:
    """Means of y where x is within width / 2 of each of `at`, and standard errors; NaN for fewer than 8 values."""
    means, spread = np.full(len(at), np.nan), np.full(len(at), np.nan)
    for i, centre in enumerate(at):
        inside = y[(np.abs(x - centre) <= width / 2) & np.isfinite(y)]
        if len(inside) >= 8:
            means[i], spread[i] = inside.mean(), inside.std(ddof=1) / np.sqrt(len(inside))
    return means, spread


def by_trait(errors: Floats, naive: Floats | None, traits: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """Median ratios in the lower, middle and upper third of each trait, {trait, part, count, interval}."""
    rows = []
    for name, column in traits.items():
        low, high = np.nanquantile(column, [1 / 3, 2 / 3])
        parts = {
            "lower third": column <= low,
            "middle": (column > low) & (column < high),
            "upper third": column >= high,
        }
        for part, chosen in parts.items():
            if chosen.sum() >= 8:
                found = interval(errors[:, chosen], None if naive is None else naive[chosen])
                rows.append({"trait": name, "part": part, "count": int(chosen.sum()), "interval": found})
    return rows

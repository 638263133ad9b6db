"""Settings that change while a training goes on."""

from __future__ import annotations

from dataclasses import dataclass

from renderer.strict import Numbers


@dataclass(frozen=True)
class Ramp(Numbers):
    """A number that changes linearly in the share of training that is done: a number, or [start, end]."""

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Value when `progress`, in [0, 1], of the training is done."""
        return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)

    @property
    def used(self) -> bool:
        """Whether it is anything but 0 all the time."""
        return self.start > 0 or self.end > 0

    def plain(self) -> float | list[float]:
        return float(self.start) if self.start == self.end else super().plain()

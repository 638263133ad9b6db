"""The section of a spec about footage of actors: what its clips perform, and who."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from renderer.errors import SpecError
from renderer.strict import knob

SHOT_KINDS: Final = ("range_of_motion", "expressions", "pangrams", "takes")


@dataclass(frozen=True)
class ShotSpec:
    """Clips as shots of an actor who performs (docs/design/0213)."""

    kinds: tuple[str, ...] = knob(
        (), "what clips 0, 1, ... perform, over and over; empty: clips are as any others", options=SHOT_KINDS
    )
    actor_seed: int = knob(-1, "who: all shots show one person in one light; -1: every shot shows another", -1, 2**31)
    fps: float = knob(30, "frame rate, which gives gestures and speech their pace", 1, 240, unit="frames/s")

    def check(self) -> None:
        if self.actor_seed >= 0 and not self.kinds:
            raise SpecError("actor_seed is given, but kinds is empty: say what the actor performs")

"""Sets of face units that go together, as a smile moves mouth, cheeks and lids at once. Pure numpy.

A unit without its side (`mouthSmile`) stands for the left and the right one. Which units make an expression follows the
facial action coding system (Ekman, Friesen and Hager 2002); the ranges were chosen by eye on this head model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

Ranges = Mapping[str, tuple[float, float]]  # unit -> lowest and highest activation at full strength


@dataclass(frozen=True)
class ExpressionSet:
    """Units that are active together; `opened` and `closed` are added by whether the mouth is open or closed."""

    open_share: float  # how often the mouth is open
    always: Ranges = field(default_factory=dict)
    opened: Ranges = field(default_factory=lambda: {"jawOpen": (0.1, 0.35)})
    closed: Ranges = field(default_factory=dict)
    one_side: Ranges = field(default_factory=dict)  # of the left or the right side alone


_RELAXED: Final[Ranges] = {"browInnerUp": (0.0, 0.15), "mouthSmile": (0.0, 0.12), "mouthPress": (0.0, 0.15)}

SETS: Final[Mapping[str, ExpressionSet]] = {
    "rest": ExpressionSet(0.0),
    "neutral": ExpressionSet(0.1, _RELAXED, {"jawOpen": (0.08, 0.2)}),
    "smile": ExpressionSet(
        0.55,
        {"mouthSmile": (0.4, 0.95), "cheekSquint": (0.3, 0.9), "eyeSquint": (0.1, 0.6)},
        {"mouthUpperUp": (0.2, 0.6), "mouthLowerDown": (0.0, 0.4), "jawOpen": (0.05, 0.22)},
        {"mouthDimple": (0.0, 0.4), "mouthPress": (0.0, 0.3)},
    ),
    "laugh": ExpressionSet(
        1.0,
        {"mouthSmile": (0.6, 1.0), "cheekSquint": (0.5, 1.0), "eyeSquint": (0.4, 0.95), "noseSneer": (0.0, 0.3)},
        {"jawOpen": (0.25, 0.75), "mouthUpperUp": (0.3, 0.7), "mouthLowerDown": (0.1, 0.5)},
    ),
    "surprise": ExpressionSet(
        0.8,
        {"browInnerUp": (0.5, 1.0), "browOuterUp": (0.5, 1.0), "eyeWide": (0.4, 1.0)},
        {"jawOpen": (0.15, 0.8), "mouthFunnel": (0.0, 0.3)},
    ),
    "anger": ExpressionSet(
        0.3,
        {"browDown": (0.5, 1.0), "eyeSquint": (0.2, 0.6), "noseSneer": (0.1, 0.6), "mouthFrown": (0.1, 0.5)},
        {"jawOpen": (0.15, 0.55), "mouthUpperUp": (0.2, 0.6), "mouthLowerDown": (0.2, 0.6)},
        {"mouthPress": (0.2, 0.7), "mouthRollLower": (0.0, 0.3)},
    ),
    "sadness": ExpressionSet(
        0.15,
        {"browInnerUp": (0.4, 1.0), "mouthFrown": (0.4, 1.0), "eyeSquint": (0.0, 0.3)},
        closed={"mouthShrugLower": (0.1, 0.6)},
    ),
    "disgust": ExpressionSet(
        0.3,
        {
            "noseSneer": (0.5, 1.0), "browDown": (0.2, 0.7), "cheekSquint": (0.1, 0.5), "eyeSquint": (0.2, 0.5),
            "mouthFrown": (0.1, 0.5),
        },
        {"jawOpen": (0.08, 0.3), "mouthUpperUp": (0.3, 0.7), "mouthLowerDown": (0.0, 0.4)},
    ),
    "pout": ExpressionSet(
        0.1, {"mouthPucker": (0.5, 1.0), "cheekPuff": (0.0, 0.2)}, {"jawOpen": (0.08, 0.2)},
        {"mouthShrugLower": (0.0, 0.4)},
    ),
    "wink": ExpressionSet(
        0.25, {"mouthSmile": (0.1, 0.6)},
        one_side={"eyeBlink": (0.85, 1.0), "cheekSquint": (0.2, 0.7), "eyeSquint": (0.2, 0.6)},
    ),
    "squint": ExpressionSet(
        0.2, {"eyeSquint": (0.5, 1.0), "browDown": (0.2, 0.7), "cheekSquint": (0.2, 0.6), "noseSneer": (0.0, 0.3)}
    ),
    "yawn": ExpressionSet(
        1.0,
        {"eyeBlink": (0.4, 1.0), "browInnerUp": (0.2, 0.6), "eyeSquint": (0.3, 0.8), "noseSneer": (0.0, 0.3)},
        {"jawOpen": (0.85, 1.0), "mouthStretch": (0.1, 0.3)},
    ),
}  # fmt: skip

_VISEMES: Final[Sequence[ExpressionSet]] = (  # mouth shapes of speech, after the sounds that show best
    ExpressionSet(1.0, {}, {"jawOpen": (0.3, 0.6), "mouthLowerDown": (0.1, 0.4), "mouthUpperUp": (0.0, 0.2)}),  # ah
    ExpressionSet(1.0, {}, {"jawOpen": (0.1, 0.25), "mouthStretch": (0.2, 0.5), "mouthSmile": (0.1, 0.35)}),  # ee
    ExpressionSet(1.0, {}, {"jawOpen": (0.2, 0.45), "mouthFunnel": (0.3, 0.7)}),  # oh
    ExpressionSet(0.4, {"mouthPucker": (0.4, 0.9)}, {"jawOpen": (0.1, 0.2)}),  # oo
    ExpressionSet(0.0, closed={"mouthPress": (0.2, 0.6), "mouthRollLower": (0.1, 0.4)}),  # m
    ExpressionSet(0.5, {"mouthRollLower": (0.3, 0.6)}, {"mouthUpperUp": (0.2, 0.5), "jawOpen": (0.05, 0.15)}),  # f
    ExpressionSet(1.0, {}, {"jawOpen": (0.12, 0.25), "mouthUpperUp": (0.1, 0.3), "tongueOut": (0.0, 0.25)}),  # th
    ExpressionSet(1.0, {"mouthFunnel": (0.3, 0.6)}, {"jawOpen": (0.1, 0.2), "mouthUpperUp": (0.0, 0.3)}),  # sh
)  # fmt: skip
_EMPHASIS: Final[Ranges] = {"browInnerUp": (0.0, 0.4), "browOuterUp": (0.0, 0.3), "browDown": (0.0, 0.25)}


def choose(name: str, rng: np.random.Generator) -> tuple[ExpressionSet, bool]:
    """The set of a name, one of the visemes for `speech`, and whether the mouth shall be open."""
    viseme, coin = int(rng.integers(len(_VISEMES))), float(rng.random())
    chosen = _VISEMES[viseme] if name == "speech" else SETS[name]
    return chosen, coin < chosen.open_share


def draw_set(
    chosen: ExpressionSet,
    is_open: bool,
    strength: float,
    asymmetry: float,
    units: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Activations of a set's units.

    strength: factor on all of them. asymmetry: standard deviation of the difference between the sides, as a share.
    units: names of the head model's units; what it lacks is left out.
    """  # fmt: skip
    ranges = {**chosen.always, **(chosen.opened if is_open else chosen.closed)}
    if chosen in _VISEMES:
        ranges |= _EMPHASIS
    known = set(units)
    out: dict[str, float] = {}
    side = str(rng.choice(("Left", "Right")))
    for stem, (low, high) in ranges.items():
        value, tilt = strength * float(rng.uniform(low, high)), asymmetry * float(rng.normal()) / 2
        named = {stem: value, f"{stem}Left": value * (1 + tilt), f"{stem}Right": value * (1 - tilt)}
        out |= {name: min(max(v, 0.0), 1.0) for name, v in named.items() if name in known}
    for stem, (low, high) in chosen.one_side.items():
        out[f"{stem}{side}"] = float(rng.uniform(low, high))
    return {name: v for name, v in out.items() if v > 0 and name in known}

"""Pangrams spoken: words to phones, phones to mouth shapes, and mouth shapes that run into each other. Pure numpy.

Transcriptions are in the phones of the CMU Pronouncing Dictionary, without stress, written for this project; a test
holds them to all 39. Which phones look alike follows Fisher (Confusions among visually perceived consonants, 1968) and
the visemes of MPEG-4; how far each moves which unit was chosen by eye on this head model. Coarticulation is that of
Cohen and Massaro (Modeling coarticulation in synthetic visual speech, 1993): each phone pulls at each unit with a
weight that falls off with its distance in time, and lips that must meet pull hardest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PANGRAMS: Final[Mapping[str, str]] = {
    "The quick brown fox jumps over the lazy dog.":
        "DH AH K W IH K B R AW N F AA K S JH AH M P S OW V ER DH AH L EY Z IY D AO G",
    "Pack my box with five dozen liquor jugs.":
        "P AE K M AY B AA K S W IH DH F AY V D AH Z AH N L IH K ER JH AH G Z",
    "Sphinx of black quartz, judge my vow.":
        "S F IH NG K S AH V B L AE K K W AO R T S - JH AH JH M AY V AW",
    "How vexingly quick daft zebras jump.":
        "HH AW V EH K S IH NG L IY K W IH K D AE F T Z IY B R AH Z JH AH M P",
    "The five boxing wizards jump quickly.":
        "DH AH F AY V B AA K S IH NG W IH Z ER D Z JH AH M P K W IH K L IY",
    "Waltz, bad nymph, for quick jigs vex.":
        "W AO L T S - B AE D N IH M F - F AO R K W IH K JH IH G Z V EH K S",
    "Are those shy Eurasian footwear, cowboy chaps, or jolly earthmoving headgear?":
        "AA R DH OW Z SH AY Y UH R EY ZH AH N F UH T W EH R - K AW B OY CH AE P S - AO R JH AA L IY ER TH M UW V IH NG"
        " HH EH D G IH R",
    "The beige hue on the waters of the loch impressed all, including the French queen.":
        "DH AH B EY ZH HH Y UW AA N DH AH W AO T ER Z AH V DH AH L AA K IH M P R EH S T AO L - IH N K L UW D IH NG"
        " DH AH F R EH N CH K W IY N",
}  # fmt: skip
"""Sentence -> phones; "-" is a pause."""

_SHAPES: Final[Mapping[str, Mapping[str, float]]] = {  # mouth shape -> unit, without its side -> activation
    "rest": {},
    "p": {"mouthPress": 0.35, "mouthRollLower": 0.2, "mouthRollUpper": 0.2, "jawOpen": 0.0},
    "f": {"mouthRollLower": 0.5, "mouthUpperUp": 0.3, "jawOpen": 0.05},
    "th": {"jawOpen": 0.14, "tongueOut": 0.2, "mouthLowerDown": 0.15},
    "t": {"jawOpen": 0.1, "mouthLowerDown": 0.12},
    "s": {"jawOpen": 0.04, "mouthStretch": 0.25, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},
    "sh": {"jawOpen": 0.08, "mouthFunnel": 0.55, "mouthUpperUp": 0.15},
    "k": {"jawOpen": 0.14},
    "r": {"jawOpen": 0.1, "mouthFunnel": 0.3, "mouthPucker": 0.2},
    "w": {"jawOpen": 0.05, "mouthPucker": 0.8},
    "aa": {"jawOpen": 0.5, "mouthLowerDown": 0.2},
    "ae": {"jawOpen": 0.38, "mouthStretch": 0.25, "mouthLowerDown": 0.25, "mouthUpperUp": 0.15},
    "eh": {"jawOpen": 0.26, "mouthStretch": 0.2, "mouthLowerDown": 0.15},
    "iy": {"jawOpen": 0.12, "mouthSmile": 0.25, "mouthStretch": 0.3},
    "ah": {"jawOpen": 0.24},
    "oh": {"jawOpen": 0.34, "mouthFunnel": 0.55},
    "uw": {"jawOpen": 0.1, "mouthPucker": 0.75},
}
_OF_PHONES: Final[Mapping[str, Sequence[str]]] = {  # phone -> its mouth shapes, one after the other
    **dict.fromkeys(("P", "B", "M"), ("p",)),
    **dict.fromkeys(("F", "V"), ("f",)),
    **dict.fromkeys(("TH", "DH"), ("th",)),
    **dict.fromkeys(("T", "D", "N", "L"), ("t",)),
    **dict.fromkeys(("S", "Z"), ("s",)),
    **dict.fromkeys(("SH", "ZH", "CH", "JH"), ("sh",)),
    **dict.fromkeys(("K", "G", "NG", "HH"), ("k",)),
    **{"R": ("r",), "ER": ("r",), "W": ("w",), "Y": ("iy",), "IY": ("iy",), "IH": ("iy",), "EH": ("eh",)},
    **{"AE": ("ae",), "AA": ("aa",), "AO": ("oh",), "AH": ("ah",), "UH": ("uw",), "UW": ("uw",)},
    **{"AY": ("aa", "iy"), "AW": ("aa", "uw"), "EY": ("eh", "iy"), "OW": ("oh", "uw"), "OY": ("oh", "iy")},
    "-": ("rest",),
}
PHONES: Final = frozenset(_OF_PHONES) - {"-"}

_VOWELS: Final = frozenset(("aa", "ae", "eh", "iy", "ah", "oh", "uw"))
_SECONDS: Final = {"rest": 0.35, **dict.fromkeys(_VOWELS, 0.11)}  # other shapes, those of consonants: the next
_CONSONANT_S: Final = 0.075
_PULL: Final = {"p": 6.0, "f": 3.0, "w": 2.0, "uw": 2.0, "sh": 2.0}  # on the units that a shape names; others: 1
_INDIFFERENT: Final = 0.15  # pull towards rest of a shape on a unit that it does not name
_REACH_S: Final = 0.05  # distance in time at which a pull has fallen to 1/e


@dataclass(frozen=True)
class Utterance:
    """Mouth shapes in time. middles: (n,) seconds. units: names. targets, pulls: (n, units)."""

    middles: Floats
    units: tuple[str, ...]
    targets: Floats
    pulls: Floats

    def at(self, second: float) -> dict[str, float]:
        """Activation of the units at a time."""
        weights = self.pulls * np.exp(-np.abs(self.middles - second) / _REACH_S)[:, None]
        weights += 1e-12  # far from every phone all pull alike
        values = (weights * self.targets).sum(axis=0) / weights.sum(axis=0)
        return {unit: float(value) for unit, value in zip(self.units, values, strict=True)}


def utter(phones: Sequence[str], pace: float, force: float, start_s: float = 0.0) -> Utterance:
    """Phones one after the other. pace: factor on their number a second. force: factor on how far they move."""
    shapes = ["rest", *(shape for phone in phones for shape in _OF_PHONES[phone]), "rest"]
    seconds = np.array([_SECONDS.get(shape, _CONSONANT_S) for shape in shapes]) / pace
    units = tuple(sorted({unit for shape in _SHAPES.values() for unit in shape}))
    targets, pulls = np.zeros((2, len(shapes), len(units)))
    for row, shape in enumerate(shapes):
        for column, unit in enumerate(units):
            named = unit in _SHAPES[shape]
            targets[row, column] = force * _SHAPES[shape].get(unit, 0.0)
            pulls[row, column] = _PULL.get(shape, 1.0) if named or shape == "rest" else _INDIFFERENT
    return Utterance(start_s + seconds.cumsum() - seconds / 2, units, targets, pulls)


def length_s(phones: Sequence[str], pace: float) -> float:
    """How long `utter` takes for them, the rests around them included."""
    shapes = ["rest", *(shape for phone in phones for shape in _OF_PHONES[phone]), "rest"]
    return sum(_SECONDS.get(shape, _CONSONANT_S) for shape in shapes) / pace

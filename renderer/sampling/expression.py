"""The expression of a head: face units that open or close the mouth as wanted, gaze and blink. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from renderer.head.model import Floats, HeadModel
from renderer.head.pca import rest_vertices
from renderer.parameters.params import Expression, Identity
from renderer.parameters.spec import Spec
from renderer.sampling.expression_sets import choose, draw_set
from renderer.sampling.streams import Streams

FULL_GAZE_RAD: Final = math.radians(30)  # what an eyeLook unit at 1 turns the eye by
OPEN_LIPS_M: Final = 0.0045  # lips further apart than this are an open mouth; closed ones are 2.6 mm apart here

_MOUTH_UNITS: Final = ("jaw", "mouth", "tongue")
_DRAWN_APART: Final = ("eyeBlink", "eyeLook", "jawOpen", "mouthClose", "tongueOut")
_OPENING: Final = ("jawOpen", "mouthFunnel", "mouthUpperUp", "mouthLowerDown", "mouthRoll", "mouthShrug", "tongueOut")
_EYE_TO_EYE_M: Final = 0.062  # of an adult: what eyes turn inwards by follows from it
_LID_SHARE: Final = (
    0.35  # of a whole blink, by how much the upper lid sinks more when the eye looks down as far as it can
)
_TRIES: Final = 4


def draw_expression(spec: Spec, s: Streams, p: str, identity: Identity, model: HeadModel) -> Expression:
    """Gaze, blink and face units of one head; p: prefix of its streams."""
    e = spec.expression
    want_open = wants_open(spec, s, p)
    gaze_yaw = math.radians(s.moving_gauss(p + "expression.gaze_yaw", e.gaze_deg))
    gaze_pitch = math.radians(s.moving_gauss(p + "expression.gaze_pitch", e.gaze_deg)) / 2
    blink = s.share(p + "expression.blink", e.blink_share)
    eyes = gaze_units(gaze_yaw, gaze_pitch, _vergence_rad(spec, s, p)) | lid_units(gaze_pitch, e.lids_follow)
    if blink:
        eyes |= _blink_units(spec, s, p)
    at_rest = rest_vertices(model, identity)

    def some(topic: str) -> dict[str, float]:
        if _set_name(spec, s, p) == "random":
            return _units(spec, s, p + topic, want_open, at_rest, model)
        return _set_units(spec, s, p, topic, want_open, at_rest, model)

    units = some("expression.units")
    if s.moves:
        goal = some("expression.units.goal")
        is_open = [opens(_between(units, goal, way), at_rest, model) for way in (0.0, 0.25, 0.5, 0.75, 1.0)]
        if len(set(is_open)) == 1:  # else the expression rests: the mouth of a clip is either open or closed
            units = _between(units, goal, s.moving_units(p + "expression.way", 1)[0])
    is_open_now = opens(units, at_rest, model)
    together = {u: max(units.get(u, 0.0), eyes.get(u, 0.0)) for u in units | eyes}
    return Expression(dict(sorted(together.items())), is_open_now, blink, gaze_yaw, gaze_pitch)


def wants_open(spec: Spec, s: Streams, p: str = "head0.") -> bool:
    """Is the mouth of a head meant to be open? With some identities it cannot be closed."""
    if (name := _set_name(spec, s, p)) != "random":
        return choose(name, s(p + "expression.choice"))[1]
    return s.share(p + "expression.open", spec.expression.open_share)


def _set_name(spec: Spec, s: Streams, p: str) -> str:
    """Which set of units is drawn; `random`: units that know nothing of each other."""
    return s.weighted(p + "expression.set", spec.expression.sets) if spec.expression.sets else "random"


def _set_units(
    spec: Spec, s: Streams, p: str, topic: str, want_open: bool, at_rest: Floats, model: HeadModel
) -> dict[str, float]:
    """Units of the drawn set, which open or close the mouth as wanted if a few tries can."""
    e = spec.expression
    chosen, _ = choose(_set_name(spec, s, p), s(p + "expression.choice"))
    strength = s.uniform(p + "expression.set_strength", e.set_strength)
    units: dict[str, float] = {}
    for attempt in range(_TRIES):
        rng = s(f"{p}{topic}.set.{attempt}")
        units = draw_set(chosen, want_open, strength, e.asymmetry, model.units, rng)
        if opens(units, at_rest, model) == want_open:
            return units
    if want_open:
        return units | {"jawOpen": max(0.3, units.get("jawOpen", 0.0))}
    return {u: v for u, v in units.items() if not u.startswith(_OPENING)}


def _units(spec: Spec, s: Streams, topic: str, want_open: bool, at_rest: Floats, model: HeadModel) -> dict[str, float]:
    """Face units, those of the eyes left out, that open or close the mouth as wanted if a few tries can."""
    e = spec.expression
    names = [u for u in model.units if not u.startswith(_DRAWN_APART)]
    units: dict[str, float] = {}
    for attempt in range(_TRIES + 1):
        rng = s(f"{topic}.{attempt}")
        count = min(len(names), round(rng.uniform(e.units.low, e.units.high)))
        chosen = [names[int(i)] for i in rng.permutation(len(names))[:count]]
        units = {u: float(rng.uniform(e.strength.low, e.strength.high)) for u in chosen}
        jaw, tongue = float(rng.uniform(0.25, 1.0)), float(rng.uniform(0.3, 1.0))
        if want_open:
            units["jawOpen"] = jaw
            if rng.random() < 0.1:
                units["tongueOut"] = tongue
        elif rng.random() < 0.2:
            units |= {"jawOpen": jaw * 0.5, "mouthClose": jaw * 0.5}
        if attempt == _TRIES:  # the last try leaves out what moves the lips the other way
            units = {u: v for u, v in units.items() if not u.startswith(_MOUTH_UNITS)}
            units |= {"jawOpen": 0.8} if want_open else {}
        if opens(units, at_rest, model) == want_open:
            break
    return units


def opens(units: Mapping[str, float], at_rest: Floats, model: HeadModel) -> bool:
    """Is the mouth open, by lip distance? The eyes' units do not move the lips."""
    return model.expressed_lip_gap(at_rest, units) > OPEN_LIPS_M


def _between(start: Mapping[str, float], goal: Mapping[str, float], way: float) -> dict[str, float]:
    """Face units on the way from one expression (0) to another (1)."""
    return {u: (1 - way) * start.get(u, 0.0) + way * goal.get(u, 0.0) for u in {**start, **goal}}


def _vergence_rad(spec: Spec, s: Streams, p: str) -> float:
    """By how much each eye turns inwards to look at something near."""
    limits = spec.expression.gaze_distance_m
    if not limits.high:
        return 0.0
    return math.atan(_EYE_TO_EYE_M / 2 / s.uniform(p + "expression.gaze_distance", limits))


def gaze_units(yaw_rad: float, pitch_rad: float, vergence_rad: float = 0.0) -> dict[str, float]:
    """Face units that turn the eyes; yaw positive to the subject's left, pitch positive up, vergence inwards."""
    left, right = yaw_rad - vergence_rad, yaw_rad + vergence_rad
    across = {
        "eyeLookOutLeft" if left > 0 else "eyeLookInLeft": min(abs(left) / FULL_GAZE_RAD, 1.0),
        "eyeLookInRight" if right > 0 else "eyeLookOutRight": min(abs(right) / FULL_GAZE_RAD, 1.0),
    }
    along = ("eyeLookUpLeft", "eyeLookUpRight") if pitch_rad > 0 else ("eyeLookDownLeft", "eyeLookDownRight")
    return {**across, **dict.fromkeys(along, min(abs(pitch_rad) / FULL_GAZE_RAD, 1.0))}


def lid_units(pitch_rad: float, follow: float) -> dict[str, float]:
    """Face units that move the upper lids with a gaze up or down, beyond what the units of the gaze do."""
    if not follow:
        return {}
    lid = "eyeWide" if pitch_rad > 0 else "eyeBlink"
    moved = follow * _LID_SHARE * min(abs(pitch_rad) / FULL_GAZE_RAD, 1.0)
    return {f"{lid}Left": moved, f"{lid}Right": moved}


def _blink_units(spec: Spec, s: Streams, p: str) -> dict[str, float]:
    """Face units of closed eyes; a share of them closes one eye further than the other."""
    closed = float(s(p + "expression.blink_depth").uniform(0.7, 1.0))
    both = {"eyeBlinkLeft": closed, "eyeBlinkRight": closed}
    if s.share(p + "expression.blink_uneven", spec.expression.uneven_blink_share):
        rng = s(p + "expression.blink_side")
        both[str(rng.choice(sorted(both)))] *= float(rng.uniform(0.0, 0.8))
    return both

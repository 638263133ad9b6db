"""The expression of a head: face units that open or close the mouth as wanted, gaze and blink. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from renderer.head.model import Floats, HeadModel
from renderer.parameters.params import Expression, Identity
from renderer.parameters.spec import Spec
from renderer.sampling.streams import Streams

FULL_GAZE_RAD: Final = math.radians(30)  # what an eyeLook unit at 1 turns the eye by
OPEN_LIPS_M: Final = 0.0045  # lips further apart than this are an open mouth; closed ones are 2.6 mm apart here

_MOUTH_UNITS: Final = ("jaw", "mouth", "tongue")
_DRAWN_APART: Final = ("eyeBlink", "eyeLook", "jawOpen", "mouthClose", "tongueOut")


def draw_expression(spec: Spec, s: Streams, p: str, identity: Identity, model: HeadModel) -> Expression:
    """Gaze, blink and face units of one head; p: prefix of its streams."""
    e = spec.expression
    want_open = wants_open(spec, s, p)
    gaze_yaw = math.radians(s.moving_gauss(p + "expression.gaze_yaw", e.gaze_deg))
    gaze_pitch = math.radians(s.moving_gauss(p + "expression.gaze_pitch", e.gaze_deg)) / 2
    blink = s.share(p + "expression.blink", e.blink_share)
    eyes = _gaze_units(gaze_yaw, gaze_pitch)
    if blink:
        closed = float(s(p + "expression.blink_depth").uniform(0.7, 1.0))
        eyes |= {"eyeBlinkLeft": closed, "eyeBlinkRight": closed}
    at_rest = model.identity_vertices(identity.macros, identity.sliders)
    units = _units(spec, s, p + "expression.units", want_open, at_rest, model)
    if s.moves:
        goal = _units(spec, s, p + "expression.units.goal", want_open, at_rest, model)
        is_open = [_is_open(_between(units, goal, way), at_rest, model) for way in (0.0, 0.25, 0.5, 0.75, 1.0)]
        if len(set(is_open)) == 1:  # else the expression rests: the mouth of a clip is either open or closed
            units = _between(units, goal, s.moving_units(p + "expression.way", 1)[0])
    is_open_now = _is_open(units, at_rest, model)
    return Expression(dict(sorted((units | eyes).items())), is_open_now, blink, gaze_yaw, gaze_pitch)


def wants_open(spec: Spec, s: Streams, p: str = "head0.") -> bool:
    """Is the mouth of a head meant to be open? With some identities it cannot be closed."""
    return s.share(p + "expression.open", spec.expression.open_share)


def _units(spec: Spec, s: Streams, topic: str, want_open: bool, at_rest: Floats, model: HeadModel) -> dict[str, float]:
    """Face units, those of the eyes left out, that open or close the mouth as wanted if a few tries can."""
    e = spec.expression
    names = [u for u in model.units if not u.startswith(_DRAWN_APART)]
    tries = 4
    units: dict[str, float] = {}
    for attempt in range(tries + 1):
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
        if attempt == tries:  # the last try leaves out what moves the lips the other way
            units = {u: v for u, v in units.items() if not u.startswith(_MOUTH_UNITS)}
            units |= {"jawOpen": 0.8} if want_open else {}
        if _is_open(units, at_rest, model) == want_open:
            break
    return units


def _is_open(units: Mapping[str, float], at_rest: Floats, model: HeadModel) -> bool:
    """Is the mouth open, by lip distance? The eyes' units do not move the lips."""
    return model.expressed_lip_gap(at_rest, units) > OPEN_LIPS_M


def _between(start: Mapping[str, float], goal: Mapping[str, float], way: float) -> dict[str, float]:
    """Face units on the way from one expression (0) to another (1)."""
    return {u: (1 - way) * start.get(u, 0.0) + way * goal.get(u, 0.0) for u in {**start, **goal}}


def _gaze_units(yaw_rad: float, pitch_rad: float) -> dict[str, float]:
    """Face units that turn both eyes; yaw positive to the subject's left, pitch positive up."""
    side, height = min(abs(yaw_rad) / FULL_GAZE_RAD, 1.0), min(abs(pitch_rad) / FULL_GAZE_RAD, 1.0)
    across = ("eyeLookOutLeft", "eyeLookInRight") if yaw_rad > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    along = ("eyeLookUpLeft", "eyeLookUpRight") if pitch_rad > 0 else ("eyeLookDownLeft", "eyeLookDownRight")
    return {**dict.fromkeys(across, side), **dict.fromkeys(along, height)}

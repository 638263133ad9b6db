"""Looks that belong together: a skin that fits sex, age and ancestry, and the layers over it. Pure numpy."""

from __future__ import annotations

import colorsys
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from renderer.head.model import HeadModel
from renderer.parameters.params import RGB, Identity, Skin
from renderer.parameters.spec import Spec
from renderer.sampling.streams import Streams

_AGES: Final = {"young": 0.4, "middleage": 0.7, "old": 0.95}  # of the skins, on the scale of the macro `age`
_AGE_SIGMA: Final = 0.15
_LEAST: Final = 0.01  # no skin is impossible: there are few, and people differ more than their labels
_GROWN_UP: Final = 0.35  # younger heads have neither beard nor make-up


def match_face(s: Streams, p: str, identity: Identity, names: Sequence[str], model: HeadModel) -> str:
    """One of the face textures `names`, those that fit the identity more often.

    A skin's weight is the product of how well sex, age and ancestry fit; skins of one description share it. Textures
    that the pack describes nothing about have the mean weight.
    """
    weights = skin_weights(identity, model)
    mean = sum(weights.values()) / max(len(weights), 1) or 1.0
    return s.weighted(p + "surface.face_match", {name: weights.get(name, mean) for name in names}) if names else ""


def skin_weights(identity: Identity, model: HeadModel) -> dict[str, float]:
    """Weight of each skin of the pack for an identity."""
    macros = {**model.macro_defaults, **identity.macros}
    ancestry = {name: macros[name] for name in ("african", "asian", "caucasian")}
    total = sum(ancestry.values()) or 1.0
    alike = Counter(_description(about) for about in model.skins())
    weights = {}
    for about in model.skins():
        fits = {
            "sex": _maleness(macros) if about["sex"] == "male" else 1 - _maleness(macros),
            "age": math.exp(-0.5 * ((macros["age"] - _AGES[about["age"]]) / _AGE_SIGMA) ** 2),
            "ancestry": (ancestry[about["ancestry"]] / total) ** 2,
        }
        weights[str(about["name"])] = math.prod(f + _LEAST for f in fits.values()) / alike[_description(about)]
    return weights


def _description(about: Mapping[str, Any]) -> tuple[str, str, str]:
    return about["sex"], about["age"], about["ancestry"]


def _maleness(macros: Mapping[str, float]) -> float:
    """How far an identity reads as a man, 0 to 1."""
    return 1 / (1 + math.exp(-10 * (macros["sex"] - 0.5)))


def draw_skin(spec: Spec, s: Streams, p: str, identity: Identity, model: HeadModel) -> Skin | None:
    """Layers over the face texture of one head; None where the spec has none."""
    k = spec.skin
    if k == type(k)():
        return None
    macros = {**model.macro_defaults, **identity.macros}
    male, grown = _maleness(macros), macros["age"] > _GROWN_UP
    fair = macros["caucasian"] / (sum(macros[name] for name in ("african", "asian", "caucasian")) or 1.0)
    freckled = s.share(p + "skin.freckles_on", k.freckles_share * fair)
    stubbly = s.share(p + "skin.stubble_on", k.stubble_share * male) and grown
    made_up = s.share(p + "skin.make_up_on", k.make_up_share * (1 - male)) and grown
    colours, amounts = s(p + "skin.make_up_colours"), s(p + "skin.make_up").uniform(0.2, 1.0, 3)
    return Skin(
        melanin=s.gauss(p + "skin.melanin", k.melanin),
        blood=s.gauss(p + "skin.blood", k.blood),
        flush=s.uniform(p + "skin.flush", k.flush),
        mottle=s.uniform(p + "skin.mottle", k.mottle),
        pores=s.uniform(p + "skin.pores", k.pores),
        gloss=s.uniform(p + "skin.gloss", k.gloss),
        freckles=float(s(p + "skin.freckles").uniform(0.2, 1.0)) if freckled else 0.0,
        moles=round(s.uniform(p + "skin.moles", k.moles)),
        stubble=float(s(p + "skin.stubble").uniform(0.2, 1.0)) if stubbly else 0.0,
        lips=float(amounts[0]) if made_up else 0.0,
        lip_colour=_tint(colours.uniform(0.93, 1.05), colours.uniform(0.3, 0.75)),
        lids=float(amounts[1] - 0.2) if made_up else 0.0,
        lid_colour=_tint(colours.random(), colours.uniform(0.1, 0.6)),
        brows=float(amounts[2] - 0.2) if made_up else 0.0,
        seed=int(s(p + "skin.seed").integers(2**31 - 1)),
    )


def _tint(hue: float, saturation: float) -> RGB:
    """A factor on colours: its brightest channel is 1."""
    return colorsys.hsv_to_rgb(float(hue) % 1.0, float(saturation), 1.0)

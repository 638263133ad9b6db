"""What a head wears: hair, hats, glasses, and what is fitted to it."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from renderer.head.catalog import Catalog
from renderer.head.glasses import glasses_random, sunglasses_random
from renderer.head.worn.hair import hair_random
from renderer.head.worn.kinds import KINDS, PATTERNS
from renderer.parameters.params import RGB, Identity, Wear, Worn
from renderer.parameters.spec import OccluderSpec
from renderer.sampling.colours import cloth_colour, hair_colour, natural_hair_colour, random_colour
from renderer.sampling.streams import Streams

_GROWN_UP: Final = 0.35  # younger heads have no beard


def draw_wear(o: OccluderSpec, s: Streams, p: str, identity: Identity, catalog: Catalog) -> Wear:
    """What head `p` of a sample wears."""
    hair = s.share(p + "wear.hair_on", o.hair_share)
    colour = natural_hair_colour(s(p + "wear.natural_hair"), identity.macros)
    natural = s.share(p + "wear.natural_hair_on", o.natural_hair_share)
    strands = hair and s.share(p + "wear.strands_on", o.strand_share)
    fitted = tuple(_fitted(o, s, p, identity, colour, strands, hair))
    hair &= not strands
    hat = s.share(p + "wear.hat_on", o.hat_share) and not any(thing.kind == "hat" for thing in fitted)
    glasses = s.share(p + "wear.glasses_on", o.glasses_share)
    wear = Wear(
        hair=s.pick(p + "wear.hair", list(catalog.hair)) if hair else "",
        hair_tint=_bright(colour) if natural else hair_colour(s(p + "wear.hair_tint")),
        hat=s.pick(p + "wear.hat", list(catalog.hats)) if hat else "",
        hat_tint=random_colour(s(p + "wear.hat_tint"), 0.8, None),
        glasses=asdict(glasses_random(s(p + "wear.glasses"))) if glasses else None,
        glasses_colour=random_colour(s(p + "wear.glasses_colour"), 0.8, None),
        lens_tint=float(s(p + "wear.lens").choice((0.0, 0.1, 0.9), p=(0.6, 0.25, 0.15))),
        fitted=fitted,
    )
    return _sunglasses(wear, s, p) if s.share(p + "wear.sunglasses_on", o.sunglasses_share) else wear


def _sunglasses(wear: Wear, s: Streams, p: str) -> Wear:
    """Dark glasses, seven of ten opaque; some mirror, some are tinted."""
    rng = s(p + "wear.sunglasses_lens")
    mirrored, tinted = rng.random() < 0.25, rng.random() < 0.3
    return replace(
        wear,
        glasses=asdict(sunglasses_random(s(p + "wear.sunglasses"))),
        glasses_colour=_frame_colour(s(p + "wear.sunglasses_colour")),
        lens_tint=float(rng.uniform(0.35, 0.8) if tinted else rng.uniform(0.85, 1.0)),
        lens_colour=random_colour(rng, 0.9, float(rng.uniform(0.005, 0.08))),
        lens_mirror=float(rng.uniform(0.25, 0.7) if mirrored else rng.uniform(0.04, 0.1)),
    )


def _frame_colour(rng: np.random.Generator) -> RGB:
    """Six of ten black, otherwise metal, horn or any colour."""
    kind = float(rng.random())
    if kind < 0.6:
        return (0.01, 0.01, 0.01)
    return (0.5, 0.42, 0.25) if kind < 0.75 else random_colour(rng, 0.8, float(rng.uniform(0.03, 0.4)))


def _bright(colour: RGB) -> RGB:
    """Tint for the bright pictures of hair meshes and brows, about 0.45 in the middle."""
    red, green, blue = (min(1.0, value / 0.45) for value in colour)
    return (red, green, blue)


def _fitted(
    o: OccluderSpec, s: Streams, p: str, identity: Identity, hair: RGB, strands: bool, haired: bool
) -> list[Worn]:
    """Things fitted to the head, in the order in which they lie over each other."""
    kinds = []
    male, age = identity.macros.get("sex", 0.5), identity.macros.get("age", 0.5)
    if male > 0.5 and age > _GROWN_UP and s.share(p + "wear.beard_on", o.beard_share):
        kinds.append("beard")
    if s.share(p + "wear.mask_on", o.mask_share):
        kinds.append("mask")
    if s.share(p + "wear.headwear_on", o.headwear_share):
        kinds.append("hat")
    if strands:
        kinds.append("hair")
    if haired and s.share(p + "wear.wisps_on", o.wisps_share):
        kinds.append("wisps")
    for kind, share in (
        ("muffler", o.muffler_share),
        ("headphones", o.headphones_share),
        ("held", o.held_share),
        ("touch", o.touch_share),
    ):
        if s.share(f"{p}wear.{kind}_on", share):
            kinds.append(kind)
    male = 1 / (1 + math.exp(-10 * (male - 0.5)))
    shapes = {
        kind: hair_random(s(p + "wear.strands"), male, age)
        if kind == "hair"
        else KINDS[kind].random(s(f"{p}wear.{kind}"))
        for kind in kinds
    }
    return [_worn(s(f"{p}wear.{kind}_look"), kind, asdict(shape), hair) for kind, shape in shapes.items()]


def _worn(rng: np.random.Generator, kind: str, shape: dict[str, Any], hair: RGB) -> Worn:
    if kind in ("beard", "hair", "wisps"):
        lighter = float(rng.uniform(1.0, 1.9))
        colour, second = hair, (hair[0] * lighter, hair[1] * lighter, hair[2] * lighter)
    else:
        colour, second = _mask_colours(rng) if kind == "mask" else (cloth_colour(rng), cloth_colour(rng))
    return Worn(
        kind=kind,
        shape=shape,
        colour=colour,
        second_colour=second,
        pattern=PATTERNS[int(rng.choice(len(PATTERNS), p=(0.6, 0.1, 0.08, 0.07, 0.15)))],
        pattern_m=float(rng.uniform(0.006, 0.03)),
        roughness=float(rng.uniform(0.3, 0.5) if kind in ("beard", "hair", "wisps") else rng.uniform(0.5, 0.95)),
    )


def _mask_colours(rng: np.random.Generator) -> tuple[RGB, RGB]:
    """Light blue, white, black or any cloth; loops and hems white, or as the cloth."""
    kind = float(rng.random())
    white = (0.78, 0.78, 0.76)
    colour = (
        (0.3, 0.52, 0.68)
        if kind < 0.35
        else white
        if kind < 0.6
        else (0.012, 0.012, 0.013)
        if kind < 0.8
        else cloth_colour(rng)
    )
    return colour, white if kind < 0.6 else (colour if kind < 0.9 else cloth_colour(rng))

"""What a hand holds at the face: a phone at the ear, a cup at the lips, a microphone. And headphones. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from renderer.head.hand import Hand, hand
from renderer.head.mesh_kit import Floats, Piece, ellipsoid, spline, tube, unit
from renderer.head.props import PROPS, Phone
from renderer.head.worn.site import Fitted, Site, fitted, halves
from renderer.head.worn.touch import palm_on, until_touching

HELD_SLOTS: Final = ("plain", "trim", "skin")
HELD: Final = ("phone", "cup", "microphone")
HEADPHONE_SLOTS: Final = ("plain", "trim")


@dataclass(frozen=True)
class Held:
    """A thing at the face and the hand around it; for the subject's left side, `right` mirrors it."""

    thing: str = "phone"  # one of HELD
    shape: Mapping[str, Any] = field(default_factory=lambda: asdict(Phone()))
    hand: Mapping[str, Any] = field(default_factory=lambda: asdict(Hand()))
    right: bool = False
    tilt_rad: float = 0.5  # of a cup or microphone towards the lips
    gap_m: float = 0.0  # between it and the face
    turn_rad: float = 0.0  # of the fingers


def held_random(rng: np.random.Generator) -> Held:
    """A phone four times of ten, a cup three times, a microphone three times."""
    thing = HELD[int(rng.choice(3, p=(0.4, 0.3, 0.3)))]
    random, _ = PROPS[thing]
    bent = 1.15 if thing == "microphone" else 0.55
    curl = rng.uniform(0.8, 1.2, 4) * bent
    a, b, c, d = (float(v) for v in curl)
    return Held(
        thing=thing,
        shape=asdict(random(rng)),
        hand=asdict(
            Hand(
                length_m=float(rng.uniform(0.16, 0.19)),
                width=float(rng.uniform(0.9, 1.12)),
                curl_rad=(a, b, c, d),
                knuckle_rad=(0.6 * a, 0.6 * b, 0.6 * c, 0.6 * d),
                spread_rad=float(rng.uniform(0.05, 0.3)),
                thumb_over_rad=float(rng.uniform(0.3, 0.7)),
            )
        ),
        right=bool(rng.random() < 0.6),
        tilt_rad=float(rng.uniform(0.3, 1.2)),
        gap_m=float({"phone": 0.0, "cup": rng.uniform(0.0, 0.015)}.get(thing, rng.uniform(0.005, 0.05))),
        turn_rad=float(rng.normal(0, 0.25)),
    )


def held(site: Site, shape: Held) -> Fitted:
    """A thing at the face, and a hand that touches it from outside. Slots: HELD_SLOTS."""
    side = -1.0 if shape.right else 1.0
    mesh = PROPS[shape.thing][1](shape.shape)
    points = mesh.vertices.astype(np.float64)
    if shape.thing == "phone":
        rotation, target, way, out, fingers = _phone(site, side)
    else:
        rotation, target, way, out, fingers = _before_the_mouth(site, side, shape)
        reach = points[:, 1].max()
        target = target - reach * rotation[:, 1]
    points = points @ rotation.T + target
    points = points + way * (until_touching(site.surface, points, way, 0.0) + shape.gap_m)
    covered = site.surface.copy()
    covered.cover(points, halves(mesh.faces))
    grip = hand(Hand(**{**shape.hand, "left": not shape.right}))
    around = points.mean(axis=0)
    turned = palm_on(out, fingers, shape.turn_rad, 0.1)
    palm = grip.vertices.astype(np.float64) @ turned.T + around - 0.02 * turned[:, 1]
    palm = palm + out * until_touching(covered, palm, out, 0.003)
    thing = Piece(points, mesh.faces.astype(np.int64))
    made = fitted([(thing, 0, None), (Piece(palm, grip.faces.astype(np.int64)), 2, grip.vertices.astype(np.float64))])
    made.slots[: len(mesh.faces)] = np.minimum(mesh.part, 1)
    return made


def _phone(site: Site, side: float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Rotation, place, the way it comes off the head, the way the hand does, the direction of the fingers."""
    ear = site.ears[1 if side > 0 else 0]
    mouth = site.landmarks[54 if side > 0 else 48]
    target = site.surface.lifted(0.7 * ear + 0.3 * mouth)
    out = unit(0.7 * site.surface.normal(target) + np.array([0.5 * side, 0.0, 0.0]))
    along = unit(ear - mouth + np.array([0.0, 0.03, 0.0]))
    y = unit(along - (along @ out) * out)
    return np.stack([np.cross(y, -out), y, -out], axis=1), target, out, out, unit(y + np.array([0.0, 0.2, -0.5]))


def _before_the_mouth(site: Site, side: float, shape: Held) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """As `_phone`: the upper end at the lips, tilted towards them."""
    mouth = site.landmarks[[62, 66]].mean(axis=0) + np.array([0.0, -0.004, 0.01])
    tilt = shape.tilt_rad
    y = np.array([0.0, math.cos(tilt), -math.sin(tilt)])
    x = np.array([1.0, 0.0, 0.0])
    rotation = np.stack([x, y, np.cross(x, y)], axis=1)
    out = unit(np.array([0.75 * side, -0.1, 0.7]))
    return rotation, mouth, np.array([0.0, 0.0, 1.0]), out, unit(np.array([-0.7 * side, 0.5, 0.5]))


@dataclass(frozen=True)
class Headphones:
    """Headphones on or over the ears, their band over the crown."""

    cup_m: float = 0.04  # half the height of a cup
    depth_m: float = 0.018  # half its thickness
    band_m: float = 0.009  # half the width of the band
    thick_m: float = 0.004
    back_rad: float = 0.0  # of the band from the vertical


def headphones_random(rng: np.random.Generator) -> Headphones:
    """From small to studio sized."""
    return Headphones(
        cup_m=float(rng.uniform(0.028, 0.05)),
        depth_m=float(rng.uniform(0.01, 0.024)),
        band_m=float(rng.uniform(0.004, 0.018)),
        thick_m=float(rng.uniform(0.002, 0.007)),
        back_rad=float(rng.normal(0.1, 0.15)),
    )


def headphones(site: Site, shape: Headphones) -> Fitted:
    """Two cups and a band. Slots: HEADPHONE_SLOTS."""
    sides = np.array([[-0.009, 0.0, -0.012], [0.009, 0.0, -0.012]])
    centres = site.surface.lifted(site.ears + sides, 0.3 * shape.depth_m)
    crown = np.array([0.0, math.cos(shape.back_rad), -math.sin(shape.back_rad)])
    top = site.surface.lifted((0.1 * crown)[None], shape.thick_m + 0.004)[0]
    outwards = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    ends = centres + outwards * 0.7 * shape.depth_m
    middles = 0.45 * ends + 0.55 * (top * [0, 1, 1]) + outwards * 0.03 + 0.012 * crown
    band = spline(
        np.stack([ends[0], ends[0] + 0.05 * crown, middles[0], top, middles[1], ends[1] + 0.05 * crown, ends[1]]), 48
    )
    band = site.surface.outside(band, shape.thick_m + 0.003)
    forward = unit(np.cross([1.0, 0.0, 0.0], crown))
    pieces: list[tuple[Piece, int, Floats | None]] = [
        (tube(band, shape.band_m, shape.thick_m, side=forward, count=10, exponent=3.5), 0, None)
    ]
    for centre, out in zip(centres, outwards, strict=True):
        axes = np.stack([0.85 * shape.cup_m * forward, shape.cup_m * crown, shape.depth_m * out])
        pieces.append((ellipsoid(centre + 0.35 * shape.depth_m * out, axes, 20, 11), 0, None))
        pieces.append((ellipsoid(centre - 0.1 * shape.depth_m * out, axes * [[1.06], [1.06], [0.6]], 20, 11), 1, None))
    return fitted(pieces)

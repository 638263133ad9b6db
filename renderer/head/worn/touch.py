"""Hands and things brought to the face until they touch it. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from renderer.head.hand import Hand, hand, hand_random
from renderer.head.mesh_kit import Floats, unit
from renderer.head.worn.site import Fitted, Site, of_mesh
from renderer.head.worn.surface import Surface

HAND_SLOTS: Final = ("skin", "skin")
PRESSED_M: Final = 0.002  # how deep flesh gives way where a hand touches

# Where a hand goes: landmarks whose mean it touches, and an offset; the direction of its fingers; which part touches.
_PLACES: Final[Mapping[str, tuple[tuple[int, ...], Floats, Floats, str]]] = {
    "chin": ((8,), np.array([0.0, -0.004, 0.0]), np.array([0.5, 0.75, 0.2]), "palm"),
    "cheek": ((13, 35, 54), np.array([0.012, 0.0, 0.0]), np.array([-0.15, 1.0, 0.0]), "palm"),
    "mouth": ((62, 66), np.array([0.0, 0.0, 0.0]), np.array([-0.75, 0.65, 0.0]), "palm"),
    "lips": ((54, 62), np.array([0.0, 0.0, 0.0]), np.array([-0.5, 0.9, 0.0]), "tips"),
    "forehead": ((24, 25, 22), np.array([0.0, 0.025, 0.0]), np.array([-0.7, 0.7, 0.0]), "palm"),
    "temple": ((26, 16), np.array([0.0, 0.02, 0.0]), np.array([-0.3, 1.0, 0.0]), "tips"),
    "eyes": ((27, 42, 45), np.array([0.0, 0.0, 0.0]), np.array([-0.8, 0.6, 0.0]), "palm"),
    "eye": ((43, 46), np.array([0.0, 0.0, 0.0]), np.array([-0.35, 0.95, 0.0]), "tips"),
}
PLACES: Final = tuple(_PLACES)
_TIPS_M: Final = 0.09  # of the fingertips from the middle of the palm, for a hand of 0.188 m


@dataclass(frozen=True)
class Touch:
    """A hand that touches the face. All for the subject's left side; `right` mirrors it."""

    place: str = "cheek"  # one of PLACES
    hand: Mapping[str, Any] = field(default_factory=lambda: asdict(Hand()))
    right: bool = False
    off_m: tuple[float, float] = (0.0, 0.0)  # of the place, outwards and upwards
    turn_rad: float = 0.0  # of the fingers about the skin's normal
    tilt_rad: float = 0.2  # of the wrist away from the head


def touch_random(rng: np.random.Generator) -> Touch:
    """Open and relaxed hands for the most part; a fist only under the chin."""
    place = PLACES[int(rng.integers(len(PLACES)))]
    shape = hand_random(rng)
    if place != "chin" and max(shape.curl_rad) > 1.0 and rng.random() < 0.8:
        shape = Hand(
            **asdict(shape)
            | {
                "curl_rad": tuple(float(v) for v in rng.uniform(0.1, 0.5, 4)),
                "knuckle_rad": tuple(float(v) for v in rng.uniform(0.05, 0.4, 4)),
            }
        )
    out, up = (float(v) for v in rng.normal(0, 0.008, 2))
    return Touch(
        place=place,
        hand=asdict(shape),
        right=bool(rng.random() < 0.5),
        off_m=(out, up),
        turn_rad=float(rng.normal(0, 0.3)),
        tilt_rad=float(rng.uniform(0.05, 0.45)),
    )


def touching_hand(site: Site, shape: Touch) -> Fitted:
    """A hand brought to its place along the skin's normal until it touches. Slots: HAND_SLOTS."""
    numbers, off, fingers, part = _PLACES[shape.place]
    side = np.array([-1.0 if shape.right else 1.0, 1.0, 1.0])
    target = site.landmarks[[_MIRRORED[n] if shape.right else n for n in numbers]].mean(axis=0)
    target = site.surface.lifted(target + side * (off + np.array([*shape.off_m, 0.0])))
    normal = site.surface.normal(target)
    mesh = hand(Hand(**{**shape.hand, "left": not shape.right}))
    rotation = palm_on(normal, side * fingers, shape.turn_rad, shape.tilt_rad)
    reach = _TIPS_M * Hand(**shape.hand).length_m / 0.188 if part == "tips" else 0.0
    points = mesh.vertices.astype(np.float64) @ rotation.T - reach * rotation[:, 1]
    return of_mesh(mesh, points + target + normal * until_touching(site.surface, points + target, normal, PRESSED_M))


def until_touching(surface: Surface, points: Floats, way: Floats, pressed_m: float) -> float:
    """How far along the unit vector `way` (V, 3) points must go so that the first of them is `pressed_m` inside."""
    near, far = -0.15, 0.25
    for _ in range(16):
        middle = (near + far) / 2
        free = float(surface.above(points + way * middle).min()) > -pressed_m
        near, far = (near, middle) if free else (middle, far)
    return far


def palm_on(normal: Floats, fingers: Floats, turn_rad: float, tilt_rad: float) -> Floats:
    """(3, 3) rotation of a hand: palm (+Z) on the skin, fingers (+Y) along it, the wrist tilted off it."""
    along = unit(fingers - (fingers @ normal) * normal)
    along = math.cos(turn_rad) * along + math.sin(turn_rad) * np.cross(normal, along)
    y = unit(math.cos(tilt_rad) * along - math.sin(tilt_rad) * normal)
    z = unit(-normal + (normal @ y) * y)
    return np.stack([np.cross(y, z), y, z], axis=1)


def _mirror_of(number: int) -> int:
    """The landmark of the other side of the face, iBUG order."""
    for low, high in ((0, 16), (17, 26), (31, 35), (48, 54), (60, 64)):
        if low <= number <= high:
            return low + high - number
    pairs = {36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 55: 59, 56: 58, 65: 67}
    return {**pairs, **{b: a for a, b in pairs.items()}}.get(number, number)


_MIRRORED: Final = tuple(_mirror_of(n) for n in range(68))

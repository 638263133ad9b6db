"""Who else is in the picture: where further heads stand and look, and heads that are statues."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from renderer.head.catalog import Catalog
from renderer.parameters.params import RGB, Camera, Head, Statue, Vec3, Wear
from renderer.sampling.streams import Streams

_ROOM_M: Final = 0.27  # between the middles of two heads, seen from above
_DEEPEST_M: Final = 4.0  # behind the first head, and never beyond the camera's distance behind it
_TRIES: Final = 30
_FACING: Final = 0.35  # share of further heads of a group that look at one before them


def in_row(s: Streams, p: str, number: int) -> Vec3:
    """Beside and a little behind the first head."""
    rng = s(p + "pose.position")
    side = 0.24 * (number // 2 + 1) * (1 if number % 2 else -1)
    return float(side * rng.uniform(0.8, 1.3)), float(rng.normal(0, 0.05)), float(rng.uniform(-0.5, 0.0))


def in_group(s: Streams, camera: Camera, count: int) -> list[Vec3]:
    """The first head at the origin, the others at any depth behind it and anywhere across the picture."""
    places: list[Vec3] = [(0.0, 0.0, 0.0)]
    for number in range(1, count):
        places.append(_free_place(s(f"head{number}.pose.group"), camera, places))
    return places


def _free_place(rng: np.random.Generator, camera: Camera, taken: Sequence[Vec3], nearest_m: float = 0.0) -> Vec3:
    """Where no head is in the way; the last try, far behind, where there is little room."""
    deepest = max(min(_DEEPEST_M, camera.distance_m), nearest_m + 2 * _ROOM_M)
    for _ in range(_TRIES):
        z = -nearest_m - (deepest - nearest_m) * float(rng.random()) ** 2
        half = (camera.distance_m - z) * camera.sensor_mm / camera.focal_mm / 2  # of the picture's width there
        x = half * (float(rng.uniform(-0.95, 0.95)) - 2 * camera.shift_x)
        y = float(rng.normal(0.0, 0.1))
        if all(math.hypot(x - other[0], z - other[2]) >= _ROOM_M for other in taken):
            return x, y, z
    return x, y, -deepest - _ROOM_M * len(taken)


def towards(s: Streams, p: str, place: Vec3, others: Sequence[Vec3]) -> float | None:
    """Yaw at which a head looks at one of the others; None where it looks where it likes."""
    if not s.share(p + "pose.facing", _FACING):
        return None
    other = others[int(s(p + "pose.faced").integers(len(others)))]
    return math.atan2(other[0] - place[0], other[2] - place[2])


def statue(s: Streams, head: Head, camera: Camera, heads: Sequence[Head], catalog: Catalog) -> Statue:
    """A bare head of stone, metal, wood or plastic, behind all others, or in the middle where it is alone."""
    places = [one.pose.position_m for one in heads]
    nearest = _ROOM_M - min((place[2] for place in places), default=0.0)
    place = _free_place(s("statue.position"), camera, places, nearest) if heads else (0.0, 0.0, 0.0)
    bare = replace(
        head,
        pose=replace(head.pose, position_m=place),
        interior=replace(head.interior, brows="", lashes=""),
        wear=Wear(),
        clothes=None,
    )
    materials = [name for name in catalog.textures if name.startswith(("marble", "stone", "metal", "wood", "rust"))]
    textured = s.share("statue.textured", 0.5) and bool(materials)
    return Statue(
        head=bare,
        colour=_stone(s("statue.colour")),
        roughness=float(s("statue.roughness").uniform(0.15, 0.9)),
        texture=s.pick("statue.texture", materials) if textured else "",
    )


def _stone(rng: np.random.Generator) -> RGB:
    """White, grey, bronze or nearly black."""
    value, warm = float(rng.uniform(0.03, 0.85)), float(rng.beta(1, 3))
    return value, value * (1 - 0.35 * warm), value * (1 - 0.7 * warm)

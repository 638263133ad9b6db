"""Things held before a face, a hand among them: plain parameters to meshes. numpy only, and no randomness of its own.

Every kind has a frozen dataclass (metres and radians; `dataclasses.asdict` of it is JSON), a `KIND_random(rng)` that
draws one, and a builder that returns a `Mesh`. A sample's parameters are thus settled before Blender opens.

Every kind has its own right-handed frame, with the origin near its middle, so that it can be put anywhere. Surfaces are
closed and face outwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from renderer.head.hand import Hand, hand, hand_random
from renderer.head.mesh_kit import Floats, Mesh, Piece, join, loft, moved, revolved, superellipse, tube

CUP_PARTS: Final = ("cup",)
MICROPHONE_PARTS: Final = ("handle", "head")
BOX_PARTS: Final = ("box",)
PHONE_PARTS: Final = ("body", "screen")
STICK_PARTS: Final = ("stick",)


@dataclass(frozen=True)
class Cup:
    """A cup, mug or glass, upright along +Y."""

    height_m: float = 0.1
    top_m: float = 0.042  # radius at the rim
    bottom_m: float = 0.034
    wall_m: float = 0.003
    handle_m: float = 0.028  # how far the handle reaches; 0 for none


def cup_random(rng: np.random.Generator) -> Cup:
    """A cup with or without a handle."""
    top = rng.uniform(0.032, 0.048)
    return Cup(
        height_m=float(rng.uniform(0.06, 0.14)),
        top_m=float(top),
        bottom_m=float(top * rng.uniform(0.65, 1.0)),
        wall_m=float(rng.uniform(0.0015, 0.004)),
        handle_m=float(rng.uniform(0.02, 0.035)) if rng.random() < 0.7 else 0.0,
    )


def cup(shape: Cup) -> Mesh:
    """A hollow cup, its handle at +X. Parts: CUP_PARTS."""
    h, r0, r1, wall = shape.height_m / 2, shape.bottom_m, shape.top_m, shape.wall_m
    t = np.linspace(0, 1, 9)
    outside = np.column_stack([r0 + (r1 - r0) * t**0.8, -h + wall + (2 * h - 2 * wall) * t])
    rim = np.array([[r1 - 0.15 * wall, h - 0.25 * wall], [r1 - 0.5 * wall, h], [r1 - 0.85 * wall, h - 0.25 * wall]])
    inside = outside[::-1] - (wall, 0.0)
    floor = -h + 2.0 * wall
    inside[:, 1] = np.maximum(inside[:, 1], floor)
    profile = np.concatenate(
        [
            [[0.4 * r0, -h], [0.85 * r0, -h], [r0 - 0.3 * wall, -h + 0.2 * wall]],
            outside,
            rim,
            inside[:-1],
            [[r0 - 1.6 * wall, floor], [0.4 * r0, floor - 0.1 * wall]],
        ]
    )
    pieces = [(revolved(profile, 36), 0)]
    if shape.handle_m > 0:
        angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 17)
        reach = shape.handle_m + 0.5 * wall
        x = r0 + (r1 - r0) * (0.5 + 0.35 * np.sin(angle)) ** 0.8 - 0.5 * wall
        path = np.stack([x + reach * np.cos(angle) ** 0.7, 0.62 * h * np.sin(angle), 0 * angle], axis=-1)
        pieces.append((tube(path, 0.0055, 0.0035, side=np.array([0.0, 0.0, 1.0]), count=10), 0))
    return join(pieces)


@dataclass(frozen=True)
class Microphone:
    """A handheld microphone along +Y, its head up."""

    length_m: float = 0.18
    head_m: float = 0.026  # radius of the head
    grip_m: float = 0.016  # radius of the handle below the head
    taper: float = 0.7  # radius at the lower end, relative to that


def microphone_random(rng: np.random.Generator) -> Microphone:
    """A slim or a bulky microphone."""
    head = rng.uniform(0.02, 0.032)
    return Microphone(
        length_m=float(rng.uniform(0.14, 0.22)),
        head_m=float(head),
        grip_m=float(head * rng.uniform(0.5, 0.75)),
        taper=float(rng.uniform(0.6, 1.0)),
    )


def microphone(shape: Microphone) -> Mesh:
    """A handle and a round head with a band about it. Parts: MICROPHONE_PARTS."""
    half, head, grip = shape.length_m / 2, shape.head_m, shape.grip_m
    low, neck = grip * shape.taper, half - 1.75 * head
    handle = np.array(
        [
            [0.6 * low, -half],
            [0.93 * low, -half + 0.1 * low],
            [low, -half + 0.4 * low],
            [0.5 * (low + grip), 0.5 * (neck - half)],
            [grip, neck - 0.02],
            [1.02 * grip, neck - 0.008],
            [0.8 * head, neck + 0.2 * head],
            [0.85 * head, neck + 0.4 * head],
            [0.5 * head, neck + 0.5 * head],
        ]
    )
    angle = np.linspace(-1.2, 1.5, 14)
    ball = np.column_stack([head * np.cos(angle) ** 0.8, half - head + head * np.sin(angle)])
    band = superellipse(8) * (0.0015, 0.0035) + (head, half - 1.02 * head)
    ring = superellipse(32)
    loop = np.stack(
        [
            ring[:, None, 0] * band[None, :, 0],
            np.broadcast_to(band[None, :, 1], (32, 8)),
            ring[:, None, 1] * band[None, :, 0],
        ],
        axis=-1,
    )
    return join([(revolved(handle), 0), (revolved(ball), 1), (loft(loop, loop=True), 0)])


def _rounded_box(size: Floats, corner: float, bevel: float, count: int = 6) -> Piece:
    """A box centred on the origin: corners of the radius CORNER in its xy outline, edges of radius BEVEL along z."""
    x, y, z = size / 2
    quarter = np.linspace(0, np.pi / 2, count)
    arc = np.stack([np.cos(quarter), np.sin(quarter)], axis=-1)
    turns = [np.array([[0, 1], [-1, 0]]), np.array([[-1, 0], [0, -1]]), np.array([[0, -1], [1, 0]])]
    arcs = np.concatenate([arc, *(arc @ turn for turn in turns)])
    corners = np.repeat([[1, 1], [-1, 1], [-1, -1], [1, -1]], count, axis=0)
    edge = np.linspace(0, np.pi / 2, 5)
    inset = np.concatenate([[0.35 * min(x, y), 1.3 * bevel], bevel * (1 - np.sin(edge))])
    depth = np.concatenate([[z, z], z - bevel * (1 - np.cos(edge))])
    rings = []
    for i, d in [*zip(inset, -depth, strict=True), *zip(inset[::-1], depth[::-1], strict=True)]:
        radius = max(corner - i, 0.15 * corner)
        centre = np.array([x - i - radius, y - i - radius])
        rings.append(np.column_stack([corners * centre + arcs * radius, np.full(len(arcs), d)]))
    return loft(np.stack(rings))


@dataclass(frozen=True)
class Box:
    """A box, book or packet."""

    size_m: tuple[float, float, float] = (0.1, 0.14, 0.03)
    corner_m: float = 0.003


def box_random(rng: np.random.Generator) -> Box:
    """From a matchbox to a book."""
    x, y, z = (float(v) for v in rng.uniform((0.04, 0.05, 0.012), (0.14, 0.18, 0.08)))
    return Box(size_m=(x, y, z), corner_m=float(rng.uniform(0.001, 0.005)))


def box(shape: Box) -> Mesh:
    """A box with rounded edges, centred. Parts: BOX_PARTS."""
    return join([(_rounded_box(np.asarray(shape.size_m, dtype=np.float64), 1.5 * shape.corner_m, shape.corner_m), 0)])


@dataclass(frozen=True)
class Phone:
    """A telephone, upright along +Y, its screen at +Z."""

    width_m: float = 0.072
    height_m: float = 0.15
    depth_m: float = 0.008
    corner_m: float = 0.01


def phone_random(rng: np.random.Generator) -> Phone:
    """A telephone of usual proportions."""
    width = rng.uniform(0.06, 0.08)
    return Phone(
        width_m=float(width),
        height_m=float(width * rng.uniform(1.8, 2.2)),
        depth_m=float(rng.uniform(0.006, 0.011)),
        corner_m=float(rng.uniform(0.004, 0.013)),
    )


def phone(shape: Phone) -> Mesh:
    """A slab, a screen that stands out by a hair, and cameras on the back. Parts: PHONE_PARTS."""
    size = np.array([shape.width_m, shape.height_m, shape.depth_m])
    body = _rounded_box(size, shape.corner_m, 0.35 * shape.depth_m)
    screen = _rounded_box(size * (1, 1, 0.1) - (0.006, 0.006, 0), 0.7 * shape.corner_m, 0.02 * shape.depth_m)
    screen = Piece(moved(screen.vertices, 0.0, 0.0, 0.47 * shape.depth_m), screen.faces)
    pieces = [(body, 0), (screen, 1)]
    for y in (0.40, 0.31):
        lens = revolved(np.array([[0.003, 0.0], [0.005, 0.0], [0.005, 0.002], [0.003, 0.002]]), 16)
        turned = lens.vertices @ np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # height along -z
        where = (-0.3 * shape.width_m, y * shape.height_m, -0.45 * shape.depth_m)
        pieces.append((Piece(turned + where, lens.faces), 1))
    return join(pieces)


@dataclass(frozen=True)
class Stick:
    """A stick, pen, cable or branch along +Y."""

    length_m: float = 0.2
    radius_m: float = 0.006
    taper: float = 0.8  # radius at the upper end, relative to the lower
    bend_m: float = 0.01  # how far the middle is off the straight line


def stick_random(rng: np.random.Generator) -> Stick:
    """From a pencil to a bent branch."""
    return Stick(
        length_m=float(rng.uniform(0.12, 0.4)),
        radius_m=float(np.exp(rng.uniform(np.log(0.003), np.log(0.016)))),
        taper=float(rng.uniform(0.4, 1.0)),
        bend_m=float(rng.uniform(0.0, 0.03)),
    )


def stick(shape: Stick) -> Mesh:
    """A round stick with rounded ends, bent towards +X. Parts: STICK_PARTS."""
    cap = shape.radius_m / shape.length_m
    angle = np.linspace(0.15, np.pi / 2, 6)
    t = np.concatenate([-1 + 2 * cap * (1 - np.cos(angle)), np.linspace(-1 + 2 * cap, 1 - 2 * cap, 17)[1:-1]])
    t = np.concatenate([t, 1 - 2 * cap * (1 - np.cos(angle[::-1]))])
    thick = np.concatenate([np.sin(angle), np.ones(15), np.sin(angle[::-1])])
    thick = shape.radius_m * thick * (1 + (shape.taper - 1) * (t + 1) / 2)
    path = np.stack([shape.bend_m * (1 - t * t), 0.5 * shape.length_m * t, 0 * t], axis=-1)
    return join([(tube(path, thick, side=np.array([0.0, 0.0, 1.0]), count=14), 0)])


Random = Callable[[np.random.Generator], Any]
Build = Callable[[Mapping[str, Any]], Mesh]

PROPS: Final[dict[str, tuple[Random, Build]]] = {
    "box": (box_random, lambda shape: box(Box(**shape))),
    "cup": (cup_random, lambda shape: cup(Cup(**shape))),
    "hand": (hand_random, lambda shape: hand(Hand(**shape))),
    "microphone": (microphone_random, lambda shape: microphone(Microphone(**shape))),
    "phone": (phone_random, lambda shape: phone(Phone(**shape))),
    "stick": (stick_random, lambda shape: stick(Stick(**shape))),
}
"""Kind -> (draw parameters, build from their `asdict`): things held before a face."""

"""Glasses: plain parameters to a mesh that fits a head. numpy only.

They live in head space: metres, +X to the subject's left, +Y up, +Z out of the face, origin between the ears. Frames
are closed surfaces; lenses are single sheets facing away from the eyes, so that a ray meets one layer of tint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from renderer.head.mesh_kit import (
    Floats,
    Mesh,
    Piece,
    ellipsoid,
    flipped,
    join,
    moved,
    spline,
    superellipse,
    tube,
    unit,
)

GLASSES_PARTS: Final = ("frame", "lens")


@dataclass(frozen=True)
class Glasses:
    """The shape of a pair of glasses; where it sits comes from the head."""

    width_m: float = 0.050  # of one lens
    height_m: float = 0.038
    exponent: float = 2.6  # of the outline: 2 is an ellipse, 6 nearly a rectangle
    flare: float = 0.1  # how much wider the outline is at the top than in the middle
    lift_m: float = 0.0  # how far the outer corner is pulled up
    rim_m: float = 0.0018  # half the thickness of the rim, seen from the front
    rim_depth_m: float = 0.0018  # half its depth
    bridge_m: float = 0.018  # least distance between the lenses
    bridge_arch_m: float = 0.004  # how far the bridge rises
    bridge_height: float = 0.35  # where it meets the rims, in half heights above the middle
    temple_m: float = 0.003  # half the height of a temple
    temple_height: float = 0.45  # where a temple meets the rim, in half heights above the middle
    standoff_m: float = 0.026  # of the lenses from the eyes' centres
    drop_m: float = 0.003  # of the lenses' middles below the eyes
    tilt_rad: float = 0.1  # lower edge towards the cheeks
    wrap_rad: float = 0.06  # outer edges towards the temples
    curve_per_m: float = 5.0  # curvature of the lenses


def glasses_random(rng: np.random.Generator) -> Glasses:
    """Glasses between wire ovals and thick rectangles, aviators and cat eyes."""
    wire = rng.random() < 0.4
    rim = rng.uniform(0.0006, 0.0012) if wire else rng.uniform(0.0014, 0.0034)
    width = rng.uniform(0.044, 0.057)
    return Glasses(
        width_m=float(width),
        height_m=float(width * rng.uniform(0.58, 0.96)),
        exponent=float(rng.uniform(2.0, 4.5)),
        flare=float(rng.uniform(-0.04, 0.22)),
        lift_m=float(rng.uniform(0.003, 0.009) if rng.random() < 0.2 else rng.uniform(0.0, 0.002)),
        rim_m=float(rim),
        rim_depth_m=float(rim * rng.uniform(0.9, 1.6)),
        bridge_m=float(rng.uniform(0.014, 0.02)),
        bridge_arch_m=float(rng.uniform(0.001, 0.007)),
        bridge_height=float(rng.uniform(0.1, 0.6)),
        temple_m=float(rng.uniform(0.001, 0.002) if wire else rng.uniform(0.002, 0.006)),
        temple_height=float(rng.uniform(0.2, 0.7)),
        standoff_m=float(rng.uniform(0.024, 0.03)),
        drop_m=float(rng.uniform(-0.001, 0.007)),
        tilt_rad=float(rng.uniform(0.03, 0.16)),
        wrap_rad=float(rng.uniform(0.0, 0.12)),
        curve_per_m=float(rng.uniform(1.0, 8.0)),
    )


def sunglasses_random(rng: np.random.Generator) -> Glasses:
    """Large lenses: as other glasses but bigger, aviators, rimless, and shields that wrap around."""
    kind = int(rng.choice(4, p=(0.45, 0.2, 0.15, 0.2)))
    width = (rng.uniform(0.052, 0.064), rng.uniform(0.056, 0.063), rng.uniform(0.05, 0.06), rng.uniform(0.062, 0.068))[
        kind
    ]
    ratio = (rng.uniform(0.65, 0.98), rng.uniform(0.82, 0.95), rng.uniform(0.6, 0.75), rng.uniform(0.55, 0.72))[kind]
    return replace(
        glasses_random(rng),
        width_m=float(width),
        height_m=float(width * ratio),
        exponent=float(
            (rng.uniform(2.0, 4.5), rng.uniform(2.2, 2.6), rng.uniform(2.0, 3.0), rng.uniform(2.4, 3.2))[kind]
        ),
        flare=float(rng.uniform(0.12, 0.24) if kind == 1 else rng.uniform(-0.04, 0.18)),
        rim_m=float((rng.uniform(0.0012, 0.0036), 0.0007, 0.0003, rng.uniform(0.0004, 0.0014))[kind]),
        bridge_m=float((rng.uniform(0.012, 0.018), rng.uniform(0.011, 0.016), 0.016, 0.004)[kind]),
        standoff_m=float(rng.uniform(0.025, 0.031)),
        wrap_rad=float(rng.uniform(0.15, 0.35) if kind == 3 else rng.uniform(0.04, 0.16)),
        curve_per_m=float(rng.uniform(6.0, 11.0) if kind == 3 else rng.uniform(3.0, 8.0)),
    )


def glasses(shape: Glasses, *, eye_centres: npt.ArrayLike, nose_bridge: npt.ArrayLike, ears: npt.ArrayLike) -> Mesh:
    """Glasses on a head. Parts: GLASSES_PARTS.

    eye_centres: (2, 3), nose_bridge: (3,) the dip of the nose between the eyes, ears: (2, 3) where an ear begins, about
    the height of its canal. All in head space, metres; the two sides in any order.
    """
    eyes, nose, sides = (np.asarray(x, dtype=np.float64) for x in (eye_centres, nose_bridge, ears))
    eyes, sides = eyes[np.argsort(eyes[:, 0])], sides[np.argsort(sides[:, 0])]
    middle = eyes.mean(axis=0)
    apart = max((eyes[1, 0] - eyes[0, 0]) / 2, (shape.width_m + shape.bridge_m) / 2)
    front = max(middle[2] + shape.standoff_m, nose[2] + shape.rim_depth_m)
    middle = np.array([middle[0], middle[1] - shape.drop_m, front])

    def placed(uv: Floats, sign: float) -> Floats:
        """(N, 2) points of a lens's plane, outwards and upwards from its middle, in head space."""
        u, v = uv[:, 0], uv[:, 1]
        w = -0.5 * shape.curve_per_m * (u * u + 0.4 * v * v) + np.tan(shape.tilt_rad) * v - np.tan(shape.wrap_rad) * u
        return np.asarray(middle + np.stack([sign * (apart + u), v, w], axis=-1), dtype=np.float64)

    pieces: list[tuple[Piece, int]] = []
    outline = _lens_outline(shape, 40)
    at_bridge, at_temple = _rim_point(outline, shape, -1.0), _rim_point(outline, shape, 1.0)
    for sign, ear in ((-1.0, sides[0]), (1.0, sides[1])):
        rim = placed(outline, sign)
        outward = unit(rim - rim.mean(axis=0))
        pieces.append((tube(rim, shape.rim_m, shape.rim_depth_m, side=outward, loop=True), 0))
        pieces.append((_lens(outline, lambda uv, sign=sign: placed(uv, sign), sign), 1))  # type: ignore[misc]
        hinge = placed(at_temple[None], sign)[0]
        pieces.append((_temple(hinge, ear, sign, shape), 0))
        pad = placed(np.array([[-0.98 * shape.width_m / 2, -0.12 * shape.height_m]]), sign)[0]
        pad = moved(pad, -sign * 0.0015, 0.0, -0.006)
        axes = np.array([[-sign * 0.001, 0.0, 0.0015], [0.0, 0.0045, 0.0], [sign * 0.002, 0.0, 0.0035]])
        pieces.append((ellipsoid(pad, axes, 8, 6), 0))
    right, left = (placed(at_bridge[None], sign)[0] for sign in (-1.0, 1.0))
    t = np.linspace(0, 1, 13)[:, None]
    arch = np.sin(np.pi * t) ** 0.8 * (0.0, shape.bridge_arch_m, 0.002)
    thick = max(0.8 * shape.rim_m, 0.0008)
    pieces.append((tube(right + (left - right) * t + arch, thick * 1.3, thick, side=np.array([0.0, 1.0, 0.0])), 0))
    return join(pieces)


def _lens_outline(shape: Glasses, count: int) -> Floats:
    """(COUNT, 2) outline of a lens, metres outwards and upwards from its middle."""
    xy = superellipse(count, shape.exponent)
    u = xy[:, 0] * (1 + shape.flare * xy[:, 1]) * shape.width_m / 2
    corner = np.clip(xy[:, 0], 0, 1) ** 2 * np.clip(xy[:, 1] + 0.5, 0, 1.5) / 1.5
    return np.stack([u, xy[:, 1] * shape.height_m / 2 + shape.lift_m * corner], axis=-1)


def _rim_point(outline: Floats, shape: Glasses, sign: float) -> Floats:
    """(2,) the outline's point on the nose's side (-1) or the ear's side (+1) where the bridge or temple joins."""
    height = (shape.bridge_height if sign < 0 else shape.temple_height) * shape.height_m / 2
    near = np.where(np.sign(outline[:, 0]) == sign, np.abs(outline[:, 1] - height), np.inf)
    return np.asarray(outline[int(near.argmin())])


def _lens(outline: Floats, placed: Callable[[Floats], Floats], sign: float) -> Piece:
    """A sheet inside OUTLINE, facing away from the eye."""
    count, steps = len(outline), (1.0, 0.75, 0.5, 0.25)
    vertices = placed(np.concatenate([*(outline * s for s in steps), np.zeros((1, 2))]))
    index = np.arange(count * len(steps)).reshape(len(steps), count)
    here, there = index[:-1], index[1:]
    quads = np.stack([here, np.roll(here, -1, 1), np.roll(there, -1, 1), there], axis=-1).reshape(-1, 4)
    centre = np.full(count, count * len(steps))
    fan = np.stack([index[-1], np.roll(index[-1], -1), centre, centre], axis=-1)
    faces = np.concatenate([quads, fan])
    return Piece(vertices, faces if sign > 0 else flipped(faces))


def _temple(hinge: Floats, ear: Floats, sign: float, shape: Glasses) -> Piece:
    """From the rim's outer edge back over the ear and down behind it."""
    over = moved(ear, sign * 0.003, 0.016, 0.002)
    elbow = moved(hinge, sign * 0.004, 0.0, -0.004)
    elbow[0] = sign * max(sign * elbow[0], sign * over[0] - 0.004)
    start = moved(hinge, 0.0, 0.0, -0.5 * shape.rim_depth_m)
    way = over - elbow
    points = np.array(
        [
            start,
            elbow,
            moved(elbow + 0.25 * way, sign * 0.002, 0.0, 0.0),
            moved(elbow + 0.6 * way, sign * 0.002, 0.0, 0.0),
            over,
            moved(over, -sign * 0.003, -0.007, -0.013),
            moved(over, -sign * 0.009, -0.028, -0.018),
        ]
    )
    path = spline(points, 26)
    side = np.broadcast_to(np.array([sign, 0.0, 0.0]), path.shape).copy()
    side[:5] = unit(side[:5] + np.linspace(1, 0, 5)[:, None] * (0.0, 0.0, 1.0))
    thin = min(shape.temple_m, 0.0009 + 0.25 * shape.temple_m)
    t = np.linspace(0, 1, len(path))
    high = shape.temple_m * (1 - 0.35 * np.sin(np.pi * np.clip(t * 1.25, 0, 1)))
    high[-1] *= 0.6
    return tube(path, thin, np.maximum(high, thin), side=side, count=8, exponent=2.6)

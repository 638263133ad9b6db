"""A hand with a piece of forearm: plain parameters to a mesh. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from renderer.head.mesh_kit import (
    Floats,
    Mesh,
    Piece,
    ellipsoid,
    join,
    loft,
    smoothstep,
    spline,
    superellipse,
    tube,
    unit,
)

HAND_PARTS: Final = ("skin", "nails")

_HAND_M = 0.188  # length of the hand that the tables below describe, wrist to the tip of the middle finger
_KNUCKLES = np.array([[0.029, 0.041, 0.0], [0.0085, 0.045, -0.0015], [-0.0125, 0.041, -0.001], [-0.0315, 0.032, 0.001]])
_FINGER_M = np.array([0.092, 0.1, 0.094, 0.075])  # from the knuckle's joint, which lies within the palm
_FINGER_THICK = np.array([1.0, 1.02, 0.96, 0.84])
_FINGER_FAN = np.array([0.5, 0.1, -0.25, -0.6])  # direction of a straight finger, in spreads
# Along a finger, in lengths: where, half-width and half-height in metres. Knuckles are wider, pads fuller.
_FINGER_PROFILE = np.array(
    [
        [0.0, 0.0060, 0.0055],
        [0.1, 0.0096, 0.0088],
        [0.22, 0.0104, 0.0102],
        [0.36, 0.0097, 0.0098],
        [0.47, 0.0102, 0.0098],
        [0.60, 0.0091, 0.0089],
        [0.76, 0.0093, 0.0085],
        [0.88, 0.0086, 0.0079],
        [1.0, 0.0074, 0.0063],
    ]
)
_THUMB_PROFILE = np.array(
    [
        [0.0, 0.0110, 0.0120],
        [0.1, 0.0150, 0.0160],
        [0.25, 0.0150, 0.0155],
        [0.43, 0.0122, 0.0120],
        [0.56, 0.0110, 0.0105],
        [0.72, 0.0120, 0.0104],
        [0.87, 0.0114, 0.0090],
        [1.0, 0.0094, 0.0068],
    ]
)
# Along the palm, from the forearm's end to the web of the fingers: y, half-width, half-thickness, middle's z.
_PALM_PROFILE = np.array(
    [
        [-0.135, 0.0330, 0.0270, -0.004],
        [-0.085, 0.0300, 0.0225, -0.004],
        [-0.055, 0.0275, 0.0185, -0.003],
        [-0.042, 0.0290, 0.0175, -0.002],
        [-0.025, 0.0345, 0.0172, -0.001],
        [-0.005, 0.0385, 0.0158, 0.0],
        [0.02, 0.0405, 0.0140, 0.0],
        [0.04, 0.0405, 0.0126, 0.0],
        [0.054, 0.0395, 0.0112, 0.0005],
        [0.063, 0.0375, 0.0092, 0.001],
    ]
)


@dataclass(frozen=True)
class Hand:
    """A hand with a piece of forearm. Fingers are listed from the index to the little one."""

    length_m: float = 0.17  # wrist to the tip of the middle finger when straight
    width: float = 1.0  # of palm and fingers, relative to the length
    curl_rad: tuple[float, float, float, float] = (0.2, 0.2, 0.25, 0.3)  # of a finger's middle joint
    knuckle_rad: tuple[float, float, float, float] = (0.1, 0.1, 0.1, 0.1)  # bend where a finger leaves the palm
    spread_rad: float = 0.2  # between the outer fingers, about
    thumb_out_rad: float = 0.75  # of the thumb from the fingers' direction, within the palm's plane
    thumb_over_rad: float = 0.25  # of the thumb out of that plane, before the palm
    thumb_curl_rad: float = 0.3
    left: bool = False


def hand_random(rng: np.random.Generator) -> Hand:
    """An open, relaxed, pointing, gripping or closed hand."""
    pose = int(rng.integers(6))
    loose = rng.uniform(0.0, 0.35, 4)
    curl = (
        loose * 0.5,  # open
        0.3 + rng.uniform(0.1, 0.5) * np.array([0.7, 0.9, 1.1, 1.3]) + loose * 0.5,  # relaxed
        np.array([0.1, 1.5, 1.55, 1.5]) + loose * 0.3,  # pointing
        np.array([0.1, 0.1, 1.5, 1.5]) + loose * 0.3,  # two fingers
        0.75 + rng.uniform(0.0, 0.4) + loose * 0.4,  # gripping
        1.5 + loose * 0.3,  # fist
    )[pose]
    closed = np.clip(curl / 1.6, 0, 1)
    knuckle = np.clip(0.9 * closed * curl + rng.uniform(-0.1, 0.15, 4), -0.15, 1.45)
    a, b, c, d = (float(x) for x in curl)
    e, f, g, h = (float(x) for x in knuckle)
    return Hand(
        length_m=float(rng.uniform(0.15, 0.19)),
        width=float(rng.uniform(0.9, 1.12)),
        curl_rad=(a, b, c, d),
        knuckle_rad=(e, f, g, h),
        spread_rad=float(rng.uniform(0.02, 0.55) * (1 - 0.8 * closed.mean())),
        thumb_out_rad=float(rng.uniform(0.35, 0.95) * (1 - 0.3 * closed.mean())),
        thumb_over_rad=float(rng.uniform(0.05, 0.4) + 0.4 * closed.mean()),
        thumb_curl_rad=float(rng.uniform(0.0, 0.5) + 0.5 * closed.mean()),
        left=bool(rng.random() < 0.5),
    )


def hand(shape: Hand) -> Mesh:
    """A hand, about `length_m` long, and a third more of forearm. Parts: HAND_PARTS.

    Its frame: origin in the middle of the palm, +Y along the fingers, +Z out of the palm; the thumb of a right hand
    is at +X.
    """
    scale = shape.length_m / _HAND_M
    wide = np.array([shape.width, 1.0, 1.0])
    pieces: list[tuple[Piece, int]] = [(_palm(shape), 0)]
    ways: list[tuple[Floats, float, Floats, float]] = []
    for k in range(4):
        fan = shape.spread_rad * _FINGER_FAN[k]
        first = shape.knuckle_rad[k]
        bends = (first, shape.curl_rad[k], 0.6 * shape.curl_rad[k])
        straight = np.array([np.sin(fan), np.cos(fan), 0.0])
        palmwards = np.array([0.0, 0.0, 1.0])
        way = np.cos(first) * straight + np.sin(first) * palmwards
        ways.append((_KNUCKLES[k], float(_FINGER_M[k]), way, float(_FINGER_THICK[k])))
        pieces += _finger(
            _KNUCKLES[k],
            straight,
            palmwards,
            _FINGER_M[k],
            (0.06, 0.47, 0.76),
            bends,
            _FINGER_FINE,
            _FINGER_THICK[k],
        )
    thumb = _thumb_axes(shape)
    pieces += _thumb(shape, thumb)
    bones = [(base, base + 0.4 * length * way, 0.0086 * thick) for base, length, way, thick in ways]
    base, straight, _ = thumb
    bones += [(base, base + 0.046 * straight, 0.014), (base + 0.015 * straight, np.array([0.012, 0.0, 0.004]), 0.011)]
    knuckle = base + 0.04 * straight
    bones.append((knuckle, _KNUCKLES[0] + np.array([-0.004, -0.022, 0.002]), 0.0085))
    pieces[0] = (_blended(pieces[0][0], bones), 0)
    return join(
        [(Piece(piece.vertices * wide * scale, piece.faces), part) for piece, part in pieces],
        mirrored=shape.left,
    )


def _fine(table: Floats) -> Floats:
    """A profile drawn smoothly through its knots, eight steps to a knot; the first column stays the abscissa."""
    curves = [spline(table[:, [0, k, k]], 8 * len(table)) for k in range(1, table.shape[1])]
    return np.column_stack([curves[0][:, 0], *(curve[:, 1] for curve in curves)])


_FINGER_FINE, _THUMB_FINE, _PALM_FINE = (_fine(table) for table in (_FINGER_PROFILE, _THUMB_PROFILE, _PALM_PROFILE))


def _palm(shape: Hand) -> Piece:
    """Forearm, wrist and palm in one, its end following the row of knuckles; the web gives way when they bend."""
    low, high = _PALM_PROFILE[0, 0], _PALM_PROFILE[-1, 0]
    y = np.concatenate([np.linspace(low, high, 25), [high + 0.003, high + 0.0045]])
    width, thick, middle = (np.interp(y, _PALM_FINE[:, 0], _PALM_FINE[:, k]) for k in (1, 2, 3))
    width[-2:] *= (0.94, 0.8)
    thick[-2:] *= (0.75, 0.35)
    ring = superellipse(30, 2.7)
    x = width[:, None] * ring[:, 0] - 0.0015
    z = thick[:, None] * ring[:, 1] + middle[:, None]
    order = np.argsort(_KNUCKLES[:, 0])
    row = np.interp(x, _KNUCKLES[order, 0], _KNUCKLES[order, 1]) - 0.041
    bent = np.interp(x, _KNUCKLES[order, 0], np.sin(np.clip(shape.knuckle_rad, 0, 1.57))[order])
    squeezed = np.minimum(y[:, None], 0.036) + np.maximum(y[:, None] - 0.036, 0) * (1 - 0.55 * bent)
    along = squeezed + row * smoothstep((y[:, None] + 0.03) / 0.07)
    hollow = 0.0035 * (x / 0.035) ** 2 * smoothstep((y[:, None] + 0.06) / 0.05)
    return loft(np.stack([x, along, z + hollow], axis=-1))


def _finger(
    base: Floats,
    straight: Floats,
    palmwards: Floats,
    length: float,
    joints: tuple[float, float, float],
    bends: tuple[float, float, float],
    profile: Floats,
    thick: float,
) -> list[tuple[Piece, int]]:
    """A finger and its nail: a tube that bends towards PALMWARDS at its JOINTS (in lengths) by BENDS."""
    t = np.concatenate([np.linspace(0, 0.9, 20), 1 - 0.1 * (1 - np.sin(np.linspace(0.25, 1.45, 6)))])
    middle = (t[1:] + t[:-1]) / 2
    angle = sum(
        (bend * smoothstep((middle - joint) / 0.13 + 0.5) for joint, bend in zip(joints, bends, strict=True)),
        np.zeros(len(middle)),
    )
    steps = np.diff(t)[:, None] * length * (np.cos(angle)[:, None] * straight + np.sin(angle)[:, None] * palmwards)
    path = base + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    wide, high = (np.interp(t, profile[:, 0], profile[:, k]) * thick for k in (1, 2))
    tip = np.sqrt(np.clip(1 - ((t - 0.9) / 0.1) ** 2, 0, 1))
    end = np.where(t > 0.9, np.maximum(tip, 0.05), 1.0)
    side = np.cross(straight, palmwards)
    flesh = tube(path, wide * end, high * end, side=side, count=12)
    k = int(np.abs(t - 0.9).argmin())
    along = unit(path[k + 1] - path[k - 1])
    back = np.cross(along, side)
    back = back * np.sign(back @ (np.sin(angle[-1]) * straight - np.cos(angle[-1]) * palmwards))
    axes = np.stack([side * wide[k] * 0.72, along * length * 0.068, back * 0.0016])
    nail = ellipsoid(path[k] + back * high[k] * 0.86 - along * length * 0.012, axes, 8, 5)
    return [(flesh, 0), (nail, 1)]


def _blended(palm: Piece, bones: list[tuple[Floats, Floats, float]]) -> Piece:
    """PALM, drawn up to BONES (capsules: two ends and a radius), so that fingers and thumb grow out of it.

    Vertices just within the smooth union of all are moved out to its surface; those deep inside stay, unseen.
    """
    moved = palm.vertices.copy()
    near = np.flatnonzero(moved[:, 1] > -0.065)
    points = moved[near]
    kept = np.zeros(0)
    for _ in range(2):
        probes = np.concatenate([points, *(points + step for step in 1e-4 * np.eye(3))])
        depth, *beyond = np.split(-_union(probes, bones), 4)
        outwards = unit(depth[:, None] - np.stack(beyond, axis=-1) + 1e-12)
        if not kept.size:
            kept = depth * smoothstep((depth - 0.009) / 0.004)
        points = points + outwards * np.clip(depth - kept, 0, 0.006)[:, None]
    moved[near] = points
    return Piece(moved, palm.faces)


def _union(points: Floats, bones: list[tuple[Floats, Floats, float]], smooth_m: float = 0.0045) -> Floats:
    """(N,) about the signed distance to the smooth union of the palm and BONES; negative inside."""
    wide, thick, middle = (np.interp(points[:, 1], _PALM_PROFILE[:, 0], _PALM_PROFILE[:, k]) for k in (1, 2, 3))
    x, z = np.abs(points[:, 0] + 0.0015) / wide + 1e-9, np.abs(points[:, 2] - middle) / thick + 1e-9
    rho = (x**2.7 + z**2.7) ** (1 / 2.7)
    slope = np.hypot((x / rho) ** 1.7 / wide, (z / rho) ** 1.7 / thick)
    row = np.interp(points[:, 0], _KNUCKLES[::-1, 0], _KNUCKLES[::-1, 1])
    distances = [np.maximum((rho - 1) / slope, points[:, 1] - row - 0.012) + 0.0004]
    for start, end, radius in bones:
        bone, to = end - start, points - start
        along = np.clip(to @ bone / (bone @ bone), 0, 1)
        distances.append(np.linalg.norm(to - along[:, None] * bone, axis=1) - radius)
    return np.asarray(-smooth_m * np.log(sum(np.exp(-d / smooth_m) for d in distances)), dtype=np.float64)


def _thumb_axes(shape: Hand) -> tuple[Floats, Floats, Floats]:
    """Where the thumb begins, its direction when straight, and the direction in which it bends."""
    out, over = shape.thumb_out_rad, shape.thumb_over_rad
    straight = np.array([np.sin(out) * np.cos(over), np.cos(out) * np.cos(over), np.sin(over)])
    inwards = np.array([-np.cos(out), np.sin(out), 0.6])
    return np.array([0.014, -0.034, 0.003]), straight, unit(inwards - (inwards @ straight) * straight)


def _thumb(shape: Hand, axes: tuple[Floats, Floats, Floats]) -> list[tuple[Piece, int]]:
    """The thumb and its nail; the palm is drawn up to it as the ball of the thumb and the web to the index finger."""
    base, straight, inwards = axes
    bends = (0.0, 0.6 * shape.thumb_curl_rad, shape.thumb_curl_rad)
    return _finger(base, straight, inwards, 0.107, (0.1, 0.43, 0.72), bends, _THUMB_FINE, 1.0)

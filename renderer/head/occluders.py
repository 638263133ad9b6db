"""Glasses, hands and other things that hide a face: plain parameters to meshes. numpy only, and no randomness.

Every kind has a frozen dataclass (metres and radians; `dataclasses.asdict` of it is JSON), a `KIND_random(rng)` that
draws one, and a builder that returns a `Mesh`. The parameters of a sample are thus settled before Blender opens.

Frames are right-handed. Glasses live in head space: metres, +X to the subject's left, +Y up, +Z out of the face, origin
between the ears. Everything else has its own frame, with the origin near its middle, so that it can be put anywhere.

All surfaces are closed and face outwards, but for the lenses of glasses, which are single sheets facing away from the
eyes: a ray then meets one layer of tint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Mesh(NamedTuple):
    """A mesh of quads.

    vertices: (V, 3) float32, metres. faces: (F, 4) int32, anticlockwise from outside; a triangle repeats its last
    vertex. part: (F,) uint8, what a face belongs to, see the PARTS constant of each kind.
    """

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]
    part: npt.NDArray[np.uint8]


GLASSES_PARTS: Final = ("frame", "lens")
HAND_PARTS: Final = ("skin", "nails")
CUP_PARTS: Final = ("cup",)
MICROPHONE_PARTS: Final = ("handle", "head")
BOX_PARTS: Final = ("box",)
PHONE_PARTS: Final = ("body", "screen")
SCARF_PARTS: Final = ("scarf",)
STICK_PARTS: Final = ("stick",)


# --- pieces: rings of points become closed surfaces ---------------------------------------------------


class _Piece(NamedTuple):
    """A surface under construction: (V, 3) vertices, (F, 4) faces."""

    vertices: Floats
    faces: Ints


def _join(pieces: list[tuple[_Piece, int]], *, mirrored: bool = False) -> Mesh:
    """One mesh of pieces and their part numbers; MIRRORED reflects it about x = 0."""
    counts = np.cumsum([0] + [len(piece.vertices) for piece, _ in pieces])
    vertices = np.concatenate([piece.vertices for piece, _ in pieces])
    faces = np.concatenate([piece.faces + start for (piece, _), start in zip(pieces, counts[:-1], strict=True)])
    part = np.concatenate([np.full(len(piece.faces), number) for piece, number in pieces])
    if mirrored:
        vertices, faces = vertices * (-1.0, 1.0, 1.0), _flipped(faces)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32), part.astype(np.uint8))


def _flipped(faces: Ints) -> Ints:
    """The same faces seen from the other side; triangles keep their repeated last index."""
    triangle = faces[:, 3] == faces[:, 2]
    return np.where(triangle[:, None], faces[:, [1, 0, 2, 2]], faces[:, ::-1])


def _volume(vertices: Floats, faces: Ints) -> float:
    """Signed volume of a closed surface; positive if the faces look outwards."""
    a, b, c, d = (vertices[faces[:, k]] for k in range(4))
    return float(np.einsum("ij,ij->", np.cross(a, c), d - b)) / 6.0  # two triangles: a.(b x c) + a.(c x d)


def _skin(rings: Floats, *, loop: bool = False) -> _Piece:
    """A closed surface over (N, M, 3) rings of points: a torus if LOOP, else with its ends closed by fans."""
    n, m = rings.shape[:2]
    vertices = rings.reshape(-1, 3)
    if not loop:
        vertices = np.concatenate([vertices, rings[[0, -1]].mean(axis=1)])
    faces = _ring_faces(n, m, loop)
    return _Piece(vertices, faces if _volume(vertices - vertices.mean(axis=0), faces) > 0 else _flipped(faces))


@lru_cache(maxsize=64)
def _ring_faces(n: int, m: int, loop: bool) -> Ints:
    """(F, 4) faces over N rings of M points and, unless LOOP, over the middles of the first and the last ring."""
    index = np.arange(n * m).reshape(n, m)
    rows = index if not loop else np.concatenate([index, index[:1]])
    here, there = rows[:-1], rows[1:]
    faces = [np.stack([here, np.roll(here, -1, 1), np.roll(there, -1, 1), there], axis=-1).reshape(-1, 4)]
    if not loop:
        first, last = np.full(m, n * m), np.full(m, n * m + 1)
        faces.append(np.stack([np.roll(index[0], -1), index[0], first, first], axis=-1))
        faces.append(np.stack([index[-1], np.roll(index[-1], -1), last, last], axis=-1))
    return np.concatenate(faces)


def _outline(count: int, exponent: float = 2.0) -> Floats:
    """(COUNT, 2) points of the superellipse |x|^e + |y|^e = 1, evenly spread by angle."""
    angle = 2 * np.pi * (np.arange(count) + 0.5) / count
    xy = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.asarray(xy / (np.abs(xy) ** exponent).sum(axis=1, keepdims=True) ** (1 / exponent), dtype=np.float64)


def _moved(points: Floats, x: float, y: float, z: float) -> Floats:
    """POINTS, (3,) or (N, 3), shifted."""
    return np.asarray(points + np.array([x, y, z]), dtype=np.float64)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float64)


def _tube(
    path: Floats,
    radius: Floats | float,
    radius_up: Floats | float | None = None,
    *,
    side: Floats,
    count: int = 10,
    exponent: float = 2.0,
    loop: bool = False,
) -> _Piece:
    """A tube along PATH (N, 3).

    Its sections have the half-width RADIUS along SIDE, (3,) or (N, 3), made perpendicular to the path, and the
    half-height RADIUS_UP (the same if None) across it. Both are scalars or (N,).
    """
    ahead, behind = np.roll(path, -1, 0), np.roll(path, 1, 0)
    if not loop:
        ahead[-1], behind[0] = path[-1], path[0]
    tangent = _unit(ahead - behind)
    across = np.broadcast_to(side, path.shape)
    across = _unit(across - (across * tangent).sum(axis=1, keepdims=True) * tangent)
    up = np.cross(tangent, across)
    wide = np.broadcast_to(radius, len(path))
    high = wide if radius_up is None else np.broadcast_to(radius_up, len(path))
    ring = _outline(count, exponent)
    rings = (
        path[:, None]
        + across[:, None] * (wide[:, None] * ring[:, 0])[..., None]
        + up[:, None] * (high[:, None] * ring[:, 1])[..., None]
    )
    return _skin(rings, loop=loop)


def _ellipsoid(centre: Floats, axes: Floats, count: int = 12, rings: int = 9) -> _Piece:
    """An ellipsoid; AXES is (3, 3), a row for each half-axis."""
    angle = np.pi * (np.arange(rings) + 0.5) / rings
    ring = _outline(count)
    flat = np.sin(angle)[:, None, None] * (ring[:, :1] * axes[0] + ring[:, 1:] * axes[1])
    return _skin(centre + flat + np.cos(angle)[:, None, None] * axes[2])


def _turned(profile: Floats, count: int = 32) -> _Piece:
    """A closed surface of revolution about +Y; PROFILE is (N, 2) radius and height, end to end."""
    ring = _outline(count)
    flat = profile[:, None, :1] * ring
    height = np.broadcast_to(profile[:, None, 1], flat.shape[:2])
    return _skin(np.stack([flat[..., 0], height, flat[..., 1]], axis=-1))


def _eased(t: Floats) -> Floats:
    """Smooth step from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float64)


def _curve(points: Floats, count: int) -> Floats:
    """(COUNT, 3) points along a Catmull-Rom spline through POINTS, evenly by parameter."""
    t = np.linspace(0, len(points) - 1, count)
    k = np.minimum(t.astype(np.int64), len(points) - 2)
    f = (t - k)[:, None]
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    a, b, c, d = (padded[k + i] for i in range(4))
    return np.asarray(b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a))))


# --- glasses ------------------------------------------------------------------------------------------


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

    pieces: list[tuple[_Piece, int]] = []
    outline = _lens_outline(shape, 40)
    at_bridge, at_temple = _rim_point(outline, shape, -1.0), _rim_point(outline, shape, 1.0)
    for sign, ear in ((-1.0, sides[0]), (1.0, sides[1])):
        rim = placed(outline, sign)
        outward = _unit(rim - rim.mean(axis=0))
        pieces.append((_tube(rim, shape.rim_m, shape.rim_depth_m, side=outward, loop=True), 0))
        pieces.append((_lens(outline, lambda uv, sign=sign: placed(uv, sign), sign), 1))  # type: ignore[misc]
        hinge = placed(at_temple[None], sign)[0]
        pieces.append((_temple(hinge, ear, sign, shape), 0))
        pad = placed(np.array([[-0.98 * shape.width_m / 2, -0.12 * shape.height_m]]), sign)[0]
        pad = _moved(pad, -sign * 0.0015, 0.0, -0.006)
        axes = np.array([[-sign * 0.001, 0.0, 0.0015], [0.0, 0.0045, 0.0], [sign * 0.002, 0.0, 0.0035]])
        pieces.append((_ellipsoid(pad, axes, 8, 6), 0))
    right, left = (placed(at_bridge[None], sign)[0] for sign in (-1.0, 1.0))
    t = np.linspace(0, 1, 13)[:, None]
    arch = np.sin(np.pi * t) ** 0.8 * (0.0, shape.bridge_arch_m, 0.002)
    thick = max(0.8 * shape.rim_m, 0.0008)
    pieces.append((_tube(right + (left - right) * t + arch, thick * 1.3, thick, side=np.array([0.0, 1.0, 0.0])), 0))
    return _join(pieces)


def _lens_outline(shape: Glasses, count: int) -> Floats:
    """(COUNT, 2) outline of a lens, metres outwards and upwards from its middle."""
    xy = _outline(count, shape.exponent)
    u = xy[:, 0] * (1 + shape.flare * xy[:, 1]) * shape.width_m / 2
    corner = np.clip(xy[:, 0], 0, 1) ** 2 * np.clip(xy[:, 1] + 0.5, 0, 1.5) / 1.5
    return np.stack([u, xy[:, 1] * shape.height_m / 2 + shape.lift_m * corner], axis=-1)


def _rim_point(outline: Floats, shape: Glasses, sign: float) -> Floats:
    """(2,) the outline's point on the nose's side (-1) or the ear's side (+1) where the bridge or temple joins."""
    height = (shape.bridge_height if sign < 0 else shape.temple_height) * shape.height_m / 2
    near = np.where(np.sign(outline[:, 0]) == sign, np.abs(outline[:, 1] - height), np.inf)
    return np.asarray(outline[int(near.argmin())])


def _lens(outline: Floats, placed: Callable[[Floats], Floats], sign: float) -> _Piece:
    """A sheet inside OUTLINE, facing away from the eye."""
    count, steps = len(outline), (1.0, 0.75, 0.5, 0.25)
    vertices = placed(np.concatenate([*(outline * s for s in steps), np.zeros((1, 2))]))
    index = np.arange(count * len(steps)).reshape(len(steps), count)
    here, there = index[:-1], index[1:]
    quads = np.stack([here, np.roll(here, -1, 1), np.roll(there, -1, 1), there], axis=-1).reshape(-1, 4)
    centre = np.full(count, count * len(steps))
    fan = np.stack([index[-1], np.roll(index[-1], -1), centre, centre], axis=-1)
    faces = np.concatenate([quads, fan])
    return _Piece(vertices, faces if sign > 0 else _flipped(faces))


def _temple(hinge: Floats, ear: Floats, sign: float, shape: Glasses) -> _Piece:
    """From the rim's outer edge back over the ear and down behind it."""
    over = _moved(ear, sign * 0.003, 0.016, 0.002)
    elbow = _moved(hinge, sign * 0.004, 0.0, -0.004)
    elbow[0] = sign * max(sign * elbow[0], sign * over[0] - 0.004)
    start = _moved(hinge, 0.0, 0.0, -0.5 * shape.rim_depth_m)
    way = over - elbow
    points = np.array(
        [
            start,
            elbow,
            _moved(elbow + 0.25 * way, sign * 0.002, 0.0, 0.0),
            _moved(elbow + 0.6 * way, sign * 0.002, 0.0, 0.0),
            over,
            _moved(over, -sign * 0.003, -0.007, -0.013),
            _moved(over, -sign * 0.009, -0.028, -0.018),
        ]
    )
    path = _curve(points, 26)
    side = np.broadcast_to(np.array([sign, 0.0, 0.0]), path.shape).copy()
    side[:5] = _unit(side[:5] + np.linspace(1, 0, 5)[:, None] * (0.0, 0.0, 1.0))
    thin = min(shape.temple_m, 0.0009 + 0.25 * shape.temple_m)
    t = np.linspace(0, 1, len(path))
    high = shape.temple_m * (1 - 0.35 * np.sin(np.pi * np.clip(t * 1.25, 0, 1)))
    high[-1] *= 0.6
    return _tube(path, thin, np.maximum(high, thin), side=side, count=8, exponent=2.6)


# --- hand ---------------------------------------------------------------------------------------------

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
    knuckle_rad: tuple[float, float, float, float] = (
        0.1,
        0.1,
        0.1,
        0.1,
    )  # bend where a finger leaves the palm
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
    pieces: list[tuple[_Piece, int]] = [(_palm(shape), 0)]
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
    return _join(
        [(_Piece(piece.vertices * wide * scale, piece.faces), part) for piece, part in pieces],
        mirrored=shape.left,
    )


def _fine(table: Floats) -> Floats:
    """A profile drawn smoothly through its knots, eight steps to a knot; the first column stays the abscissa."""
    curves = [_curve(table[:, [0, k, k]], 8 * len(table)) for k in range(1, table.shape[1])]
    return np.column_stack([curves[0][:, 0], *(curve[:, 1] for curve in curves)])


_FINGER_FINE, _THUMB_FINE, _PALM_FINE = (_fine(table) for table in (_FINGER_PROFILE, _THUMB_PROFILE, _PALM_PROFILE))


def _palm(shape: Hand) -> _Piece:
    """Forearm, wrist and palm in one, its end following the row of knuckles; the web gives way when they bend."""
    low, high = _PALM_PROFILE[0, 0], _PALM_PROFILE[-1, 0]
    y = np.concatenate([np.linspace(low, high, 25), [high + 0.003, high + 0.0045]])
    width, thick, middle = (np.interp(y, _PALM_FINE[:, 0], _PALM_FINE[:, k]) for k in (1, 2, 3))
    width[-2:] *= (0.94, 0.8)
    thick[-2:] *= (0.75, 0.35)
    ring = _outline(30, 2.7)
    x = width[:, None] * ring[:, 0] - 0.0015
    z = thick[:, None] * ring[:, 1] + middle[:, None]
    order = np.argsort(_KNUCKLES[:, 0])
    row = np.interp(x, _KNUCKLES[order, 0], _KNUCKLES[order, 1]) - 0.041
    bent = np.interp(x, _KNUCKLES[order, 0], np.sin(np.clip(shape.knuckle_rad, 0, 1.57))[order])
    squeezed = np.minimum(y[:, None], 0.036) + np.maximum(y[:, None] - 0.036, 0) * (1 - 0.55 * bent)
    along = squeezed + row * _eased((y[:, None] + 0.03) / 0.07)
    hollow = 0.0035 * (x / 0.035) ** 2 * _eased((y[:, None] + 0.06) / 0.05)
    return _skin(np.stack([x, along, z + hollow], axis=-1))


def _finger(
    base: Floats,
    straight: Floats,
    palmwards: Floats,
    length: float,
    joints: tuple[float, float, float],
    bends: tuple[float, float, float],
    profile: Floats,
    thick: float,
) -> list[tuple[_Piece, int]]:
    """A finger and its nail: a tube that bends towards PALMWARDS at its JOINTS (in lengths) by BENDS."""
    t = np.concatenate([np.linspace(0, 0.9, 20), 1 - 0.1 * (1 - np.sin(np.linspace(0.25, 1.45, 6)))])
    middle = (t[1:] + t[:-1]) / 2
    angle = sum(
        (bend * _eased((middle - joint) / 0.13 + 0.5) for joint, bend in zip(joints, bends, strict=True)),
        np.zeros(len(middle)),
    )
    steps = np.diff(t)[:, None] * length * (np.cos(angle)[:, None] * straight + np.sin(angle)[:, None] * palmwards)
    path = base + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    wide, high = (np.interp(t, profile[:, 0], profile[:, k]) * thick for k in (1, 2))
    tip = np.sqrt(np.clip(1 - ((t - 0.9) / 0.1) ** 2, 0, 1))
    end = np.where(t > 0.9, np.maximum(tip, 0.05), 1.0)
    side = np.cross(straight, palmwards)
    flesh = _tube(path, wide * end, high * end, side=side, count=12)
    k = int(np.abs(t - 0.9).argmin())
    along = _unit(path[k + 1] - path[k - 1])
    back = np.cross(along, side)
    back = back * np.sign(back @ (np.sin(angle[-1]) * straight - np.cos(angle[-1]) * palmwards))
    axes = np.stack([side * wide[k] * 0.72, along * length * 0.068, back * 0.0016])
    nail = _ellipsoid(path[k] + back * high[k] * 0.86 - along * length * 0.012, axes, 8, 5)
    return [(flesh, 0), (nail, 1)]


def _blended(palm: _Piece, bones: list[tuple[Floats, Floats, float]]) -> _Piece:
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
        outwards = _unit(depth[:, None] - np.stack(beyond, axis=-1) + 1e-12)
        if not kept.size:
            kept = depth * _eased((depth - 0.009) / 0.004)
        points = points + outwards * np.clip(depth - kept, 0, 0.006)[:, None]
    moved[near] = points
    return _Piece(moved, palm.faces)


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
    return np.array([0.014, -0.034, 0.003]), straight, _unit(inwards - (inwards @ straight) * straight)


def _thumb(shape: Hand, axes: tuple[Floats, Floats, Floats]) -> list[tuple[_Piece, int]]:
    """The thumb and its nail; the palm is drawn up to it as the ball of the thumb and the web to the index finger."""
    base, straight, inwards = axes
    bends = (0.0, 0.6 * shape.thumb_curl_rad, shape.thumb_curl_rad)
    return _finger(base, straight, inwards, 0.107, (0.1, 0.43, 0.72), bends, _THUMB_FINE, 1.0)


# --- things -------------------------------------------------------------------------------------------


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
    pieces = [(_turned(profile, 36), 0)]
    if shape.handle_m > 0:
        angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 17)
        reach = shape.handle_m + 0.5 * wall
        x = r0 + (r1 - r0) * (0.5 + 0.35 * np.sin(angle)) ** 0.8 - 0.5 * wall
        path = np.stack([x + reach * np.cos(angle) ** 0.7, 0.62 * h * np.sin(angle), 0 * angle], axis=-1)
        pieces.append((_tube(path, 0.0055, 0.0035, side=np.array([0.0, 0.0, 1.0]), count=10), 0))
    return _join(pieces)


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
    band = _outline(8) * (0.0015, 0.0035) + (head, half - 1.02 * head)
    ring = _outline(32)
    loop = np.stack(
        [
            ring[:, None, 0] * band[None, :, 0],
            np.broadcast_to(band[None, :, 1], (32, 8)),
            ring[:, None, 1] * band[None, :, 0],
        ],
        axis=-1,
    )
    return _join([(_turned(handle), 0), (_turned(ball), 1), (_skin(loop, loop=True), 0)])


def _rounded_box(size: Floats, corner: float, bevel: float, count: int = 6) -> _Piece:
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
    return _skin(np.stack(rings))


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
    return _join([(_rounded_box(np.asarray(shape.size_m, dtype=np.float64), 1.5 * shape.corner_m, shape.corner_m), 0)])


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
    screen = _Piece(_moved(screen.vertices, 0.0, 0.0, 0.47 * shape.depth_m), screen.faces)
    pieces = [(body, 0), (screen, 1)]
    for y in (0.40, 0.31):
        lens = _turned(np.array([[0.003, 0.0], [0.005, 0.0], [0.005, 0.002], [0.003, 0.002]]), 16)
        turned = lens.vertices @ np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # height along -z
        where = (-0.3 * shape.width_m, y * shape.height_m, -0.45 * shape.depth_m)
        pieces.append((_Piece(turned + where, lens.faces), 1))
    return _join(pieces)


@dataclass(frozen=True)
class Scarf:
    """A band about a neck, the neck along +Y."""

    radius_m: float = 0.085  # of the neck's side of the band
    thickness_m: float = 0.018  # half, sideways
    height_m: float = 0.04  # half
    folds: float = 0.25  # depth of the folds, relative to the thickness
    phases_rad: tuple[float, float, float, float] = (0.0, 1.0, 2.0, 3.0)
    droop_rad: float = 0.2  # front lower than the nape


def scarf_random(rng: np.random.Generator) -> Scarf:
    """A loose or tight scarf."""
    a, b, c, d = (float(x) for x in rng.uniform(0, 2 * np.pi, 4))
    return Scarf(
        radius_m=float(rng.uniform(0.075, 0.1)),
        thickness_m=float(rng.uniform(0.012, 0.026)),
        height_m=float(rng.uniform(0.025, 0.055)),
        folds=float(rng.uniform(0.1, 0.4)),
        phases_rad=(a, b, c, d),
        droop_rad=float(rng.uniform(0.0, 0.4)),
    )


def scarf(shape: Scarf) -> Mesh:
    """A ring with folds that wander about it. Parts: SCARF_PARTS."""
    around = 2 * np.pi * np.arange(64) / 64
    section = 2 * np.pi * np.arange(28) / 28
    u, s = np.meshgrid(around, section, indexing="ij")
    a, b, c, d = shape.phases_rad
    waves = np.cos(4 * s + 2 * u + a) + 0.7 * np.cos(5 * s - 3 * u + b) + 0.5 * np.cos(3 * s + 5 * u + c)
    swell = 1 + shape.folds * 0.8 * waves
    thick = shape.thickness_m * swell * (1 + 0.25 * np.cos(2 * u + d))
    high = shape.height_m * (0.9 + 0.1 * swell)
    radius = shape.radius_m + shape.thickness_m + thick * np.cos(s)
    y = high * np.sin(s) - np.tan(shape.droop_rad) * shape.radius_m * np.cos(u)
    return _join([(_skin(np.stack([radius * np.sin(u), y, radius * np.cos(u)], axis=-1), loop=True), 0)])


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
    return _join([(_tube(path, thick, side=np.array([0.0, 0.0, 1.0]), count=14), 0)])


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
"""Kind -> (draw parameters, build from their `asdict`): things held before a face. Glasses, scarves are worn."""

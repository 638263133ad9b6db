"""Garments: shells cut out of the body's form, held off it, with hems, folds and collars. numpy and scipy only.

A pattern is cut on the average body, so that its topology is that of every identity: a garment's vertices are fixed
weighted sums of the form's points, moved out along its normals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from renderer.head.body import NECK_AXIS_Z_M, Body
from renderer.head.deform import perlin3
from renderer.head.mesh_kit import smoothstep, unit
from renderer.head.shells import MAIN, TRIM, Points, Shell, Sparse, border, halves, hemmed, joined, split

Ints = npt.NDArray[np.int32]

HEM_M: Final = 0.0012  # of a garment's edge from the form
SHOULDER, ALONG_ARM = np.array([0.168, -0.185]), np.array([0.637, -0.771])  # x and y, of the left arm at rest
RING: Final = 72  # points around the neck


@dataclass(frozen=True)
class Pattern:
    """How a garment is cut. Lengths in metres on the average body.

    back, front: height of the neckline behind and before; None in `front`: the form's own edge around the neck. radius:
    how far it reaches to the sides, from the neck's axis. notch:
    depth and half-width of what is cut out below it, `pointed` or round. sleeve: length from the shoulder; None: to the
    wrist. straps: half-width at the shoulders of a top without sleeves; 0: it covers them. trim: width of the border
    along the neckline. loose: factor on thickness. collar: "", shirt, roll, hood.
    """

    back: float = -0.122
    front: float | None = -0.172
    radius: float = 0.08
    notch: tuple[float, float] = (0.0, 0.05)
    pointed: bool = True
    sleeve: float | None = None
    straps: float = 0.0
    trim: float = 0.0
    loose: float = 1.0
    collar: str = ""


PATTERNS: Final[Mapping[str, Pattern]] = {
    "tee": Pattern(sleeve=0.15, trim=0.016),
    "vneck": Pattern(notch=(0.075, 0.075), sleeve=0.15, trim=0.01),
    "scoop": Pattern(back=-0.135, front=-0.18, radius=0.105, notch=(0.06, 0.1), pointed=False, sleeve=0.12),
    "tank": Pattern(back=-0.15, front=-0.19, radius=0.1, notch=(0.07, 0.09), pointed=False, straps=0.115, trim=0.008),
    "jumper": Pattern(trim=0.022, loose=1.6),
    "rollneck": Pattern(front=None, loose=1.4, collar="roll"),
    "shirt": Pattern(back=-0.112, front=-0.165, radius=0.072, notch=(0.02, 0.02), loose=1.2, collar="shirt"),
    "hoodie": Pattern(loose=2.0, trim=0.012, collar="hood"),
    "jacket": Pattern(back=-0.116, radius=0.076, notch=(0.26, 0.08), trim=0.042, loose=3.2),
}


def shell(body: Body, pattern: Pattern) -> Shell:
    """Cut a garment out of the form of a body."""
    rest = body.rest
    arm = np.asarray(body.operator @ body.arms).sum(axis=1)
    cut = _cut(rest, arm, pattern)
    rows, triangles = split(sp.identity(len(rest), format="csr"), halves(body.faces), cut)
    values = rows @ cut
    triangles = triangles[(values[triangles].mean(axis=1) < 0)]
    slots = np.zeros(len(triangles), np.int32)
    if pattern.trim:
        neck = _neckline(rest, pattern)
        rows, triangles = split(rows, triangles, neck + pattern.trim)
        slots = np.where((rows @ neck)[triangles].mean(axis=1) > -pattern.trim, TRIM, MAIN).astype(np.int32)
    pieces = [hemmed(rows, triangles, slots)]
    if pattern.collar:
        ring = _ring(body, rows, triangles)
        pieces.append(_COLLARS[pattern.collar](ring))
    return joined(pieces)


def worn(
    garment: Shell, body: Body, points: Points, normals: Points, thickness_m: float, folds_m: float, seed: int
) -> Points:
    """(N, 3) of a garment on the form's (V1, 3) points and unit normals."""
    at, away = garment.rows @ points, unit(garment.rows @ normals)
    where = garment.rows @ body.rest / (0.06, 0.13, 0.06)
    folds = folds_m * perlin3(where + seed % 1000, seed)[:, 0] * np.minimum(garment.lift, 1.0)
    lifted = (
        at + away * (HEM_M + garment.lift * thickness_m + np.maximum(folds, -0.8 * garment.lift * thickness_m))[:, None]
    )
    centre = at[garment.out + np.abs(garment.up) > 0].mean(axis=0) if garment.out.any() else np.zeros(3)
    radial = unit((at - centre) * (1.0, 0.0, 1.0) + (0.0, 0.0, 1e-9))
    return np.asarray(lifted + radial * garment.out[:, None] + garment.up[:, None] * (0.0, 1.0, 0.0))


def bare(body: Body, patterns: list[Pattern]) -> npt.NDArray[np.bool_]:
    """(F1,) faces of the form that garments leave uncovered, and some beneath their edges."""
    arm = np.asarray(body.operator @ body.arms).sum(axis=1)
    cut = np.min([_cut(body.rest, arm, pattern) for pattern in patterns], axis=0)
    return np.asarray((cut[body.faces] > -0.02).any(axis=1))


def _neckline(rest: Points, pattern: Pattern) -> Points:
    """(V,) height above the neckline."""
    if pattern.front is None:
        return np.full(len(rest), -1.0)
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    depth, half = pattern.notch
    shape = np.clip(1 - x / half, 0, 1) if pattern.pointed else np.clip(1 - (x / half) ** 2, 0, 1)
    shape = shape * (z > 0.0)
    line = pattern.back + (pattern.front - pattern.back) * smoothstep((z + 0.06) / 0.12) - depth * shape
    within = pattern.radius + 0.25 * shape - np.hypot(x, z - NECK_AXIS_Z_M)  # beyond it are shoulders
    return np.asarray(np.minimum(y - line, within))


def _cut(rest: Points, arm: Points, pattern: Pattern) -> Points:
    """(V,) below 0 where the garment covers the form."""
    cut = _neckline(rest, pattern)
    side = np.stack([np.abs(rest[:, 0]), rest[:, 1]], axis=1)
    if pattern.sleeve is not None:
        cut = np.maximum(cut, np.where(arm > 0.4, (side - SHOULDER) @ ALONG_ARM - pattern.sleeve, -1.0))
    if pattern.straps:
        wide = pattern.straps + 0.1 * smoothstep((-0.22 - rest[:, 1]) / 0.12)
        cut = np.maximum(cut, np.where(arm > 0.6, 0.02, side[:, 0] - wide))
    return np.asarray(cut)


# ---------------------------------------------------------------- collars


def _ring(body: Body, rows: Sparse, triangles: Ints) -> Sparse:
    """(RING, V1): points of the edge around the neck at even angles, the first before the face, then to the left."""
    at = rows @ body.rest
    edge = border(triangles)
    near = edge[
        (np.hypot(at[edge][..., 0], at[edge][..., 2] - NECK_AXIS_Z_M) < 0.16).all(axis=1)
        & (at[edge][..., 1] > -0.25).all(axis=1)
    ]
    rim = np.unique(near)
    angle = np.arctan2(at[rim, 0], at[rim, 2] - NECK_AXIS_Z_M) % (2 * np.pi)
    order = np.argsort(angle, kind="stable")
    rim, angle = rim[order], angle[order]
    wanted = 2 * np.pi * np.arange(RING) / RING
    after = np.searchsorted(angle, wanted) % len(rim)
    before = after - 1
    gap = (angle[after] - angle[before]) % (2 * np.pi)
    share = ((wanted - angle[before]) % (2 * np.pi)) / np.maximum(gap, 1e-9)
    return (sp.diags(1 - share) @ rows[rim[before]] + sp.diags(share) @ rows[rim[after]]).tocsr()


def _behind() -> Points:
    """(RING,) 0 before the face, 1 behind the neck."""
    return np.asarray((1 - np.cos(2 * np.pi * np.arange(RING) / RING)) / 2)


def _lofted(ring: Sparse, out: Points, up: Points, columns: npt.NDArray[np.intp], closed: bool) -> Shell:
    """A sheet over the ring. out, up: (M, RING) of its M lines. columns: of the ring; closed: their ends meet."""
    lines, count = len(out), len(columns)
    index = np.arange(lines * count).reshape(lines, count)
    there = np.roll(index, -1, axis=1) if closed else index[:, 1:]
    here = index if closed else index[:, :-1]
    faces = np.stack([here[:-1], there[:-1], there[1:], here[1:]], axis=-1).reshape(-1, 4).astype(np.int32)
    rows = sp.vstack([ring[columns]] * lines).tocsr()
    flat = np.zeros(lines * count)
    slots = np.full(len(faces), MAIN, np.int32)
    return Shell(rows, faces, slots, flat, out[:, columns].ravel(), up[:, columns].ravel())


def _shirt_collar(ring: Sparse) -> Shell:
    turn = 2 * np.pi * np.arange(RING) / RING
    tip = np.exp(-((np.minimum(turn, 2 * np.pi - turn) / 0.65) ** 2))
    one = np.ones(RING)
    out = np.stack([0.002 * one, 0.003 * one, 0.008 * one, 0.018 * one, 0.026 + 0.012 * tip])
    up = np.stack([-0.004 * one, 0.026 * one, 0.031 * one, 0.008 * one, -0.008 - 0.03 * tip])
    return _lofted(ring, out, up, np.arange(3, RING - 2), closed=False)


def _roll_collar(ring: Sparse) -> Shell:
    one = np.ones(RING)
    out = np.stack([0.004 * one, 0.007 * one, 0.011 * one, 0.014 * one, 0.015 * one, 0.01 * one])
    up = np.stack([-0.004 * one, 0.01 * one, 0.012 * one, 0.004 * one, -0.028 * one, -0.034 * one])
    return _lofted(ring, out, up, np.arange(RING), closed=True)


def _hood(ring: Sparse) -> Shell:
    """A hood that lies on the back: a roll around the neck, thickest behind it."""
    back, angle = _behind(), np.linspace(0, 2 * np.pi, 13)[:, None]
    radius = 0.005 + 0.02 * back
    out = radius * (1 + np.cos(angle)) - 0.004 + 0.012 * back
    up = radius * np.sin(angle) * (0.9 + 0.6 * back) + 0.012 * back - 0.004
    return _lofted(ring, out, up, np.arange(RING), closed=True)


_COLLARS: Final[Mapping[str, Callable[[Sparse], Shell]]] = {
    "shirt": _shirt_collar,
    "roll": _roll_collar,
    "hood": _hood,
}

"""Caps, beanies, brimmed hats, hoods, headscarves, helmets and headbands, cut to a head. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from renderer.head.mesh_kit import Floats, Piece, ellipsoid, smoothstep, spline, tube, unit
from renderer.head.worn.site import COLUMNS, ROWS, Fitted, Site, cloth_pattern, fitted, sheet, shell_over
from renderer.head.worn.surface import MIDDLE

HAT_SLOTS: Final = ("cloth", "trim")
HATS: Final = ("cap", "beanie", "brimmed", "hood", "scarf", "helmet", "headband")
_Pieces = list[tuple[Piece, int, Floats | None]]


@dataclass(frozen=True)
class Hat:
    """A thing on the head; where it ends is measured from the brows."""

    cut: str = "cap"  # one of HATS
    brow_m: float = 0.035  # of the edge above the brows
    back_m: float = 0.0  # height of the edge at the back, above the ears' canals
    lift_m: float = 0.005  # of the cloth from head
    crown_m: float = 0.02  # how much higher than the head
    brim_m: float = 0.07  # width of a brim
    droop: float = 0.3  # slope of the brim
    bend_m: float = 0.015  # how far the sides of a brim bend down
    open_m: float = 0.0  # how far a hood's or scarf's edge is behind the face's outline
    fold_m: float = 0.002  # depth of folds
    fold_phase: float = 0.0
    turn_rad: float = 0.0  # about the vertical: pi for a cap worn backwards
    bobble: bool = False


def hat_random(rng: np.random.Generator) -> Hat:
    """Caps, beanies and scarves most often."""
    cut = HATS[int(rng.choice(len(HATS), p=(0.28, 0.18, 0.13, 0.13, 0.15, 0.06, 0.07)))]
    backwards = cut == "cap" and rng.random() < 0.12
    lift = {"beanie": (0.003, 0.009), "hood": (0.008, 0.022), "helmet": (0.018, 0.028), "headband": (0.001, 0.003)}
    crown = {"beanie": (0.0, 0.05), "brimmed": (0.075, 0.12), "cap": (0.0, 0.012)}
    low_cut = rng.random() < 0.3  # down over the brows' upper half of the forehead
    return Hat(
        cut=cut,
        brow_m=float(rng.uniform(0.006, 0.02) if low_cut else rng.uniform(0.02, 0.05)),
        back_m=float(rng.uniform(-0.03, 0.02)),
        lift_m=float(rng.uniform(*lift.get(cut, (0.003, 0.007)))),
        crown_m=float(rng.uniform(*crown.get(cut, (0.0, 0.01)))),
        brim_m=float(rng.uniform(0.055, 0.08) if cut == "cap" else rng.uniform(0.035, 0.11)),
        droop=float(rng.uniform(0.05, 0.55) if cut == "cap" else rng.uniform(-0.1, 0.6)),
        bend_m=float(rng.uniform(0.004, 0.028)),
        open_m=float(rng.uniform(0.008, 0.045) if cut == "hood" else rng.uniform(-0.006, 0.01)),
        fold_m=float(rng.uniform(0.0005, 0.004)),
        fold_phase=float(rng.uniform(0, 2 * np.pi)),
        turn_rad=float(rng.normal(np.pi if backwards else 0.0, 0.12)) if cut in ("cap", "helmet") else 0.0,
        bobble=bool(rng.random() < 0.2),
    )


def hat(site: Site, shape: Hat) -> Fitted:
    """A hat on a head. Slots: HAT_SLOTS."""
    return fitted(_veil(site, shape) if shape.cut in ("hood", "scarf") else _on_top(site, shape))


# -- what sits on top: a plane through forehead and back of the head cuts it off ------------------------------------


def _on_top(site: Site, shape: Hat) -> _Pieces:
    front = site.surface.lifted(
        site.landmarks[[21, 22]].mean(axis=0) + np.array([0.0, shape.brow_m, -0.2 * shape.brow_m])
    )
    back = site.surface.lifted(np.array([0.0, shape.back_m, -0.09]))
    middle, ahead = (front + back) / 2, unit(front - back)
    up = np.cross(ahead, [1.0, 0.0, 0.0])
    angle = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    around = np.cos(angle)[:, None] * ahead + np.sin(angle)[:, None] * np.array([1.0, 0.0, 0.0])
    half = np.linalg.norm(front - back) / 2
    ways = unit(middle + around * (half * (1 - 0.2 * np.sin(angle) ** 2))[:, None] - MIDDLE)
    cut = shape.cut
    if cut == "headband":
        lower = site.surface.lifted(MIDDLE + ways, 0.0)
        rows = np.linspace(0, 1, 7)[:, None, None] * (0.25 * shape.brim_m + 0.012) * up + lower
        bulge = shape.lift_m + 0.002 * np.sin(np.linspace(0, np.pi, 7))[:, None]
        return [_piece(site.surface.lifted(rows, bulge), 0, loop=True)]
    if cut == "brimmed":
        return _brimmed(site, shape, site.surface.lifted(MIDDLE + ways, 0.003), around, up)
    pole = unit(middle + 0.1 * up - MIDDLE)
    shell = shell_over(site, ways, pole, shape.lift_m, rounds=400 if cut == "helmet" else 60)
    rise = np.linspace(1, 0, ROWS)[:, None, None]
    fuller = 0.6 + 0.4 * around @ ahead if cut == "cap" else np.ones(COLUMNS)  # at the front
    shell = shell + up * shape.crown_m * smoothstep(1.6 * rise) * fuller[:, None]
    if cut == "beanie":
        cuff = smoothstep((np.linspace(0, 1, ROWS) - 0.66) / 0.03)[:, None]
        ribs = 0.0007 * np.sin(32 * angle)[None] * np.linspace(0.2, 1, ROWS)[:, None]
        shell += unit(shell - MIDDLE) * (0.004 * cuff + ribs + _folds(shape, angle, 3) * (1 - cuff))[..., None]
        pieces: _Pieces = [_piece(shell, 0, loop=True)]
        if shape.bobble:
            at = shell[0, 0] + 0.02 * up
            pieces.append((ellipsoid(at, 0.027 * np.eye(3), 16, 11), 1, None))
        return pieces
    if cut == "helmet":
        edge = shell[-1]
        pieces = [_piece(shell, 1, loop=True), (tube(edge, 0.005, 0.004, side=around, count=8, loop=True), 0, None)]
        chin = site.landmarks[8] + [0.0, -0.012, -0.025]
        for side in (COLUMNS // 4, 3 * COLUMNS // 4):
            way = spline(
                np.stack([edge[side], site.landmarks[13 if edge[side, 0] > 0 else 3] + [0, -0.01, -0.02], chin]), 24
            )
            pieces.append(
                (tube(site.surface.lifted(way, 0.002), 0.006, 0.001, side=np.array([0.0, 0.3, 1.0]), count=6), 0, None)
            )
        return pieces
    return _capped(shape, shell, ahead, up)


def _capped(shape: Hat, shell: Floats, ahead: Floats, up: Floats) -> _Pieces:
    """A baseball cap: the shell turned about its middle, with seams, a button and a peak."""
    pieces: _Pieces = [_piece(shell, 0, loop=True)]
    edge, middle = shell[-1], shell[-1].mean(axis=0)
    across = np.cross(up, ahead)
    wide = np.linspace(-1, 1, 25)
    angle = shape.turn_rad + 1.15 * wide
    at = (angle / (2 * np.pi) % 1) * COLUMNS
    low = np.floor(at).astype(np.int64)
    part = (at - low)[:, None]
    root = edge[low % COLUMNS] * (1 - part) + edge[(low + 1) % COLUMNS] * part
    forward = np.cos(shape.turn_rad) * ahead + np.sin(shape.turn_rad) * np.array([1.0, 0.0, 0.0])
    outwards = unit(unit(root - middle) * 0.35 + forward)
    reach = shape.brim_m * np.sqrt(np.clip(1 - wide**4, 0, 1))
    along = np.linspace(0, 1, 9)[:, None, None]
    sag = shape.droop * reach[None, :, None] * along + shape.bend_m * (wide**2)[None, :, None] * np.sqrt(along)
    peak = root - unit(root - middle) * 0.004 + outwards * reach[None, :, None] * along - up * sag
    pieces.append(_piece(peak, 1))
    pieces.append(_piece(peak - 0.002 * up, 1))
    hem = peak[-1] - 0.001 * up
    pieces.append((tube(hem, 0.0015, 0.0012, side=np.broadcast_to(across, hem.shape), count=6), 1, None))
    pieces.append((ellipsoid(shell[0, 0] + 0.001 * up, np.stack([ahead, across, 0.5 * up]) * 0.007, 10, 7), 1, None))
    return pieces


def _brimmed(site: Site, shape: Hat, edge: Floats, around: Floats, up: Floats) -> _Pieces:
    """A crown with steep sides, a band, and a brim all around."""
    middle = edge.mean(axis=0)
    height = np.array([0.0, 0.06, 0.12, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0, 1.0, 1.0, 1.0])
    width = np.array([1.0, 1.0, 1.0, 0.99, 0.98, 0.965, 0.945, 0.92, 0.89, 0.83, 0.72, 0.5, 0.25, 0.0])
    rings = middle + (edge - middle)[None] * width[:, None, None] + up * (height * shape.crown_m)[:, None, None]
    dent = shape.bend_m * np.clip(1 - 2 * width, 0, 1)[:, None]
    crown = site.surface.outside(rings[::-1] - up * dent[::-1, :, None], 0.004)
    pieces: _Pieces = [_piece(crown, 0, loop=True)]
    band = site.surface.outside(rings[:4], 0.004) + 0.0015 * unit(edge - middle)
    pieces.append(_piece(band[::-1], 1, loop=True))
    along = np.linspace(0, 1, 10)[:, None, None]
    side = np.abs(around[:, 0])[:, None]
    sag = shape.droop * shape.brim_m * along**1.5 - shape.bend_m * side**2 * along**2
    brim = crown[-1] - 0.001 * around + around * shape.brim_m * along - up * sag
    pieces += [_piece(brim, 0, loop=True), _piece(brim - 0.002 * up, 0, loop=True)]
    return pieces


# -- what goes around the face: hoods and headscarves ---------------------------------------------------------------


def _veil(site: Site, shape: Hat) -> _Pieces:
    marks, back = site.landmarks, shape.open_m
    above, behind = shape.brow_m + 0.4 * max(back, 0.0), 0.3 * shape.brow_m + 0.5 * back
    top = marks[[21, 22]].mean(axis=0) + np.array([0.0, above, -behind])
    loop = [top]
    for brow, high, low in ((26, 16, 13), (17, 0, 3)):
        temple = 0.45 * marks[brow] + 0.55 * marks[high] + [0.0, 0.6 * shape.brow_m, -0.6 * back]
        cheek = 0.8 * marks[high] + 0.2 * marks[low] + [0.0, -0.02, 0.008 - back]
        jaw = marks[low] + [0.0, -0.006, 0.004 - back]
        loop += [temple, cheek, jaw] if brow == 26 else [jaw, cheek, temple]
        if brow == 26:
            loop.append(marks[8] + [0.0, -0.014 - 0.5 * max(back, 0.0), -0.022 - 0.5 * back])
    knots = np.stack([*loop, *loop, *loop, loop[0]])
    edge = spline(knots, 3 * COLUMNS + 1)[COLUMNS : 2 * COLUMNS]
    ways = unit(edge - MIDDLE)
    pole = unit(np.array([0.0, 0.25, -1.0]))
    shell = shell_over(site, ways, pole, shape.lift_m, rounds=90)
    angle = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    rise = np.linspace(0, 1, ROWS)[:, None]
    folds = _folds(shape, angle, 5) * 2 * rise + shape.crown_m * (0.5 + 0.5 * np.cos(angle))[None] * np.sin(
        np.pi * rise
    )
    shell = shell + unit(shell - MIDDLE) * folds[..., None]
    hem = shell[-1]
    thick = 0.004 if shape.cut == "hood" else 0.0018
    return [
        _piece(shell, 0, loop=True),
        (tube(hem, thick, 0.7 * thick, side=unit(hem - MIDDLE), count=8, loop=True), 0, None),
    ]


def _folds(shape: Hat, angle: Floats, waves: int) -> Floats:
    """(ROWS, COLUMNS) metres that cloth lies higher."""
    rise = np.linspace(0, 1, ROWS)[:, None]
    run = np.sin(waves * angle + 4 * rise + shape.fold_phase) + 0.6 * np.sin((2 * waves + 1) * angle - 7 * rise)
    return np.asarray(shape.fold_m * (0.8 + 0.5 * run) * np.sin(np.pi * rise) ** 0.5)


def _piece(points: Floats, slot: int, *, loop: bool = False) -> tuple[Piece, int, Floats | None]:
    return sheet(points, loop=loop), slot, cloth_pattern(points)

"""Masks over nose, mouth and chin: surgical, folded (FFP2) and cloth, with their loops. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from renderer.head.mesh_kit import Floats, Piece, spline, tube, unit
from renderer.head.worn.site import COLUMNS, ROWS, Fitted, Site, cloth_pattern, fitted, sheet, shell_over
from renderer.head.worn.surface import MIDDLE, taut

MASK_SLOTS: Final = ("cloth", "trim")
MASKS: Final = ("surgical", "folded", "cloth")
_MASK_ROWS, _MASK_COLUMNS = 41, 45


@dataclass(frozen=True)
class FaceMask:
    """A mask; its edges are landmarks of the face that wears it."""

    cut: str = "surgical"  # one of MASKS
    top: float = 0.3  # of the upper edge on the nose: 0 between the eyes, 1 below the nose
    cheek: float = 0.5  # how far the mask reaches from the mouth to the ears
    chin_m: float = 0.02  # how far it reaches below the chin
    lift_m: float = 0.003  # of the cloth from the skin
    beak_m: float = 0.0  # how far the middle stands out
    pleat_m: float = 0.0018  # depth of the pleats
    askew_m: float = 0.0  # how much higher its left side sits
    loop_m: float = 0.0012  # radius of the loops


def mask_random(rng: np.random.Generator) -> FaceMask:
    """A surgical, folded or cloth mask; one in seven leaves the nose free."""
    cut = MASKS[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
    bare_nose = rng.random() < 0.14
    return FaceMask(
        cut=cut,
        top=float(rng.uniform(0.95, 1.25) if bare_nose else rng.uniform(0.1, 0.6)),
        cheek=float(rng.uniform(0.45, 0.95)),
        chin_m=float(rng.uniform(0.0, 0.035)),
        lift_m=float(rng.uniform(0.002, 0.005)),
        beak_m=float({"surgical": rng.uniform(0, 0.004), "folded": rng.uniform(0.008, 0.018)}.get(cut, 0.002)),
        pleat_m=float(rng.uniform(0.001, 0.0028)) if cut == "surgical" else 0.0,
        askew_m=float(rng.normal(0, 0.002)),
        loop_m=float(rng.uniform(0.0008, 0.002)),
    )


def face_mask(site: Site, shape: FaceMask) -> Fitted:
    """A mask on a face: cloth stretched over nose, lips and chin, held by its edges. Slots: MASK_SLOTS."""
    edge = _edges(site, shape)
    across, along = np.linspace(-1, 1, _MASK_COLUMNS), np.linspace(0, 1, _MASK_ROWS)
    rows = np.stack([_arc(left, middle, right, across) for left, middle, right in edge])
    grid = np.stack([spline(rows[:, k], _MASK_ROWS) for k in range(_MASK_COLUMNS)], axis=1)
    grid[..., 1] += shape.askew_m * across[None] * (1 - along[:, None])
    ways = unit(grid - MIDDLE)
    held = np.zeros(grid.shape[:2], bool)
    held[0], held[-1], held[:, 0], held[:, -1] = True, True, True, True
    within = np.sqrt(np.clip(np.sin(np.pi * along), 0, 1))[:, None] * np.clip(1 - across**2, 0, 1)[None] ** 0.5
    least = site.surface.distance(ways) + shape.lift_m * (0.4 + 0.6 * within)
    away = taut(least, fixed=held, rounds=120)
    ridge = (1 - np.abs(across)) if shape.cut == "folded" else (1 - across**2)
    away += shape.beak_m * within * ridge[None]
    folds = 3.5 * along[:, None] - 0.25
    pleats = (folds - np.floor(folds)) * ((along > 0.12) & (along < 0.86))[:, None]
    away += shape.pleat_m * pleats * within
    points = np.asarray(MIDDLE + ways * away[..., None], np.float64)
    pattern = cloth_pattern(points)
    pieces: list[tuple[Piece, int, Floats | None]] = [(sheet(points), 0, pattern)]
    hem = np.concatenate([points[0], points[1:, -1], points[-1, -2::-1], points[-2:0:-1, 0]])
    pieces.append((tube(hem, 0.0011, 0.0008, side=unit(hem - hem.mean(axis=0)), count=6, loop=True), 1, None))
    for side, ear in ((0, 0), (-1, 1)):
        pieces.append((_loop(site, points[0, side], points[-1, side], site.ears[ear], shape.loop_m), 1, None))
    return fitted(pieces)


def _edges(site: Site, shape: FaceMask) -> list[tuple[Floats, Floats, Floats]]:
    """(right, middle, left) points of four rows: upper edge, nose, mouth, lower edge."""
    marks, reach = site.landmarks, shape.cheek
    top = marks[27] + shape.top * (marks[33] - marks[27])
    mouth = marks[[51, 57]].mean(axis=0)
    nose = (top + mouth) / 2 if shape.top > 0.8 else top + 0.45 * (mouth - top)
    chin = marks[8] + np.array([0.0, -0.5 * shape.chin_m, -shape.chin_m])
    sides = {}
    for name, jaw, corner in (("right", (1, 2, 3, 4), 48), ("left", (15, 14, 13, 12), 54)):
        start = marks[corner] + np.array([np.sign(marks[corner, 0]) * 0.008, 0.0, 0.0])
        heights = (marks[jaw[0]] * 0.4 + marks[jaw[1]] * 0.6, marks[jaw[1]], marks[jaw[2]], marks[jaw[3]])
        lowered = np.array([0.0, min(0.0, -0.02 * (shape.top - 0.5)), 0.0])
        sides[name] = [
            start + reach * (height - start) + (lowered if k == 0 else 0.0) for k, height in enumerate(heights)
        ]
    middles = (top, nose, mouth, chin)
    return [(sides["right"][k], middles[k], sides["left"][k]) for k in range(4)]


def _arc(right: Floats, middle: Floats, left: Floats, across: Floats) -> Floats:
    """(N, 3) points of a smooth row through three, `across` in [-1, 1] from right to left."""
    s = across[:, None]
    return np.asarray(middle * (1 - s**2) + (left - right) / 2 * s + (left + right) / 2 * s**2)


def _loop(site: Site, upper: Floats, lower: Floats, ear: Floats, radius: float) -> Piece:
    """Elastic from the mask's upper corner over the ear's root to the lower corner."""
    side = float(np.sign(ear[0]))
    root = ear + np.array([side * 0.004, 0.0, 0.004])
    behind = root + np.array([[0.0, 0.03, 0.002], [0.0, 0.012, -0.012], [0.0, -0.02, -0.006]])
    way = spline(np.stack([upper, *behind, lower]), 40)
    path = site.surface.lifted(way, radius * 0.8)
    return tube(path, radius, 0.6 * radius, side=np.array([0.0, 1.0, 0.3]), count=6)


@dataclass(frozen=True)
class Muffler:
    """A scarf about neck and chin, or a cloth drawn up over mouth and nose."""

    up: float = 0.3  # of its edge at the front: 0 below the chin, 1 below the nose, 1.6 on it
    back_m: float = -0.03  # of its edge at the back, above the ears' canals
    lift_m: float = 0.008
    roll_m: float = 0.006  # radius of its edge
    fold_m: float = 0.004
    fold_phase: float = 0.0


def muffler_random(rng: np.random.Generator) -> Muffler:
    """Below the mouth most often, over it one time in three."""
    return Muffler(
        up=float(rng.uniform(0.75, 1.6) if rng.random() < 0.35 else rng.uniform(0.0, 0.6)),
        back_m=float(rng.uniform(-0.05, 0.01)),
        lift_m=float(rng.uniform(0.004, 0.014)),
        roll_m=float(rng.uniform(0.0015, 0.011)),
        fold_m=float(rng.uniform(0.001, 0.006)),
        fold_phase=float(rng.uniform(0, 2 * np.pi)),
    )


def muffler(site: Site, shape: Muffler) -> Fitted:
    """Cloth stretched over neck and chin from below. Slots: MASK_SLOTS."""
    marks = site.landmarks
    heights = np.stack([marks[8] + [0.0, -0.008, -0.01], marks[33], marks[29]])
    front = np.array([np.interp(shape.up, [0, 1, 1.6], heights[:, axis]) for axis in range(3)])
    nape = np.array([0.0, shape.back_m, -0.09])
    left, right = (site.ears[k] + np.array([0.0, -0.03, -0.03]) for k in (1, 0))
    cheeks = marks[[12, 4]] * [1, 0, 1] + np.array([0.0, 0.65 * front[1] + 0.35 * left[1], 0.0])
    loop = [front, cheeks[0], left, nape, right, cheeks[1]]
    edge = spline(np.stack([*loop, *loop, *loop, loop[0]]), 3 * COLUMNS + 1)[COLUMNS : 2 * COLUMNS]
    shell = shell_over(site, unit(edge - MIDDLE), np.array([0.0, -1.0, 0.0]), shape.lift_m, rounds=40)
    along = np.linspace(0, 1, ROWS)[:, None]
    angle = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)[None]
    folds = np.sin(18 * along + 2 * np.sin(angle + shape.fold_phase)) + 0.5 * np.sin(5 * angle + 9 * along)
    shell = shell + unit(shell - MIDDLE) * (shape.fold_m * (1 + folds) * np.sin(np.pi * along) ** 0.5)[..., None]
    hem = shell[-1]
    roll = tube(hem, shape.roll_m, 0.7 * shape.roll_m, side=unit(hem - MIDDLE), count=8, loop=True)
    return fitted([(sheet(shell, loop=True), 0, cloth_pattern(shell)), (roll, 0, None)])

"""Hair on the scalp and in the face, of strands: where it grows, how long it is and how it is combed. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from renderer.head.mesh_kit import Floats, Piece, smoothstep
from renderer.head.worn.site import Fitted, Site
from renderer.head.worn.strands import curled, grown, ribbons, roots, tucked
from renderer.head.worn.surface import MIDDLE

HAIR_SLOTS: Final = ("strands",)
COMBS: Final = ("back", "side", "forward", "down", "out")
_TOPS_M: Final = (  # length on top: cropped, short, fringe, middle, long, tied, afro, rim
    (0.004, 0.014), (0.025, 0.07), (0.06, 0.09), (0.1, 0.2), (0.25, 0.4), (0.22, 0.38), (0.025, 0.09), (0.01, 0.04),
)  # fmt: skip
BEARDS: Final = ("full", "goatee", "moustache", "chin", "strap")


@dataclass(frozen=True)
class Hair:
    """Hair on the head."""

    comb: str = "side"  # one of COMBS
    count: int = 5000
    width_m: float = 0.0022  # of a strand
    top_m: float = 0.08  # length on top
    side_m: float = 0.04  # at the sides and the back
    hairline_m: float = 0.058  # of the front above the brows
    recede: float = 0.0  # of the corners, 0 to 1
    bald: float = 0.0  # of the crown, 0 to 1: only a rim is left
    jitter: float = 0.0  # shape of the hairline's wobble
    parting_m: float = 0.0  # of the parting, to the subject's left
    lift: float = 0.25
    weight: float = 15.0  # how fast it bends down, per metre
    layer_m: float = 0.012
    curl_m: float = 0.0
    turns_per_m: float = 30.0
    frizz_m: float = 0.003
    clear: float = 0.6  # how far it gives way to the face
    tied: float = 0.0  # height of a pony tail at the back, metres above the ears; 0: loose
    seed: int = 0


def hair_random(rng: np.random.Generator, male: float = 0.5, age: float = 0.5) -> Hair:
    """Cropped, short, middle, long, tied, curly and thinning hair.

    male: how far the head reads as a man; age: on the macro's scale. Crowns thin out with the years.
    """
    thin = max(0.0, age - 0.55)
    man, woman = (
        np.array([0.24, 0.36, 0.12, 0.08, 0.04, 0.02, 0.08, thin]),
        np.array([0.02, 0.08, 0.08, 0.3, 0.3, 0.18, 0.06, 0]),
    )
    weights = male * man / man.sum() + (1 - male) * woman / woman.sum()
    style = int(rng.choice(8, p=weights / weights.sum()))
    cropped, short, fringe, middle, long, tied, afro, rim = (style == k for k in range(8))
    top = rng.uniform(*_TOPS_M[style])
    shaved = (short or fringe) and rng.random() < 0.45
    curly = not cropped and rng.random() < 0.3
    loose = ("back", "side", "side", "down" if long or middle else "forward", "down")[int(rng.integers(5))]
    comb = "out" if afro else "back" if tied else "forward" if fringe else loose
    side = (
        rng.uniform(0.003, 0.012)
        if shaved or cropped
        else top * (rng.uniform(0.4, 1.0) if short else rng.uniform(0.85, 1.1))
    )
    return Hair(
        comb=comb,
        count=7000 if cropped or afro else 5000,
        width_m=float(rng.uniform(0.0012, 0.002) if cropped or afro else rng.uniform(0.0016, 0.0028)),
        top_m=float(top),
        side_m=float(side),
        hairline_m=float(rng.normal(0.056, 0.006)),
        recede=float(rng.uniform(0.4, 1.0) if rim else rng.beta(1, 3)),
        bald=float(rng.uniform(0.4, 1.0) if rim else 0.0),
        jitter=float(rng.uniform(0, 100)),
        parting_m=float(rng.normal(0, 0.02)),
        lift=float(rng.uniform(0.7, 1.0) if afro else rng.uniform(0.1, 0.5) * min(1.0, 0.07 / top)),
        weight=float(rng.uniform(0.0, 2.0) if afro else rng.uniform(16, 40) if long else rng.uniform(8, 35)),
        layer_m=float(rng.uniform(0.002, 0.006) if cropped or tied else rng.uniform(0.006, 0.022)),
        curl_m=float(rng.uniform(0.003, 0.012) if curly or afro else rng.uniform(0, 0.0015)),
        turns_per_m=float(rng.uniform(15, 60)),
        frizz_m=float(rng.uniform(0.001, 0.006)),
        clear=float(0.05 if fringe else rng.uniform(0.25, 0.9)),
        tied=float(rng.uniform(0.02, 0.09) if tied else 0.0),
        seed=int(rng.integers(2**31 - 1)),
    )  # fmt: skip


def hair(site: Site, shape: Hair) -> Fitted:
    """Hair on a head. Slots: HAIR_SLOTS."""
    root = roots(site, _scalp(site, shape, _middles(site)), shape.count, shape.seed)
    x, y = root.points[:, 0], root.points[:, 1]
    crown = site.skin[:, 1].max()
    high = smoothstep((y - 0.25 * crown) / (0.45 * crown))
    length = (shape.side_m + (shape.top_m - shape.side_m) * high) * (0.75 + 0.4 * root.numbers[:, 0])
    side = np.where(x > shape.parting_m, 1.0, -1.0)
    flat = np.zeros(len(x))
    combs = {
        "back": np.stack([0.25 * side, flat + 0.1, flat - 1.0], axis=1),
        "side": np.stack([side, flat, flat - 0.35], axis=1),
        "forward": np.stack([0.2 * np.sin(9 * x + shape.jitter), flat - 0.2, flat + 1.0], axis=1),
        "down": np.stack([0.7 * side, flat - 1.0, flat - 0.25], axis=1),
        "out": root.normals + 0.0,
    }
    behind = smoothstep((-root.points[:, 2] - 0.01) / 0.05)[:, None] * (0.0 if shape.comb == "out" else 1.0)
    comb = combs[shape.comb] * (1 - behind) + behind * np.array([0.0, -1.0, -0.1])
    knot = None
    if shape.tied:
        back = site.skin_surface.lifted(np.array([[0.0, shape.tied, -0.09]]))[0]
        knot = back + np.array([0.0, 0.0, -0.012])
    points = grown(
        site, root, length_m=length, comb=comb, lift=shape.lift, weight=shape.weight, layer_m=shape.layer_m,
        clear=shape.clear, gather=knot,
    )  # fmt: skip
    curls = {"radius_m": shape.curl_m, "turns_per_m": shape.turns_per_m, "frizz_m": shape.frizz_m}
    strands = ribbons(tucked(site, curled(points, root, clump_m=0.008, **curls)), root, shape.width_m)
    under = _undercoat(site, shape)
    return Fitted(
        np.concatenate([strands.vertices, under.vertices]),
        np.concatenate([strands.faces, under.faces + len(strands.vertices)]),
        np.zeros(len(strands.faces) + len(under.faces), np.int32),
        np.concatenate([strands.pattern, np.tile([0.2, 0.0, 0.0], (len(under.vertices), 1))]),
    )


def _undercoat(site: Site, shape: Hair) -> Piece:
    """A second skin under the strands, that goes under the scalp where they end: no scalp shines through."""
    hairy = _scalp(site, shape, site.skin - np.array([0.0, 0.005, 0.0]))
    points = site.skin + site.normals * (0.0014 * hairy - 0.0008)[:, None]
    faces = np.where(site.faces < 0, site.faces[:, 2:3], site.faces)
    used, faces = np.unique(faces[(hairy[faces] > 0).any(axis=1)], return_inverse=True)
    return Piece(tucked(site, points[used]), faces.reshape(-1, 4).astype(np.int64))


@dataclass(frozen=True)
class Beard:
    """Hair in the face."""

    cut: str = "full"  # one of BEARDS
    count: int = 6000
    width_m: float = 0.0008
    length_m: float = 0.01
    chin: float = 1.0  # how much longer it is on the chin
    cheek_m: float = 0.0  # of its upper edge on the cheeks
    lift: float = 0.4
    weight: float = 10.0
    curl_m: float = 0.0005
    frizz_m: float = 0.001
    seed: int = 0


def beard_random(rng: np.random.Generator) -> Beard:
    """Short full beards most often; one in eight is long."""
    length = float(rng.uniform(0.035, 0.09) if rng.random() < 0.13 else rng.uniform(0.003, 0.022))
    return Beard(
        cut=BEARDS[int(rng.choice(5, p=(0.5, 0.15, 0.2, 0.08, 0.07)))],
        count=6000,
        width_m=float(rng.uniform(0.0007, 0.0014)),
        length_m=length,
        chin=float(rng.uniform(0.8, 1.8)),
        cheek_m=float(rng.normal(0, 0.006)),
        lift=float(rng.uniform(0.2, 0.6)),
        weight=float(rng.uniform(5, 25)),
        curl_m=float(rng.uniform(0.0, 0.0025)),
        frizz_m=float(rng.uniform(0.0005, 0.002)),
        seed=int(rng.integers(2**31 - 1)),
    )


def beard(site: Site, shape: Beard) -> Fitted:
    """A beard or moustache on a face. Slots: HAIR_SLOTS."""
    root = roots(site, _jaw(site, shape), shape.count, shape.seed)
    marks = site.landmarks
    x, y = root.points[:, 0], root.points[:, 1]
    lip = (y > marks[51, 1] - 0.002) & (np.abs(x) < abs(marks[54, 0]) + 0.006)
    side = np.sign(x)
    down = np.stack([0.1 * side, -np.ones_like(x), 0.25 + 0 * x], axis=1)
    out = np.stack([side * (0.4 + 12 * np.abs(x)), -0.7 + 0 * x, 0.1 + 0 * x], axis=1)
    comb = np.where(lip[:, None], out, down)
    middle = smoothstep((marks[54, 0] + 0.012 - np.abs(x)) / 0.02) * smoothstep((marks[57, 1] + 0.004 - y) / 0.015)
    length = shape.length_m * (1 + (shape.chin - 1) * middle) * (0.6 + 0.6 * root.numbers[:, 0])
    if shape.cut in ("goatee", "chin"):  # round below, not cut off at its sides
        length = length * np.sqrt(np.clip(1 - (x / (1.35 * marks[54, 0])) ** 2, 0.05, 1))
    length = np.where(lip, np.minimum(length, 0.016), length)
    lift = np.where(lip, 0.6 * shape.lift, shape.lift)
    points = grown(
        site, root, length_m=length, comb=comb, lift=lift, weight=shape.weight, layer_m=min(0.004, 0.3 * shape.length_m)
    )
    points = curled(points, root, radius_m=shape.curl_m, turns_per_m=60, frizz_m=shape.frizz_m, clump_m=0.004)
    return ribbons(points, root, shape.width_m)


@dataclass(frozen=True)
class Wisps:
    """Locks that fall over the face."""

    count: int = 400
    width_m: float = 0.001
    length_m: float = 0.2
    locks: int = 6
    side: float = 0.0  # -1: all on the right half of the face, 1: all on the left
    curl_m: float = 0.002
    seed: int = 0


def wisps_random(rng: np.random.Generator) -> Wisps:
    """Some strands before the eyes, or a curtain of them."""
    return Wisps(
        count=400,
        width_m=float(rng.uniform(0.0006, 0.0014)),
        length_m=float(rng.uniform(0.08, 0.26)),
        locks=int(rng.integers(2, 12)),
        side=float(rng.uniform(-1, 1)),
        curl_m=float(rng.uniform(0.0, 0.006)),
        seed=int(rng.integers(2**31 - 1)),
    )


def wisps(site: Site, shape: Wisps) -> Fitted:
    """Locks over a face, from the hairline down. Slots: HAIR_SLOTS."""
    front = Hair(hairline_m=0.05)
    middles = _middles(site)
    azimuth = np.arctan2(middles[:, 0], middles[:, 2] - MIDDLE[2])
    at = 0.6 * shape.side
    spots = at + np.linspace(-0.45, 0.45, shape.locks)
    near = np.abs(azimuth[:, None] - spots).min(axis=1) < 0.04
    root = roots(site, _scalp(site, front, middles) * near * (middles[:, 2] > 0.02), shape.count, shape.seed)
    comb = np.tile([0.0, -0.3, 1.0], (shape.count, 1))[: len(root.points)]
    length = shape.length_m * (0.6 + 0.4 * root.numbers[:, 0])
    points = grown(site, root, length_m=length, comb=comb, lift=0.25, weight=15.0, layer_m=0.008)
    points = curled(points, root, radius_m=shape.curl_m, turns_per_m=12, frizz_m=0.002, clump_m=0.02)
    return ribbons(tucked(site, points), root, shape.width_m)


def _middles(site: Site) -> Floats:
    return np.asarray(site.skin[np.where(site.faces < 0, site.faces[:, 2:3], site.faces)].mean(axis=1))


def _outer(site: Site, points: Floats) -> Floats:
    """(F,) 1 where a point is on the outermost surface and not on an ear."""
    on_top = np.abs(site.skin_surface.above(points)) < 0.006
    ears = site.ears + np.array([[-0.008, 0.0, -0.012], [0.008, 0.0, -0.012]])
    off_ears = np.linalg.norm(points[:, None] - ears, axis=-1).min(axis=1) > 0.034
    return np.asarray((on_top & off_ears).astype(np.float64))


def _scalp(site: Site, shape: Hair, points: Floats) -> Floats:
    """(N,) density of hair at (N, 3) points: above a hairline that depends on the azimuth from the front."""
    azimuth = np.degrees(np.arctan2(points[:, 0], points[:, 2] - MIDDLE[2]))
    brow, crown = site.landmarks[[19, 24], 1].mean(), site.skin[:, 1].max()
    front = brow + shape.hairline_m
    around = np.array([0, 25, 42, 58, 74, 84, 100, 112, 130, 155, 180])
    heights = np.array(
        [front, front, front - 0.003, brow + 0.024, brow + 0.004, -0.012, 0.0, 0.03, -0.03, -0.052, -0.056]
    )
    line = np.interp(np.abs(azimuth), around, heights)
    line += shape.recede * 0.03 * np.exp(-(((np.abs(azimuth) - 38) / 17) ** 2))
    line += 0.0025 * np.sin(azimuth / 7 + shape.jitter) + 0.0015 * np.sin(azimuth / 2.3 + 2 * shape.jitter)
    density = smoothstep((points[:, 1] - line) / 0.006)
    if shape.bald:
        limit = crown - shape.bald * (crown - brow) * 0.75
        bare = smoothstep((points[:, 1] - limit) / 0.02) + smoothstep((70 - np.abs(azimuth)) / 10) * (
            points[:, 1] > brow
        )
        density *= 1 - np.clip(bare, 0, 1)
    return np.asarray(density * _outer(site, points))


def _jaw(site: Site, shape: Beard) -> Floats:
    """(F,) density of a beard."""
    points, marks = _middles(site), site.landmarks
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    corner, mouth_x = marks[[48, 54], 1].mean(), np.abs(marks[[48, 54], 0]).mean()
    nose = marks[33, 1]
    ear_x, ear_y = np.abs(marks[[1, 15], 0]).mean(), marks[[1, 15], 1].mean()
    cheek = (
        np.interp(x, [mouth_x, mouth_x + 0.012, ear_x], [nose + 0.004, corner + 0.004, ear_y + 0.01]) + shape.cheek_m
    )
    jaw = smoothstep((cheek - y) / 0.006) * smoothstep((y - marks[8, 1] + 0.03) / 0.012) * (z > 0.012)
    below_nose = smoothstep((nose - 0.001 - y) / 0.003)
    lips = marks[48:60].mean(axis=0)
    half = np.array([mouth_x * 1.05, np.ptp(marks[48:60, 1]) / 2 + 0.0015])
    off_lips = ((x / half[0]) ** 2 + ((y - lips[1]) / half[1]) ** 2 > 1.0).astype(np.float64)
    moustache = below_nose * (y > corner - 0.012) * smoothstep((mouth_x + 0.007 - x) / 0.004)
    goatee = smoothstep((mouth_x + 0.008 - x) / 0.01) * (y < corner)
    cut = {
        "full": jaw * np.maximum(below_nose, x > mouth_x),
        "goatee": np.maximum(moustache * (y > corner - 0.005), jaw * goatee),
        "moustache": moustache * (y > corner - 0.006),
        "chin": jaw * goatee * (y < marks[57, 1]),
        "strap": jaw * ((y < marks[8, 1] + 0.014) | (x > 0.85 * ear_x)),
    }[shape.cut]
    outside = np.abs(site.skin_surface.above(points)) < 0.012
    return np.asarray(cut * off_lips * outside * (_outer(site, points) + (y < corner)).clip(0, 1))

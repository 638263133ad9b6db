"""Where the UV map of an annotated face has given UVs, and which UVs its annotated points have.

`trainer.uvmaps.points` finds points for what is drawn and exported, and leaves out what is not seen. Here every point
gets a place, so that networks that show less of a face do not score better for it:

1. inside a triangle of neighbouring pixels around the 12 pixels of nearest UV: where UV, linear over it, has the value
   looked for; of several such places the one in the middle;
2. else where the affine fit to the 5 x 5 pixels around the nearest one puts it, if no further than 2.5 pixels away: the
   rims of the mask, of eyes and mouth;
3. else at the pixel of nearest UV.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trainer.evaluation.photos.annotations import COUNT, Flags, Floats

MASK: Final = 0.5  # a pixel is face above this
GROWN: Final = 0.5  # part of the box's larger side by which a face may reach beyond the annotated box
MIN_COVER: Final = 0.2  # part of the annotated box that the mask must cover, or the face was not found
NEAREST: Final = 12
REACH_PX: Final = 2.5  # of the affine fit
JAW: Final = slice(0, 17)
SMALL_SET: Final = 100  # photos; below, learnt UVs come from all others, else from those of the other half
LEAST_SEEN: Final = (6, 8)  # photos that must show a point for its UV to be learnt: of a small set, of a large one
INSIDE, BESIDE, NOT_SHOWN = 2, 1, 0  # how a point was placed, see above

_CORNERS: Final = np.array([[[0, 0], [0, 1], [1, 0]], [[1, 1], [1, 0], [0, 1]]])  # row, column; of two triangles


@dataclass(frozen=True)
class FaceMap:
    """The part of a UV map that may show an annotated face. uv: (h, w, 2) float64, NaN off the face.

    x, y: its top left pixel in the picture.
    """

    uv: Floats
    x: int
    y: int


def face_map(uv: npt.NDArray[Any], mask: npt.NDArray[Any], box: Floats) -> tuple[FaceMap | None, float]:
    """The UVs near a box, and how much of the box they cover; None where that is too little for a face.

    uv: (H, W, 2), mask: (H, W), of the whole picture. box: left, top, right, bottom in pixels from its corner.
    """
    x, y = np.arange(mask.shape[1]) + 0.5, np.arange(mask.shape[0]) + 0.5
    left, top, right, bottom = box
    reach = GROWN * max(right - left, bottom - top)

    def within(margin: float) -> Flags:
        rows = (y >= top - margin) & (y <= bottom + margin)
        return np.asarray(rows[:, None] & (x >= left - margin) & (x <= right + margin))

    face = (mask > MASK) & np.isfinite(uv).all(-1) & within(reach)
    covered = float((face & within(0)).sum() / max(1.0, (right - left) * (bottom - top)))
    if covered < MIN_COVER or not face.any():
        return None, covered
    rows, columns = np.flatnonzero(face.any(1)), np.flatnonzero(face.any(0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    values = np.where(face[part][..., None], uv[part], np.nan).astype(np.float64)
    return FaceMap(values, int(columns[0]), int(rows[0])), covered


def locate(face: FaceMap, wanted: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Pixels (x, y) of UVs in the picture, (K, 2), and how each was placed, (K,). NaN: the UV is not known itself."""
    from scipy.spatial import cKDTree

    places, how = np.full((len(wanted), 2), np.nan), np.zeros(len(wanted), np.int64)
    pixels = np.argwhere(np.isfinite(face.uv[..., 0]))  # (n, 2) row, column
    known = np.flatnonzero(np.isfinite(wanted).all(1))
    if len(pixels) < 3 or not len(known):
        return places, how
    tree = cKDTree(face.uv[pixels[:, 0], pixels[:, 1]])
    _, nearest = tree.query(wanted[known], k=min(NEAREST, len(pixels)))
    framed = np.pad(face.uv, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    first = np.array([face.y - 1, face.x - 1])  # pixel of the picture under the frame's first one
    for point, near in zip(known, pixels[nearest], strict=True):
        place, how[point] = _place(framed, first, near + 1, wanted[point])
        places[point] = place[::-1] + 0.5
    return places, how


def _place(uv: Floats, first: npt.NDArray[np.int64], near: npt.NDArray[np.int64], wanted: Floats) -> tuple[Floats, int]:
    """Row and column in the picture, and how they were found.

    uv: (h, w, 2), its rim NaN, from the pixel `first` on. near: (k, 2) row and column in it, nearest first.
    """
    every = (near[:, None] - _BLOCK).reshape(-1, 2)  # top left pixels of 2 x 2
    blocks = every[np.sort(np.unique(every, axis=0, return_index=True)[1])]  # once each, in their order
    corners = (blocks[:, None, None] + _CORNERS).reshape(-1, 3, 2)
    a, b, c = (uv[corners[:, k, 0], corners[:, k, 1]] for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        area = _cross(b - a, c - a)
        s, t = _cross(wanted - a, c - a) / area, _cross(b - a, wanted - a) / area
        inside = (np.abs(area) >= 1e-18) & (s >= -1e-9) & (t >= -1e-9) & (s + t <= 1 + 1e-9)
    if inside.any():
        p, q, r = ((corners[inside, k] + first).astype(np.float64) for k in range(3))
        hits = p + s[inside, None] * (q - p) + t[inside, None] * (r - p)
        return hits[np.abs(hits - np.median(hits, 0)).sum(1).argmin()], INSIDE
    row, column = near[0]
    top, left = max(0, row - 2), max(0, column - 2)
    window = uv[top : row + 3, left : column + 3]
    there = np.argwhere(np.isfinite(window[..., 0]))
    if len(there) >= 6:
        away = there + np.array([top, left]) - near[0]
        fit, *_ = np.linalg.lstsq(
            np.c_[away, np.ones(len(away))], window[there[:, 0], there[:, 1]], rcond=None
        )  # (3, 2): UV as an affine function of row and column
        if abs(np.linalg.det(fit[:2])) >= 1e-14:
            step = np.linalg.solve(fit[:2].T, wanted - fit[2])
            if np.abs(step).max() <= REACH_PX:
                return near[0] + first + step, BESIDE
    return (near[0] + first).astype(np.float64), NOT_SHOWN


_BLOCK: Final = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def uv_at(face: FaceMap, places: Floats) -> Floats:
    """UV at pixels (x, y) of the picture, bilinear, (K, 2); NaN where one of the four pixels is not face."""
    x, y = (places - [face.x, face.y] - 0.5).T
    height, width = face.uv.shape[:2]
    out = np.full((len(places), 2), np.nan)
    ok = np.flatnonzero((x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1))  # NaN compares as false
    column, row = x[ok].astype(int), y[ok].astype(int)
    fx, fy = (x[ok] - column)[:, None], (y[ok] - row)[:, None]
    upper = face.uv[row, column] * (1 - fx) + face.uv[row, column + 1] * fx
    lower = face.uv[row + 1, column] * (1 - fx) + face.uv[row + 1, column + 1] * fx
    out[ok] = upper * (1 - fy) + lower * fy
    return out


def learnt_uv(names: Sequence[str], seen: Floats, landmark_uv: Floats) -> Floats:
    """UVs of the points as these annotators place them, for each photo learnt on others. (N, 68, 2).

    A template has its points where its makers put them, annotators put them elsewhere: this tells such a constant
    offset from errors that differ from photo to photo. seen: (N, 68, 2), of `uv_at` at the annotated points. The median
    over the photos of the other half (by the hash of their names), or of a small set over all others. Points that too
    few photos show keep their `landmark_uv`, (68, 2), as do those of the jaw: they lie on the outline, where the map
    ends, so that what is seen there lies too far inside.
    """
    seen = seen.copy()
    seen[:, JAW] = np.nan
    if small := len(names) < SMALL_SET:
        parts = np.arange(len(names))
    else:
        parts = np.array([zlib.crc32(name.encode()) & 1 for name in names])
    out = np.empty((len(names), COUNT, 2))
    for part in np.unique(parts):
        others = seen[parts != part]
        enough = np.isfinite(others[..., 0]).sum(0) >= LEAST_SEEN[0 if small else 1]
        learnt = landmark_uv.astype(np.float64)
        if enough.any():
            learnt[enough] = np.nanmedian(others[:, enough], axis=0)
        out[parts == part] = learnt
    return out

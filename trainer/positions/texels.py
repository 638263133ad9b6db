"""Position maps: an image over the face's UV plane whose pixels are points of the surface.

A texel (row, column) of a map of S x S has its centre at U = (column + 0.5) / S, V = 1 - (row + 0.5) / S. It lies in
one triangle of the smooth skin, which is the surface that samples are rendered with, at fixed barycentric weights.
Both are found once per head pack and side; a map is then a sparse product with the head's vertices, and a mesh is what
solves that product for the vertices.

Maps are (3, S, S). Two spaces are used:

    head space   metres, +X to the subject's left, +Y up, +Z out of the face, origin midway between the ears
    pixels       x to the right and y downwards in pixels of the picture, from its top left corner; z towards the
                 viewer in the same unit (pixels at the depth of the head's origin), 0 at that origin

Files hold maps in pixels of the photo as floats (`trainer.positions.files`); networks choose their own units.
Source of the idea: Feng et al. 2018 (PRNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from renderer.errors import SpecError
from renderer.head.model import HeadModel
from renderer.labels.maps import load_face_area, look_up
from trainer.uvmaps import head_pose

SIDE: Final = 256
SIDES: Final = (16, 1024)
REGIONS: Final = ("rest", "face", "eyes", "nose", "mouth", "landmarks")
"""Names of the numbers in `Texels.regions`; a later one wins where two meet."""
WEIGHTS: Final = (0.0, 3.0, 4.0, 4.0, 4.0, 16.0)
"""Of REGIONS in the loss, as PRNet has them; its neck counts nothing, as here what lies off the face area."""

_POLYGONS: Final = {"eyes": (range(36, 42), range(42, 48)), "nose": (range(27, 36),), "mouth": (range(48, 60),)}
_GROWN: Final = {"eyes": 0.02, "nose": 0.01, "mouth": 0.015}  # of the map's side, around the landmarks' hull
_LANDMARK: Final = 1.5  # texels; a disc of this radius holds the four texels that a landmark lies between

Floats = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]  # (3, S, S)
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Texels:
    """Where the texels of a map lie on a head.

    points: (P,) skin points (`HeadModel.subdivided`) that the map depends on. operator: (P, V) makes them of the pack's
    vertices. weights: (S * S, P), three in a row. face: (S, S) texels of the face area, and those around landmarks that
    lie just off it. regions: (S, S) numbers of REGIONS.
    """

    side: int
    points: npt.NDArray[np.intp]
    operator: sp.csr_matrix
    weights: sp.csr_matrix
    face: Bools
    regions: npt.NDArray[np.uint8]

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """(S * S, V): texels from the pack's vertices."""
        return sp.csr_matrix(self.weights @ self.operator)

    def of_points(self, points: Floats) -> Map:
        """(3, S, S) map of (P, 3) points, in whatever space they are."""
        return np.asarray((self.weights @ points).T.reshape(3, self.side, self.side), np.float32)

    def position_map(self, vertices: Floats) -> Map:
        """(3, S, S) map of a head's (V, 3) vertices, in whatever space they are."""
        return self.of_points(np.asarray(self.operator @ vertices))

    def weight_mask(self, weights: tuple[float, ...] = WEIGHTS) -> npt.NDArray[np.float32]:
        """(1, S, S) weights of the texels in a loss: one for each of REGIONS."""
        return np.asarray(weights, np.float32)[self.regions][None]


def texels(head: HeadModel, side: int = SIDE) -> Texels:
    """The texels of a pack's head, found once (0.3 s). Raises SpecError for a side that no map has."""
    if not SIDES[0] <= side <= SIDES[1]:
        raise SpecError(f"a position map of {side} x {side} texels: sides are {SIDES[0]} to {SIDES[1]}")
    return _texels(Path(head.folder), side)


@lru_cache(maxsize=4)
def _texels(folder: Path, side: int) -> Texels:
    head = head_pose.head_of(folder)
    line = (np.arange(side) + 0.5) / side
    u, v = np.meshgrid(line, 1 - line)
    uv = np.stack([u.ravel(), v.ravel()], 1)
    corners, weights = head_pose.chart(head).locate(uv)
    corners, weights = _without_gaps(corners, weights, side)
    points, columns = np.unique(corners, return_inverse=True)
    rows = np.repeat(np.arange(side * side), 3)
    matrix = sp.csr_matrix((weights.ravel(), (rows, columns.ravel())), shape=(side * side, len(points)))
    area = look_up(load_face_area(head.mask_path), uv).reshape(side, side)
    regions = _regions(np.asarray(head.landmarks_uv, np.float64), area)
    operator = head.subdivided("skin").operator[points.tolist()]
    return Texels(side, points, operator, matrix, regions > 0, regions)


def _without_gaps(corners: npt.NDArray[np.intp], weights: Floats, side: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Texels off the chart (two corners of the square) as the nearest one on it: maps have no jump for a network."""
    from scipy.ndimage import distance_transform_edt

    off = (corners[:, 0] < 0).reshape(side, side)
    _, (row, column) = distance_transform_edt(off, return_indices=True)
    nearest = (row * side + column).ravel()
    return corners[nearest], weights[nearest]


def _regions(landmarks: Floats, area: Bools) -> npt.NDArray[np.uint8]:
    """(S, S) numbers of REGIONS. landmarks: (68, 2) UV."""
    from PIL import Image, ImageDraw
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import ConvexHull

    side = len(area)
    regions = area.astype(np.uint8)
    pixels = landmarks * [side, -side] + [0, side]
    for name, parts in _POLYGONS.items():
        for part in parts:
            chosen = pixels[list(part)]
            drawn = Image.new("1", (side, side))
            hull = [tuple(p - 0.5) for p in chosen[ConvexHull(chosen).vertices]]  # whole numbers are Pillow's centres
            ImageDraw.Draw(drawn).polygon(hull, fill=1, outline=1)
            away: Any = distance_transform_edt(~np.asarray(drawn))
            near = away <= _GROWN[name] * side
            regions[near & area] = REGIONS.index(name)
    row, column = np.mgrid[:side, :side] + 0.5
    nearest = np.hypot(column - pixels[:, :1, None], row - pixels[:, 1:, None]).min(0)
    regions[nearest <= _LANDMARK] = REGIONS.index("landmarks")
    return regions

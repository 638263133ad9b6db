"""The mesh that vertices belong to: its triangles, and which vertices move, lie at lips, eyes, brows and jaw.

A rendered data set names a head pack, and its vertices are those of the pack's skin (`renderer.labels.vertices`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from renderer.head.catalog import pack_folder
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.labels.vertices import skin_mesh
from trainer.uvmaps.mesh import HALVES

Ints = npt.NDArray[np.int64]
REGIONS: Final[Mapping[str, tuple[range, float]]] = {  # of the 68 landmarks, and the reach about them in metres
    "lips": (range(48, 68), 0.008),
    "eyes": (range(36, 48), 0.010),
    "brows": (range(17, 27), 0.010),
    "jaw": (range(3, 14), 0.020),
}
MOVES_M: Final = 1e-4  # a vertex is animated where some face unit at its extreme moves it so far


@dataclass(frozen=True)
class Mesh:
    """triangles: (F, 3) corners. animated: (K,) vertices that expressions move. regions: name -> some of these."""

    vertices: int
    triangles: Ints
    animated: Ints
    regions: Mapping[str, Ints] = field(default_factory=dict)

    @property
    def topology(self) -> str:
        """Twelve digits that tell meshes apart: of the number of vertices and the corners of the triangles."""
        digest = hashlib.sha256(f"{self.vertices}:{self.triangles.shape}".encode())
        digest.update(np.ascontiguousarray(self.triangles, "<i4").tobytes())
        return digest.hexdigest()[:12]


def mesh_of(info: Mapping[str, Any]) -> Mesh:
    """The mesh of a data set. info: what dataset.json holds. Raises AssetError where its head pack is not here."""
    if "mesh" in info:
        return _own_mesh(info["mesh"])
    return _pack_mesh(pack_folder(dict(info)))


def _own_mesh(mesh: Mapping[str, Any]) -> Mesh:
    """That of own footage (`gen import-capture`): all of it counts as animated, and nothing says where its lips are."""
    count = int(mesh["vertices"])
    return Mesh(count, _triangles(np.asarray(mesh["faces"])), np.arange(count))


def _triangles(faces: npt.NDArray[Any]) -> Ints:
    """(T, 3) corners of (F, 4) quads; -1 as the fourth corner of a triangle."""
    triangles = faces[:, HALVES].reshape(-1, 3).astype(np.int64)
    return np.asarray(triangles[(triangles >= 0).all(axis=1)])


@functools.lru_cache(maxsize=2)
def _pack_mesh(folder: Path) -> Mesh:
    """The skin of a head pack."""
    model = load_head(folder)
    used, corners = skin_mesh(model)
    animated = np.flatnonzero(_largest_move(model)[used] > MOVES_M)
    marks, rest = model.landmarks(model.vertices), model.vertices[used]
    regions = {name: animated[_near(rest[animated], marks[chosen], reach)] for name, (chosen, reach) in REGIONS.items()}
    return Mesh(len(used), _triangles(corners), animated, regions)


def _largest_move(model: HeadModel) -> npt.NDArray[np.float64]:
    """(V,) metres that a vertex of the pack moves by, at most, when one face unit goes to its extreme."""
    moves = [
        np.linalg.norm(model.expressed(model.vertices, {unit: 1.0}) - model.vertices, axis=1) for unit in model.units
    ]
    return np.asarray(np.max(moves, axis=0))


def _near(points: npt.NDArray[Any], marks: npt.NDArray[Any], reach_m: float) -> npt.NDArray[np.bool_]:
    return np.asarray(cKDTree(marks).query(points, distance_upper_bound=reach_m)[0] <= reach_m)

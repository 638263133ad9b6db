"""The 68 iBUG landmarks: from landmarks68.yaml to triangles and barycentric weights on the skin mesh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

FILE: Final = Path(__file__).with_name("landmarks68.yaml")
COUNT: Final = 68

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]


def definition() -> Mapping[str, Any]:
    """landmarks68.yaml as it is."""
    loaded: Mapping[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return loaded


def canonical_points(
    vertex_uv: Floats, mirror: Ints, faces: Ints, uv: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """(68, 2) canonical UV of every landmark.

    vertex_uv: (N, 2) canonical UV of hm08's vertices, NaN where a vertex is not on the face chart.
    mirror: (N,) mirror vertex of each. faces (F, 4) and uv (F, 4, 2): the face chart in hm08's numbering.
    The other side's point is the mirror point on the surface: hm08 is symmetric in space, not quite in its UVs.
    """
    points = np.full((COUNT, 2), np.nan)
    for number, entry in definition()["landmarks"].items():
        if "vertex" in entry:
            corners, weights = np.array([entry["vertex"]]), np.ones(1)
        else:
            triangle, bary = locate(np.array([entry["uv"]]), faces, uv)
            corners, weights = triangle[0], bary[0].astype(np.float64)
        points[number] = weights @ vertex_uv[corners]
        if "mirror" in entry:
            points[entry["mirror"]] = weights @ vertex_uv[mirror[corners]]
    if np.isnan(points).any():
        raise ValueError(f"landmarks {np.flatnonzero(np.isnan(points).any(axis=1)).tolist()} are not defined")
    return points


def locate(points: Floats, faces: Ints, uv: npt.NDArray[np.float32]) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Triangles (n, 3) and barycentric weights (n, 3) of points (n, 2) in canonical UV.

    faces: (F, 4) quads of the face chart with uv (F, 4, 2). A point on the chart's border may lie a hair outside all
    triangles: the nearest one is taken and the weights are clipped to it.
    """
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    corner = np.concatenate([uv[:, [0, 1, 2]], uv[:, [0, 2, 3]]]).astype(np.float64)
    a, e1, e2 = corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    area = np.where(np.abs(area) < 1e-12, np.nan, area)
    found, weights = [], []
    for point in points:
        d = point - a
        s = (d[:, 0] * e2[:, 1] - d[:, 1] * e2[:, 0]) / area
        t = (e1[:, 0] * d[:, 1] - e1[:, 1] * d[:, 0]) / area
        bary = np.stack([1 - s - t, s, t], axis=1)
        best = int(np.nanargmax(bary.min(axis=1)))
        if bary[best].min() < -0.05:
            raise ValueError(f"canonical UV point {point.tolist()} is not on the face")
        clipped = np.clip(bary[best], 0, None)
        found.append(triangles[best])
        weights.append(clipped / clipped.sum())
    return np.array(found, np.int32), np.array(weights, np.float32)

"""Meshes bound to the head: eyes, teeth, brows, lashes, hair and hats of a head pack. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from renderer.errors import AssetError
from renderer.head.model import Floats, HeadModel, Ints
from renderer.head.pack import read_npz


@dataclass(frozen=True)
class Proxy:
    """A mesh that follows the head's shape: `vertices = sum_k weights_k * head[ref_k] + offset`.

    faces (F, 4), -1 as fourth corner of a triangle; uv (F, 4, 2), V up; ref (P, 3) pack vertices; weights (P, 3);
    offset (P, 3) metres on the base head; measure: which of the head's measures scales the offsets.
    textures: paths of RGBA PNGs by name; the first is the default.
    """

    kind: str
    name: str
    faces: Ints
    uv: npt.NDArray[np.float32]
    ref: Ints
    weights: Floats
    offset: Floats
    measure: str
    textures: Mapping[str, Path]


def load_proxy(model: HeadModel, kind: str, name: str) -> Proxy:
    """Read one bound mesh; raises AssetError where the pack has none of that name."""
    entry = next((p for p in model.info["proxies"] if p["kind"] == kind and p["name"] == name), None)
    if entry is None:
        known = list(model.proxy_names(kind))
        raise AssetError(f"head pack {model.folder} has no {kind} {name!r}; it has {known}")
    data = read_npz(model.folder / entry["file"])
    return Proxy(
        kind, name, data["faces"], data["uv"], data["ref"], data["weights"].astype(np.float64),
        data["offset"].astype(np.float64), entry["measure"],
        {n: model.folder / f for n, f in entry["textures"].items()},
    )  # fmt: skip


def proxy_vertices(model: HeadModel, proxy: Proxy, vertices: Floats, neutral: Floats) -> Floats:
    """(P, 3) points of a bound mesh on (V, 3) vertices.

    neutral: the same identity without expression. Offsets grow with its head, eye or teeth size, measured there since
    gaze and jaw would change them.
    """
    offset = proxy.offset * (_size(model, proxy.measure, neutral) / _size(model, proxy.measure, model.vertices))
    return np.asarray(np.einsum("pkc,pk->pc", vertices[proxy.ref], proxy.weights) + offset)


def _size(model: HeadModel, measure: str, vertices: Floats) -> Floats:
    """(3,) size in metres along x, y, z: distances of the measure's three vertex pairs."""
    pairs = np.array(model.info["measures"][measure])
    return np.asarray(np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1))

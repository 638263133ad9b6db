"""Faces of a photo as position maps, by a network or by a model fit, and what is made of a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.head.model import HeadModel
from trainer.data.pictures import to_bytes
from trainer.positions.files import Scaling
from trainer.positions.recover import Poses, face_mesh, landmarks
from trainer.positions.second_view import MESH_SIDE, SecondView, second_view
from trainer.positions.texels import SIDE, Map, texels
from trainer.uvmaps import faces, mesh, results
from trainer.uvmaps.faces import Window, cut
from trainer.uvmaps.finding import scaled

if TYPE_CHECKING:
    from trimesh import Trimesh

Positions = Callable[[Tensor], Tensor]
"""A network of one picture: windows (N, 3, S, S) of picture values to maps (N, 3, S, S) in their pixels."""


@dataclass(frozen=True)
class Face:
    """One face. picture: (1, 3, S, S) its window of the photo. positions: (1, 3, S, S) in pixels of that.

    visible: (1, 1, S, S), above one half where nothing hides the face, if that is known.
    """

    window: Window
    picture: Tensor
    positions: Tensor
    visible: Tensor | None = None

    @property
    def scaling(self) -> Scaling:
        """Of the map as a file holds it: in units of the window."""
        return Scaling(float(self.window.side), (float(self.window.x), float(self.window.y)))

    def in_photo(self, points: Tensor) -> Tensor:
        """(..., 3) points in pixels of the window to pixels of the photo."""
        factor = self.window.side / self.picture.shape[3]
        return points * factor + points.new_tensor([self.window.x, self.window.y, 0.0])

    @property
    def photo_map(self) -> Map:
        """(3, S, S) positions in pixels of the photo."""
        return np.asarray(self.in_photo(self.positions[0].permute(1, 2, 0)).permute(2, 0, 1).numpy(), np.float32)


@torch.no_grad()
def by_network(network: Positions, photo: Tensor, windows: Sequence[Window], side: int) -> list[Face]:
    """Faces in windows of a photo (1, 3, H, W), all in one pass. side: of the pictures that the network takes."""
    if not windows:
        return []
    pictures = torch.cat([scaled(cut(photo, window), side) for window in windows])
    maps = network(pictures).float().cpu()
    return [Face(w, pictures[n : n + 1], maps[n : n + 1]) for n, w in enumerate(windows)]


def by_fit(
    photo: Tensor, found: Sequence[faces.Face], head: HeadModel, side: int = SIDE, focal_px: float | None = None
) -> list[Face]:
    """The head model fitted to faces that a UV-net has found in a photo (1, 3, H, W); those of which too little is seen
    are left out."""
    made = []
    for face in found:
        fit = results.fitted(face, head, focal_px)
        if fit is None:
            continue
        where = texels(head, side)
        points = np.asarray(where.operator @ fit.vertices(head))
        depth = (points @ fit.view.rotation.T)[:, 2:] * fit.view.pixels_per_m
        positions = where.of_points(np.hstack([fit.view.project(points), depth]) * (side / face.window.side))
        picture = scaled(cut(photo, face.window), side)
        visible = F.interpolate(face.visible, size=(side, side), mode="bilinear", align_corners=False)
        made.append(Face(face.window, picture, torch.from_numpy(positions)[None], visible))
    return made


def turned(face: Face, head: HeadModel) -> SecondView:
    """The second view that is made of a face, with texture and pose."""
    return second_view(face.picture, face.positions, head, visible=face.visible)


def head_space(positions: Tensor, poses: Poses) -> Tensor:
    """Maps (N, 3, S, S) in pixels to head space, metres: the average head's size, as a picture tells none."""
    flip = positions.new_tensor([1.0, -1.0, 1.0])[:, None, None]
    away = (positions - poses.origin_px[:, :, None, None]) * flip / poses.pixels_per_m[:, None, None, None]
    return torch.einsum("nji,njrc->nirc", poses.rotation, away)


def textured_mesh(face: Face, second: SecondView, head: HeadModel) -> Trimesh:
    """The face area as a textured mesh in head space: a vertex for each texel, of fine maps every second one."""
    space = head_space(face.positions, second.poses)[0].numpy()
    topology = face_mesh(head, space.shape[1], max(1, space.shape[1] // MESH_SIDE))
    return mesh.mesh_of(topology.vertices(space), topology.triangles, topology.uv, to_bytes(second.texture))


def described(face: Face, second: SecondView, landmark_uv: Tensor) -> dict[str, Any]:
    """A face as plain values: window, 68 landmarks (x, y, z) in pixels of the photo, pose, and how much was made up."""
    marks = face.in_photo(landmarks(face.positions, landmark_uv))[0]
    origin = face.in_photo(second.poses.origin_px)[0].tolist()
    factor = face.window.side / face.picture.shape[3]
    angles = zip(("yaw_deg", "pitch_deg", "roll_deg"), second.poses.angles(), strict=True)
    return {
        "window": [face.window.x, face.window.y, face.window.side],
        "landmarks_px": [[round(value, 2) for value in point] for point in marks.tolist()],
        "pose": {
            **{name: round(math.degrees(angle), 2) for name, angle in angles},
            "origin_px": [round(value, 2) for value in origin],
            "pixels_per_m": round(float(second.poses.pixels_per_m[0]) * factor, 2),
        },
        "second_view": {
            "turn_deg": round(math.degrees(float(second.turn_rad[0])), 2),
            "shown_share": round(float(second.shown[0]), 4),
        },
    }

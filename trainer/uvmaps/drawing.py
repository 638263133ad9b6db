"""The views of `gen apply`: what the UV maps of faces show, drawn over the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.errors import AssetError, FormatError
from renderer.head.model import HeadModel
from trainer.data.pictures import read_picture, to_tensor
from trainer.uvmaps import textures
from trainer.uvmaps.faces import Face, cut, put_back
from trainer.uvmaps.grid import draw_points, grid_lines, grid_points, uv_colours
from trainer.uvmaps.points import find_landmarks
from trainer.uvmaps.results import pose_of


@dataclass(frozen=True)
class Needs:
    """What views need besides the faces. Without a head pack there are no landmarks and no head."""

    texture: Tensor  # (1, 3, S, T), V = 1 in row 0
    focal_px: float | None = None
    landmark_uv: Tensor | None = None  # (68, 2)
    head: HeadModel | None = None
    other: tuple[Tensor, Face] | None = None  # for `swap`: another face, and what its window shows


def load_texture(path: Path | None) -> Tensor:
    """A picture as texture (1, 3, S, T), V = 1 on top; without a path a coloured checker."""
    if path is None:
        return textures.checker(1024, 20)
    try:
        return to_tensor(read_picture(path, 4096))
    except FormatError as error:
        raise AssetError(str(error)) from error


def draw(view: str, picture: Tensor, faces: Sequence[Face], needs: Needs) -> Tensor:
    """One of `VIEWS` of a picture (1, 3, H, W); or `inverse`, the texture read out of the surest face, 256 x 256."""
    if view == "inverse":
        if not faces:
            return torch.zeros(1, 3, 256, 256)
        face = faces[0]
        seen = cut(picture, face.window)
        size = textures.fitting_size(face.visible, 256)
        texture = textures.closed_texture(*textures.inverse_texture_projection(seen, face.uv, face.visible, size))
        return F.interpolate(texture, size=(256, 256), mode="bilinear", align_corners=False)
    out = picture.clone()
    for face in reversed(faces):
        drawn = VIEWS[view](cut(out, face.window), face, needs)
        put_back(out, drawn, face.window)
    return out


def _lines(image: Tensor, face: Face, _: Needs) -> Tensor:
    return grid_lines(image, face.uv, face.mask, 20, max(1.0, face.window.side / 220))


def _points(image: Tensor, face: Face, _: Needs) -> Tensor:
    return grid_points(image, face.uv, face.mask, 20, max(1.0, face.window.side / 200))


def _texture(image: Tensor, face: Face, needs: Needs) -> Tensor:
    return textures.texture_projection(image, face.uv, face.mask, needs.texture, 2 if face.window.side < 700 else 1)


def _uv(image: Tensor, face: Face, _: Needs) -> Tensor:
    return torch.lerp(image, uv_colours(face.uv), face.mask.expand_as(image))


def _mask(image: Tensor, face: Face, _: Needs) -> Tensor:
    hidden = torch.tensor([1.0, 0.5, 0.1])[None, :, None, None] * (face.mask - face.visible).clamp(0, 1)
    return torch.lerp(image * 0.35, face.visible.expand_as(image) + hidden, face.mask.expand_as(image))


def _landmarks(image: Tensor, face: Face, needs: Needs) -> Tensor:
    assert needs.landmark_uv is not None
    found = find_landmarks(face.uv, face.mask, needs.landmark_uv)
    return draw_points(image, found, max(1.5, face.window.side / 130), (1.0, 0.9, 0.1))


def _axes(image: Tensor, face: Face, needs: Needs) -> Tensor:
    """Where the head's axes point: red to the subject's left, green up, blue out of the face."""
    assert needs.head is not None
    pose = pose_of(face, needs.head, needs.focal_px)
    if pose is None:
        return image
    cy, sy = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    cp, sp = math.cos(-pose.pitch_rad), math.sin(-pose.pitch_rad)
    cr, sr = math.cos(pose.roll_rad), math.sin(pose.roll_rad)
    turn = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn = turn @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    left, top, right, bottom = (a - b for a, b in zip(face.box, (face.window.x, face.window.y) * 2, strict=True))
    start = np.array([(left + right) / 2, (top + bottom) / 2])
    along = np.linspace(0, 0.45 * face.window.side, 160)[:, None]
    for axis, colour in enumerate(((1.0, 0.25, 0.2), (0.25, 0.9, 0.3), (0.3, 0.5, 1.0))):
        points = torch.from_numpy(start + along * (turn[:2, axis] * [1, -1])).float()[None]
        image = draw_points(image, points, max(1.0, face.window.side / 200), colour)
    return image


def _swap(image: Tensor, face: Face, needs: Needs) -> Tensor:
    assert needs.other is not None
    other, theirs = needs.other
    return textures.face_swap(image, face.uv, face.visible, other, theirs.uv, theirs.visible)


VIEWS: Final[Mapping[str, Callable[[Tensor, Face, Needs], Tensor]]] = {
    "lines": _lines,
    "points": _points,
    "texture": _texture,
    "uv": _uv,
    "mask": _mask,
    "landmarks": _landmarks,
    "axes": _axes,
    "swap": _swap,
}

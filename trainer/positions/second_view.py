"""A second view made from one photo: its face, turned.

The position map of a photo says where each texel of the face is seen, so it takes the photo's colours as its texture.
The map is turned by 30 degrees and drawn again. What the photo does not show is filled in the texture: with the colours
of what lies around, and with the detail of the other side of the face where that is seen. The same code makes pairs for
training and for photos, so that both look alike; nothing but the face is drawn, on black.

A batch goes through as a whole, on the device of its tensors. Source of the idea: Kwon 2021; Zhou et al. 2020
(Rotate-and-Render).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.format.sample_format import CENTRE_U
from renderer.head.model import HeadModel
from trainer.positions.raster import rasterise
from trainer.positions.recover import Poses, face_mesh, poses_of
from trainer.positions.texels import texels
from trainer.uvmaps.textures import fill_holes, sample_texture

TURN_RAD: Final = math.radians(30)
MESH_SIDE: Final = 128  # finer maps are drawn with every second vertex, or every fourth
HIDDEN_M: Final = 0.01  # a texel so far behind what its pixel shows is hidden
GRAZING: Final = 0.2  # surface whose normal has less than this share towards the viewer smears over the texture
BLUR: Final = 10  # what varies over less than this part of the map's side is detail
DETAIL: Final = (0.3, 3.0)  # limits of the factor by which it is put on
DARK: Final = 0.02  # added to both of its terms, so that black is no infinite contrast


@dataclass(frozen=True)
class SecondView:
    """N faces, turned.

    picture: (N, 3, H, W), black off the face. positions: (N, 3, S, S) in its pixels. texture: (N, 3, S, S) without
    holes. seen: (N, 1, S, S) 1 where the photo shows the texel. turn_rad: (N,) of the camera. shown: (N,) share of the
    face in `picture` whose colours are the photo's own. poses: of the faces in the photo.
    """

    picture: Tensor
    positions: Tensor
    texture: Tensor
    seen: Tensor
    turn_rad: Tensor
    shown: Tensor
    poses: Poses


def second_view(
    pictures: Tensor,
    positions: Tensor,
    head: HeadModel,
    turn_rad: Tensor | None = None,
    visible: Tensor | None = None,
) -> SecondView:
    """The faces of pictures as a camera sees them that is turned about the vertical axis through each head's origin.

    pictures: (N, 3, H, W) in [0, 1]. positions: (N, 3, S, S) maps in their pixels. turn_rad: (N,), positive where the
    camera stands to the viewer's right; by default `to_other_side`. visible: (N, 1, H, W), above one half where nothing
    hides the face. The turned face keeps the middle of its box, as a window about a face does.
    """
    poses = poses_of(positions, head)
    turn = to_other_side(poses) if turn_rad is None else turn_rad
    texture, seen = texture_of(pictures, positions, head, poses, visible)
    filled = filled_texture(texture, seen)
    turned = turned_positions(positions, poses, turn, head)
    picture, shown = _drawn(turned, torch.cat([filled, seen], 1), head, *pictures.shape[2:])
    return SecondView(picture, turned, filled, seen, turn, shown, poses)


def to_other_side(poses: Poses) -> Tensor:
    """(N,) camera turns of 30 degrees to where a face looks: from the front to a side, from a side to the front."""
    looks_right = poses.rotation[:, 0, 2] >= 0  # of the way out of the face, what goes to the viewer's right
    return torch.where(looks_right, TURN_RAD, -TURN_RAD).to(poses.rotation)


def turned_positions(positions: Tensor, poses: Poses, turn_rad: Tensor, head: HeadModel) -> Tensor:
    """Maps (N, 3, S, S) as the turned camera has them; the middle of the face's box stays where it is."""
    origin = poses.origin_px[:, :, None, None]
    x, y, z = (positions - origin).chunk(3, 1)
    cos, sin = (f(turn_rad)[:, None, None, None] for f in (torch.cos, torch.sin))
    turned = torch.cat([cos * x - sin * z, y, sin * x + cos * z], 1)
    face = torch.from_numpy(texels(head, positions.shape[2]).face.ravel()).to(positions.device)

    def middle(maps: Tensor) -> Tensor:
        flat = maps[:, :2].flatten(2)[:, :, face]
        return ((flat.amin(2) + flat.amax(2)) / 2)[:, :, None, None]

    shift = middle(positions) - middle(turned)
    return torch.cat([turned[:, :2] + shift, turned[:, 2:]], 1)


# ---------------------------------------------------------------- colours


def texture_of(
    pictures: Tensor, positions: Tensor, head: HeadModel, poses: Poses, visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What pictures show of the texture: (N, 3, S, S), and (N, 1, S, S) where it is to be trusted, 0 or 1.

    A texel is seen where it lies in the picture, on surface turned to the viewer that no nearer part of the face hides.
    """
    height, width = pictures.shape[2:]
    size = positions.new_tensor([width, height])
    grid = (positions[:, :2].permute(0, 2, 3, 1) / size) * 2 - 1
    texture = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    depth = _depth(positions, head, height, width)[:, None]
    # Colours are read between pixels: their neighbours must be face, too, and no nearer part of it
    around = torch.cat([F.max_pool2d(depth, 3, 1, 1), -F.max_pool2d(-depth, 3, 1, 1)], 1)
    at = F.grid_sample(around, grid, mode="nearest", padding_mode="border", align_corners=False)
    limit = (HIDDEN_M * poses.pixels_per_m)[:, None, None, None]
    seen = (positions[:, 2:] > at[:, :1] - limit) & torch.isfinite(at[:, 1:]) & (facing(positions) > GRAZING)
    seen &= (grid.abs() < 1).all(3)[:, None]
    seen &= torch.from_numpy(texels(head, positions.shape[2]).face).to(positions.device)
    if visible is not None:
        seen &= F.grid_sample(visible, grid, padding_mode="border", align_corners=False) > 0.5
    return texture, seen.to(texture.dtype)


def _depth(positions: Tensor, head: HeadModel, height: int, width: int) -> Tensor:
    """(N, H, W) of the face's nearest surface, towards the viewer; minus infinity where there is none."""
    mesh = face_mesh(head, positions.shape[2], _step(positions))
    vertices = positions.flatten(2)[:, :, mesh.texels].transpose(1, 2)
    return rasterise(vertices, torch.from_numpy(mesh.triangles).to(positions.device), height, width).depth


def _step(positions: Tensor) -> int:
    return max(1, positions.shape[2] // MESH_SIDE)


def facing(positions: Tensor) -> Tensor:
    """(N, 1, S, S) share of the unit normal that points to the viewer, from differences between neighbouring texels."""
    padded = F.pad(positions, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    normal = torch.linalg.cross(across, down, dim=1)
    share: Tensor = normal[:, 2:] / torch.linalg.vector_norm(normal, dim=1, keepdim=True).clamp(min=1e-9)
    return share


def filled_texture(texture: Tensor, seen: Tensor) -> Tensor:
    """A texture (N, 3, S, S) whose unseen texels are made up. seen: (N, 1, S, S), 0 or 1.

    Colours come from what is seen around: light differs between the sides of a face. How they vary from place to place
    (eyes, brows, mouth) comes from the other side where that is seen.
    """
    around = fill_holes(texture * seen, seen)
    other, other_seen = _mirrored(texture), (_mirrored(seen) > 0.99).to(seen)
    other = fill_holes(other * other_seen, other_seen)
    detail = (other + DARK) / (_blurred(other, texture.shape[2] // BLUR) + DARK)
    made = torch.where(other_seen > 0, around * detail.clamp(*DETAIL), around)
    soft = _soft(seen)  # no seam where the photo's own colours end
    return (texture * soft + made * (1 - soft)).clamp(0, 1)


def _mirrored(texture: Tensor) -> Tensor:
    """The texture of the other side of the face at each texel."""
    side = texture.shape[2]
    line = (torch.arange(side, device=texture.device, dtype=texture.dtype) + 0.5) / side
    v, u = torch.meshgrid(1 - line, 2 * CENTRE_U - line, indexing="ij")
    return sample_texture(texture, torch.stack([u, v])[None].expand(len(texture), -1, -1, -1))


def _soft(seen: Tensor) -> Tensor:
    """`seen` that falls off towards its rim, within itself."""
    radius = max(1, seen.shape[2] // 32)
    return ((_blurred(seen, radius) - 0.5) * 2).clamp(min=0) * seen


def _blurred(texture: Tensor, radius: int) -> Tensor:
    """Means of squares around each texel."""
    return F.avg_pool2d(F.pad(texture, [radius] * 4, mode="replicate"), 2 * radius + 1, 1)


def _drawn(turned: Tensor, texture: Tensor, head: HeadModel, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) of turned maps, and the share (N,) of what they show that is seen.

    texture: (N, 4, S, S), colours and where they are seen.
    """
    mesh = face_mesh(head, turned.shape[2], _step(turned))
    triangles = torch.from_numpy(mesh.triangles).to(turned.device)
    vertices = turned.flatten(2)[:, :, mesh.texels].transpose(1, 2)
    seen = rasterise(vertices, triangles, height, width)
    uv = seen.interpolated(torch.from_numpy(mesh.uv.T.copy())[None].to(turned), triangles)
    face = (seen.triangle >= 0)[:, None].to(turned)
    drawn = sample_texture(texture, uv) * face
    area = face.sum((1, 2, 3)).clamp(min=1)
    return drawn[:, :3].clamp(0, 1), drawn[:, 3:].sum((1, 2, 3)) / area

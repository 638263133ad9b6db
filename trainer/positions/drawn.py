"""Position maps of a photo's faces drawn as UV maps and masks: what UV-nets are measured by measures them, too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from renderer.head.model import HeadModel
from trainer.augmentation.mirror import Network
from trainer.positions.raster import rasterise
from trainer.positions.reconstruct import Positions, by_network
from trainer.positions.recover import face_mesh
from trainer.uvmaps.faces import Face, Window
from trainer.uvmaps.finding import Options, find_faces, window_around


@dataclass(frozen=True)
class DrawnMaps:
    """A network of position maps, and the UV-net that finds faces for it.

    side: of the pictures that the network takes. window: side of a window in units of the larger side of a face's box.
    """

    network: Positions
    side: int
    window: float
    finder: Network
    head: HeadModel

    @torch.no_grad()
    def faces(self, picture: Tensor, options: Options) -> list[Face]:
        """The faces of a picture (1, 3, H, W), in the finder's order. A map does not tell what hides a face, so all of
        it counts as visible; score: the finder's."""
        found = find_faces(self.finder, picture, options)
        mapped = by_network(self.network, picture, [window_around(face.box, self.window) for face in found], self.side)
        return [
            drawn(face.positions[0], face.window, self.head, before.score)
            for face, before in zip(mapped, found, strict=True)
        ]


def drawn(positions: Tensor, window: Window, head: HeadModel, score: float) -> Face:
    """A map (3, S, S) in pixels of a window of S x S as UV map and masks in the photo's pixels."""
    mesh = face_mesh(head, positions.shape[2])
    vertices = torch.from_numpy(mesh.vertices(positions.numpy())) * (window.side / positions.shape[2])
    triangles = torch.from_numpy(mesh.triangles)
    seen = rasterise(vertices[None], triangles, window.side, window.side)
    uv = seen.interpolated(torch.from_numpy(mesh.uv.T.copy())[None].to(vertices), triangles)
    mask = (seen.triangle >= 0).float()[:, None]
    return Face(window, uv, mask, mask, score)

"""Faces followed through the frames of a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from trainer.augmentation.mirror import Network
from trainer.uvmaps.faces import Face, Window
from trainer.uvmaps.finding import Options, distinct, find_faces, read_faces, window_around

REDETECT: Final = 30  # frames between searches of the whole picture


@dataclass
class Tracker:
    """Faces of a video, frame by frame: followed where they were, searched for anew now and then."""

    network: Network
    options: Options = Options()
    _windows: list[Window] = field(default_factory=list)
    _age: int = 0

    @torch.no_grad()
    def step(self, picture: Tensor) -> list[Face]:
        """The faces of the next frame."""
        faces: list[Face] = []
        if self._windows and self._age < REDETECT:
            self._age += 1
            faces = read_faces(self.network, picture, self._windows, self.options)
        if not faces:
            self._age = 0
            faces = find_faces(self.network, picture, self.options)
        faces = distinct(faces)
        self._windows = [window_around(face.box, self.options.close) for face in faces]
        return faces

"""Faces followed through the frames of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from trainer.augmentation.mirror import Network
from trainer.uvmaps.faces import Face, Window
from trainer.uvmaps.finding import Options, find_faces, read_faces, shared_part, window_around

REDETECT: Final = 30  # frames between searches of the whole picture
SAME_FACE: Final = 0.5  # shared part of the smaller box from which two windows of a video follow one face


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
        self._windows = [window_around(face.box) for face in faces]
        return faces


def distinct(faces: Sequence[Face]) -> list[Face]:
    """The faces without those that another, surer one covers: two windows that met would follow one face for ever."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(shared_part(face.box, other.box) < SAME_FACE for other in kept):
            kept.append(face)
    return [face for face in faces if any(face is other for other in kept)]

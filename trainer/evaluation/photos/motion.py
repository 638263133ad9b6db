"""Jitter on photos: how much do points tremble in a video whose motion is known?

The video is the photo itself, slowly shifted, turned and zoomed, so that the true motion of every point is that of the
photo. The face is followed as in `gen apply` on videos; what is found in each frame is moved back into the photo, where
a steady network would put each point at the same place for ever. Jitter is as in `trainer.evaluation.jitter`: second
differences in time, divided by sqrt(6).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from PIL import Image

from trainer.augmentation.mirror import Network
from trainer.data import pictures
from trainer.data.pictures import Bytes
from trainer.evaluation import jitter
from trainer.evaluation.photos.annotations import Annotated, Floats
from trainer.evaluation.photos.points import INSIDE, face_map, locate
from trainer.uvmaps.finding import Options, shared_part
from trainer.uvmaps.results import maps
from trainer.uvmaps.tracking import Tracker

FRAMES: Final = 24
SHIFT: Final = 0.06  # of the face's size, to either side
TURN_RAD: Final = math.radians(4)
ZOOM: Final = 0.05  # to either side of 1
LEAST_FRAMES: Final = FRAMES // 2  # in which the face must be found


def moved(picture: Bytes, face: Floats, name: str) -> Iterator[tuple[Bytes, Floats]]:
    """Frames of a photo, and the matrix (2, 3) that takes pixels of each frame to those of the photo.

    face: (left, top, right, bottom); turns and zooms are about its centre. The same for the same name.
    """
    rng = np.random.default_rng(zlib.crc32(f"motion {name}".encode()))
    phase, cycles = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.5, 1.5, 4)
    centre, size = (face[:2] + face[2:]) / 2, float(np.sqrt(np.prod(face[2:] - face[:2])))
    for frame in range(FRAMES):
        dx, dy, turn, zoom = np.sin(phase + 2 * np.pi * cycles * frame / FRAMES)
        angle, scale = TURN_RAD * turn, 1 + ZOOM * zoom
        turned = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = np.c_[turned, centre - turned @ centre + SHIFT * size * np.array([dx, dy])]
        image = Image.fromarray(picture)
        # Pillow samples at pixel centres, from the corner as we do
        yield np.asarray(image.transform(image.size, Image.Transform.AFFINE, matrix.ravel().tolist(),
                                         Image.Resampling.BICUBIC)), matrix  # fmt: skip


@torch.no_grad()
def measure(network: Network, picture: Bytes, item: Annotated, landmark_uv: Floats, options: Options) -> float | None:
    """Jitter of the points of an annotated face, by its size; None where it is lost in more than half of the frames."""
    assert item.box is not None
    tracker = Tracker(network, options)
    paths = np.full((FRAMES, len(landmark_uv), 2), np.nan)
    for number, (frame, matrix) in enumerate(moved(picture, item.box, item.photo.stem)):
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        corners = np.array([[item.box[x], item.box[y]] for x in (0, 2) for y in (1, 3)]) @ back[:, :2].T + back[:, 2]
        box = np.concatenate([corners.min(0), corners.max(0)])
        faces = tracker.step(pictures.to_tensor(frame))
        faces = [face for face in faces if shared_part(face.box, box) > 0]
        found = maps(faces, *frame.shape[:2])
        face, _ = face_map(found["uv"], found["mask"], box)
        if face is None:
            continue
        places, how = locate(face, landmark_uv)
        places[how != INSIDE] = np.nan  # what is extended or not seen is no measurement
        paths[number] = places @ matrix[:, :2].T + matrix[:, 2]
    if np.isfinite(paths).any((1, 2)).sum() < LEAST_FRAMES:
        return None
    values = jitter.jitter(paths, np.zeros(FRAMES, np.int64), np.arange(FRAMES))
    size = float(np.sqrt(np.prod(item.box[2:] - item.box[:2])))
    return float(np.nanmean(values)) / size if np.isfinite(values).any() else None

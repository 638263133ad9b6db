"""Faces found by UV-net itself in pictures of any size.

A picture is searched on an image pyramid: the network is run, in tiles, on ever smaller copies, and every patch of mask
whose size is one the network knows is a candidate. Around each face a square window is cut and scaled to the size the
network was trained on; UV and masks are scaled back. With several passes the window is laid anew around what the one
before found in it, and a network with a face score says of each window whether it shows a face at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.augmentation.mirror import Network, agreement, seen_in_mirror
from trainer.uvmaps.faces import Face, Window, cut
from trainer.uvmaps.textures import EPSILON

NETWORK_PX: Final = 128  # side of the pictures a network was trained on, where its weights do not say
SEARCH_PX: Final = 1024  # longest side of the pyramid's largest level
TILE_PX: Final = 512  # the network never sees more than this at once
OVERLAP_PX: Final = 128
MIN_AREA_PX: Final = 300  # of a face on its pyramid level
USUAL_AREA_PX: Final = 3300.0  # mean face area in the training data, 20 % of 128 x 128
WINDOW: Final = 1.7  # side of a window in units of the larger side of the face in it
SAME_FACE: Final = 0.5  # shared part of the smaller box from which two windows show one face
MUCH_SMALLER: Final = (
    0.5  # side of a box against another: within that one's window, an ear or a hand rather than a face
)


@dataclass(frozen=True)
class Options:
    """How faces are looked for. min_agreement: 0 keeps all that look like one, see `augmentation.mirror.agreement`.

    mirrored: read each face as the mean of what is seen in it and in its mirror image; passes before the last do not.
    min_face: the least face score, for networks that give one. window: side of a window in units of the larger side of
    the face in it. passes: how often a window is read, each time around the face that was found in it before.
    last_window: as `window`, of the last of several passes and in video; 0: the same.
    """

    max_faces: int = 8
    min_agreement: float = 0.5
    mirrored: bool = False
    search_px: int = SEARCH_PX
    network_px: int = NETWORK_PX
    min_face: float = 0.0
    window: float = WINDOW
    passes: int = 1
    last_window: float = 0.0

    @property
    def close(self) -> float:
        """The window in which a face is read for good."""
        return self.last_window or self.window

    @property
    def usual_area_px(self) -> float:
        """Mean area of a face in the pictures that the network knows."""
        return USUAL_AREA_PX * (self.network_px / 128 * WINDOW / self.window) ** 2


FOR_PHOTOGRAPHS: Final = Options(
    min_agreement=0, mirrored=True, search_px=640, min_face=0.5, window=1.4, passes=3, last_window=1.3
)
"""For networks that were trained with a face score, on crops like those windows, where their weights say no other."""


def options_of(network: Network, mirrored: bool = False, min_agreement: float | None = None) -> Options:
    """How faces are looked for with a network: as its weights say, else as usual, but for what a user has asked for."""
    options: Options = getattr(network, "finder", Options())
    options = replace(options, mirrored=mirrored or options.mirrored)
    return options if min_agreement is None else replace(options, min_agreement=min_agreement)


@torch.no_grad()
def find_faces(network: Network, picture: Tensor, options: Options = Options()) -> list[Face]:
    """All faces of a picture (1, 3, H, W) in [0, 1], the surest first."""
    windows, once = find_windows(network, picture, options), replace(options, mirrored=False)
    for more in reversed(range(options.passes - 1)):
        coarse = distinct(read_faces(network, picture, windows, once, least_face=options.min_face / 2))
        windows = [window_around(face.box, options.window if more else options.close) for face in coarse]
    faces = distinct(read_faces(network, picture, windows, options, check=True))
    return sorted(faces, key=lambda face: -face.score) if options.min_face else faces


def find_windows(network: Network, picture: Tensor, options: Options) -> list[Window]:
    """Windows around the faces of a picture (1, 3, H, W), the surest first."""
    height, width = picture.shape[2:]
    candidates: list[tuple[float, tuple[float, float, float, float]]] = []
    longest = min(max(height, width), options.search_px)
    side = float(longest)
    while side >= 0.6 * options.network_px or side == longest:
        scale = side / max(height, width)
        size = (max(8, round(height * scale)), max(8, round(width * scale)))
        level = picture if size == (height, width) else F.interpolate(picture, size=size, mode="area")
        mask = run_tiled(network, level)[0, 2].clamp(0, 1).cpu().numpy()
        for area, score, (left, top, right, bottom) in _patches(mask):
            known = math.exp(-((math.log(area / options.usual_area_px) / 1.6) ** 2))
            sx, sy = width / size[1], height / size[0]
            candidates.append((score * known, (left * sx, top * sy, right * sx, bottom * sy)))
        side /= 1.6
    kept: list[tuple[float, float, float, float]] = []
    for _, box in sorted(candidates, reverse=True):
        if all(shared_part(box, other) < 0.3 for other in kept):
            kept.append(box)
    return [window_around(box, options.window) for box in kept[: options.max_faces]]


def _patches(mask: npt.NDArray[Any]) -> Iterator[tuple[int, float, tuple[int, int, int, int]]]:
    """Connected patches of a mask: area, mean mask, box (left, top, right, bottom)."""
    from scipy import ndimage

    both: Any = ndimage.label(mask > 0.5)
    labels, count = both
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels)[:count], 1):
        inside = labels[rows, columns] == number
        area = int(inside.sum())
        if area >= MIN_AREA_PX:
            box = (columns.start, rows.start, columns.stop, rows.stop)
            yield area, float(mask[rows, columns][inside].mean()), box


def shared_part(a: Sequence[float], b: Sequence[float]) -> float:
    """Shared area as a part of the smaller box."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def distinct(faces: Sequence[Face]) -> list[Face]:
    """The faces without those that another covers: two windows that met would show one face for ever.

    Large and sure ones stay: a part of a face, an ear, a hand beside it may look as sure as the face itself.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score * _side(f.box)):
        if not any(_covered(face, other) for other in kept):
            kept.append(face)
    return [face for face in faces if any(face is other for other in kept)]


def _covered(face: Face, other: Face) -> bool:
    """Is one face the other, or something small that belongs to it?"""
    window = other.window
    around = (window.x, window.y, window.x + window.side, window.y + window.side)
    small = _side(face.box) < MUCH_SMALLER * _side(other.box)
    return shared_part(face.box, around if small else other.box) >= SAME_FACE


def _side(box: Sequence[float]) -> float:
    """The larger side."""
    return max(box[2] - box[0], box[3] - box[1])


def window_around(box: Sequence[float], window: float = WINDOW) -> Window:
    """A window in which the face has about the size it has in the training data. window: see `Options`."""
    left, top, right, bottom = box
    side = max(16, round(window * max(right - left, bottom - top)))
    return Window(round((left + right - side) / 2), round((top + bottom - side) / 2), side)


def read_faces(
    network: Network,
    picture: Tensor,
    windows: Sequence[Window],
    options: Options,
    check: bool = False,
    least_face: float | None = None,
) -> list[Face]:
    """The faces inside windows: of each the largest patch of mask; windows without one are dropped.

    check: drop what `agreement` says is none, too. least_face: in place of `options.min_face`.
    """
    if not windows:
        return []
    size = options.network_px
    parts = torch.cat([scaled(cut(picture, w), size) for w in windows])
    outputs = network(parts).float().cpu()
    sure = torch.ones(len(windows), dtype=torch.bool)
    least = options.min_agreement if check else 0.0
    if options.mirrored or least > 0:
        back = seen_in_mirror(network, parts).float().cpu()
        sure = agreement(outputs, back) >= least
        outputs = (outputs + back) / 2 if options.mirrored else outputs
    scores = outputs[:, 4].mean((1, 2)) if outputs.shape[1] > 4 else torch.ones(len(windows))
    sure &= scores >= (options.min_face if least_face is None else least_face)
    faces = []
    for window, output, score, kept in zip(windows, outputs, scores.tolist(), sure.tolist(), strict=True):
        if not kept:
            continue
        mask = output[2:3].clamp(0, 1)
        largest = _largest(mask[0].numpy())
        if largest is None:
            continue
        mask = mask * torch.from_numpy(largest)
        visible = torch.minimum(output[3:4].clamp(0, 1), mask)
        score *= float(mask[mask > 0.5].mean())
        weighted = torch.cat([output[:2].clamp(0, 1) * mask, mask, visible])[None]
        large = F.interpolate(weighted, size=(window.side, window.side), mode="bilinear", align_corners=False)
        uv = large[:, :2] / large[:, 2:3].clamp(min=EPSILON)
        faces.append(Face(window, uv, large[:, 2:3], large[:, 3:4], score))
    return faces


def scaled(part: Tensor, size: int) -> Tensor:
    """A window's content, (1, 3, s, s), as the network takes it: means of areas where it becomes smaller."""
    if part.shape[3] < size:
        return F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False)
    return F.interpolate(part, size=(size, size), mode="area")


def _largest(mask: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
    """1 on the largest patch of the mask and a pixel around it, else 0."""
    from scipy import ndimage

    both: Any = ndimage.label(mask > 0.5)
    labels, count = both
    if not count:
        return None
    areas = np.bincount(labels.ravel())[1:]
    if areas.max() < MIN_AREA_PX / 4:
        return None
    return np.asarray(ndimage.binary_dilation(labels == int(areas.argmax()) + 1, iterations=1), np.float32)


def run_tiled(network: Network, picture: Tensor, tile: int = TILE_PX, overlap: int = OVERLAP_PX) -> Tensor:
    """The network on a picture of any size, (1, 4, H, W), tile by tile; tiles overlap and blend into each other."""
    height, width = picture.shape[2:]
    if max(height, width) <= tile:
        return network(picture).float()
    total = torch.zeros(1, 5, height, width)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            part = picture[:, :, top : top + tile, left : left + tile]
            out = network(part).float().cpu()
            ramps = [_ramp(length, overlap) for length in out.shape[2:]]
            weight = (ramps[0][:, None] * ramps[1])[None, None]
            where = (slice(None), slice(None), slice(top, top + tile), slice(left, left + tile))
            total[where] += torch.cat([out[:, :4] * weight, weight], 1)
    return total[:, :4] / total[:, 4:]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _ramp(length: int, overlap: int) -> Tensor:
    edge = (torch.arange(length) + 0.5) / overlap
    return torch.minimum(edge, edge.flip(0)).clamp(0.01, 1)

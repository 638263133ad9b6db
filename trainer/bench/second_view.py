"""How good the colours of made second views are, on a data set with `view2`. `gen bench second-view` prints figures.

The true second view shows the colours of the face that the first one hides. Both are compared as textures, by true
positions, over the texels that the true second view shows with nothing before them: those that the first shows, too,
differ by gloss and noise alone; the others were made up. Errors are mean distances of picture values in [0, 1]. A
sample fails where made-up texels are off by more than FAILED on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.bench.timing import line
from trainer.data.order import spread
from trainer.data.pictures import BASE_GAMMA, to_bytes
from trainer.data.reader import SampleReader
from trainer.positions.records import record_positions
from trainer.positions.recover import poses_of
from trainer.positions.second_view import filled_texture, texture_of
from trainer.uvmaps import head_pose
from trainer.uvmaps.textures import fill_holes

SIDE: Final = 128
FAILED: Final = 0.1
LEAST: Final = 0.02  # of the texels that the true second view shows
YAWS_DEG: Final = (0, 15, 30, 45, 60, 75, 180)
IMAGES: Final = ("input", "mask", "view2", "view2_mask")


@dataclass(frozen=True)
class Row:
    """One sample. made_up: share of the texels that the true second view shows. Errors: NaN where too few texels.

    seen: of texels that both views show. filled: of made-up ones; around and inpainted: of the same, filled from what
    lies around them, by `fill_holes` and by OpenCV's inpainting (Telea 2004).
    """

    yaw_deg: float
    sun: bool
    covered: bool  # by hair, glasses or other things before the face: more than a tenth of it
    made_up: float
    seen: float
    filled: float
    around: float
    inpainted: float


def lines(dataset: Path, limit: int) -> Iterator[str]:
    """Figures over all samples, by yaw, in sun and without, and with the face covered and not."""
    rows = list(_rows(SampleReader(dataset, IMAGES), limit))
    yield from _figures(rows, "all")
    for low, high in pairwise(YAWS_DEG):
        yield from _figures([row for row in rows if low <= abs(row.yaw_deg) < high], f"yaw {low} to {high} deg")
    for name, chosen in (("sun", "sun"), ("covered", "covered")):
        yield from _figures([row for row in rows if getattr(row, chosen)], name)
        yield from _figures([row for row in rows if not getattr(row, chosen)], f"not {name}")


def _figures(rows: list[Row], group: str) -> Iterator[str]:
    if not rows:
        return
    made = [row for row in rows if math.isfinite(row.filled)]
    yield line("made_up_share", _mean([row.made_up for row in rows]), "", group=group, samples=len(rows))
    yield line("seen_error", _mean([row.seen for row in rows]), "", group=group, samples=len(rows))
    for name in ("filled", "around", "inpainted"):
        yield line(f"{name}_error", _mean([getattr(row, name) for row in made]), "", group=group, samples=len(made))
    failed = [row.filled > FAILED for row in made]
    yield line("failed_share", _mean(failed), "", group=group, samples=len(rows))


def _mean(values: list[Any]) -> float:
    known = np.asarray(values, np.float64)
    return float(np.nanmean(known)) if np.isfinite(known).any() else math.nan


def _rows(reader: SampleReader, limit: int) -> Iterator[Row]:
    for position in spread(np.arange(len(reader)), limit or len(reader)):
        yield measured(reader.read(int(position)), reader.params(int(position)))


def measured(images: Mapping[str, npt.NDArray[Any]], record: Mapping[str, Any]) -> Row:
    """One sample: its images as `data.reader.prepare` gives them, and its record."""
    head = head_pose.pack_head()
    found = []
    for view, start in ((1, "input"), (2, "view2")):
        picture = torch.from_numpy(images[start].astype(np.float32))[None].clamp(0, 1) ** (1 / BASE_GAMMA)
        visible = torch.from_numpy(images["mask" if view == 1 else "view2_mask"][1:].astype(np.float32))[None]
        positions = torch.from_numpy(record_positions(record, SIDE, view, head))[None]
        found.append(texture_of(picture, positions, head, poses_of(positions, head), visible))
    (first, seen), (second, seen_second) = found
    filled = filled_texture(first, seen)
    made_up = (seen_second * (1 - seen))[0, 0] > 0
    twice = (seen_second * seen)[0, 0] > 0
    share = float(made_up.sum() / max(1.0, float(seen_second.sum())))
    enough = share >= LEAST
    return Row(
        yaw_deg=math.degrees(float(record["knobs"].get("pose.yaw_rad", math.nan))),
        sun=bool(record["light"]["on"]),
        covered=float(record["measured"]["visible_share"]) < 0.9,
        made_up=share,
        seen=_error(first, second, twice),
        filled=_error(filled, second, made_up) if enough else math.nan,
        around=_error(fill_holes(first * seen, seen), second, made_up) if enough else math.nan,
        inpainted=_error(_inpainted(first, seen), second, made_up) if enough else math.nan,
    )


def _error(texture: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((texture - truth).abs().mean(1)[0][where].mean()) if bool(where.any()) else math.nan


def _inpainted(texture: Tensor, seen: Tensor) -> Tensor:
    import cv2

    holes = (seen[0, 0] == 0).numpy().astype(np.uint8)
    made = cv2.inpaint(to_bytes(texture), holes, 3, cv2.INPAINT_TELEA)
    return torch.from_numpy(np.asarray(made, np.float32) / 255).permute(2, 0, 1)[None]

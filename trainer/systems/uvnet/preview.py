"""What augmentation does to samples, as one picture: each stage alone, then all together (thesis figures 3.15-3.18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from renderer.errors import DatasetError, SpecError
from trainer.augmentation.config import STAGES, AugmentConfig
from trainer.augmentation.draws import Draws
from trainer.augmentation.samples import Samples
from trainer.augmentation.stages import augment, erode
from trainer.data.minibatch import Minibatch
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming
from trainer.ramp import Ramp
from trainer.systems.uvnet.config import UVNetConfig
from trainer.systems.uvnet.system import IMAGES, UVNetSystem, UVTask, open_banks

ROWS: Final = ("as rendered", "all that are on")  # above and below those of the stages
LABEL_PX: Final = 110


def augment_collage(dataset: Path, out: Path, config: UVNetConfig, columns: int = 8, seed: int = 0) -> list[Path]:
    """Write OUT/augment-input.png and OUT/augment-targets.png: a row per stage, alone, at full share; samples across.

    The targets: red the mask, green the occluded mask, blue the eroded mask; white is face in view, off the border.
    """
    names, every = possible_stages(config.augment, SampleReader(dataset, IMAGES))
    shown = replace(config, augment=every)
    needs = UVNetSystem().needs(shown)
    reader = SampleReader(dataset, needs.images + needs.training)
    if not 1 <= columns <= len(reader):
        raise SpecError(f"columns is {columns}; {dataset} has {len(reader)} samples")
    task = UVTask(config, open_banks(shown, reader), None)
    positions = np.linspace(0, len(reader) - 1, columns).astype(np.int64)
    streaming = Streaming(reader, 0, BadSamples(columns), torch.device("cpu"))
    minibatch = next(streaming.batches([positions], epoch=0))
    if not len(minibatch):
        raise DatasetError(f"none of the samples chosen from {dataset} can be read; run `gen verify`")
    rows = collage_rows(task, minibatch, seed, names)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pick in (("input", _picture), ("targets", lambda s: _targets(s, config.loss.erosion_px))):
        path = out / f"augment-{name}.png"
        _draw([(label, pick(samples)) for label, samples in rows]).save(path)
        paths.append(path)
    return paths


def collage_rows(task: UVTask, minibatch: Minibatch, seed: int, names: Sequence[str]) -> list[tuple[str, Samples]]:
    """The samples after each stage of `names` alone, at full share, and after all that the config has on."""
    stored = task.samples(minibatch)
    draws = Draws.for_samples(seed, 0, minibatch.positions, stored.input.device)
    off = only_stage(task.config.augment, "")
    rows = [(ROWS[0], augment(stored, off, draws, task.banks, 0.0))]
    for stage in names:
        rows.append((stage, augment(stored, only_stage(task.config.augment, stage), draws, task.banks, 0.0)))
    rows.append((ROWS[-1], augment(stored, task.config.augment, draws, task.banks, 0.0)))
    return rows


def only_stage(config: AugmentConfig, stage: str) -> AugmentConfig:
    """All stages off but one, which every sample gets."""
    changes: dict[str, Any] = {}
    for name in STAGES:
        old = getattr(config, name)
        changes[name] = replace(old, enabled=name == stage, share=Ramp(1.0, 1.0))
    return replace(config, **changes)


def possible_stages(config: AugmentConfig, reader: SampleReader) -> tuple[tuple[str, ...], AugmentConfig]:
    """The stages that samples of a data set can go through, and the config with all of them on.

    Backgrounds and pieces of other samples need the label `foreground`.
    """
    lacking = () if "foreground" in reader.info["labels"] else ("background",)
    names = tuple(name for name in STAGES if name not in lacking)
    stages: dict[str, Any] = {name: replace(getattr(config, name), enabled=name in names) for name in STAGES}
    if lacking:
        stages["cutouts"] = replace(stages["cutouts"], pieces_share=0.0)
    return names, replace(config, **stages)


def _picture(samples: Samples) -> Tensor:
    return samples.input


def _targets(samples: Samples, erosion_px: int) -> Tensor:
    return torch.cat([samples.mask, samples.occluded_mask, erode(samples.mask, erosion_px)], 1)


def _draw(rows: Sequence[tuple[str, Tensor]]) -> Image.Image:
    size = max(tuple(images.shape[2:]) for _, images in rows)
    same = [F.interpolate(images, size=size) for _, images in rows]
    pictures = [np.concatenate(list(_bytes(images)), axis=1) for images in same]
    sheet = Image.fromarray(np.concatenate(pictures, axis=0))
    page = Image.new("RGB", (sheet.width + LABEL_PX, sheet.height), "white")
    page.paste(sheet, (LABEL_PX, 0))
    pen = ImageDraw.Draw(page)
    top = 0
    for (label, _), picture in zip(rows, pictures, strict=True):
        pen.text((4, top + picture.shape[0] // 2 - 6), label.replace("_", " "), fill="black")
        top += picture.shape[0]
    return page


def _bytes(images: Tensor) -> npt.NDArray[np.uint8]:
    """(N, 3, H, W) in [0, 1] to (N, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

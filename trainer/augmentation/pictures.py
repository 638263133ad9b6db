"""A bank of pictures without faces: views of panoramas at their own resolution, photographs, procedural ones.

What is behind heads and on occluders is cut from these. Made from the settings alone, so that a run can be repeated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from renderer.errors import AssetError, FormatError
from renderer.format import exr
from renderer.progress import Progress
from trainer.augmentation.draws import Draws
from trainer.augmentation.light import log_uniform
from trainer.augmentation.photo_config import Pictures
from trainer.augmentation.procedural import procedural_picture

ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
BRIGHTEST: Final = 12.0  # suns are cut there, in means of the picture
VIEW_DEG: Final = (35.0, 75.0)  # field of view of a panorama's views: that of a lens of 57 to 23 mm
PITCH_DEG: Final = 20.0


@dataclass(frozen=True)
class PictureBank:
    """Square pictures below each other, so that one look-up serves a minibatch.

    atlas: (3, count * side, side) float32, linear light, each picture of mean 1/2.
    """

    atlas: Tensor

    @property
    def count(self) -> int:
        return self.atlas.shape[1] // self.atlas.shape[2]

    def to(self, device: torch.device) -> PictureBank:
        return PictureBank(self.atlas.to(device))

    def crops(self, draws: Draws, zoom: tuple[float, float], size: tuple[int, int], turn_deg: float = 0.0) -> Tensor:
        """A part of a random picture for each sample, (N, 3, H, W) float32 of mean 1/2; half of them mirrored.

        zoom: side of the part as a share of the picture's. turn_deg: largest rotation, either way.
        """
        which = draws.integers("picture", self.count)
        side = log_uniform(draws, "zoom", zoom)
        turn = draws.uniform("turn", low=-1, high=1) * (turn_deg * math.pi / 180)
        cosine, sine = torch.cos(turn) * side, torch.sin(turn) * side
        centre = draws.uniform("centre", 2, low=-1, high=1) * (1 - side)[:, None]
        flip = torch.where(draws.happens("flip", 0.5), -1.0, 1.0)
        matrix = torch.stack([cosine * flip, -sine, centre[:, 0], sine * flip, cosine, centre[:, 1]], 1)
        grid = F.affine_grid(matrix.reshape(-1, 2, 3), [len(side), 3, *size], align_corners=False)
        # corners reach over the border where it is turned: reflected, half a pixel short of the neighbours in the atlas
        grid = (1 - (grid.abs() - 1).abs()).mul_(1 - 1 / self.atlas.shape[2]).mul_(torch.where(grid < 0, -1.0, 1.0))
        down = (grid[..., 1] + (2 * which + 1)[:, None, None]).div_(self.count).sub_(1)
        grid = torch.stack([grid[..., 0], down], 3)
        atlas = self.atlas[None].expand(len(which), -1, -1, -1)
        part = F.grid_sample(atlas, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return part.mul_(0.5 / part.mean((1, 2, 3), keepdim=True).clamp(min=1e-4))


@functools.lru_cache(maxsize=1)
def load_pictures(config: Pictures, environments: Path | None) -> PictureBank:
    """Make the bank. environments: folder of EXR panoramas; None where there are none.

    Raises AssetError where a folder lacks what it is said to hold, or where no picture is asked for.
    """
    total = config.panoramas + config.procedural + (config.photographs if config.folder else 0)
    if not total:
        raise AssetError("augment.pictures asks for no picture: set panoramas, procedural or folder, or switch off")
    found = []
    with Progress(total, "picture", "pictures for augmentation") as bar:
        for picture in _all(config, environments):
            mean = picture.mean().clamp(min=1e-4)
            found.append((picture.clamp(min=0) / (2 * mean)).clamp(max=BRIGHTEST / 2))
            bar.update(1)
    return PictureBank(torch.cat(found, 1))


def _all(config: Pictures, environments: Path | None) -> Iterator[Tensor]:
    """Every picture, (3, S, S) float32 linear light."""
    if config.panoramas:
        yield from _panorama_views(environments, config)
    if config.folder:
        yield from _photographs(Path(config.folder), config)
    for number in range(config.procedural):
        yield torch.from_numpy(procedural_picture(np.random.default_rng([0, number]), config.side_px))


def _panorama_views(folder: Path | None, config: Pictures) -> Iterator[Tensor]:
    """Views of panoramas, in turn: upright, in any direction, as wide as keeps their pixels about one to one."""
    paths = sorted(folder.glob("*.exr")) if folder and folder.is_dir() else []
    if not paths:
        raise AssetError(
            f"no EXR environments in {folder}: set augment.environments to a folder that has some, run `make assets`, "
            "or set augment.pictures.panoramas to 0"
        )
    for number, path in enumerate(paths):
        channels = exr.read_channels(path)
        if lacking := {"R", "G", "B"} - set(channels):
            raise FormatError(f"{path} lacks channels {sorted(lacking)}")
        panorama = torch.nan_to_num(torch.from_numpy(np.stack([channels[c] for c in "RGB"]).astype(np.float32)))
        rng = np.random.default_rng([1, number])
        for _ in range(number, config.panoramas, len(paths)):
            yield _view(panorama, rng, config.side_px)


def _view(panorama: Tensor, rng: np.random.Generator, side: int) -> Tensor:
    """What a camera inside a panorama (3, H, 2H) sees, (3, S, S)."""
    native = math.degrees(2 * math.atan(math.pi * side / panorama.shape[2]))  # one pixel of each in the middle
    half = math.tan(math.radians(min(max(native, VIEW_DEG[0]), VIEW_DEG[1])) / 2)
    yaw, pitch = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(-PITCH_DEG, PITCH_DEG))
    line = (torch.arange(side) * 2 + 1) / side - 1
    x, down = torch.meshgrid(line * half, line * half, indexing="xy")
    y = -down * math.cos(pitch) + math.sin(pitch)
    z = down * math.sin(pitch) + math.cos(pitch)
    across = (torch.atan2(x, z) + yaw) / math.pi  # the panorama is [-1, 1] wide
    across = across.add(1).remainder(2) - 1
    elevation = torch.atan2(y, torch.hypot(x, z)) / (math.pi / 2)
    grid = torch.stack([across, -elevation], -1)[None]
    return F.grid_sample(panorama[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def _photographs(folder: Path, config: Pictures) -> Iterator[Tensor]:
    """A random square of each of some photographs."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS) if folder.is_dir() else []
    if not paths:
        raise AssetError(f"no photographs in augment.pictures.folder {folder}: name a folder that has {ENDINGS}")
    rng = np.random.default_rng(2)
    for number in rng.permutation(len(paths))[: config.photographs]:
        yield _square(paths[number], rng, config.side_px)


def _square(path: Path, rng: np.random.Generator, side: int) -> Tensor:
    """A square of a photograph, at most as sharp as it is, as linear light."""
    try:
        with Image.open(path) as opened:
            photo = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} cannot be read as a photograph ({error}): take it out of the folder") from error
    least = min(photo.size)
    part = round(math.exp(rng.uniform(math.log(min(side, least)), math.log(least))))
    left, top = (int(rng.integers(0, length - part + 1)) for length in photo.size)
    photo = photo.resize((side, side), Image.Resampling.BOX, box=(left, top, left + part, top + part))
    values: Any = np.asarray(photo, np.float32) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    return torch.from_numpy(np.ascontiguousarray(linear.transpose(2, 0, 1), np.float32))

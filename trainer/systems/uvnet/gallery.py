"""What a trained UV-net makes of held-out samples, for the page of its run: rows of pictures in one PNG."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from trainer.augmentation.samples import Samples
from trainer.data.pictures import Bytes, to_bytes
from trainer.data.reader import SampleReader
from trainer.systems.uvnet.metrics import sample_metrics
from trainer.uvmaps import textures
from trainer.uvmaps.grid import grid_lines, grid_points, uv_colours

SHOWN: Final = 8  # samples
PROJECTIONS: Final = (
    "input",
    "UV predicted",
    "UV target",
    "checker by predicted UV",
    "checker by target UV",
    "grid lines, predicted",
    "grid points, predicted",
    "texture from input",
)
LEAD: Final = (
    "Held-out samples through the network of the last evaluation: what its UV map does with a texture, "
    "where its grid lines and points fall, and the texture it reads out of the input. "
    "Where prediction and target agree, the checkers agree; they are drawn inside the target's mask, as UV errors "
    "are measured. Lines, points and texture use the predicted mask."
)


@torch.no_grad()
def draw_gallery(
    network: nn.Module, reader: SampleReader, test_share: float, sample_at: Callable[[int], Samples], png: Path
) -> dict[str, Any]:
    """What `System.gallery` is of UV-net: the projections of its UV maps. sample_at: of a position, N = 1."""
    rows, tiles = [], []
    for position in _positions(reader, test_share):
        sample, record = sample_at(position), reader.params(position)
        prediction = network(sample.input)
        tiles.append(_pictures(sample, prediction))
        measured = {name: float(v[0]) for name, v in sample_metrics(prediction, sample, None).items()}
        row = {"name": f"sample {int(record['index'])}", "metrics": measured, "key": reader.keys[position]}
        rows.append({**row, "knobs": record["knobs"]})
    Image.fromarray(np.concatenate(tiles, 0)).save(png)
    return {"title": "Projections", "lead": LEAD, "file": png.name, "columns": list(PROJECTIONS), "rows": rows}


def _positions(reader: SampleReader, test_share: float) -> list[int]:
    """The first held-out samples that show a face, or just the first ones; of a run without any, training samples."""
    training, held_out = reader.split(test_share)
    positions = (held_out if len(held_out) else training).tolist()
    faces = (p for p in positions if reader.params(p)["measured"].get("face_share", 1) > 0.05)
    return list(itertools.islice(faces, SHOWN)) or positions[:SHOWN]


def _pictures(sample: Samples, prediction: Tensor) -> Bytes:
    """The views of one sample side by side, in the order of `PROJECTIONS`."""
    texture = textures.checker()
    uv, shown = prediction[:, :2].clamp(0, 1), (prediction[:, 2:3] > 0.5).float()
    filled, weight = textures.inverse_texture_projection(sample.input, uv, shown, sample.input.shape[3])
    inside = sample.mask > 0.5
    pictures = [
        sample.input,
        uv_colours(uv * inside),
        uv_colours(sample.uv * inside),
        textures.texture_projection(sample.input, uv, sample.mask, texture),
        textures.texture_projection(sample.input, sample.uv, sample.mask, texture),
        grid_lines(sample.input, uv, shown, 16),
        grid_points(sample.input, uv, shown, 16, 1.0),
        textures.closed_texture(filled, weight),
    ]
    return np.concatenate([to_bytes(p) for p in pictures], 1)

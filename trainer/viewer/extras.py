"""The parts of the pages that need torch: UV grids on samples, and the projections of a trained network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from renderer.errors import HeadforgeError
from renderer.report import collage
from trainer.data.pictures import Bytes, to_bytes
from trainer.uvmaps import textures
from trainer.uvmaps.grid import grid_lines, grid_points, uv_colours

SHOWN: Final = 8  # held-out samples on a run's page
COLUMNS: Final = (
    "input",
    "UV predicted",
    "UV target",
    "checker by predicted UV",
    "checker by target UV",
    "grid lines, predicted",
    "grid points, predicted",
    "texture from input",
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: for pictures this small, threads cost more than they bring, on a busy machine tenfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def grid_picture(images: Mapping[str, npt.NDArray[Any]]) -> Bytes:
    """A sample's input with the grid lines of its own UV; (H, W, C) arrays."""
    picture = _tensor(collage.tone_map(images["input"]).astype(np.float32) / 255)
    uv = _tensor(images["uv"].astype(np.float32))
    mask = _tensor((images["mask"][..., :1] > 0.999).astype(np.float32))
    return to_bytes(grid_lines(picture, uv, mask, 16))


def _tensor(image: npt.NDArray[np.float32]) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def projection_gallery(run: Path, folder: Path, letter: str) -> tuple[dict[str, Any] | None, str]:
    """Projections of a run's network on held-out samples of its data set: (gallery or None, why there is none)."""
    try:
        return _gallery(run, folder, letter), ""
    except (HeadforgeError, OSError, KeyError, ValueError) as error:
        return None, f"no projections for {run.name}: {error}"


@torch.no_grad()
def _gallery(run: Path, folder: Path, letter: str) -> dict[str, Any]:
    from trainer.augmentation.stages import Samples, plain
    from trainer.data.reader import SampleReader
    from trainer.systems.uvnet.metrics import sample_metrics
    from trainer.training.checkpoint import load_network
    from trainer.training.run_dir import RunDir
    from trainer.viewer.pages import _row

    network, _ = load_network(run)
    config = RunDir(run).load_config()
    reader = SampleReader(Path(config.data.path), ("input", "uv", "mask"))
    training, held_out = reader.split(config.data.test_share)
    positions = held_out if len(held_out) else training
    faces = (p for p in positions if reader.params(int(p))["measured"].get("face_share", 1) > 0.05)
    with_face = list(itertools.islice(faces, SHOWN))
    texture = textures.checker()
    rows, tiles = [], []
    for position in with_face or positions[:SHOWN].tolist():
        arrays = {name: torch.from_numpy(a.astype(np.float32))[None] for name, a in reader.read(int(position)).items()}
        mask, visible = arrays["mask"][:, :1], arrays["mask"].prod(1, keepdim=True)
        sample = plain(Samples(arrays["input"], arrays["uv"], mask, visible, None))
        prediction = network(sample.input)
        uv, shown = prediction[:, :2].clamp(0, 1), (prediction[:, 2:3] > 0.5).float()
        record = reader.params(int(position))
        measured = {k: float(v[0]) for k, v in sample_metrics(prediction, sample, None).items()}
        filled, weight = textures.inverse_texture_projection(sample.input, uv, shown, sample.input.shape[3])
        pictures = [
            sample.input,
            uv_colours(uv, sample.mask),
            uv_colours(sample.uv, sample.mask),
            textures.texture_projection(sample.input, uv, sample.mask, texture),
            textures.texture_projection(sample.input, sample.uv, sample.mask, texture),
            grid_lines(sample.input, uv, shown, 16),
            grid_points(sample.input, uv, shown, 16, 1.0),
            textures.closed_texture(filled, weight),
        ]
        tiles.append(np.concatenate([to_bytes(p) for p in pictures], 1))
        key = reader.keys[int(position)]
        rows.append(
            _row({"name": f"sample {int(record['index'])}", "key": key, **measured}) | {"knobs": record["knobs"]}
        )
    name = f"projections-{letter}.png"
    Image.fromarray(np.concatenate(tiles, 0)).save(folder / name)
    return {
        "title": "Projections",
        "lead": "Held-out samples through the network of the last evaluation: what its UV map does with a texture, "
        "where its grid lines and points fall, and the texture it reads out of the input. "
        "Where prediction and target agree, the checkers agree; they are drawn inside the target's mask, as UV errors "
        "are measured. Lines, points and texture use the predicted mask.",
        "file": name,
        "columns": list(COLUMNS),
        "rows": rows,
        "falling": ["mask_iou", "occluded_iou", "landmarks_used"],
    }

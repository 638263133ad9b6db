"""Stand-ins for rendered pairs of views: real heads and cameras, whose faces are drawn as the colours of their UV."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from renderer.format.sample_format import sample_key
from renderer.format.staging import EncodedSample, encode_sample
from renderer.head.catalog import build_catalog
from renderer.head.model import HeadModel
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.params import flat_knobs, to_record
from renderer.sampling.draw import draw
from trainer.positions.raster import rasterise
from trainer.positions.records import record_positions
from trainer.positions.recover import face_mesh

MAP_PX = 32  # of the meshes that are drawn


@lru_cache(maxsize=1)
def _catalog(pack: Path) -> Any:
    return build_catalog(pack, load_spec("pairs"))


def record_of(index: int, head: HeadModel, tag: str, size: int) -> dict[str, Any]:
    """The record of a sample of the spec `pairs`, as far as position maps need it."""
    sample = draw(load_spec("pairs"), 4, index, _catalog(Path(head.folder)), head, tag)
    measured = {"face_share": 0.2, "visible_share": 1.0}
    return {**to_record(sample), "resolution": size, "knobs": flat_knobs(sample), "measured": measured}


def drawn(positions: np.ndarray, head: HeadModel, size: int) -> np.ndarray:
    """(size, size, 3) picture of the mesh of a map (3, S, S): U red, V green, before gray."""
    mesh = face_mesh(head, positions.shape[1])
    triangles = torch.from_numpy(mesh.triangles)
    seen = rasterise(torch.from_numpy(mesh.vertices(positions))[None], triangles, size, size)
    colours = torch.from_numpy(np.column_stack([mesh.uv, np.full(len(mesh.uv), 0.2)])).float().T[None]
    picture = seen.interpolated(colours, triangles) + 0.5 * (seen.triangle < 0)[:, None]
    return np.asarray(picture[0].permute(1, 2, 0).numpy(), np.float16)


def encoded(index: int, *, head: HeadModel, tag: str = "abc123", size: int = 64) -> EncodedSample:
    record = record_of(index, head, tag, size)
    flat = np.zeros((size, size, 2), np.float16)
    images = {"input": drawn(record_positions(record, MAP_PX, 1, head), head, size), "uv": flat, "mask": flat}
    images |= {"view2": drawn(record_positions(record, MAP_PX, 2, head), head, size), "view2_uv": flat}
    return encode_sample(index, sample_key(tag, index), images | {"view2_mask": flat}, record)

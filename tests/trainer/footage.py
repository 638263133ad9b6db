"""Stand-ins for the footage of an actor: gray squares as bright as the jaw is open and the brows are up."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from renderer.format.dataset import write_index
from renderer.format.sample_format import FORMAT_VERSION, UV_FRAME, sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.labels.vertices import skin_mesh

TAG = "ac7035"
FRAMES = 12  # of a shot
SIZE = (48, 64)  # width, height
KINDS = ("range_of_motion", "pangrams")


@functools.cache
def _pack(folder: Path) -> tuple[HeadModel, np.ndarray]:
    model = load_head(folder)
    return model, skin_mesh(model)[0]


def weights(index: int) -> tuple[float, float]:
    """How far the jaw is open, and the brows up: smooth in a shot; each shot has frequencies of its own."""
    shot, frame = divmod(index, FRAMES)
    rng = np.random.default_rng([3, shot])
    (a, b), (p, q) = rng.uniform(0.1, 0.5, 2), rng.uniform(0, 2 * math.pi, 2)
    return 0.5 + 0.5 * math.sin(a * frame + p), 0.5 + 0.5 * math.sin(b * frame + q)


def vertices(pack: Path, index: int) -> np.ndarray:
    """(V, 3) metres."""
    model, used = _pack(pack)
    jaw, brows = weights(index)
    return model.expressed(model.vertices, {"jawOpen": jaw, "browInnerUp": brows})[used].astype(np.float32)


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) linear light."""
    (width, height), (jaw, brows) = size, weights(index)
    canvas = np.full((height, width, 3), 0.2)
    canvas[height // 8 : height * 3 // 8, width // 4 : width * 3 // 4] = (0.15 + 0.6 * brows) ** 2.2
    canvas[height // 2 : height * 7 // 8, width // 4 : width * 3 // 4] = (0.15 + 0.6 * jaw) ** 2.2
    return canvas.astype(np.float16)


def encoded(index: int, pack: Path, size: tuple[int, int] = SIZE, views: int = 1) -> EncodedSample:
    key, (width, height) = sample_key(TAG, index), size
    marks = np.zeros((68, 2))
    marks[[36, 39, 42, 45]] = np.array([[0.25, 0.4], [0.43, 0.4], [0.57, 0.4], [0.75, 0.4]]) * size
    blank = np.zeros((height, width, 2), np.float16)
    images = {
        "input": picture(index, size), "uv": blank, "mask": blank, "vertices": vertices(pack, index)[None],
    }  # fmt: skip
    if views == 2:
        images |= {"view2": images["input"][:, ::-1].copy(), "view2_uv": blank, "view2_mask": blank}
    shot, frame = divmod(index, FRAMES)
    record: dict[str, Any] = {
        "index": index, "seed": 3, "tag": TAG, "key": key, "spec": "footage", "knobs": {}, "heads": [{}],
        "extra": {"clip": shot, "frame": frame, "kind": KINDS[shot % 2]}, "landmarks_px": [marks.tolist()],
        "measured": {"face_share": 0.25, "visible_share": 1.0},
    }  # fmt: skip
    return encode_sample(index, key, images, record)


def write_footage(path: Path, pack: Path, shots: int, **options: Any) -> Path:
    """A data set of shots."""
    path.mkdir(parents=True)
    size = options.get("size", SIZE)
    info = {
        "format_version": FORMAT_VERSION, "name": "footage", "tag": TAG, "seed": 3, "uv_frame": UV_FRAME,
        "spec": {"sequence": {"frames": FRAMES}, "assets": {"head": str(pack)}},
        "assets": {"pack": pack.name},
        "labels": ["vertices"], "uv_precision": "half", "resolution": list(size), "fps": 30,
    }  # fmt: skip
    (path / "dataset.json").write_text(json.dumps(info))
    count = shots * FRAMES
    write_shard(path, 0, count, TAG, [encoded(index, pack, **options) for index in range(count)])
    write_index(path)
    return path

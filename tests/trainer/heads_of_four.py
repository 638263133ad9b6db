"""Stand-ins for rendered heads of four parameters: three tell the colour of a square, the fourth cannot be seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from renderer.format.sample_format import sample_key
from renderer.format.staging import EncodedSample, encode_sample

PARAMETERS = 4


def truth(seed: int, index: int) -> np.ndarray:
    """(4,) in [-1, 1]."""
    return np.random.default_rng([seed, index]).uniform(-1, 1, PARAMETERS)


def encoded(index: int, *, tag: str, seed: int, noise: float = 0.0, size: int = 64) -> EncodedSample:
    """noise: how far the colour of what is around the square is from gray."""
    q, rng = truth(seed, index), np.random.default_rng([seed, index, 1])
    yaw = float(rng.uniform(-1.5, 1.5))
    picture = np.broadcast_to(np.clip(0.5 + noise * rng.uniform(-1, 1, 3), 0, 1), (size, size, 3)).copy()
    picture[size // 4 : -size // 4, size // 4 : -size // 4] = 0.5 + 0.4 * q[:3]
    images = {
        "input": picture.astype(np.float16),
        "uv": np.zeros((size, size, 2), np.float16),
        "mask": np.zeros((size, size, 2), np.float16),
    }
    identity = {"q": q.tolist(), "shape": 3}
    record: dict[str, Any] = {
        "index": index, "seed": seed, "tag": tag, "key": sample_key(tag, index), "spec": "heads_of_four",
        "knobs": {"pose.yaw_rad": yaw}, "measured": {"face_share": 0.25, "visible_share": 1.0},
        "landmarks_px": [], "heads": [{"identity": {"macros": {}, "sliders": {}, "pca": identity}}],
    }  # fmt: skip
    return encode_sample(index, record["key"], images, record)

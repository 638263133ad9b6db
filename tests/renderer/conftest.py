"""The head of the pack, and a made-up data set whose samples are sound but for geometry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from renderer.format.folder import DATASET_FILE
from renderer.format.manifest import Manifest
from renderer.format.sample_format import DRAW_VERSION, FORMAT_VERSION, RENDER_VERSION, sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample
from renderer.head.catalog import Catalog, build_catalog
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.parameters.spec import Spec, parse_spec
from renderer.sampling.expression import wants_open
from renderer.sampling.streams import streams
from renderer.strict import to_plain

TAG, SIDE, SEED = "abc123", 16, 3
Change = Callable[[dict[str, Any], dict[str, Any]], None]  # images, record


class MadeUp:
    """Writes samples and shards of a data set of 16 x 16 pixels."""

    spec = parse_spec({}, "the tests")
    info: ClassVar[dict[str, Any]] = {
        "format_version": FORMAT_VERSION,
        "draw_version": DRAW_VERSION,
        "render_version": RENDER_VERSION,
        "name": "made-up",
        "tag": TAG,
        "seed": SEED,
        "spec": to_plain(spec),
        "assets": {"pack": "pack-none"},
        "labels": [],
        "resolution": SIDE,
        "uv_precision": "half",
    }

    def sample(self, index: int, change: Change = lambda images, record: None) -> EncodedSample:
        rng = np.random.default_rng([SEED, index])
        face = np.zeros((SIDE, SIDE), np.float16)
        face[4:12, 4:12] = 1
        images: dict[str, Any] = {
            "input": rng.random((SIDE, SIDE, 3)).astype(np.float16),
            "uv": (rng.uniform(0.1, 0.9, (SIDE, SIDE, 2)) * face[..., None]).astype(np.float16),
            "mask": np.stack([face, face], axis=2),
        }
        yaw, pitch, roll = (float(v) for v in rng.normal(0, np.radians([90, 40, 45]) / 3.2905))
        knobs = {"pose.yaw_rad": yaw, "pose.pitch_rad": pitch, "pose.roll_rad": roll}
        record = {
            "key": sample_key(TAG, index),
            "index": index,
            "heads": [{}],
            "props": [],
            "camera": {"focal_mm": 50.0},
            "light": {"on": True},
            "environment": {"strength": 1.0},
            "knobs": {**knobs, "mouth_open": wants_open(self.spec, streams(self.spec.sequence, SEED, index))},
            "measured": {"face_share": 0.25},
        }
        change(images, record)
        return encode_sample(index, sample_key(TAG, index), images, record)

    def start(self, path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        (path / DATASET_FILE).write_text(json.dumps(self.info))
        return path

    def shard(
        self, path: Path, start: int, stop: int, samples: Iterable[EncodedSample] | None = None, **more: Any
    ) -> Manifest:
        chosen = [self.sample(i) for i in range(start, stop)] if samples is None else samples
        return write_shard(path, start, stop, TAG, chosen, **more)


@pytest.fixture(scope="session")
def made_up() -> MadeUp:
    return MadeUp()


@pytest.fixture(scope="session")
def model(head_pack: Path) -> HeadModel:
    return load_head(head_pack)


@pytest.fixture(scope="session")
def catalog(head_pack: Path) -> Catalog:
    return build_catalog(head_pack, Spec())

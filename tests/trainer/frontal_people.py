"""Stand-ins for frontal faces: people as discs of a colour, and an encoder that sees colours."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from renderer.format.sample_format import sample_key
from renderer.format.staging import EncodedSample, encode_sample
from trainer.networks.face_encoder import FaceEncoder
from trainer.systems.frontal.config import FrontalConfig
from trainer.systems.registry import parse_config

SMALL = {"output_px": 40, "encoder_features": 12, "landmark_features": 16, "discriminator_features": 4}


class Colours(FaceEncoder):
    """An encoder of 12 features: mean colours of four parts of the picture."""

    name, input_px, feature_count, embedding_count = "colours", 16, 12, 12

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(self.scaled(images), 2).flatten(1)


def person(index: int, *, tag: str, size: int = 48) -> EncodedSample:
    """A disc of a person's colour with 68 landmarks, on noise; the companion shows it in the middle, on gray."""
    rng = np.random.default_rng([3, index // 2])  # two pictures of each person
    colour = rng.uniform(0.1, 0.9, 3)
    rng = np.random.default_rng([4, index])
    middle, radius = rng.uniform(0.45, 0.55, 2) * size, rng.uniform(0.2, 0.3) * size
    y, x = np.mgrid[0:size, 0:size] + 0.5
    inside = np.hypot(x - middle[0], y - middle[1]) < radius
    picture = np.where(inside[..., None], colour, rng.uniform(0, 1, (size, size, 3)))
    facing = np.hypot(x / size - 0.5, y / size - 0.616) < 0.25
    neutral = np.where(facing[..., None], colour, 0.5)
    turns = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], 1)
    images = {
        "input": picture.astype(np.float16),
        "uv": np.zeros((size, size, 2), np.float16),
        "mask": np.repeat(inside[..., None], 2, 2).astype(np.float16),
        "neutral": neutral.astype(np.float16),
    }
    record = {
        "index": index, "seed": 0, "tag": tag, "key": sample_key(tag, index), "spec": "people",
        "knobs": {"pose.yaw_rad": float(rng.uniform(-1, 1))}, "measured": {"face_share": 0.2, "visible_share": 0.9},
        "landmarks_px": [(middle + radius * circle).tolist()],
        "landmarks_depth_m": [(0.7 + 0.02 * np.sin(turns)).tolist()],
        "landmarks_m": [np.c_[0.1 * circle, 0.02 * np.sin(turns)].tolist()],
        "camera_matrix": [[100.0, 0, 24], [0, 100.0, 24], [0, 0, 1]], "heads": [{}],
    }  # fmt: skip
    return encode_sample(index, record["key"], images, record)


def write_people(synthetic: SimpleNamespace, folder: Path, count: int = 48) -> Path:
    """Pictures of count / 2 people, two of each in a row."""
    path = synthetic.write_dataset(folder, count, 24, encode=partial(person, tag="abc123"))
    info = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(info | {"spec": {"groups": {"of": 2}}}))
    return path


def in_place_of_published_weights(patch: pytest.MonkeyPatch) -> None:
    """The encoder that sees colours, under any name; published weights are tested with the encoders."""
    patch.setattr("trainer.systems.frontal.system.load_encoder", lambda source, values: Colours())


def tiny_config(people: Path, folder: Path) -> FrontalConfig:
    """A training of four steps."""
    raw = {
        "system": "frontal",
        "data": {"path": str(people), "batch_size": 8, "workers": 0, "cache": "memory", "test_share": 0.3},
        "network": SMALL,
        "landmarks": {"samples": 32},
        "schedule": {"max_samples": 32, "lr": [2e-3, 1e-3]},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"runs": str(folder / "runs"), "log_steps": 4, "images": False, "tensorboard": False},
    }
    config = parse_config(raw, "test")
    assert isinstance(config, FrontalConfig)
    return config

"""A tiny synthetic data set in the real format: ellipsoid faces whose colour is a function of their UV."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import OpenEXR
import pytest
import torch

from renderer.format.dataset import write_index
from renderer.format.sample_format import FORMAT_VERSION, UV_FRAME, sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample
from trainer.augmentation.samples import Samples
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming
from trainer.evaluation.results import Work
from trainer.systems.registry import parse_config
from trainer.systems.uvnet.config import UVNetConfig
from trainer.systems.uvnet.system import IMAGES, UVNetSystem

TAG = "abc123"
LANDMARK_UV = np.random.default_rng(0).uniform(0.15, 0.85, (68, 2))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny networks gain nothing from threads, and lose much where other jobs share the machine."""
    torch.set_num_threads(1)


def face(
    index: int, size: int = 32, empty: bool = False, clip_frames: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """One sample: an ellipse with affine UV, the texture coding the UV, on a noisy background; it slides in a clip."""
    clip, frame = divmod(index, clip_frames) if clip_frames else (index, 0)
    rng = np.random.default_rng([7, clip])
    y, x = np.mgrid[0:size, 0:size] + 0.5
    yaw = rng.uniform(-1.2, 1.2)
    centre, radii = rng.uniform(0.4, 0.6, 2) * size, np.array([0.3 * np.cos(yaw / 2), 0.38]) * size
    centre = centre + frame * np.array([0.5, 0.25])
    u = (x - centre[0]) / (2 * radii[0]) + 0.5
    v = 0.5 - (y - centre[1]) / (2 * radii[1])
    distance = np.hypot((u - 0.5) * 2, (v - 0.5) * 2)
    cover = np.clip((1 - distance) * min(radii) + 0.5, 0, 1) * (not empty)
    inside = cover >= 0.5
    texture = np.stack([u, v, 0.5 + 0.3 * np.sin(8 * u) * np.sin(8 * v)], -1).clip(0, 1)
    light = rng.uniform(0.7, 1.3)
    background = rng.uniform(0, 0.5, 3) + 0.1 * rng.standard_normal((size, size, 3))
    blend = cover[..., None]
    hidden = (x > size * 0.7) & (index % 3 == 0)
    images = {
        "input": (blend * texture * light + (1 - blend) * background).clip(0, None).astype(np.float16),
        "uv": (np.stack([u, v], -1) * inside[..., None]).clip(0, 1).astype(np.float16),
        "mask": np.stack([cover, cover * ~hidden], -1).astype(np.float16),
    }
    points = (LANDMARK_UV - 0.5) * [2, -2] * radii + centre
    share = float(images["mask"][..., 0].mean())
    params = {
        "index": index,
        "seed": 7,
        "tag": TAG,
        "key": sample_key(TAG, index),
        "spec": "synthetic",
        "knobs": {"pose.yaw_rad": float(yaw), "camera.focal_mm": float(rng.uniform(24, 135)), "skin": "ab"[index % 2]},
        "measured": {
            "face_share": share,
            "visible_share": float(images["mask"][..., 1].mean()) / share if share else 1.0,
        },
        "landmarks_px": [] if empty else [points.tolist()],
        "heads": [] if empty else [{}],
    }
    return images, params


def encoded(index: int, size: int = 32, empty: bool = False, clip_frames: int = 0) -> EncodedSample:
    images, params = face(index, size, empty, clip_frames)
    return encode_sample(index, sample_key(TAG, index), images, params)


def write_dataset(
    path: Path,
    count: int,
    per_shard: int = 20,
    size: int = 32,
    empty_every: int = 0,
    clip_frames: int = 0,
    tag: str = TAG,
    encode: Callable[[int], EncodedSample] | None = None,
) -> Path:
    """A whole data set folder. encode: makes the samples, with keys of `tag`, in place of `encoded`."""
    path.mkdir(parents=True, exist_ok=True)
    info = {
        "format_version": FORMAT_VERSION,
        "name": "synthetic",
        "tag": tag,
        "seed": 7,
        "spec": {"sequence": {"frames": clip_frames}} if clip_frames else {},
        "uv_frame": UV_FRAME,
        "labels": [],
        "uv_precision": "half",
        "resolution": size,
        "landmark_uv": LANDMARK_UV.tolist(),
    }
    (path / "dataset.json").write_text(json.dumps(info))
    for start in range(0, count, per_shard):
        stop = min(start + per_shard, count)
        make = encode or (lambda i: encoded(i, size, bool(empty_every) and i % empty_every == 0, clip_frames))
        write_shard(path, start, stop, tag, [make(i) for i in range(start, stop)])
    write_index(path)
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 samples of 32 x 32 in four shards, some without a face. Read only."""
    return write_dataset(tmp_path_factory.mktemp("data") / "small", 70, empty_every=10)


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small HDR environments with structure at several scales."""
    folder = tmp_path_factory.mktemp("environments")
    for i in range(2):
        rng = np.random.default_rng(i)
        image = sum(np.kron(rng.uniform(0, 1, (s, 2 * s, 3)), np.ones((64 // s, 64 // s, 1))) for s in (4, 16, 64))
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        planes = {c: np.ascontiguousarray(image[..., j].astype(np.float16)) for j, c in enumerate("RGB")}
        OpenEXR.File(header, planes).write(str(folder / f"env{i}.exr"))
    return folder


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """A data set of one's own, to be damaged at will."""
    return lambda count=20, **options: write_dataset(tmp_path / "data", count, **options)


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """The functions that make synthetic samples and data sets."""
    return SimpleNamespace(
        face=face, encoded=encoded, write_dataset=write_dataset, landmark_uv=LANDMARK_UV, work_with=work_with
    )


@pytest.fixture
def config(small: Path, environments: Path, tmp_path: Path) -> UVNetConfig:
    """A run of 21 steps, three epochs, of a tiny network with every default augmentation on."""
    raw = {
        "name": "tiny",
        "data": {"path": str(small), "batch_size": 8, "workers": 1, "window": 30},
        "network": {"levels": 2, "initial_features": 6, "filter_sizes": [3, 3, 1]},
        "schedule": {"max_samples": 168, "lr": [2e-3, 2e-4]},
        "augment": {"environments": str(environments), "environment_height_px": 64},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"runs": str(tmp_path / "runs"), "log_steps": 5, "images": False, "tensorboard": False},
    }
    return parse_config(raw, "test")


def work_with(path: Path, network_of: Callable[[Samples], torch.nn.Module], positions: Sequence[int]) -> Work:
    """A network on a data set, to be measured. network_of: makes it, from the samples at `positions`."""
    system, device = UVNetSystem(), torch.device("cpu")
    reader = SampleReader(path, IMAGES)
    task = system.build(UVNetConfig(), reader, device, training=False)
    minibatch = next(Streaming(reader, 0, BadSamples(0), device).batches([np.asarray(positions)], epoch=0))
    network = network_of(task.test_samples(minibatch, occluded=False))
    return Work(system, task, {"network": network}, reader, device)


FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "window-size=1400,1000",
)


@pytest.fixture(scope="session")
def chromium() -> Callable[..., AbstractContextManager[Any]]:
    """Starts headless Chromium with these flags besides its usual ones; it keeps its console and network logs."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    try:
        from selenium import webdriver
    except ImportError:
        missing.append("selenium")
    if missing:
        text = f"pages are not tested in a browser: {', '.join(missing)} missing"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)

    @contextmanager
    def started(*flags: str) -> Iterator[Any]:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            for flag in (*FLAGS, *flags):
                options.add_argument(f"--{flag}")
            options.add_argument(f"--user-data-dir={profile}")
            options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
            service = webdriver.ChromeService(str(shutil.which("chromedriver")))
            browser = webdriver.Chrome(options=options, service=service)
            try:
                yield browser
            finally:
                browser.quit()

    return started

"""On a CUDA device: the same samples from its memory; bf16 with channels-last, compiled or not, learns."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from trainer.augmentation.draws import Draws
from trainer.bench.timing import gpu_busy_share
from trainer.data.loader import Loader
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, open_source
from trainer.systems import runs
from trainer.systems.registry import parse_config
from trainer.training.run_dir import RunDir

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch sees none"),
]


def test_samples_from_gpu_memory_equal_those_from_the_tars(small: Path):
    reader = SampleReader(small, ("input", "uv", "mask"))
    training, _ = reader.split(0.1)
    device = torch.device("cuda")
    loaders = [
        Loader(open_source(reader, training, cache, 2, BadSamples(0), device), training, 8, seed=0, window=20)
        for cache in ("none", "memory", "device")
    ]
    count = 0
    for a, b, c in zip(*loaders, strict=True):
        assert a.keys == b.keys == c.keys and a.images["input"].device.type == "cuda"
        assert all(torch.equal(a.images[n], b.images[n]) and torch.equal(a.images[n], c.images[n]) for n in a.images)
        count += 1
    assert count == 7


def test_draws_are_the_same_on_the_gpu():
    positions = torch.arange(100)
    cpu, gpu = (Draws.for_samples(1, 2, positions, torch.device(d)) for d in ("cpu", "cuda"))
    assert torch.equal(cpu.uniform("a", 50), gpu.uniform("a", 50).cpu())
    assert torch.allclose(cpu.normal("a", 50), gpu.normal("a", 50).cpu(), atol=1e-5)


def test_the_busy_share_sees_work_and_idleness():
    device = torch.device("cuda")
    matrix = torch.rand(4096, 4096, device=device)

    def lazy() -> None:
        _ = matrix @ matrix
        torch.cuda.synchronize()
        time.sleep(0.1)

    busy, idle = gpu_busy_share(lambda: matrix @ matrix, device), gpu_busy_share(lazy, device, calls=5)
    assert 0 < idle < 0.5 < busy <= 1.01


@pytest.mark.parametrize("compile_network", [False, True])
def test_a_run_in_bf16_learns_on_the_gpu(small: Path, environments: Path, tmp_path: Path, compile_network: bool):
    raw = {
        "data": {"path": str(small), "batch_size": 8, "cache": "device"},
        "network": {"levels": 3, "initial_features": 24, "filter_sizes": [3, 3, 3, 1]},
        "schedule": {"max_samples": 1600, "lr": [1e-3, 1e-4], "ema": 0.9},
        "augment": {"environments": str(environments), "environment_height_px": 64},
        "device": {
            "accelerator": "cuda",
            "precision": "bf16-mixed",
            "channels_last": True,
            "compile": compile_network,
        },
        "output": {"runs": str(tmp_path), "tensorboard": False, "images": False, "log_steps": 10},
    }
    outcome = runs.train(parse_config(raw, "test"))
    tests = [line for line in RunDir(outcome.run).lines() if line["kind"] == "test"]
    assert tests[-1]["loss"] < 0.6 * tests[0]["loss"]
    assert json.loads(RunDir(outcome.run).status.read_text())["state"] == "finished"

"""The figures of the benchmarks are those that their names say. No test asserts a timing."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from trainer.bench import network, timing
from trainer.systems.registry import parse_config
from trainer.training import loop


def test_overlapping_kernels_count_once():
    assert timing.covered([(5, 7), (0, 2), (1, 3), (1, 1.5), (7, 8)]) == pytest.approx(6)
    assert timing.covered([]) == 0


def test_a_call_is_timed_in_a_row_of_calls():
    calls = []
    seconds = timing.seconds_per_call(lambda: calls.append(1), torch.device("cpu"), least_s=0.001)
    assert len(calls) >= 4 and seconds > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is left out without CUDA")
def test_the_network_alone_and_whole_training_steps_are_timed(small, environments: Path, monkeypatch, capsys):
    raw = {
        "data": {"path": str(small), "batch_size": 24, "workers": 1},
        "network": {"levels": 2, "initial_features": 4, "filter_sizes": [3, 3, 1]},
        "augment": {"environments": str(environments), "environment_height_px": 64},
        "device": {"precision": "16-mixed"},
    }
    steps = []
    train_step = loop.train_step

    def counted(task, models, updates, minibatch, now):
        steps.append(minibatch.epoch)
        return train_step(task, models, updates, minibatch, now)

    monkeypatch.setattr(loop, "train_step", counted)
    monkeypatch.setattr(network, "seconds_per_call", functools.partial(timing.seconds_per_call, least_s=0.05))
    with pytest.warns(UserWarning, match="bf16"):
        lines = [json.loads(line) for line in network.network_lines(parse_config(raw, "test"), 16)]
    found = {line["name"]: line for line in lines}
    assert found.keys() == {
        "matrix_product_ceiling",
        *(f"{name}{what}" for name in ("network_step", "train_step") for what in ("", "_flops", "_share_of_ceiling")),
    }
    assert (found["network_step"]["size_px"], found["train_step"]["size_px"]) == (16, 32)
    assert {line["precision"] for line in lines} == {"bf16-mixed"}  # what was computed in, not what was asked for
    assert all(line["value"] >= 0 for line in lines) and found["train_step"]["value"] > 0
    assert steps[:4] == [0, 0, 1, 1]  # epoch after epoch
    assert "GPU busy shares are left out" in capsys.readouterr().err

"""What the engine carries for any system, shown on two networks that step in turn on vectors (`adversarial_pair`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from renderer.errors import DatasetError, FormatError, SpecError
from renderer.strict import override, read, to_yaml
from trainer.data.loader import Loader
from trainer.data.sources import BadSamples, open_source
from trainer.systems import registry, runs
from trainer.training import checks, session
from trainer.training.checkpoint import checkpoints, load_checkpoint, read_weights
from trainer.training.run_dir import RunDir

sys.path.insert(0, str(Path(__file__).parent))  # so that processes started by a training find it, too
import adversarial_pair as pair

SYSTEM = pair.PairSystem()


@pytest.fixture
def config(small: Path, tmp_path: Path) -> pair.PairConfig:
    """24 steps in four epochs; the generator takes 6 of them."""
    raw = {
        "name": "pair",
        "system": "pair",
        "data": {"path": str(small), "batch_size": 8, "workers": 1, "window": 30, "limit": 48},
        "schedule": {"max_samples": 192, "lr": [0.02, 0.002], "decay": "cosine", "ema": 0.5},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"runs": str(tmp_path / "runs"), "log_steps": 8, "images": False, "tensorboard": False},
    }
    return read(pair.PairConfig, raw, "test")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair among the systems that are known by name."""
    monkeypatch.setitem(registry.NAMES, "pair", "Pair")
    for module in ("config", "system"):
        monkeypatch.setitem(sys.modules, f"trainer.systems.pair.{module}", pair)


def stored(run: Path, step: int, config: pair.PairConfig) -> dict:
    return load_checkpoint(run / "checkpoints" / f"step-{step:010d}.pt", config)


def by_hand(config: pair.PairConfig) -> dict[str, dict[str, torch.Tensor]]:
    """The same training in plain torch."""
    reader, modules, task = checks.open_reader(config, SYSTEM), SYSTEM.modules(config), pair.PairTask(config)
    training, _ = checks.splits(config, reader)
    source = open_source(reader, training, "memory", 0, BadSamples(0), torch.device("cpu"))
    loader = Loader(source, training, config.data.batch_size, seed=config.seed, window=config.data.window)
    generator, critic = modules["generator"], modules["critic"]
    slow = torch.optim.Adam(generator.parameters(), lr=1.0, betas=(0.9, 0.999), fused=True)
    fast = torch.optim.SGD(critic.parameters(), lr=0.05, momentum=0.5, fused=True)
    for step, batch in enumerate(batch for _ in range(4) for batch in loader):
        noise, knobs = task.noise(batch), batch.vectors["knobs"]
        real, false = critic(torch.cat([knobs, generator(noise).detach()]))[:, 0].chunk(2)
        fast.zero_grad()
        (F.softplus(-real) + F.softplus(false)).mean().backward()
        fast.step()
        if step % 4 == 3:
            slow.param_groups[0]["lr"] = 0.002 + 0.018 * 0.5 * (1 + np.cos(np.pi * step / 24))
            slow.zero_grad()
            F.softplus(-critic(generator(noise))[:, 0]).mean().backward()
            slow.step()
    return {name: module.state_dict() for name, module in modules.items()}


def test_the_engine_takes_the_steps_that_a_loop_by_hand_takes(config):
    run = session.train(config, SYSTEM).run
    state, expected = stored(run, 24, config), by_hand(config)
    assert all(torch.equal(state["modules"][m][n], t) for m, tensors in expected.items() for n, t in tensors.items())
    steps = {name: {int(s.get("step", 0)) for s in o["state"].values()} for name, o in state["optimisers"].items()}
    assert steps["generator"] == {6}  # of 24
    start = SYSTEM.modules(config)
    for name, tensors in expected.items():
        assert all(not torch.equal(start[name].state_dict()[n], t) for n, t in tensors.items())


def test_a_resumed_pair_ends_bit_equal(config):
    config = override(config, {"output.checkpoint_steps": 5, "output.keep_checkpoints": 99}, "test")
    run = session.train(config, SYSTEM).run
    before = stored(run, 24, config)
    assert session.resume(RunDir(run), config, SYSTEM, "10").state == "finished"
    after = stored(run, 24, config)
    for part in ("modules", "averages"):
        assert before[part].keys() == after[part].keys()
        for name, tensors in before[part].items():
            assert tensors and all(torch.equal(after[part][name][n], t) for n, t in tensors.items())
    assert set(before["averages"]) == {"generator"}
    momenta = [
        [s["momentum_buffer"] for s in state["optimisers"]["critic"]["state"].values()] for state in (before, after)
    ]
    assert len(momenta[0]) == 4 and all(torch.equal(a, b) for a, b in zip(*momenta, strict=True))


def test_two_processes_train_the_pair_as_one_does_and_resume_bit_equal(config):
    config = override(config, {"output.checkpoint_steps": 1, "output.keep_checkpoints": 99}, "test")
    parallel = override(config, {"device.devices": 2, "device.strategy": "ddp_spawn"}, "test")
    alone, together = session.train(config, SYSTEM).run, session.train(parallel, SYSTEM).run
    one, two = (stored(run, 24, config) for run in (alone, together))
    start = SYSTEM.modules(config)
    for name, tensors in one["modules"].items():
        apart = max(float((two["modules"][name][n] - t).abs().max()) for n, t in tensors.items())
        moved = max(float((start[name].state_dict()[n] - t).abs().max()) for n, t in tensors.items())
        assert apart < 1e-5 and moved > 100 * apart
    logged = [[x["terms"] for x in RunDir(run).lines() if x["kind"] == "train"] for run in (alone, together)]
    assert len(logged[0]) == 3
    for a, b in zip(*logged, strict=True):
        assert b == pytest.approx(a, rel=1e-4)
    # at step 12 the sums have a term of the generator, at 13 the second process has taken none since it resumed
    assert session.resume(RunDir(together), parallel, SYSTEM, "12").state == "finished"
    again = stored(together, 24, config)["modules"]
    assert all(torch.equal(again[m][n], t) for m, tensors in two["modules"].items() for n, t in tensors.items())
    assert [x["terms"] for x in RunDir(together).lines() if x["kind"] == "train"] == logged[1]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_the_pair_trains_in_half_precision_too(config, precision):
    changes = {"device.precision": precision, "schedule.grad_clip": 0.1, "critic.grad_clip": 1.0}
    run = session.train(override(config, changes, "test"), SYSTEM).run
    state = stored(run, 24, config)
    assert {t.dtype for t in state["averages"]["generator"].values()} == {torch.float32}
    assert all(torch.isfinite(t).all() for tensors in state["modules"].values() for t in tensors.values())


def test_a_run_says_what_its_page_must_show_and_what_its_weights_are_of(config):
    run = RunDir(session.train(override(config, {"output.images": True}, "test"), SYSTEM).run)
    meta = json.loads(run.meta.read_text())
    assert meta["system"]["name"] == "pair" and meta["system"]["columns"] == ["made"]
    assert [metric["title"] for metric in meta["system"]["metrics"]] == ["Distance of the means"]
    lines = run.lines()
    train = [x for x in lines if x["kind"] == "train"]
    assert train[0]["terms"].keys() == {"critic", "generator", "loss_critic"}
    assert train[0]["loss"] == pytest.approx(train[0]["terms"]["generator"])
    assert train[0]["terms"]["loss_critic"] == pytest.approx(train[0]["terms"]["critic"])
    assert train[-1]["rates"]["critic"] == 0.05 and 0.002 <= train[-1]["rates"]["generator"] < 0.02
    assert train[-1]["lr"] == train[-1]["rates"]["generator"]
    assert [x["metrics"].keys() for x in lines if x["kind"] == "test"] == [{"distance"}] * 4
    tensors, architecture, header = read_weights(run.weights)
    assert header["system"] == "pair" and architecture == {"network": {"width": 8}} and len(tensors) == 4
    with Image.open(run.evaluation / "epoch-0004.png") as sheet:
        assert sheet.size == (4, 4 * 7)


def test_what_belongs_to_another_system_is_refused(config, registered):
    run = runs.train(config).run
    assert registry.run_config(run) == config
    assert runs.resume(run).state == "finished"
    found = runs.load_trained(run)
    assert isinstance(found.system, pair.PairSystem) and found.module(torch.zeros(3, 2)).shape == (3, 2)
    with pytest.raises(FormatError, match="is of the system 'pair'; this works with 'uvnet' alone"):
        runs.load_trained(run, only="uvnet")
    with pytest.raises(FormatError, match="is of the system 'pair', not 'uvnet'"):
        load_checkpoint(checkpoints(run / "checkpoints")[-1], registry.parse_config({}, "test"))
    with pytest.raises(FormatError, match=r"another network architecture: network\.width 8 there, 9 here"):
        runs.check(override(config, {"start": str(run), "network.width": 9}, "test"))
    with pytest.raises(SpecError, match="the system 'pair' cannot be exported"):
        runs.export(run, run / "exported")


def test_a_sweep_varies_the_sections_of_any_system(config, registered, tmp_path):
    (tmp_path / "base.yaml").write_text(to_yaml(config))
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("base: base.yaml\nvary: {critic.lr: [[0.1, 0.0], [0.2, 0.0]]}\n")
    assert [c.critic.lr[0] for c in registry.load_sweep(sweep)] == [0.1, 0.2]


def test_photos_are_refused_by_a_system_that_takes_none(config, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(SpecError, match="pair takes no photos"):
        session.train(override(config, {"output.photos": str(tmp_path)}, "test"), SYSTEM)


def test_a_vector_of_another_size_counts_as_a_bad_sample(config, monkeypatch):
    monkeypatch.setattr(pair, "knobs_of", lambda record: np.zeros(2 + record["index"] % 2, np.float32))
    with pytest.raises(DatasetError, match=r"more than data\.max_bad = 10"):
        session.train(config, SYSTEM)


def test_an_unknown_system_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match=r"spec.yaml: system is 'uvnett'; known are uvnet"):
        registry.parse_config({"system": "uvnett"}, "spec.yaml")

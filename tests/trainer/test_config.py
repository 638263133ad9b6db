"""Training specs are read strictly and come back from their own YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from renderer.errors import SpecError
from renderer.parameters.jobspecs import JOBSPECS
from renderer.strict import override, to_plain, to_yaml
from trainer.ramp import Ramp
from trainer.systems.registry import load_config, load_sweep, parse_config
from trainer.systems.uvnet.config import TERMS, UVNetConfig


def test_a_config_survives_its_own_yaml():
    config = parse_config({"augment": {"noise": {"limit": [0.2, 0.05]}}, "network": {"filter_sizes": [3] * 7}}, "x")
    assert config.augment.noise.limit == Ramp(0.2, 0.05)
    assert parse_config(yaml.safe_load(to_yaml(config)), "again") == config


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"networks": {}}, "did you mean 'network'"),
        ({"data": {"bach_size": 3}}, "did you mean 'batch_size'"),
        ({"data": {"batch_size": "40"}}, "data.batch_size is '40'; it must be a number"),
        ({"data": {"batch_size": True}}, "data.batch_size is True; it must be a number"),
        ({"data": {"test_share": 2}}, "data.test_share is 2; it must lie within 0 and 0.9"),
        ({"data": {"cache": "gpu"}}, "must be one of none, memory, device"),
        ({"schedule": {"lr": [1e-4]}}, "list of 2 values"),
        ({"schedule": {"ema": "1e-4"}}, "write 1.0e-4"),
        ({"schedule": {"ema": float("nan")}}, "must lie within"),
        ({"network": {"levels": 5}}, "need 6"),
        ({"network": {"filter_sizes": [4, 5, 5, 5, 5, 3, 1]}}, "must be odd"),
        ({"network": {"patch_size": 4, "fine_patch": 3}}, "must divide"),
        ({"augment": {"occlusion": {"cover": [0.6, 0.1]}}}, "low end first"),
        ({"augment": {"noise": {"limit": [0.1, 0.2, 0.3]}}}, r"number or \[start, end\]"),
        ({"device": {"devices": 3}}, "does not divide among 3"),
        ({"loss": dict.fromkeys(TERMS, 0)}, "no weight above 0"),
        ({"data": []}, "must be a mapping"),
        ({"name": "../escaped"}, "may hold letters"),
        ({"name": ""}, "may hold letters"),
        ({"schedule": {"beta1": [1.0, 0.99]}}, "schedule.beta1 is 1.0"),
        ({"schedule": {"beta2": 1.0}}, "schedule.beta2 is 1.0"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_source(raw, words):
    with pytest.raises(SpecError, match=words) as caught:
        parse_config(raw, "spec.yaml")
    assert "spec.yaml" in str(caught.value)


def test_every_training_spec_in_jobspecs_loads():
    names = sorted(JOBSPECS.glob("train_*.yaml"))
    assert len(names) >= 4
    assert all(len(load_sweep(path)) == 1 for path in names)
    assert all(len(load_sweep(p)) > 1 for p in JOBSPECS.glob("sweep_*.yaml"))


def test_a_ramp_is_linear_and_stops_at_its_ends():
    ramp = Ramp(0.1, 0.0)
    assert [ramp.at(p) for p in (-1, 0, 0.5, 1, 2)] == pytest.approx([0.1, 0.1, 0.05, 0, 0])


def test_a_sweep_makes_every_combination_under_its_own_name(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("name: b\n")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("base: base.yaml\nvary:\n  data.batch_size: [8, 16]\n  loss.uv: [1, 2, 3]\n")
    configs = load_sweep(sweep)
    assert [(c.name, c.data.batch_size, c.loss.uv.end) for c in configs] == [
        (f"b-{i:02d}", batch, uv) for i, (batch, uv) in enumerate((b, u) for b in (8, 16) for u in (1, 2, 3))
    ]
    with pytest.raises(SpecError, match="is a sweep"):
        load_config(sweep)
    sweep.write_text("base: base.yaml\nruns: [{name: other, seed: 3}]\n")
    assert [(c.name, c.seed) for c in load_sweep(sweep)] == [("other", 3)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"base: base.yaml\nvary: {{data.batch_size: {list(range(1, 22))}}}", "make 21 runs"),
        ("base: base.yaml\nvary: {data.batch_siz: [1]}", "did you mean 'batch_size'"),
        ("base: base.yaml\nvary: {seed: 3}", "vary.seed is 3; it must be a list"),
        ("base: base.yaml\nvarry: {}", "did you mean 'vary'"),
        ("base: none.yaml", "cannot read"),
    ],
)
def test_a_wrong_sweep_is_refused(tmp_path: Path, text: str, words: str):
    (tmp_path / "base.yaml").write_text("name: b\n")
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(SpecError, match=words):
        load_sweep(tmp_path / "sweep.yaml")


def test_override_replaces_one_field_and_checks_it():
    config = override(UVNetConfig(), {"data.batch_size": 8}, "here")
    assert config.data.batch_size == 8
    assert {k: v for k, v in to_plain(config).items() if k != "data"} == {
        k: v for k, v in to_plain(UVNetConfig()).items() if k != "data"
    }
    with pytest.raises(SpecError, match=r"unknown key 'data.batch': did you mean 'batch_size'"):
        override(UVNetConfig(), {"data.batch.size": 8}, "here")

"""Trainings become jobs: every run of a sweep with its config frozen as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from renderer.spec import JOBSPECS
from slurm import training
from slurm.training import submit_training

SWEEP = JOBSPECS / "sweep_occlusion.yaml"


def test_a_dry_run_shows_every_command_and_writes_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    submit_training(SWEEP, "gpu", data=Path("out/mixed"), runs=tmp_path / "runs", dry_run=True, log=lines.append)
    commands = [line for line in lines if "renderer.cli train" in line]
    assert len(commands) == 6 and len(set(commands)) == 6
    assert any(line.startswith("#SBATCH --array=0-5") for line in lines) and "#SBATCH --gres=gpu:1" in lines
    assert not (tmp_path / "runs").exists()


def test_configs_are_frozen_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(training, "submit_commands", lambda orders, *_, **__: sent.extend(orders))
    monkeypatch.chdir(tmp_path)
    submit_training(SWEEP, "gpu", data=Path("data"), runs=Path("runs"), values=("seed=5",))
    configs = [yaml.safe_load(Path(order.argv[4]).read_text()) for order in sent]
    assert len({c["name"] for c in configs}) == 6
    assert all(c["seed"] == 5 and c["data"]["path"] == str(tmp_path / "data") for c in configs)
    assert all(o.runs == str(tmp_path / "runs") and o.argv[-2:] == ("--runs", "{runs}") for o in sent)
    submit_training(SWEEP, "gpu", data=Path("data"), runs=Path("runs"), only=2)
    assert len(sent) == 7

"""A study becomes jobs: trainings wait for their data sets, and the page for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from renderer.errors import DatasetError, SpecError
from slurm.submit import study as submitting
from slurm.submit.study import submit_study
from trainer.study.plan import Layout
from trainer.study.spec import load_study

Profile = Callable[..., Path]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A study of two scenarios whose data sets are queued as jobs 900 and up; nothing is rendered here."""
    spec = {
        "name": "two",
        "training": "train_headparams_small",
        "scenarios": {"a": {"spec": "none"}, "b": {"spec": "all"}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**spec, "seeds": [0, 1], "shown": 0}))
    names = iter(range(900, 999))
    monkeypatch.setattr(submitting, "_submit_render", lambda *_: (str(next(names)),))
    return Layout(load_study(tmp_path / "study.yaml"), tmp_path / "out")


def test_trainings_wait_for_their_data_set_and_the_page_for_all(site: Any, layout: Layout, profile: Profile) -> None:
    jobs = submit_study(layout, profile(partition="cpu"), allow_dirty=True)
    assert jobs[:4] == ["900", "901", "902", "903"] and len(jobs) == 9  # a, b to train on; a, b to test on
    waits = [re.findall(r"--dependency=afterany:(\S+)", site.script(job)) for job in jobs[4:]]
    assert waits == [["900"], ["901"], ["900"], ["901"], [":".join(jobs[:8])]]
    orders = [json.loads(p.read_text())["commands"] for p in layout.out.glob(".slurm/submissions/*/submission.json")]
    words = sorted(argv[-1] for (argv,) in orders)
    assert words == sorted([str(layout.out), "train:a:0", "train:a:1", "train:b:0", "train:b:1"])
    assert all(argv[1:5] == ["-m", "renderer.cli", "study", str(layout.study.path)] for (argv,) in orders)
    assert (layout.out / "specs" / "a.yaml").is_file()
    with pytest.raises(DatasetError, match="jobs of this study are in the queue"):
        submit_study(layout, profile(partition="cpu"), allow_dirty=True)


def test_a_dry_run_shows_every_command_and_writes_nothing(layout: Layout, profile: Profile) -> None:
    lines: list[str] = []
    assert submit_study(layout, profile(), dry_run=True, log=lines.append)[:4] == ["900", "901", "902", "903"]
    commands = [line for line in lines if "renderer.cli study" in line]
    assert len(commands) == 5 and not layout.out.exists()


def test_trainings_of_several_processes_are_refused(layout: Layout, profile: Profile, tmp_path: Path) -> None:
    spec = yaml.safe_load((tmp_path / "study.yaml").read_text())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**spec, "train": {"device.devices": 2}}))
    with pytest.raises(SpecError, match=r"jobs of one process; set device\.devices"):
        submit_study(Layout(load_study(tmp_path / "study.yaml"), layout.out), profile())

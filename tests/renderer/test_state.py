"""A data set knows how many samples it is meant to have, and whether they were proven. No scheduler."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from renderer.cli import main
from renderer.errors import FormatError, MachineError
from renderer.format import state
from renderer.format.folder import finished_stems
from renderer.report import proof
from renderer.report.checks import Examiner
from slurm import scheduler


def verified(made_up: Any, path: Path) -> None:
    for stem in finished_stems(path):
        proof.prove(path, stem, Examiner(made_up.info))
    assert proof.conclude(path).verified


def test_the_count_is_only_ever_raised(tmp_path: Path) -> None:
    for asked, kept in ((8, 8), (4, 8), (12, 12)):
        state.raise_count(tmp_path, asked)
        assert state.asked_count(tmp_path) == kept


def test_an_interrupted_render_is_not_complete_though_it_ends_with_a_whole_shard(made_up: Any, tmp_path: Path) -> None:
    made_up.shard(made_up.start(tmp_path), 0, 4)
    assert state.read_state(tmp_path).complete  # nobody said otherwise: a data set from before counts were kept
    state.raise_count(tmp_path, 10)
    now = state.read_state(tmp_path)
    assert (now.count, now.samples, now.complete) == (10, 4, False)


def test_a_verdict_ends_with_a_top_up_and_with_a_shard_that_is_replaced(made_up: Any, tmp_path: Path) -> None:
    made_up.shard(made_up.start(tmp_path), 0, 4)
    state.raise_count(tmp_path, 4)
    verified(made_up, tmp_path)
    assert state.read_state(tmp_path).verified
    state.raise_count(tmp_path, 6)
    now = state.read_state(tmp_path)
    assert not now.verified and not now.complete and now.checked_at is not None
    made_up.shard(tmp_path, 4, 6)
    assert state.read_state(tmp_path).complete and not state.read_state(tmp_path).verified
    verified(made_up, tmp_path)
    assert state.read_state(tmp_path).verified
    tar, manifest = (tmp_path / "shards" / f"0000000004-0000000006.{end}" for end in ("tar", "json"))
    tar.unlink(), manifest.unlink()
    made_up.shard(tmp_path, 4, 6)
    os.utime(tmp_path / "shards", ns=(0, (tmp_path / "shards").stat().st_mtime_ns + 1))  # clocks of discs are coarse
    assert not state.read_state(tmp_path).verified


@pytest.mark.parametrize("content", ["", "[]", '{"count": "many"}', "{}"])
def test_a_damaged_state_says_what_to_do(content: str, tmp_path: Path) -> None:
    (tmp_path / state.STATE_FILE).write_text(content)
    with pytest.raises(FormatError, match=r"state.json is damaged .* delete it"):
        state.read_state(tmp_path)


def test_gen_status_tells_the_truth_about_a_local_render(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(name: str) -> Any:
        raise MachineError("no scheduler")

    def status() -> tuple[int, str]:
        result = CliRunner().invoke(main, ["status", str(tmp_path)])
        return result.exit_code, result.output

    monkeypatch.setattr(scheduler, "queue", nobody)
    made_up.shard(made_up.start(tmp_path), 0, 4)
    state.raise_count(tmp_path, 8)
    code, text = status()
    assert code == 3 and "4 of 8 samples (50.0%)" in text and "1 done, 0 running, 1 missing" in text
    assert "not complete: the same `gen render` again" in text
    made_up.shard(tmp_path, 4, 8)
    assert "complete; not verified yet" in status()[1]
    verified(made_up, tmp_path)
    code, text = status()
    assert code == 0 and "verified and indexed" in text

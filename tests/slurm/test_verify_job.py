"""The jobs that verify: shares that are stopped, go on and are concluded."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from renderer.errors import DatasetError
from renderer.format import state
from renderer.format.folder import INDEX_FILE
from renderer.format.shard import write_shard
from renderer.format.staging import encode_sample
from renderer.report.proof import Verdict
from slurm.node import verify_job
from slurm.node.render_job import AGAIN
from slurm.node.verify_job import VerifyOrder, finish, verify_task
from slurm.records import JobFolder, read_beats
from slurm.status import describe, read_status

STEMS = [f"{a:010d}-{a + 2:010d}" for a in range(0, 12, 2)]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six shards of two samples without images."""
    path = tmp_path / "data"
    JobFolder(path).create()
    (path / "dataset.json").write_text(json.dumps({"format_version": 1, "tag": "abcdef", "name": "x"}))
    for start in range(0, 12, 2):
        pair = [encode_sample(i, f"abcdef{i:010d}", {}, {"index": i}) for i in (start, start + 1)]
        write_shard(path, start, start + 2, "abcdef", pair)
    state.raise_count(path, 12)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return path


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shards whose examination was asked for; it finds nothing wrong. Whatever is in the list is proven."""
    done: list[str] = []

    def examine(
        path: Path, stems: Sequence[str], cores: int, stop: Callable[[], bool], progress: Callable[[int], None]
    ) -> list[str]:
        left = list(stems)
        while left and not stop():
            done.append(left.pop(0))
            progress(2)
            if interrupt.pop("after", None) == 0:
                os.kill(os.getpid(), signal.SIGUSR2)
        return left

    monkeypatch.setattr(verify_job, "verify_shards", examine)
    monkeypatch.setattr(verify_job, "unproven", lambda path: [s for s in STEMS if s not in done])
    return done


interrupt: dict[str, int] = {}


def test_shares_cover_every_shard_once(out: Path, proven: list[str]) -> None:
    order = VerifyOrder(str(out), 1, 4, 3)
    sizes = [verify_task(order, part)["examined"] for part in range(4)]
    assert sizes == [2, 2, 1, 1] and sorted(proven) == STEMS


def test_near_its_time_limit_a_job_keeps_what_is_proven_and_goes_on(out: Path, proven: list[str]) -> None:
    order = VerifyOrder(str(out), 1, 2, 3)
    interrupt["after"] = 0
    with pytest.raises(SystemExit) as left:
        verify_task(order, 0)
    assert left.value.code == AGAIN and proven == STEMS[:1]
    assert [b.state for b in read_beats(JobFolder(out))] == ["requeued"]
    assert verify_task(order, 0) == {"examined": 2, "left": 0} and proven == STEMS[::2]


@pytest.mark.parametrize("job", ["verify", "finish"])
def test_requeues_are_bounded(out: Path, proven: list[str], monkeypatch: pytest.MonkeyPatch, job: str) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    interrupt["after"] = 0
    order = VerifyOrder(str(out), 1, 1, 3)
    monkeypatch.setattr(verify_job, "conclude", lambda path: Verdict(12, 12, problems=["5 shards are open"], found=1))
    if job == "verify":
        assert verify_task(order, 0) == {"examined": 1, "left": 5}
    else:
        with pytest.raises(DatasetError, match="1 problems, the first: 5 shards are open"):
            finish(order)
    assert [b.state for b in read_beats(JobFolder(out))] == ["stopped"]


def test_a_job_at_work_is_shown_as_verifying_and_is_no_render(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def examine(path: Path, stems: Sequence[str], *_: Any) -> list[str]:
        seen.append(read_status(out, ask_scheduler=False))
        return []

    monkeypatch.setattr(verify_job, "verify_shards", examine)
    verify_task(VerifyOrder(str(out), 1, 1, 3), 0)
    assert seen[0].done and not seen[0].verified and seen[0].rate == 0 and seen[0].running == 0
    assert "verifying" in describe(seen[0])


def test_the_last_job_writes_index_and_card_where_all_is_well(
    out: Path, proven: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards: list[Path] = []
    monkeypatch.setattr(verify_job, "write_card", cards.append)
    monkeypatch.setattr(verify_job, "conclude", lambda path: Verdict(12, 12))
    verify_task(VerifyOrder(str(out), 1, 2, 3), 0)
    assert finish(VerifyOrder(str(out), 1, 2, 3))["verified"] and sorted(proven) == STEMS, "it does what was left"
    assert cards == [out] and (out / INDEX_FILE).exists() and not (JobFolder(out).root / "saved").exists()


def test_missing_samples_are_an_error_unless_they_are_to_be_submitted_later(
    out: Path, proven: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_job, "conclude", lambda path: Verdict(16, 12, missing=4, problems=["gaps"], found=1))
    with pytest.raises(DatasetError, match="4 of 16 samples are missing; run the same"):
        finish(VerifyOrder(str(out), 1, 1, 3))
    assert finish(VerifyOrder(str(out), 1, 1, 3, later=4))["missing"] == 4


def test_damage_is_found_by_the_real_examination_and_stands_in_the_state(head_pack: Path, tmp_path: Path) -> None:
    from renderer.format.sample_format import sample_key
    from renderer.parameters.spec import parse_spec
    from renderer.run.claim import claim
    from renderer.run.context import prepare

    context = prepare(parse_spec({"name": "tiny"}, "the tests"), 5, lambda text: None, renders=False)
    path = tmp_path / "data"
    claim(path, context)
    JobFolder(path).create()
    blank = [encode_sample(i, sample_key(context.tag, i), {}, {"index": i}) for i in (0, 1)]
    write_shard(path, 0, 2, context.tag, blank)
    state.raise_count(path, 2)
    with pytest.raises(DatasetError, match="problems, the first"):
        finish(VerifyOrder(str(path), 1, 1, 3))
    seen = read_status(path, ask_scheduler=False)
    assert seen.done and not seen.verified and seen.concluded and state.read_state(path).problems

"""What a job does on its node, without a cluster and without rendering."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renderer.errors import MachineError
from renderer.format.staging import EncodedSample, encode_sample, stage_sample
from renderer.parameters.spec import Spec
from renderer.run.context import prepare
from renderer.run.local import Report
from slurm.node import render_job
from slurm.node.command_job import CommandOrder, run_command
from slurm.node.render_job import AGAIN, RenderOrder, Signals, expand, render_task
from slurm.records import Beat, JobFolder, read_failures

RANGES = [(0, 4), (4, 8)]


@pytest.fixture
def order(tmp_path: Path) -> RenderOrder:
    out = tmp_path / "data"
    JobFolder(out).create()
    for name in ("scratch", "pack"):
        (tmp_path / name).mkdir()
    (out / "dataset.json").write_text(json.dumps({"format_version": 1, "tag": "abcdef", "name": "x"}))
    return RenderOrder(
        out=str(out), spec=Spec(), seed=1, tag="abcdef", pack=str(tmp_path / "pack"),
        count=8, sample_bytes=1000, cores=1, workers=1, threads=1,
        scratch=str(tmp_path / "scratch"), requeues=3, space_wait_s=0.0,
    )  # fmt: skip


class FakeContext:
    tag = "abcdef"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces rendering: `does` is called with the staging folder in place of run.render_shards."""
    state: dict[str, Any] = {"does": lambda staging: None}

    def render(context: Any, ranges: Any, out: Path, staging: Path, options: Any, **more: Any) -> Report:
        state["does"](staging)
        return Report()

    monkeypatch.setattr(render_job, "_context", lambda order, out: FakeContext())
    monkeypatch.setattr(render_job, "render_shards", render)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    return state


def sample(index: int) -> EncodedSample:
    return encode_sample(index, f"abcdef{index:010d}", {}, {"index": index})


def test_samples_of_an_unfinished_shard_go_to_shared_disk_and_come_back(
    order: RenderOrder, stage: dict[str, Any], tmp_path: Path
) -> None:
    stage["does"] = lambda staging: [stage_sample(staging, sample(i)) for i in (0, 1, 5)]
    assert render_task(order, RANGES)["state"] == "stopped"
    assert not list((tmp_path / "scratch").iterdir())
    seen: list[str] = []
    stage["does"] = lambda staging: seen.extend(sorted(p.name for p in staging.iterdir()))
    render_task(order, RANGES)
    assert seen == ["0000000000.tar", "0000000001.tar", "0000000005.tar"]


def test_a_damaged_rescue_is_dropped(order: RenderOrder, stage: dict[str, Any]) -> None:
    folder = JobFolder(Path(order.out))
    folder.saved((0, 4)).write_bytes(b"not a tar")
    render_task(order, RANGES)
    assert not folder.saved((0, 4)).exists()


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR2, True), (signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_near_the_time_limit_a_job_asks_to_go_on_when_cancelled_it_does_not(
    order: RenderOrder, stage: dict[str, Any], number: signal.Signals, again: bool
) -> None:
    stage["does"] = lambda staging: os.kill(os.getpid(), number)
    if again:
        with pytest.raises(SystemExit) as left:
            render_task(order, RANGES)
        assert left.value.code == AGAIN
    else:
        assert render_task(order, RANGES)["state"] == "stopped"


def test_requeues_are_bounded(order: RenderOrder, stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    stage["does"] = lambda staging: os.kill(os.getpid(), signal.SIGUSR2)
    assert render_task(order, RANGES)["state"] == "stopped"


def test_a_failure_is_written_down_with_shard_node_and_log(order: RenderOrder, stage: dict[str, Any]) -> None:
    def fail(staging: Path) -> None:
        raise ZeroDivisionError("too round")

    stage["does"] = fail
    with pytest.raises(ZeroDivisionError):
        render_task(order, RANGES)
    (failure,) = read_failures(JobFolder(Path(order.out)))
    assert (failure.shard, failure.node, failure.job, failure.kind) == ((0, 4), "n7", "5_2", "shard")
    assert "too round" in failure.reason and "Traceback" in failure.tail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scratch": "$NO_SUCH_VARIABLE"}, "is no folder on n7"),
        ({"scratch": "/nonexistent"}, "is no folder on n7"),
        ({"sample_bytes": 10**15}, "MiB free, shards of 4 samples need"),
    ],
)
def test_scratch_is_checked_before_anything_is_rendered(
    order: RenderOrder, stage: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    stage["does"] = lambda staging: pytest.fail("rendered")
    with pytest.raises(MachineError, match=words):
        render_task(replace(order, **change), RANGES)
    assert read_failures(JobFolder(Path(order.out)))[0].kind == "node"


def test_a_node_that_does_not_see_the_output_says_so(order: RenderOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(order.out) / "dataset.json").unlink()
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    with pytest.raises(MachineError, match=r"node n7 does not see .*shared disk"):
        render_task(order, RANGES)


def test_scratch_of_jobs_long_dead_is_swept(order: RenderOrder, stage: dict[str, Any], tmp_path: Path) -> None:
    old, recent = (tmp_path / "scratch" / f"headforge-job-0-abcdef-{n}" for n in (1, 2))
    for path in (old, recent):
        path.mkdir(mode=0o700)
    os.utime(old, (0, 0))
    render_task(order, RANGES)
    assert not old.exists() and recent.exists()


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with Signals() as stop:
        assert not stop()
    assert signal.getsignal(signal.SIGUSR2) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/tmp", "/tmp"),
        ("$HERE/x", "/here/x"),
        ("${HERE:-/tmp}", "/here"),
        ("${NOWHERE:-/tmp}/x", "/tmp/x"),
        ("$NOWHERE", "$NOWHERE"),
    ],
)
def test_scratch_may_name_what_to_use_where_a_variable_is_not_set(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setenv("HERE", "/here")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert expand(text) == expected


def test_a_jobs_time_adds_up_over_its_starts() -> None:
    assert Beat("1", "a", "running", [], 1, 1, 1, started=100.0, now=160.0, earlier_s=40.0).seconds == 100.0


# ---------------------------------------------------------------- commands


def test_a_command_resumes_what_its_job_left_and_runs_lie_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    make = ("{python}", "-c", "import sys, pathlib; pathlib.Path(sys.argv[1], 'run-a').mkdir()", "{runs}")
    go_on = ("{python}", "-c", "import sys, pathlib; pathlib.Path(sys.argv[1], 'went-on').touch()")
    order = CommandOrder(make, go_on, str(tmp_path / "runs"))
    assert run_command(order) == 0
    assert (tmp_path / "runs" / "run-a").is_symlink()
    assert run_command(order) == 0
    assert (tmp_path / "runs" / "run-a" / "went-on").exists()


def test_a_command_that_fails_fails_the_job() -> None:
    with pytest.raises(SystemExit) as left:
        run_command(CommandOrder(("{python}", "-c", "raise SystemExit(3)")))
    assert left.value.code == 3


def full(staging: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_that_stays_full_ends_the_job_but_blames_no_shard(
    order: RenderOrder, stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_job, "BEAT_S", 0.1)
    stage["does"] = full
    with pytest.raises(OSError, match="No space"):
        render_task(order, RANGES)
    assert read_failures(JobFolder(Path(order.out)))[0].kind == "space"


def test_the_time_limit_comes_while_a_job_waits_for_room(order: RenderOrder, stage: dict[str, Any]) -> None:
    def late(staging: Path) -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        full(staging)

    stage["does"] = late
    with pytest.raises(SystemExit) as left:
        render_task(replace(order, space_wait_s=60.0), RANGES)
    assert left.value.code == AGAIN


@pytest.mark.blender
def test_packing_is_measured_by_rendering(head_pack: Path) -> None:
    from renderer.parameters.spec import parse_spec
    from slurm.packing import measure

    spec = parse_spec({"render": {"resolution": 16, "samples_per_pixel": 1, "mask_grid": 1}}, "the tests")
    lines: list[str] = []
    context = prepare(spec, 1, log=lines.append)
    (found,) = measure(context, cores=1, samples_per_worker=3, choices=[(1, 1)], log=lines.append)
    assert found.samples_per_s > 0 and found.peak_rss > 100 << 20
    assert "1 processes x 1 threads" in lines[-1]

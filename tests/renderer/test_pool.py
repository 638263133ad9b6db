"""The pool with stand-ins for its workers: slow ones may finish, stuck ones are replaced, nothing is left behind."""

from __future__ import annotations

import fcntl
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from renderer.blender.worker import LEAST_BYTES, out_of_room
from renderer.errors import DatasetError, MachineError
from renderer.format.dataset import write_index
from renderer.format.folder import finished_manifests, finished_ranges
from renderer.format.manifest import Skipped
from renderer.format.sample_format import sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample, load_staged, stage_sample
from renderer.parameters.spec import RenderSpec, Spec
from renderer.run import local, process
from renderer.run.claim import claim, locked
from renderer.run.local import Report, render_shards, reopen_skipped
from renderer.run.packing import gpus, packing, worker_memory
from renderer.run.pool import TRIES, Done, Failed, PoolOptions, RenderJob, WorkerPool, file_bytes, patience_s
from renderer.run.process import scratch_base

WORKER = """
import json, sys, time
job = json.loads(sys.stdin.readline())
print(json.dumps({"ready": 1}), flush=True)
for line in sys.stdin:
    index = json.loads(line)["index"]
    answer = {"done": index, "seconds": {}}
    exec(job["spec"]["about"])
    print(json.dumps({"rss": 0, "descriptors": 0, **answer}), flush=True)
"""
BURN = "end = time.process_time() + 1.5\nwhile time.process_time() < end: pass"
DIE = "print('my last words', file=sys.stderr, flush=True); sys.exit(3)"


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /dev/shm."""
    script, folder = tmp_path / "worker.py", tmp_path / "memory"
    script.write_text(WORKER)
    folder.mkdir()
    monkeypatch.setattr(process, "COMMAND", (sys.executable, str(script)))
    monkeypatch.setattr(process, "MEMORY", folder)
    return folder


def workers(does: str, **options: Any) -> WorkerPool:
    return WorkerPool(job_that(does), Path(), PoolOptions(1, 1, **options))


def job_that(does: str, **render: Any) -> RenderJob:
    """A job that makes the stand-in do something for each sample."""
    return RenderJob(Spec(about=does, render=RenderSpec(**{"resolution": 16, **render})), 0, "abc123", "", "")


@pytest.mark.parametrize("does", ["", DIE])
def test_workers_leave_nothing_behind(memory: Path, does: str) -> None:
    outcomes = list(workers(does).render(range(3)))
    assert len(outcomes) == 3 and list(memory.iterdir()) == []
    assert all(isinstance(o, Failed) and "my last words" in o.reason for o in outcomes) == bool(does)


def test_a_worker_that_computes_is_slow_not_stuck(memory: Path) -> None:
    slow = workers(BURN, stall_s=0.5)
    slow.patience_s = 60.0
    assert [type(o) for o in slow.render([0])] == [Done] and slow.killed == 0


def test_a_worker_that_waits_is_stuck(memory: Path) -> None:
    stuck = workers("time.sleep(60)", stall_s=0.5)
    stuck.patience_s = 60.0
    (outcome,) = stuck.render([0])
    assert isinstance(outcome, Failed) and "was silent" in outcome.reason and stuck.killed == TRIES


def test_computing_for_ever_is_stuck_too(memory: Path) -> None:
    endless = workers("while True: pass", stall_s=0.3)
    endless.patience_s = 0.8
    (outcome,) = endless.render([0])
    assert isinstance(outcome, Failed) and "while it computed" in outcome.reason


def test_large_and_fine_images_get_more_patience() -> None:
    assert patience_s(RenderSpec(resolution=128, samples_per_pixel=6)) < 10
    assert patience_s(RenderSpec(resolution=1024, samples_per_pixel=4096)) > 4 * 3600


def test_a_full_machine_ends_the_run_rather_than_skip_samples(memory: Path) -> None:
    full = "answer = {'failed': index, 'error': 'OSError: no space', 'fatal': 'the disk of /tmp is full'}"
    with pytest.raises(MachineError, match=r"disk of /tmp is full; make room .* Sample 0 says: OSError"):
        list(workers(full).render([0]))
    assert list(memory.iterdir()) == []


def test_what_counts_as_a_full_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert out_of_room(ValueError("bad pose"), tmp_path) == ""
    assert out_of_room(MemoryError(), tmp_path) and out_of_room(OSError(28, "No space left on device"), tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage())
    assert "is full" in out_of_room(RuntimeError("Blender could not write"), tmp_path)


class Usage:
    free = LEAST_BYTES - 1


def test_memory_is_used_only_where_it_has_room(memory: Path) -> None:
    assert scratch_base(1000) == memory
    assert scratch_base(1 << 60) is None
    assert file_bytes(RenderSpec(resolution=1024, oversample=4)) >= 1 << 30


def test_scratch_of_dead_runs_is_swept_that_of_living_ones_is_not(memory: Path) -> None:
    dead, alive, young = (memory / f"headforge-worker-1-{name}" for name in ("dead", "alive", "young"))
    for folder in (dead, alive, young):
        folder.mkdir(mode=0o700)
        (folder / "log.txt").touch()
    for folder in (dead, alive):
        os.utime(folder, (0, 0))
    with (alive / "log.txt").open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        list(workers("").render([0]))
        assert not dead.exists() and alive.exists() and young.exists()


# ---------------------------------------------------------------- what the machine grants


@pytest.mark.parametrize(("workers", "mib"), [(1, 3072), (4, 779)])
def test_a_worker_is_replaced_before_the_jobs_memory_is_full(
    memory: Path, monkeypatch: pytest.MonkeyPatch, workers: int, mib: int
) -> None:
    monkeypatch.setattr("renderer.run.packing.memory_limit_bytes", lambda: 4 << 30)
    assert worker_memory(workers) >> 20 == mib
    grown = WorkerPool(job_that(f"answer['rss'] = {850 << 20}"), Path(), PoolOptions(workers, 1))
    assert len(list(grown.render(range(8)))) == 8
    assert bool(grown.recycled) == (workers == 4)


def test_workers_that_cannot_fit_are_refused_and_not_made_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renderer.run.packing.memory_limit_bytes", lambda: 4 << 30)
    assert packing(None, None, 64) == (6, 10) and packing(16, None, 64) == (16, 4)
    with pytest.raises(MachineError, match=r"16 workers share 4096 MiB .*fewer workers"):
        WorkerPool(job_that(""), Path(), PoolOptions(16, 1))


SEEN = "import os; answer['seconds'] = {os.environ['CUDA_VISIBLE_DEVICES']: 1.0}; time.sleep(0.1)"


def test_each_gpu_has_a_worker_that_sees_it_alone(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    assert packing(None, None, 8, "CUDA") == (2, 4)
    job = job_that(SEEN, device="CUDA")
    done = [o for o in WorkerPool(job, Path(), PoolOptions(2, 1)).render(range(6)) if isinstance(o, Done)]
    assert {name for o in done for name in o.seconds} == {"3", "GPU-7"} and len({o.pid for o in done}) == 2


def test_a_replaced_worker_has_the_gpu_of_the_one_before(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    job = job_that(SEEN, device="OPTIX")
    done = [
        o for o in WorkerPool(job, Path(), PoolOptions(2, 1, recycle_after=2)).render(range(12)) if isinstance(o, Done)
    ]
    seen = [name for o in done for name in o.seconds]
    assert len({o.pid for o in done}) > 3 and min(seen.count("0"), seen.count("1")) >= 3


def test_gpus_are_counted_where_no_variable_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus("CUDA") == ["0", "1"] and gpus("CPU") == []
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    assert gpus("HIP") == ["0", "1", "2"], "HIP counts within what ROCm shows"


# ---------------------------------------------------------------- failures of a shard


def test_many_failures_stop_the_run_few_are_skipped() -> None:
    few, many = ([Failed(i, "line\nRuntimeError: no light") for i in range(n)] for n in (5, 21))
    local._check_failures(few, (0, 6))
    local._check_failures(many, (0, 500))
    with pytest.raises(MachineError, match=r"shard 0-100 failed twice.*Sample 20: RuntimeError: no light"):
        local._check_failures(many, (0, 100))


def sample(index: int) -> EncodedSample:
    return encode_sample(index, sample_key("abc123", index), {}, {"index": index}, {"pid": index})


def test_skipped_samples_can_be_taken_up_again(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"format_version": 1, "tag": "abc123"}')
    skipped = [Skipped(1, "it was dark")]
    write_shard(tmp_path, 0, 3, "abc123", [sample(0), sample(2)], skipped=skipped)
    write_shard(tmp_path, 3, 4, "abc123", [sample(3)])
    assert write_index(tmp_path)["skipped"] == [1]
    assert reopen_skipped(tmp_path, tmp_path / "staging") == [1]
    assert [p.name for p in finished_manifests(tmp_path)] == ["0000000003-0000000004.json"]
    staged = sorted((tmp_path / "staging").iterdir())
    assert [load_staged(p) for p in staged] == [sample(0), sample(2)]
    assert reopen_skipped(tmp_path, None) == []


# ---------------------------------------------------------------- the folder


class FakeContext:
    tag = "abc123"

    def info(self) -> dict[str, Any]:
        return {"format_version": 1, "tag": self.tag}


def test_a_run_killed_as_it_began_does_not_spoil_the_folder(tmp_path: Path) -> None:
    for name in (".dataset.json.0123.partial", ".probe-17"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    fresh = tmp_path / ".dataset.json.4567.partial"  # of a run that begins at this moment
    fresh.touch()
    claim(tmp_path, FakeContext())  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == [fresh.name, "dataset.json"]


def test_a_disk_without_locks_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DatasetError, match=r"cannot be locked .*another disk"), locked(tmp_path):
        pass


# ---------------------------------------------------------------- very many samples


STAGE = """
from pathlib import Path
from renderer.format.sample_format import sample_key
from renderer.format.staging import encode_sample, stage_sample
stage_sample(Path(job["staging"]), encode_sample(index, sample_key("abc123", index), {}, {}))
"""


class Rendering(FakeContext):
    def job(self) -> RenderJob:
        return job_that(STAGE)


def test_samples_are_asked_for_as_workers_become_free(memory: Path) -> None:
    outcomes = []
    for outcome in workers("").render(itertools.count(), stop=lambda: len(outcomes) > 20):
        outcomes.append(outcome.index)
    assert outcomes == list(range(len(outcomes))) and len(outcomes) < 40


def test_shards_are_opened_one_after_the_other(memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    staged = local._staged
    monkeypatch.setattr(local, "_staged", lambda folder, r, tag: (looked_at.append(r), staged(folder, r, tag))[1])
    context: Any = Rendering()
    out, staging, options = tmp_path / "out", tmp_path / "staging", PoolOptions(1, 1)
    ranges = [(i, i + 3) for i in range(0, 300_000, 3)]
    stop = [False]

    def progress(step: int, report: Report) -> None:
        stop[0] = report.shards >= 3

    report = render_shards(context, ranges, out, staging, options, stop=lambda: stop[0], progress=progress)
    assert report.stopped and report.shards == 3 and len(looked_at) <= 5
    left = len(list(staging.iterdir()))
    again = render_shards(context, ranges[:5], out, staging, options)
    assert not again.stopped and again.shards == 2 and again.rendered == 6 - left
    assert finished_ranges(out) == ranges[:5] and list(staging.iterdir()) == []


def test_a_shard_whose_samples_are_all_staged_needs_no_worker(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerPool, "_start", lambda pool: pytest.fail("started a worker"))
    for i in range(4):
        stage_sample(tmp_path, encode_sample(i, sample_key("abc123", i), {}, {}))
    steps: list[int] = []
    context: Any = Rendering()
    report = render_shards(
        context, [(0, 2), (2, 4)], tmp_path / "out", tmp_path, PoolOptions(1, 1),
        progress=lambda step, _: steps.append(step),
    )  # fmt: skip
    assert (report.shards, report.rendered, report.stopped, sum(steps)) == (2, 0, False, 4)

"""The SLURM layer on a real cluster: renders, trainings and verification as jobs, and faults that are likely."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from renderer.errors import DatasetError, HeadforgeError, SpecError
from renderer.format.folder import finished_manifests
from renderer.format.manifest import read_manifest
from slurm import status

pytestmark = [pytest.mark.slurm, pytest.mark.blender, pytest.mark.usefixtures("quick")]
Make = Callable[..., Any]
Reference = Any
STATE_SAVED_S = 7.0  # slurmctld saves what changed within 5 s


def test_240_samples_are_those_of_a_local_run_verified_and_indexed(job: Make, reference: Reference) -> None:
    data = job(task_min=7, cores=3)  # two tasks of six shards, which do not fit on one node
    sent = data.submit(240, 20)
    assert sent is not None and sent.tasks == 2
    data.wait(240)
    data.check(240, reference)
    seen = status.read_status(data.out)
    assert seen.done and seen.verified and seen.finished == 12 and not seen.queue
    assert {read_manifest(m).work["node"] for m in finished_manifests(data.out)} == {"node1", "node2"}
    commits = {read_manifest(m).versions["commit"] for m in finished_manifests(data.out)}
    assert commits == {p.name for p in (data.out / ".slurm" / "code").iterdir()} and "unknown" not in commits
    assert not list((data.profile.parent / "scratch").iterdir()), "jobs leave nothing in scratch"
    again = data.submit(240, 20)
    assert again is None and "nothing is missing" in data.lines[-1]


def test_a_cancelled_task_is_completed_by_the_same_command(job: Make, reference: Reference) -> None:
    data = job()
    sent = data.submit(24, 6)
    assert sent is not None and sent.tasks == 2
    data.until("the first shard", lambda: data.shards)
    subprocess.run(["scancel", f"{sent.jobs[0]}_0", f"{sent.jobs[0]}_1"], check=True)
    data.wait()
    left = status.read_status(data.out)
    assert not left.done and not left.failed, "cancelling is nobody's failure"
    assert "run the same" in status.describe(left)
    data.submit(24, 6)
    data.wait()
    data.check(24, reference)


def test_a_killed_worker_is_replaced(job: Make, reference: Reference) -> None:
    data = job()
    data.submit(12, 6)
    data.until("the first shard", lambda: data.shards)
    os.kill(data.until("a worker", data.workers)[0], signal.SIGKILL)
    data.wait()
    data.check(12, reference)


def test_a_dead_and_returning_slurmd_is_not_noticed(job: Make, reference: Reference) -> None:
    data = job()
    data.submit(24, 6)
    data.until("the first shard", lambda: data.shards)
    try:
        data.cluster.control("kill_slurmd", "node1")
    finally:
        data.cluster.control("start_slurmd", "node1")
    data.wait()
    if not status.read_status(data.out).done:
        data.submit(24, 6)
        data.wait()
    data.check(24, reference)


def test_a_job_at_its_time_limit_saves_and_goes_on(job: Make, reference: Reference) -> None:
    data = job(time_min=1, warn_s=20)
    data.submit(12, 6)  # one task of two shards
    data.until("the first shard", lambda: data.shards)
    stopped = data.until("a worker", data.workers)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)  # a node so slow that the limit comes
    try:
        data.until("the warning", lambda: "SIGUSR2" in data.logs(), 75)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    data.until("the requeue", lambda: any(b.earlier_s > 0 for b in data.beats), 60)
    data.wait()
    assert all(b.state == "finished" for b in data.beats)
    data.check(12, reference)


def test_a_restart_of_the_controller_is_not_noticed(job: Make, reference: Reference) -> None:
    data = job()
    data.submit(24, 6)
    data.until("the first shard", lambda: data.shards)
    stopped = data.until("a worker", data.workers)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(STATE_SAVED_S)  # a controller killed sooner has forgotten the job, and SLURM would give its number again
    try:
        data.cluster.control("kill_slurmctld")
    finally:
        data.cluster.control("start_slurmctld")
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    data.wait()
    data.check(24, reference)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A shared disk of 240 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=240m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_jobs_wait_for_room_on_a_full_disk(job: Make, reference: Reference, small_disk: Path) -> None:
    data = job(out=small_disk / "data")
    ballast = small_disk / "ballast"
    data.submit(12, 6)
    ballast.write_bytes(bytes(100 << 20))
    data.until("a job that waits", lambda: any(b.state == "waiting" for b in data.beats))
    assert "is full" in status.describe(status.read_status(data.out))
    ballast.unlink()
    data.wait()
    data.check(12, reference)


def test_of_two_submissions_at_once_one_is_refused(job: Make, reference: Reference) -> None:
    data = job()
    outcomes: list[Any] = []

    def go() -> None:
        try:
            outcomes.append(data.submit(12, 6))
        except HeadforgeError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    refused = [o for o in outcomes if isinstance(o, DatasetError)]
    assert len(outcomes) == 2 and len(refused) == 1, outcomes
    with pytest.raises(DatasetError, match="in the queue"):
        data.submit(12, 6)
    data.wait()
    data.check(12, reference)


def test_more_tasks_than_an_array_may_have(job: Make, reference: Reference) -> None:
    data = job(task_min=0, parallel=4)
    sent = data.submit(40, 1)
    assert sent is not None and sent.tasks == 40
    assert len(sent.jobs) == 5, "four arrays of at most 11, and the job that verifies"
    data.wait(300)
    data.check(40, reference)


def test_verification_is_split_and_the_same_command_repeats_it(job: Make, reference: Reference) -> None:
    from renderer.report.proof import PROOFS

    data = job(task_min=0, parallel=4, seconds_per_sample=20_000, time_min=10)  # so slow that four jobs verify
    sent = data.submit(12, 3)
    assert sent is not None and len(sent.jobs) == 3
    data.wait()
    data.check(12, reference)
    assert status.read_status(data.out).verified
    proofs = sorted((data.out / PROOFS).iterdir())
    assert len(proofs) == 4
    for path in (proofs[0], data.out / "verdict.json"):
        path.unlink()  # as if the jobs had been lost
    again = data.submit(12, 3, follow=True)
    assert again is not None and again.tasks == 0 and status.read_status(data.out).verified


def test_follow_joins_what_is_running(job: Make, reference: Reference) -> None:
    data = job()
    data.submit(6, 6)
    assert data.submit(6, 6, follow=True) is None
    assert "verified and indexed" in data.lines[-1]
    data.check(6, reference)


def test_a_hidden_partition_and_one_of_several_are_used(job: Make, reference: Reference) -> None:
    for partition in ("hidden", "hidden,cpu"):
        data = job(partition=partition)
        data.submit(6, 6)
        data.wait()
        data.check(6, reference)


def test_what_the_queue_may_not_hold_is_submitted_when_it_is_empty(job: Make, reference: Reference) -> None:
    data = job(task_min=0, time_min=1, warn_s=30, parallel=4)  # one shard a task
    subprocess.run(["sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=4"], check=True)
    try:
        data.submit(24, 6, follow=True)
    finally:
        subprocess.run(["sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1"], check=True)
    assert any("6 samples wait until the queue has room" in line for line in data.lines), data.lines
    assert status.read_status(data.out).verified
    data.check(24, reference)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"partition": "big"}, "no partition 'big'.*cpu, gpu"),
        ({"partition": "short"}, "time_min is 10; partition short allows 5"),
        ({"cores": 99}, "largest node of cpu has 4"),
        ({"partition": "cpu,short"}, "time_min is 10; partition short allows 5"),
        ({"memory_gb": 500}, "memory_gb is 500"),
        ({"shared": ["/work-of-the-cluster"]}, "none of the profile's shared folders"),
        ({"accuont": "x"}, "unknown key 'accuont': did you mean 'account'"),
        ({"container": "/nowhere.sif"}, "does not exist"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_queued(job: Make, keys: dict[str, Any], words: str) -> None:
    data = job(**keys)
    with pytest.raises(HeadforgeError, match=words) as caught:
        data.submit(6, 6)
    assert "\n" not in str(caught.value)
    assert not data.out.exists()


def test_what_the_cluster_refuses_leaves_nothing_behind(job: Make) -> None:
    data = job(constraint="no-such-feature")
    with pytest.raises(HeadforgeError, match=r"the cluster refuses the job: .*[Ff]eature"):
        data.submit(6, 6)
    assert not data.queue
    assert not list((data.out / ".slurm" / "submissions").iterdir())


def test_without_sbatch_the_way_out_is_named(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = job()
    with monkeypatch.context() as patch, pytest.raises(HeadforgeError, match="sbatch is not on PATH"):
        patch.setenv("PATH", "/nonexistent")
        data.submit(6, 6)


def test_a_node_that_keeps_failing_is_excluded_and_its_shard_quarantined(job: Make, reference: Reference) -> None:
    from slurm.records import Failure, JobFolder

    data = job()
    folder = JobFolder(data.out)
    data.out.mkdir()
    with pytest.raises(SpecError):
        data.submit(0, 6)
    from renderer.run.claim import claim

    claim(data.out, data.context)
    folder.create()
    for node in ("node1", "node2", "node2"):
        Failure((0, 6), node, "1_0", 0.0, "shard", "the disk is on fire", "line one\nline two").write(folder)
    data.submit(12, 6)
    text = "\n".join(data.lines)
    assert "left out: shard 0-6" in text and "on fire" in text and "--exclude=node2" in text
    data.wait()
    seen = status.read_status(data.out)
    assert seen.samples == 6 and list(seen.failed) == [(0, 6)] and not seen.verified
    assert "line two" in status.describe(seen)
    assert {read_manifest(m).work["node"] for m in finished_manifests(data.out)} == {"node1"}
    data.submit(12, 6, retry_failed=True)
    data.wait()
    data.check(12, reference)


TRAINER = """
import pathlib, signal, sys, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
runs, name = sys.argv[1:] if sys.argv[1] != "--resume" else (None, None)
run = pathlib.Path(runs, f"{name}-{time.time_ns()}") if runs else pathlib.Path(sys.argv[2])
run.mkdir(exist_ok=True)
import renderer
(run / "code").write_text(renderer.__file__)
for step in range(len((run / "log").read_text()) if (run / "log").exists() else 0, 20):
    time.sleep(0.1)
    with (run / "log").open("a") as log:
        log.write(".")
    if stop:
        sys.exit(75)
(run / "done").touch()
"""


def test_a_sweep_is_one_array_with_a_run_each_and_goes_on_after_the_time_limit(job: Make, tmp_path: Path) -> None:
    from slurm.node.command_job import CommandOrder
    from slurm.submit.commands import submit_commands

    data = job(partition="gpu", gres="gpu:1")
    program, runs = tmp_path / "trainer.py", tmp_path / "runs"
    program.write_text(TRAINER)
    words = ("{python}", str(program))
    orders = [CommandOrder((*words, "{runs}", f"net-{i:02d}"), (*words, "--resume"), str(runs)) for i in range(3)]
    with pytest.raises(SpecError, match="21 commands"):
        submit_commands(orders * 7, "sweep", runs, data.profile, allow_dirty=True)
    sent = submit_commands(orders, "sweep", runs, data.profile, allow_dirty=True, log=data.lines.append)
    assert sent is not None and sent.tasks == 3 and len(sent.jobs) == 1
    data.until("a run with a log", lambda: list(runs.glob("net-00-*/log")))
    subprocess.run(["scancel", "--signal=USR2", f"{sent.jobs[0]}_0"], check=True)  # as at the time limit
    data.until("all runs", lambda: len(list(runs.glob("net-*/done"))) == 3, 90)
    found = sorted(runs.glob("net-*"))
    assert len(found) == 3 and len({p.name for p in found}) == 3
    assert [(p / "log").read_text() for p in found] == ["." * 20] * 3
    assert all("/.slurm/code/" in (p / "code").read_text() for p in found), "the code is the snapshot's"
    text = "\n".join(p.read_text() for p in sent.folder.glob("*_0_0_log.out"))
    assert "told to stop by SIGUSR2" in text


def test_the_manifests_tell_how_the_render_scales(job: Make) -> None:
    from slurm.scaling import Site, project, report, shard_times, summarise

    data = job(task_min=0.7, cores=3)  # two tasks of two shards, one on each node
    data.submit(24, 6)
    data.wait()
    times = shard_times(data.out)
    assert len(times) == 4 and {t.node for t in times} == {"node1", "node2"}
    assert sum(t.first for t in times) == 2
    assert all(t.wall > 0 and 0 <= t.idle < 1 and t.publish > 0 for t in times)
    measured = summarise(times)
    one, two = (project(measured, Site(cores=1), 24, n, 2)["total"] for n in (1, 2))
    assert 0 < two < one
    assert "300000 samples" in report(data.out)

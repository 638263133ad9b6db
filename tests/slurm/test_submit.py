"""Submitting renders: to commands that stand for a cluster's, so that it needs neither SLURM nor root nor Blender."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from renderer.errors import DatasetError, MachineError, SpecError
from renderer.files import cache_root
from renderer.format import state
from renderer.format.folder import finished_ranges
from renderer.format.sample_format import sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import encode_sample
from renderer.parameters.spec import parse_spec
from renderer.run.context import RenderContext, prepare
from slurm import plan, status
from slurm.records import JobFolder
from slurm.submit import batch
from slurm.submit.render import prepare_submission, submit_render

Profile = Callable[..., Path]


def until(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.1)


Site = Any
SPEC = parse_spec({"name": "tiny", "render": {"resolution": 32, "samples_per_pixel": 1}}, "the tests")


@pytest.fixture(scope="session")
def context(head_pack: Path) -> RenderContext:
    return prepare(SPEC, 5, lambda text: None, renders=False)


class Data:
    """A data set to submit, and what was said about it."""

    def __init__(self, context: RenderContext, out: Path, profile: Profile) -> None:
        self.context, self.out, self.profile = context, out, profile
        self.said: list[str] = []

    def submit(
        self, count: int = 40, shard_size: int = 4, follow: bool = False, dry_run: bool = False, **keys: Any
    ) -> Any:
        profile = self.profile(**{"seconds_per_sample": 1000, "task_min": 8, **keys})
        options: dict[str, Any] = {"follow": follow, "dry_run": dry_run, "allow_dirty": True}
        return submit_render(self.context, self.out, count, shard_size, profile, **options, log=self.said.append)

    def finish(self, *ranges: tuple[int, int]) -> None:
        """As if jobs had rendered these shards."""
        for start, stop in ranges:
            samples = [encode_sample(i, sample_key(self.context.tag, i), {}, {"index": i}) for i in range(start, stop)]
            write_shard(self.out, start, stop, self.context.tag, samples)


@pytest.fixture
def data(site: Site, context: RenderContext, tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setattr(plan, "VERIFY_SHARE", 0.05)  # one job verifies, unless tasks take a minute only
    return Data(context, tmp_path / "data", profile)


def test_a_render_becomes_one_array_and_the_job_that_ends_it(site: Site, data: Data) -> None:
    sent = data.submit()
    assert sent.jobs == ("100", "101") and sent.tasks == 10 and sent.samples == 40
    assert "#SBATCH --array=0-9%10" in site.script("100") and "#SBATCH --cpus-per-task=4" in site.script("100")
    assert "#SBATCH --dependency=afterany:100" in site.script("101")
    with pytest.raises(DatasetError, match="in the queue: 11 pending"):
        data.submit()
    assert sum(call.startswith("squeue") for call in site.calls) <= 4


def test_a_dry_run_submits_nothing_and_shows_the_header(site: Site, data: Data) -> None:
    assert data.submit(dry_run=True) is None
    assert "#SBATCH --array=0-9%10" in data.said and not [c for c in site.calls if c.startswith("sbatch")]
    assert not data.out.exists()


# ---------------------------------------------------------------- partitions


@pytest.mark.parametrize("partition", ["cpu,gpu", "secret", "secret,cpu"])
def test_partition_lists_and_hidden_partitions_are_taken(site: Site, data: Data, partition: str) -> None:
    data.submit(partition=partition)
    assert f"#SBATCH --partition={partition}" in site.script("100")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"partition": "cpu,gpv"}, "no partition 'gpv' on this cluster.*cpu, gpu, secret"),
        ({"partition": "cpu,secret", "time_min": 180}, "time_min is 180; partition secret allows 120"),
        ({"partition": "cpu,gpu", "cores": 17}, "cores is 17; the largest node of cpu has 16"),
        ({"memory_gb": 1, "workers": 4}, "4 workers share 1024 MiB of memory"),
    ],
)
def test_each_of_several_partitions_must_be_able_to_run_the_jobs(data: Data, keys: dict[str, Any], words: str) -> None:
    with pytest.raises((SpecError, MachineError), match=words):
        data.submit(**keys)
    assert not data.out.exists()


# ---------------------------------------------------------------- limits


def test_more_tasks_than_an_array_takes_become_several_arrays(site: Site, data: Data) -> None:
    site.set(max_array=4)
    sent = data.submit(task_min=0)
    assert len(sent.jobs) == 4, "4 + 4 + 2 tasks and the end"
    assert "#SBATCH --dependency=afterany:100:101:102" in site.script("103")


def test_fewer_and_longer_tasks_are_made_where_fewer_jobs_are_allowed(site: Site, data: Data) -> None:
    site.set(max_submit=6)
    sent = data.submit(time_min=600)
    assert sent.tasks == 5 and sent.later == 0 and sent.samples == 40


@pytest.mark.parametrize("where", ["accounting", "quality of service", "profile"])
def test_what_the_queue_does_not_take_is_submitted_by_the_same_command_later(
    site: Site, data: Data, where: str
) -> None:
    keys = {"time_min": 12, "max_jobs": 4 if where == "profile" else 0}  # too short for longer tasks
    site.set(hard_limit=4, max_submit=4 * (where == "accounting"), qos_limit=4 * (where == "quality of service"))
    sent = data.submit(**keys)
    assert (sent.tasks, sent.samples, sent.later) == (3, 12, 28)
    assert "28 samples wait until the queue has room" in data.said[-1]
    data.finish(*[(i, i + 4) for i in range(0, 12, 4)])
    site.end(*sent.jobs)
    again = data.submit(**keys)
    assert (again.tasks, again.later) == (3, 16)


def test_a_queue_without_room_is_said_before_anything_is_sent(site: Site, data: Data) -> None:
    with pytest.raises(MachineError, match=r"takes 1 more job\(s\) of yours, and 2 are needed: wait"):
        data.submit(max_jobs=1)
    assert not [c for c in site.calls if c.startswith("sbatch")]


def test_a_limit_that_nobody_told_is_named_when_the_cluster_refuses(site: Site, data: Data) -> None:
    site.set(hard_limit=5)
    with pytest.raises(MachineError, match=r"so many jobs of yours \(AssocMaxSubmitJobLimit\): set max_jobs"):
        data.submit()
    assert not list(JobFolder(data.out).submissions.iterdir())


def test_when_the_second_job_is_refused_the_first_one_is_cancelled(site: Site, data: Data) -> None:
    site.set(hard_limit=10)
    with pytest.raises(MachineError, match="set max_jobs"):
        data.submit()
    assert "scancel 100" in site.calls
    assert not list(JobFolder(data.out).submissions.iterdir())


@pytest.mark.parametrize("first_call", ["lost", "accepted"])
def test_a_submission_that_timed_out_is_not_queued_twice(
    site: Site, data: Data, monkeypatch: pytest.MonkeyPatch, first_call: str
) -> None:
    monkeypatch.setattr(batch, "RETRY_S", (0.0,))
    site.set(first_call=first_call)
    sent = data.submit()
    cancelled = [c for c in site.calls if c.startswith("scancel")]
    assert cancelled == ([] if first_call == "lost" else ["scancel 100"])
    assert len(sent.jobs) == 2 and "100" not in sent.jobs[first_call == "lost" :]
    assert any("trying again" in line for line in data.said)


# ---------------------------------------------------------------- verification


def conclude_well(out: Path) -> None:
    """As if the last job had found everything in order."""
    identity = state.shards_identity(out)
    state.write_verdict(out, {"count": 40, "verified": True, "problems": [], "time": time.time(), "shards": identity})


def test_verification_is_an_array_after_the_renders_and_a_job_concludes(site: Site, data: Data) -> None:
    sent = data.submit(task_min=1)
    assert len(sent.jobs) == 3 and "5 job(s) verify" in data.said[-1]
    renders, verify, end = map(site.script, sent.jobs)
    assert "--array=0-9%" in renders and "--array=0-4%" in verify and "--array" not in end
    assert "#SBATCH --dependency=afterany:100\n" in verify and "#SBATCH --dependency=afterany:100:101\n" in end


def test_the_same_command_verifies_what_is_not_verified_yet(site: Site, data: Data) -> None:
    sent = data.submit()
    site.end(*sent.jobs)
    data.finish(*[(i, i + 4) for i in range(0, 40, 4)])
    again = data.submit()
    assert (again.tasks, again.samples) == (0, 0) and "nothing is missing; 40 samples are to be verified" in data.said
    scripts = [site.script(job) for job in again.jobs]
    assert all("-end" in script for script in scripts) and "afterany" not in scripts[0]
    site.end(*again.jobs)
    conclude_well(data.out)
    assert data.submit() is None and "all verified" in data.said[-1]
    assert data.submit(44) is not None, "a larger count is another matter"


def test_jobs_that_verify_count_as_jobs_of_yours(site: Site, data: Data) -> None:
    site.set(hard_limit=7, max_submit=7)
    sent = data.submit(task_min=1, time_min=600)
    arrays = [site.script(job).count("--array") for job in sent.jobs]
    assert sent.later == 0 and arrays == [0, 1, 0], "one task, five that verify, one that concludes"


def test_following_ends_well_only_where_everything_is_verified(site: Site, data: Data, quick: None) -> None:
    def jobs(well: bool) -> None:
        until("the submission", lambda: any(c.startswith("sbatch") for c in site.calls))
        data.finish(*[(i, i + 4) for i in range(0, 40, 4)])
        site.end("100", "101", "102", "103", "104")
        time.sleep(1.5)  # the queue is empty, but what the last job wrote is not seen yet
        if well:
            conclude_well(data.out)

    thread = threading.Thread(target=jobs, args=(True,))
    thread.start()
    assert data.submit(follow=True) is not None
    thread.join()
    assert "verified and indexed" in data.said[-1]


def test_following_fails_where_the_verdict_stays_out(
    site: Site, data: Data, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "SETTLE_S", 1.0)
    site.end("100", "101")  # jobs that leave the queue at once
    with pytest.raises(DatasetError, match="not complete and verified: 0 of 40 samples"):
        data.submit(follow=True)


# ---------------------------------------------------------------- estimates


def test_tasks_are_planned_by_what_samples_cost(data: Data) -> None:
    def planned(**render: Any) -> int:
        spec = replace(SPEC, render=replace(SPEC.render, samples_per_pixel=12, **render))
        other = Data(replace(data.context, spec=spec), data.out, data.profile)
        other.submit(3000, 10, dry_run=True, seconds_per_sample=2, task_min=30)
        (line,) = [line for line in other.said if "tasks of up to" in line]
        return int(line.split(" shards in ")[1].split()[0])

    small, large = planned(resolution=128), planned(resolution=512)
    assert small == 1 and large == 8, "3000 samples x 2 s on 4 cores; 8.7 times as long with 512 pixels a side"
    assert planned(resolution=512, labels=("neutral", "view2")) > large


# ---------------------------------------------------------------- without Blender


def without_blender(monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name == "bpy":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setitem(sys.modules, "bpy", None)


@pytest.mark.parametrize("keys", [{"container": "image.sif"}, {"python": "/opt/env/bin/python"}])
def test_jobs_that_bring_their_own_blender_are_submitted_without_one(
    site: Site, tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch, head_pack: Path, keys: dict[str, str]
) -> None:
    (tmp_path / "image.sif").touch()
    without_blender(monkeypatch)
    context = prepare_submission(SPEC, 5, profile(**keys), lambda text: None)
    sent = Data(context, tmp_path / "data", profile).submit(**keys)
    assert sent.samples == 40 and finished_ranges(tmp_path / "data") == []
    with pytest.raises(MachineError, match="bpy is not installed here"):
        prepare_submission(SPEC, 5, profile(), lambda text: None)


def test_own_assets_must_be_where_the_nodes_see_them(data: Data, tmp_path: Path) -> None:
    assets = replace(SPEC.assets, hdris=(str(tmp_path / "skies"),))
    own = Data(replace(data.context, spec=replace(SPEC, assets=assets)), tmp_path / "shared" / "data", data.profile)
    with pytest.raises(MachineError, match=r"asset folder skies .* lies in none of the profile's shared folders"):
        own.submit(shared=[str(tmp_path / "shared"), str(cache_root()), sys.prefix])

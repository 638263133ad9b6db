"""Tasks, profiles and records: pure, no cluster needed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from renderer.errors import MachineError, SpecError
from renderer.format.folder import finished_ranges
from renderer.parameters.jobspecs import profile_names
from renderer.parameters.spec import RenderSpec
from renderer.run.plan import missing_ranges, seconds_per_sample
from slurm import records, scheduler, status
from slurm.packing import Packing, candidates, write_best
from slurm.plan import MOST_TASKS, Work, plan_arrays, plan_tasks, shard_warning
from slurm.profile import load_profile
from slurm.records import (
    Beat,
    Failure,
    JobFolder,
    bad_nodes,
    quarantined,
    read_beats,
    read_failures,
)
from slurm.scaling import Measured, Site, project, saturates_first

HOUR = 3600.0
THESIS = Work(seconds_per_sample=20, cores=8, task_s=HOUR, limit_s=4 * HOUR)


def test_300_000_samples_become_some_hundred_tasks_that_cover_each_once() -> None:
    ranges = missing_ranges([], 300_000, 500)
    tasks = plan_tasks(ranges, THESIS)
    assert 100 < len(tasks) < 500
    assert [r for t in tasks for r in t.ranges] == ranges
    assert max(t.samples for t in tasks) - min(t.samples for t in tasks) <= 500
    assert all(0.5 * HOUR < THESIS.wall(t.samples) < 2 * HOUR for t in tasks)


def test_very_slow_samples_make_longer_tasks_rather_than_thousands() -> None:
    ranges = missing_ranges([], 300_000, 100)
    work = Work(seconds_per_sample=30, cores=8, task_s=HOUR / 2, limit_s=8 * HOUR)
    tasks = plan_tasks(ranges, work)
    assert len(tasks) == MOST_TASKS
    assert all(work.wall(t.samples) < 8 * HOUR for t in tasks)


def test_task_time_zero_is_one_shard_a_task() -> None:
    tasks = plan_tasks(missing_ranges([], 40, 1), Work(1, 1, 0, HOUR))
    assert [t.ranges for t in tasks] == [((i, i + 1),) for i in range(40)]
    assert plan_tasks([], THESIS) == ()


def test_arrays_keep_to_the_clusters_largest_and_share_the_cap() -> None:
    tasks = plan_tasks(missing_ranges([], 40, 1), Work(1, 1, 0, HOUR))
    arrays = plan_arrays(tasks, 11, 0)
    assert [len(a.tasks) for a in arrays] == [11, 11, 11, 7]
    assert [t for a in arrays for t in a.tasks] == list(tasks)
    assert [a.parallel for a in plan_arrays(tasks, 11, 10)] == [3, 3, 2, 2]
    chained = plan_arrays(tasks, 11, 2)
    assert [(a.parallel, a.depends_on) for a in chained] == [(1, None), (1, None), (1, 0), (1, 1)]


def test_a_shard_that_outlasts_the_limit_is_pointed_out() -> None:
    assert not shard_warning([(0, 500)], THESIS)
    text = shard_warning([(0, 50_000)], THESIS)
    assert "--shard-size 4608" in text and "240 min" in text


# ---------------------------------------------------------------- profiles


def profile(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster_x.yaml"
    path.write_text(text)
    return path


def test_the_profiles_that_come_with_headforge_are_sound() -> None:
    assert {"local", "generic", "thesis", "gpu"} <= set(profile_names())
    for name in profile_names():
        found, path = load_profile(name)
        assert found.about and path.name == f"cluster_{name}.yaml"
    thesis = load_profile("thesis")[0]
    assert (thesis.cores, thesis.workers) == (8, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cors: 8", "unknown key 'cors': did you mean 'cores'"),
        ("cores: many", "cores is 'many'; it must be a number"),
        ("cores: 0", "must lie within 1"),
        ("time_min: 2\nwarn_s: 120", "told to stop as it starts"),
        ("sbatch: [--mail-type=END]", "without dashes"),
        ("cores: 1\ncores: 2", "stands twice"),
        ("partition: 3", "must be a text"),
        ("- cores", "must be a mapping"),
    ],
)
def test_a_wrong_profile_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        load_profile(profile(tmp_path, text))
    assert "cluster_x.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_profile_names_the_known() -> None:
    with pytest.raises(SpecError, match="generic, gpu, local, thesis"):
        load_profile("nowhere")


def test_packing_is_written_into_the_profile_and_comments_stay(tmp_path: Path) -> None:
    path = profile(tmp_path, "cores: 8  # eight\nworkers: 0      # measure it\nmemory_gb: 4\n")
    results = [Packing(12, 2, 20.0, 500 << 20), Packing(8, 2, 16.0, 500 << 20)]
    best = write_best(path, results, 8, RenderSpec())
    assert best.workers == 8, "twelve do not fit into 4 GB"
    assert path.read_text().splitlines() == [
        "cores: 8  # eight",
        "workers: 8      # measure it",
        "memory_gb: 4",
        "threads: 2",
        "seconds_per_sample: 0.5",
    ]
    with pytest.raises(MachineError, match="raise it"):
        write_best(path, [Packing(8, 2, 16.0, 4 << 30)], 8, RenderSpec())


def test_a_time_measured_with_other_settings_is_written_as_that_of_default_ones(tmp_path: Path) -> None:
    path, large = profile(tmp_path, "cores: 8\n"), RenderSpec(resolution=512)
    write_best(path, [Packing(8, 1, 2.0, 500 << 20)], 8, large)
    found = load_profile(path)[0].seconds_per_sample
    assert found < 1 and seconds_per_sample(large, found) == pytest.approx(4.0, rel=1e-3)


def test_packing_tries_from_one_process_to_more_than_cores() -> None:
    found = candidates(8)
    assert {(1, 8), (2, 4), (4, 2), (8, 1), (8, 2), (12, 1)} <= set(found)
    assert all(w * t <= 16 for w, t in found)


# ---------------------------------------------------------------- the scheduler's words


@pytest.mark.parametrize(
    ("text", "expected"),
    [("infinite", float("inf")), ("5:00", 5), ("2:00:00", 120), ("1-00:00:00", 1440), ("2-12", 3600), ("30", 30)],
)
def test_time_limits_are_read(text: str, expected: float) -> None:
    assert scheduler.minutes(text) == expected


MOUNTS = "/dev/sda / ext4 rw 0 0\nserver:/work /work nfs4 rw 0 0\ntmpfs /work/fast\\040disk tmpfs rw 0 0\n"


def test_output_on_a_local_disk_is_refused_where_the_nodes_are_other_machines() -> None:
    free, listed = load_profile("local")[0], load_profile("generic")[0]
    assert scheduler.file_system(Path("/work/fast disk/x"), MOUNTS) == "tmpfs"
    scheduler.check_shared(Path("/work/out"), "output folder", free, ("c1", "c2"), MOUNTS)
    scheduler.check_shared(Path("/home/me/out"), "output folder", free, ("localhost",), MOUNTS)
    for path in ("/home/me/out", "/work/fast disk/out"):
        with pytest.raises(MachineError, match=r"local disk .* that c1 does not see"):
            scheduler.check_shared(Path(path), "output folder", listed, ("c1", "c2"), MOUNTS)


# ---------------------------------------------------------------- records


def beat(job: str, node: str, state: str = "running", shards: int = 0, now: float | None = None) -> Beat:
    now = time.time() if now is None else now
    return Beat(job, node, state, [(0, 10)], 2, 2, 1, now - 100, now, rendered=50, shards=shards)


def test_a_shard_that_failed_on_two_nodes_is_quarantined_one_that_was_finished_since_is_not() -> None:
    failures = [
        Failure((0, 10), "a", "1", 1.0, "shard", "x"),
        Failure((0, 10), "b", "2", 2.0, "lost", "y"),
        Failure((10, 20), "a", "1", 3.0, "shard", "x"),
        Failure((10, 20), "a", "1", 4.0, "shard", "x"),
        Failure((20, 30), "a", "1", 5.0, "space", "full"),
        Failure((20, 30), "b", "1", 6.0, "space", "full"),
    ]
    assert {r: f.reason for r, f in quarantined(failures, set()).items()} == {(0, 10): "y"}
    assert quarantined(failures, {(0, 10)}) == {}


def test_nodes_with_more_failures_than_shards_are_bad() -> None:
    failures = [Failure((i, i + 1), node, "1", 0.0, "shard", "x") for i, node in enumerate("aabbc")]
    assert bad_nodes(failures, [beat("1", "a", shards=9), beat("2", "b", shards=1)]) == {"b": 2}


def test_records_survive_damage_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = JobFolder(tmp_path)
    folder.create()
    beat("1_0", "a").write(folder)
    Failure((0, 10), "a", "1_0", 1.0, "shard", "x").write(folder)
    (folder.beats / "2_0.json").write_text("{")
    (folder.failures / "x.json").write_text('{"shard": [1]}')
    assert [b.job for b in read_beats(folder)] == ["1_0"]
    assert len(read_failures(folder)) == 1

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_atomic", full)
    beat("1_0", "a").write(folder)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """600 finished shards of 500 samples with manifests of true size, and 40 that are still missing."""
    out = tmp_path / "big"
    (out / "shards").mkdir(parents=True)
    (out / "dataset.json").write_text(json.dumps({"format_version": 1, "name": "big", "tag": "abcdef"}))
    sample = {"index": 0, "key": "k" * 16, "members": {f"m{i}": {"sha256": "0" * 64} for i in range(4)}, "work": {}}
    body = json.dumps({"samples": [sample] * 500})
    for start in range(0, 300_000, 500):
        stem = out / "shards" / f"{start:010d}-{start + 500:010d}"
        stem.with_suffix(".json").write_text(body)
        stem.with_suffix(".tar").write_bytes(b"")
    (out / "shards" / "0000300000-0000300500.tar").write_bytes(b"")  # not announced: not finished
    folder = JobFolder(out)
    folder.create()
    sent = folder.submissions / "20260101-000000"
    sent.mkdir()
    (sent / "submission.json").write_text(json.dumps({"count": 320_000, "shard_size": 500}))
    for i in range(60):
        Beat(f"7_{i}", f"n{i}", "finished", [], 8, 8, 2, 0.0, HOUR, shards=10).write(folder)
    for i in range(3):
        b = Beat(f"8_{i}", f"n{i}", "running", [(300_000 + 500 * i, 300_500 + 500 * i)], 8, 8, 2, time.time() - 10, 0.0)
        b.rendered = 100
        b.write(folder)
    return out


def test_status_of_600_shards_reads_no_manifest(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (opened.append(self), original(self))[1])
    seen = status.read_status(big, ask_scheduler=False)
    assert (seen.finished, seen.running, seen.missing, len(seen.failed)) == (600, 3, 37, 0)
    assert (seen.samples, seen.count, seen.done) == (300_000, 320_000, False)
    assert seen.rate == pytest.approx(30, rel=0.1) and seen.eta_s == pytest.approx(20_000 / 30, rel=0.1)
    assert opened and not [p for p in opened if p.parent.name == "shards"]
    assert len(opened) < 100, "one heartbeat per job, and a handful of other files"
    text = status.describe(seen)
    assert "300000 of 320000 samples" in text and "600 done, 3 running, 37 missing, 0 failed" in text


def test_status_is_said_in_the_exit_code(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    monkeypatch.setenv("PATH", "/nonexistent")  # without a scheduler

    from slurm.cli import status as command

    result = CliRunner().invoke(command, [str(big)])
    assert result.exit_code == 3 and "samples/s" in result.output


def test_half_a_shard_is_no_shard(tmp_path: Path) -> None:
    assert finished_ranges(tmp_path) == []
    (tmp_path / "shards").mkdir()
    for name in ("0000000000-0000000010.tar", "0000000010-0000000020.json", ".0000000020-0000000030.tar.x.partial"):
        (tmp_path / "shards" / name).write_bytes(b"")
    assert finished_ranges(tmp_path) == []


# ---------------------------------------------------------------- scaling


def test_the_projection_is_perfect_where_nothing_is_in_the_way() -> None:
    ideal = Measured(sample_core_s=0.5, idle=0, start_s=0, publish_s=0, shard_samples=500, sample_bytes=0)
    site = Site(cores=8, jobs_per_s=1e9)
    ten, fifty = (project(ideal, site, 300_000, n, 600)["total"] for n in (10, 50))
    assert ten == pytest.approx(300_000 * 0.5 / 80) and fifty == pytest.approx(ten / 5)


def test_the_term_that_saturates_is_named() -> None:
    real = Measured(sample_core_s=0.5, idle=0.05, start_s=10, publish_s=0.2, shard_samples=500, sample_bytes=55_000)
    assert saturates_first(real, Site(disk_bytes_s=1e7), 300_000, 600)[0] == "disk"
    assert project(real, Site(), 300_000, 90, 100)["rounding"] > 0
    name, nodes = saturates_first(real, Site(), 300_000, 10)
    assert (name, nodes) == ("rounding", 20), "ten jobs on twenty nodes leave half of them without work"


def test_slurm_needs_neither_bpy_nor_torch_to_be_imported() -> None:
    code = (
        "import slurm.submit.render, slurm.status, slurm.cli, slurm.node.render_job, "
        "slurm.submit.training, slurm.packing, slurm.scaling, sys\n"
        "assert 'scipy' in sys.modules and not {'bpy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])

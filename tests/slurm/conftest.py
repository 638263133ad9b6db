"""A real SLURM for the tests, started once by tests/minislurm; stand-ins for one; a data set rendered without them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from renderer.files import file_sha256
from renderer.format.dataset import open_dataset
from renderer.format.folder import finished_manifests
from renderer.parameters.spec import RenderSpec, Spec, parse_spec
from renderer.run.claim import STAGING, claim
from renderer.run.context import RenderContext, prepare
from renderer.run.local import render_shards
from renderer.run.plan import make_plan, seconds_per_sample
from renderer.run.pool import PoolOptions
from slurm import scheduler
from slurm.records import Beat, JobFolder, job_name, read_beats
from slurm.submit.render import Submission, submit_render

SCRIPT = Path(__file__).resolve().parents[1] / "minislurm"
TOOLS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sbatch")
SEED = 11
TINY: dict[str, Any] = {
    "name": "tiny",
    "render": {"resolution": 32, "samples_per_pixel": 1, "mask_grid": 3, "denoise": False},
    "heads": {"several_share": 0},
}


def until(what: str, condition: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait for a condition and return its value; every wait in these tests is bounded."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


@dataclass(frozen=True)
class Cluster:
    """The running test cluster."""

    lab: Path
    environment: dict[str, str]

    def control(self, *arguments: str) -> None:
        """One call of tests/minislurm."""
        subprocess.run([SCRIPT, *arguments], env=self.environment, check=True, timeout=90)

    def log(self) -> str:
        return "\n".join(p.read_text(errors="replace")[-1500:] for p in sorted((self.lab / "log").glob("*.log")))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    why = f"{', '.join(missing)} not installed: run `tests/minislurm install`" if missing else ""
    why = "only root can start a cluster" if os.geteuid() else why
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"CI must test on a real SLURM: {why}")
    if why:
        pytest.skip(why)
    lab = Path(tempfile.mkdtemp(prefix="ms", dir="/tmp"))  # short: sockets lie in it
    environment = {**os.environ, "LAB": str(lab), "PORT0": str(_free_ports(10)), "MAX_ARRAY": "11", "PATH": path}
    found = Cluster(lab, environment)
    patch = pytest.MonkeyPatch()
    try:
        found.control("up")
        patch.setenv("SLURM_CONF", str(lab / "etc" / "slurm.conf"))
        yield found
    finally:
        found.control("down")
        patch.undo()
        shutil.rmtree(lab, ignore_errors=True)


def _free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nobody listens on."""
    for first in range(16900, 20000, count):
        free = 0
        for port in range(first, first + count):
            with socket.socket() as probe:
                free += probe.connect_ex(("127.0.0.1", port)) != 0
        if free == count:
            return first
    raise AssertionError("no free ports")


def tiny_spec() -> Spec:
    return parse_spec(TINY, "the tests")


@pytest.fixture(scope="session")
def context(head_pack: Path) -> RenderContext:
    return prepare(tiny_spec(), SEED, log=lambda text: None)


Reference = Callable[[int], dict[int, dict[str, str]]]


@pytest.fixture(scope="session")
def reference(context: RenderContext, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Pixel hashes of the first COUNT samples, rendered here without any cluster, as far as asked for."""
    out = tmp_path_factory.mktemp("reference") / "data"

    def pixels(count: int) -> dict[int, dict[str, str]]:
        claim(out, context)
        plan = make_plan(out, context, count, 40)
        render_shards(context, list(plan.ranges), out, out / STAGING, PoolOptions(2, 1))
        entries = open_dataset(out).entries()
        return {entry.index: entry.pixels for _, entry in entries if entry.index < count}

    return pixels


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at queue and folder more often than is good for a scheduler that others use, too."""
    from slurm import status

    monkeypatch.setattr(status, "POLL_S", 1.0)
    monkeypatch.setattr(status, "LOOK_S", 0.5)


class Job:
    """One data set on the test cluster, with what the tests ask of it."""

    def __init__(self, cluster: Cluster, context: RenderContext, out: Path, profile: Path) -> None:
        self.cluster, self.context, self.out, self.profile = cluster, context, out, profile
        self.lines: list[str] = []

    def submit(self, count: int, shard_size: int, **options: Any) -> Submission | None:
        return submit_render(
            self.context, self.out, count, shard_size, self.profile, allow_dirty=True, log=self.lines.append, **options
        )

    until = staticmethod(until)

    @property
    def beats(self) -> list[Beat]:
        return read_beats(JobFolder(self.out))

    @property
    def queue(self) -> scheduler.Queue:
        return scheduler.queue(job_name(self.out, self.context.tag))

    @property
    def shards(self) -> int:
        return len(finished_manifests(self.out))

    def wait(self, seconds: float = 150) -> None:
        """Until the queue is empty; shows the jobs' logs where that takes too long."""
        try:
            until("an empty queue", lambda: not self.queue, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}\n{self.cluster.log()}") from error

    def logs(self) -> str:
        files = sorted((self.out / ".slurm" / "submissions").glob("*/*.out"))
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')[-1500:]}" for p in files)

    def workers(self, node: str = "") -> list[int]:
        """Process ids of this data set's render workers, on one node or all."""
        import psutil

        found = []
        jobs = {b.job for b in self.beats if node in ("", b.node)}
        for process in psutil.process_iter():
            try:
                if "renderer.blender.worker" in process.cmdline():
                    env = process.environ()
                    job = env.get("SLURM_ARRAY_JOB_ID", env.get("SLURM_JOB_ID", "none"))
                    task = env.get("SLURM_ARRAY_TASK_ID")
                    if (f"{job}_{task}" if task is not None else job) in jobs:
                        found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def check(self, count: int, reference: Reference) -> None:
        """Complete, verified, free of duplicates, and bit-equal to the local run."""
        from renderer.report import proof

        dataset = open_dataset(self.out)
        pixels = [(entry.index, entry.pixels) for _, entry in dataset.entries()]
        assert [i for i, _ in pixels] == list(range(count)), self.logs()
        assert dict(pixels) == reference(count)
        sums = {s.tar: file_sha256(s.tar) == s.manifest.tar_sha256 for s in dataset.shards}
        assert all(sums.values()), sums
        assert sorted(p.name for p in (self.out / "shards").glob("*.tar")) == [s.tar.name for s in dataset.shards]
        assert not proof.verify(self.out, 1).problems
        assert not list((self.out / "shards").glob(".*")), "left-overs"


@pytest.fixture
def job(cluster: Cluster, context: RenderContext, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes data sets on the cluster; profile keys may be given. Jobs left over are cancelled at the end."""
    made: list[Job] = []

    def make(out: Path | None = None, **keys: Any) -> Job:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        effort = seconds_per_sample(context.spec.render) / seconds_per_sample(RenderSpec())
        values = {
            "partition": "cpu", "time_min": 10, "warn_s": 30, "cores": 1, "memory_gb": 1, "workers": 1, "threads": 1,
            "parallel": 2, "seconds_per_sample": 10 / effort, "task_min": 2, "scratch": str(scratch), **keys,
        }  # fmt: skip
        profile = tmp_path / f"cluster_{len(made)}.yaml"
        profile.write_text(yaml.safe_dump(values))
        made.append(Job(cluster, context, out or tmp_path / f"data{len(made)}", profile))
        return made[-1]

    yield make
    for one in made:
        name = job_name(one.out, context.tag)
        subprocess.run(["scancel", "-n", f"{name},{name}-end"], timeout=30)


# ---------------------------------------------------------------- a SLURM of stand-ins

FAKES = Path(__file__).parent / "fakes"
NODES = {"nodes": ["n1", "n2"], "cpus": 16, "memory": 64000, "limit": "1-00:00:00"}


class Site:
    """Commands that stand for a cluster's, on PATH: what is submitted is written down, or run by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {
            "max_array": 1001,
            "partitions": [
                {"name": "cpu", **NODES},
                {"name": "gpu", **NODES, "nodes": ["g1"], "gres": "gpu:a100:4(S:0-1)"},
                {"name": "secret", **NODES, "nodes": ["s1"], "limit": "2:00:00", "hidden": True},
            ],
        }
        self.set()

    def set(self, **settings: Any) -> None:
        self.settings |= settings
        (self.folder / "site.json").write_text(json.dumps(self.settings))

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def script(self, job: str) -> str:
        return (self.folder / f"{job}.sh").read_text()

    def end(self, *jobs: str) -> None:
        """They are in the queue no more."""
        with (self.folder / "gone").open("a") as file:
            file.write(" ".join(jobs) + "\n")

    def run(self, job: str, task: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a submitted script as its node would."""
        ids = {"SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "n1", "SLURMD_NODENAME": "n1", "SLURM_JOB_NUM_NODES": "1"}
        ids |= {f"SLURM_{name}": value for name, value in (("NTASKS", "1"), ("PROCID", "0"), ("LOCALID", "0"))}
        ids |= {"SLURM_NODEID": "0", "SLURM_CPUS_PER_TASK": "1"}
        if task is not None:
            ids |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)}
        command = ["bash", str(self.folder / f"{job}.sh")]
        return subprocess.run(command, env={**os.environ, **ids, **environment}, capture_output=True, text=True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "fake-slurm"
    (folder / "bin").mkdir(parents=True)
    for name in ("sbatch", "squeue", "scontrol", "sinfo", "sacctmgr", "scancel", "srun"):
        (folder / "bin" / name).symlink_to(FAKES / "slurm")
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    return Site(folder)


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., Path]:
    """Writes a cluster profile with the keys given."""

    def write(**keys: Any) -> Path:
        path = tmp_path / "cluster_test.yaml"
        path.write_text(yaml.safe_dump({"time_min": 60, "cores": 4, "memory_gb": 8, "scratch": "/tmp", **keys}))
        return path

    return write

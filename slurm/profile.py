"""Cluster profiles: what a job asks of a SLURM, as a frozen dataclass read strictly from jobspecs/cluster_*.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from renderer.errors import SpecError
from renderer.parameters.jobspecs import CLUSTERS, find_jobspec, profile_names
from renderer.strict import knob, load


@dataclass(frozen=True)
class Profile:
    """One kind of job on one cluster. Empty texts and zeros leave the choice to the cluster or to headforge."""

    about: str = knob("", "one line for people")
    partition: str = knob("", "partition, or several as a,b, of which the scheduler chooses; empty: the default")
    account: str = knob("", "account that pays")
    qos: str = knob("", "quality of service")
    constraint: str = knob("", "node features, as sbatch --constraint")
    gres: str = knob("", "generic resources, such as gpu:1")
    exclude: tuple[str, ...] = knob((), "nodes never to be used")
    sbatch: tuple[str, ...] = knob((), "further sbatch options, such as reservation=name")

    time_min: int = knob(240, "time limit of a job", 1, 60 * 24 * 30)
    warn_s: int = knob(120, "so long before the limit a job saves what it has and asks to go on", 5, 3600)
    cores: int = knob(8, "cores of a job", 1, 1024)
    memory_gb: float = knob(8, "memory of a job", 0.1, 10_000)
    workers: int = knob(0, "Blender processes of a job; 0: one per core", 0, 1024)
    threads: int = knob(0, "threads of each; 0: cores divided by workers", 0, 256)
    max_jobs: int = knob(0, "jobs and array elements of yours in the queue; 0: as accounting says", 0, 1_000_000)
    parallel: int = knob(0, "jobs running at once; 0: as many as the cluster gives", 0, 100_000)
    task_min: float = knob(45, "work of one array element; 0: one shard each", 0, 60 * 24)
    seconds_per_sample: float = knob(0, "core-seconds per sample with default render settings; 0: an estimate", 0, 1e6)
    requeues: int = knob(20, "how often a job that ran into its limit may go on", 0, 1000)
    space_wait_min: float = knob(60, "how long a job waits for room on a full shared disk", 0, 60 * 24)

    scratch: str = knob("/tmp", "node-local folder or variable, such as ${TMPDIR:-/tmp}")
    shared: tuple[str, ...] = knob((), "folders that all nodes see; empty: decided by the kind of file system")
    setup: tuple[str, ...] = knob((), "shell lines before the job, such as: module load apptainer")
    container: str = knob("", "Apptainer image to run in")
    container_options: tuple[str, ...] = knob((), "further options of apptainer exec, such as --nv")
    python: str = knob("", "Python on the nodes; empty: the one that submits")

    def check(self) -> None:
        if self.warn_s >= 60 * self.time_min - 20:
            raise SpecError(
                f"warn_s is {self.warn_s}, the time limit {self.time_min} min: a job would be told to stop as it"
                f" starts; set time_min above {self.warn_s // 60 + 1} or warn_s lower"
            )
        for option in self.sbatch:
            if not re.fullmatch(r"[a-z][a-z-]*(=.*)?", option):
                raise SpecError(f"sbatch holds {option!r}; write options as name or name=value, without dashes")


def load_profile(source: str | Path) -> tuple[Profile, Path]:
    """A profile by file or by name ("local" is jobspecs/cluster_local.yaml), and its file. Raises SpecError."""
    path = find_jobspec(source, "cluster profile", profile_names(), CLUSTERS)
    profile = load(Profile, path)
    if profile.container:
        profile = replace(profile, container=str((path.parent / Path(profile.container).expanduser()).resolve()))
    return profile, path


def set_values(path: Path, values: dict[str, int | float]) -> None:
    """Change numbers in a profile file; its comments and order stay. Raises SpecError where that breaks it."""
    lines = path.read_text("utf-8").splitlines()
    for key, value in values.items():
        pattern = re.compile(rf"^{key}\s*:[^#]*?(\s*#.*)?$")
        for number, line in enumerate(lines):
            if match := pattern.match(line):
                lines[number] = f"{key}: {value}{match[1] or ''}"
                break
        else:
            lines.append(f"{key}: {value}")
    backup = path.read_bytes()
    path.write_text("\n".join(lines) + "\n", "utf-8")
    try:
        load_profile(path)
    except SpecError:
        path.write_bytes(backup)
        raise

"""Cluster profiles: what a job asks of a SLURM, as a frozen dataclass read strictly from jobspecs/cluster_*.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from renderer.errors import SpecError
from renderer.parameters.spec import JOBSPECS, UniqueKeyLoader, find_jobspec, knob, parse_section

PREFIX: Final = "cluster_"


def text(about: str, default: str = "") -> Any:
    return field(default=default, metadata={"about": about})


def texts(about: str) -> Any:
    return field(default=(), metadata={"about": about})


@dataclass(frozen=True)
class Profile:
    """One kind of job on one cluster. Empty texts and zeros leave the choice to the cluster or to headforge."""

    about: str = text("one line for people")
    partition: str = text("partition, or several as a,b, of which the scheduler chooses; empty: the default")
    account: str = text("account that pays")
    qos: str = text("quality of service")
    constraint: str = text("node features, as sbatch --constraint")
    gres: str = text("generic resources, such as gpu:1")
    exclude: tuple[str, ...] = texts("nodes never to be used")
    sbatch: tuple[str, ...] = texts("further sbatch options, such as reservation=name")

    time_min: int = knob(240, 1, 60 * 24 * 30, "time limit of a job in minutes")
    warn_s: int = knob(120, 5, 3600, "seconds before the limit at which a job saves what it has and asks to go on")
    cores: int = knob(8, 1, 1024, "cores of a job")
    memory_gb: float = knob(8, 0.1, 10_000, "memory of a job")
    workers: int = knob(0, 0, 1024, "Blender processes of a job; 0: one per core")
    threads: int = knob(0, 0, 256, "threads of each; 0: cores divided by workers")
    max_jobs: int = knob(0, 0, 1_000_000, "jobs and array elements of yours in the queue; 0: as accounting says")
    parallel: int = knob(0, 0, 100_000, "jobs running at once; 0: as many as the cluster gives")
    task_min: float = knob(45, 0, 60 * 24, "work of one array element in minutes; 0: one shard each")
    seconds_per_sample: float = knob(0, 0, 1e6, "core-seconds per sample with default render settings; 0: an estimate")
    requeues: int = knob(20, 0, 1000, "how often a job that ran into its limit may go on")
    space_wait_min: float = knob(60, 0, 60 * 24, "how long a job waits for room on a full shared disk")

    scratch: str = text("node-local folder or variable, such as ${TMPDIR:-/tmp}", "/tmp")
    shared: tuple[str, ...] = texts("folders that all nodes see; empty: decided by the kind of file system")
    setup: tuple[str, ...] = texts("shell lines before the job, such as: module load apptainer")
    container: str = text("Apptainer image to run in")
    container_options: tuple[str, ...] = texts("further options of apptainer exec, such as --nv")
    python: str = text("Python on the nodes; empty: the one that submits")


def load_profile(source: str | Path) -> tuple[Profile, Path]:
    """A profile by file or by name ("local" is jobspecs/cluster_local.yaml), and its file. Raises SpecError."""
    path = find_jobspec(source, "cluster profile", profile_names(), PREFIX)
    try:
        raw = yaml.load(path.read_text("utf-8"), Loader=UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    profile: Profile = parse_section(Profile, raw, str(path), "")
    if profile.warn_s >= 60 * profile.time_min - 20:
        raise SpecError(
            f"{path}: warn_s is {profile.warn_s}, the time limit {profile.time_min} min: a job would be told to stop"
            f" as it starts; set time_min above {profile.warn_s // 60 + 1} or warn_s lower"
        )
    for option in profile.sbatch:
        if not re.fullmatch(r"[a-z][a-z-]*(=.*)?", option):
            raise SpecError(f"{path}: sbatch holds {option!r}; write options as name or name=value, without dashes")
    if profile.container:
        profile = replace(profile, container=str((path.parent / Path(profile.container).expanduser()).resolve()))
    return profile, path


def profile_names() -> list[str]:
    """Names of the profiles that come with headforge."""
    return sorted(p.stem.removeprefix(PREFIX) for p in JOBSPECS.glob(f"{PREFIX}*.yaml"))


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

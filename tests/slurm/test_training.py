"""Trainings become jobs: every run of a sweep with its config frozen as it was, and processes as its device says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from renderer.errors import HeadforgeError, MachineError, SpecError
from renderer.parameters.jobspecs import JOBSPECS
from slurm.node import command_job
from slurm.node.command_job import CommandOrder, run_command
from slurm.submit.batch import with_gpus
from slurm.submit.training import submit_training

SWEEP, SMALL = JOBSPECS / "sweep_occlusion.yaml", JOBSPECS / "train_uvnet_small.yaml"
AUTO = "device.accelerator=auto"
Site = Any
Profile = Callable[..., Path]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a data set, weights and photos."""
    (tmp_path / "data").mkdir()
    about = {"format_version": 1, "tag": "abcdef", "name": "x", "spec": {"assets": {"head": ""}}}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(about))
    (tmp_path / "photos").mkdir()
    (tmp_path / "old.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dry_run_shows_every_command_and_writes_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    submit_training(SWEEP, "gpu", data=Path("out/mixed"), runs=tmp_path / "runs", dry_run=True, log=lines.append)
    commands = [line for line in lines if "renderer.cli train" in line]
    assert len(commands) == 6 and len(set(commands)) == 6
    assert any(line.startswith("#SBATCH --array=0-5") for line in lines) and "#SBATCH --gres=gpu:1" in lines
    assert not (tmp_path / "runs").exists()


def test_configs_are_frozen_with_absolute_paths(site: Site, here: Path, profile: Profile) -> None:
    values = ("seed=5", "start=old.safetensors", "output.photos=photos")
    gpu = profile(partition="gpu", gres="gpu:1")
    sent = submit_training(SWEEP, gpu, data=Path("data"), runs=Path("runs"), values=values, allow_dirty=True)
    assert sent is not None and sent.tasks == 6 and "#SBATCH --array=0-5" in site.script(sent.jobs[0])
    configs = [yaml.safe_load(p.read_text()) for p in sorted(here.glob("runs/.slurm/configs/*/*.yaml"))]
    assert len({c["name"] for c in configs}) == 6
    for config in configs:
        found = (config["seed"], config["data"]["path"], config["start"], config["output"]["photos"])
        assert found == (5, f"{here}/data", f"{here}/old.safetensors", f"{here}/photos")
    orders = json.loads((sent.folder / "submission.json").read_text())["commands"]
    assert all(argv[-2:] == ["--runs", "{runs}"] and Path(argv[4]).is_file() for argv in orders)
    one = submit_training(SWEEP, gpu, data=Path("data"), runs=Path("runs"), only=2, allow_dirty=True)
    assert one is not None and one.tasks == 1


@pytest.mark.parametrize(
    ("values", "gres", "lines"),
    [
        (("device.devices=4", AUTO), "gpu:1", ("nodes=1", "ntasks-per-node=4", "cpus-per-task=2", "gres=gpu:4")),
        (
            ("device.devices=2", "device.nodes=4", AUTO),
            "gpu:a100:1",
            ("nodes=4", "ntasks-per-node=2", "gres=gpu:a100:2"),
        ),
        (("device.devices=2", "device.accelerator=cpu"), "", ("nodes=1", "ntasks-per-node=2", "cpus-per-task=4")),
        ((), "gpu:1,shard:2", ("ntasks-per-node=1", "gres=gpu:1,shard:2")),
    ],
)
def test_the_header_asks_for_the_processes_and_gpus_of_the_config(
    profile: Profile, tmp_path: Path, values: tuple[str, ...], gres: str, lines: tuple[str, ...]
) -> None:
    said: list[str] = []
    options: dict[str, Any] = {"data": Path("data"), "runs": tmp_path, "dry_run": True, "log": said.append}
    submit_training(SMALL, profile(cores=8, gres=gres), values=values, **options)
    assert {f"#SBATCH --{line}" for line in lines} <= set(said)


@pytest.mark.parametrize(
    ("values", "keys", "words"),
    [
        (("device.devices=8", "device.accelerator=cpu"), {"cores": 4}, "cores is 4; 8 processes on a node need"),
        (("device.accelerator=cuda",), {"gres": ""}, "but gres names none: set it to gpu:1"),
        (("device.devices=8", AUTO), {"gres": "gpu:1", "partition": "gpu", "cores": 16}, "wants 8 GPUs .* gpu have 4"),
        (("device.nodes=4",), {"gres": "", "partition": "cpu"}, "wants 4 nodes; partition cpu has 2"),
        (("start=gone",), {}, "start of uvnet_small is .*/gone, which does not exist"),
        (("data.path=gone",), {}, "data.path of uvnet_small is .*/gone, which does not exist"),
    ],
)
def test_a_config_that_cannot_run_there_is_refused_before_it_is_queued(
    site: Site, here: Path, profile: Profile, values: tuple[str, ...], keys: dict[str, Any], words: str
) -> None:
    data = None if "data.path=gone" in values else Path("data")
    with pytest.raises(HeadforgeError, match=words):
        submit_training(SMALL, profile(**keys), data=data, runs=Path("runs"), values=values, allow_dirty=True)
    assert not [call for call in site.calls if call.startswith("sbatch")]


def test_runs_of_one_array_have_one_shape(here: Path, profile: Profile) -> None:
    sweep = here / "sweep.yaml"
    text = yaml.safe_load(SWEEP.read_text())
    text["vary"] = {"device.devices": [1, 2]}
    text["base"] = str(SMALL)
    sweep.write_text(yaml.safe_dump(text))
    with pytest.raises(SpecError, match=r"differ in device\.devices"):
        submit_training(sweep, profile(), data=Path("data"), runs=Path("runs"), dry_run=True)


@pytest.mark.parametrize(
    ("gres", "gpus", "expected"),
    [("gpu:1", 4, "gpu:4"), ("gpu", 2, "gpu:2"), ("gpu:a100", 2, "gpu:a100:2"), ("", 0, ""), ("gpu:3", 0, "gpu:3")],
)
def test_gpus_of_a_profile_are_multiplied(gres: str, gpus: int, expected: str) -> None:
    assert with_gpus(gres, gpus) == expected


PROCESS = """
import pathlib, sys, time
if sys.argv[1] == "--resume":
    pathlib.Path(sys.argv[2], "resumed").open("a").write(".")
elif {rank} == 0:
    pathlib.Path(sys.argv[1], "run-a").mkdir()
"""


def test_processes_of_a_job_agree_on_what_to_go_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one starts when the first has made a run, which is not one that an earlier start left."""
    for name, value in (("SLURM_JOB_ID", "9"), ("SLURM_NTASKS", "2"), ("SLURM_STEP_NUM_TASKS", "2")):
        monkeypatch.setenv(name, value)

    def start(number: int, rank: int) -> None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(number))
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        words = ("{python}", "-c", PROCESS.replace("{rank}", str(rank)))
        assert run_command(CommandOrder((*words, "{runs}"), (*words, "--resume"), str(tmp_path))) == 0

    for rank in (0, 1):
        start(0, rank)
    assert not (tmp_path / "run-a" / "resumed").exists()
    for rank in (0, 1):
        start(1, rank)
    assert (tmp_path / "run-a" / "resumed").read_text() == ".."
    monkeypatch.setattr(command_job, "TELL_S", 0.3)
    with pytest.raises(MachineError, match="process 0 of this job did not write"):
        start(2, 1)


@pytest.mark.slurm
def test_several_processes_on_several_nodes_train_together(cluster: Any, job: Any, tmp_path: Path) -> None:
    """On the real scheduler: Fabric's processes find each other, and add up what each of them knows."""
    from slurm.submit.batch import Shape
    from slurm.submit.commands import submit_commands

    program = tmp_path / "together.py"
    program.write_text(
        "import sys, pathlib, torch; from lightning_fabric import Fabric\n"
        "fabric = Fabric(accelerator='cpu', devices=2, num_nodes=2, strategy='ddp'); fabric.launch()\n"
        "total = fabric.all_reduce(torch.tensor(1.0 + fabric.global_rank), reduce_op='sum')\n"
        "pathlib.Path(sys.argv[1], f'rank-{fabric.global_rank}').write_text(f'{fabric.world_size} {total:.0f}')\n"
    )
    data = job(cores=2, time_min=10)
    profile = yaml.safe_load(data.profile.read_text()) | {
        "setup": ["export MASTER_ADDR=127.0.0.1"]
    }  # nodes without names
    data.profile.write_text(yaml.safe_dump(profile))
    runs = tmp_path / "runs"
    runs.mkdir()
    order = CommandOrder(("{python}", str(program), str(runs)))
    sent = submit_commands([order], "together", runs, data.profile, shape=Shape(2, 2), allow_dirty=True)
    assert sent is not None
    ended = lambda: not subprocess.run(["squeue", "-h", "-j", sent.jobs[0]], capture_output=True).stdout  # noqa: E731
    data.until("the end of the job", ended, 120)
    logs = "\n".join(p.read_text() for p in sent.folder.glob("*.out"))
    assert {p.name: p.read_text() for p in runs.glob("rank-*")} == {f"rank-{i}": "4 10" for i in range(4)}, logs

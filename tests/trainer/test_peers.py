"""Processes of one training: a failure of any ends all, with its reason and its samples in the status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from renderer.errors import DatasetError, HeadforgeError
from renderer.strict import override, to_yaml
from trainer.data.order import epoch_order
from trainer.data.reader import SampleReader
from trainer.systems import runs
from trainer.training import loop
from trainer.training.peers import Peers

ROOT = Path(__file__).resolve().parents[2]
WAITING = """
import sys, time
from pathlib import Path
from trainer.training.peers import Peers
run, rank = Path(sys.argv[1]), int(sys.argv[2])
end = lambda reason: (run / f"ended-{rank}").write_text(reason)
with Peers(run, rank, 2, end, poll_s=0.05):
    print("waiting", flush=True)
    time.sleep(600)
"""


def waiting(run: Path, rank: int) -> subprocess.Popen[str]:
    """A process whose main thread hears nothing, as one in a collective operation."""
    command = [sys.executable, "-c", WAITING, str(run), str(rank)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    return process


def test_a_process_that_waits_for_a_failed_one_is_ended_with_its_reason(tmp_path):
    Peers.prepare(tmp_path)
    process = waiting(tmp_path, 0)
    reason = Peers(tmp_path, 1, 2, print).report("the loss is not finite at sample k")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and reason == "process 1 of 2: the loss is not finite at sample k"
    assert (tmp_path / "ended-0").read_text() == reason and reason in errors
    assert Peers(tmp_path, 0, 2, print).report("connection closed") == reason  # the first one's counts


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_was_killed_is_missed(tmp_path, killed):
    Peers.prepare(tmp_path)
    processes = [waiting(tmp_path, rank) for rank in range(2)]
    os.kill(processes[killed].pid, signal.SIGKILL)
    processes[1 - killed].communicate(timeout=60)
    processes[killed].communicate()
    assert processes[1 - killed].returncode == 1
    assert f"process {killed} has given no sign of life" in (tmp_path / f"ended-{1 - killed}").read_text()


def test_one_process_alone_watches_nobody(tmp_path):
    with Peers(tmp_path, 0, 1, print) as peers:
        assert peers.report("reason") == "reason"
    assert not list(tmp_path.iterdir())


def test_what_the_first_process_cannot_do_fails_in_all_of_them():
    passed: list[object] = []

    def broadcast(outcome):
        passed.append(outcome)
        return passed[0]

    def refuse():
        raise DatasetError("the disk is full")

    for rank in range(2):
        with pytest.raises(DatasetError, match="the disk is full"):
            loop.by_the_first(SimpleNamespace(global_rank=rank, broadcast=broadcast), refuse)
    assert passed[1] == (None, None)  # the second did not try


def poison(path: Path, config) -> str:
    """Damage a sample of the part of the first minibatch that the second of two processes reads. Returns its key."""
    reader = SampleReader(path, ("input", "uv", "mask"))
    training, _ = reader.split(config.data.test_share)
    order = epoch_order(training, reader.shard_of, config.seed, 0, config.data.window)
    position = int(order[config.data.batch_size // 2])
    shard, entry = reader.entry(position)
    with shard.tar.open("r+b") as file:
        file.seek(entry.members["uv.exr"].offset)
        file.write(bytes(64))
    return entry.key


def test_a_failure_of_the_second_process_stands_in_the_status_with_its_sample(config, make_dataset):
    path = make_dataset(70)
    key = poison(path, config)
    changes = {"data.path": str(path), "data.max_bad": 0, "device.devices": 2, "device.strategy": "ddp_spawn"}
    with pytest.raises(HeadforgeError, match=f"a process of the training failed: .*{key}"):
        runs.train(override(config, changes, "test"))
    (run,) = Path(config.output.runs).iterdir()
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and status["message"].startswith("process 1 of 2: 1 bad samples")
    assert key in status["message"]


def test_the_default_strategy_trains_and_ends_with_the_reason_of_the_process_that_failed(
    config, make_dataset, tmp_path
):
    """Fabric starts the others with the same command, so this is tested through the command."""
    two = override(config, {"device.devices": 2, "schedule.max_samples": 16}, "test")
    spec = tmp_path / "spec.yaml"
    spec.write_text(to_yaml(two))
    command = [sys.executable, "-m", "renderer.cli", "train", str(spec)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (run,) = Path(config.output.runs).iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"

    path = make_dataset(70)
    key = poison(path, two)
    failing = [*command, "--data", str(path), "--set", "data.max_bad=0", "--runs", str(tmp_path / "failing")]
    failed = subprocess.run(failing, cwd=ROOT, capture_output=True, text=True, timeout=300)
    (run,) = (tmp_path / "failing").iterdir()
    status = json.loads((run / "status.json").read_text())
    assert failed.returncode != 0 and status["state"] == "failed" and key in status["message"]

"""The loop: exact resume after SIGKILL, processes that agree, and bad input refused before anything is created."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from renderer.errors import AssetError, DatasetError, FormatError, HeadforgeError, MachineError, SpecError
from renderer.strict import override, to_yaml
from trainer.augmentation.banks import Banks
from trainer.data import device
from trainer.data.reader import SampleReader
from trainer.systems import registry, runs
from trainer.systems.uvnet.config import UVNetConfig
from trainer.systems.uvnet.network import make_network
from trainer.systems.uvnet.system import UVNetSystem, UVTask
from trainer.systems.uvnet.views import COLUMNS
from trainer.training import checks, loop, session, updates
from trainer.training.checkpoint import checkpoints, load_checkpoint, read_weights, save_checkpoint
from trainer.training.config import ScheduleConfig
from trainer.training.log import Log
from trainer.training.run_dir import RunDir
from trainer.training.schedules import Moment, learning_rate
from trainer.training.sheets import load_photo
from trainer.training.state import NonFiniteError, Progress, State, checkpoint_state, restore
from trainer.training.tester import note_plateau

ROOT = Path(__file__).resolve().parents[2]
OFF = {s: {"enabled": False} for s in ("occlusion", "channel_shuffle", "exposure", "gamma", "noise")}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_weights(RunDir(run).weights)[0]


def lines(run: Path, kind: str) -> list[dict]:
    return [line for line in RunDir(run).lines() if line["kind"] == kind]


def optimiser_of(fabric: Fabric, config: UVNetConfig) -> torch.optim.Optimizer:
    plans = UVTask(config, Banks(), None).optimisers
    return updates.make_models(fabric, config, UVNetSystem().modules(config), plans).optimisers["network"]


# ---------------------------------------------------------------- arithmetic


@pytest.mark.parametrize(("in_hardware", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_takes_the_arithmetic_that_the_processor_has_and_the_run_says_which(
    config, monkeypatch, capsys, in_hardware, chosen
):
    monkeypatch.setattr(device, "computes_bf16", lambda accelerator: in_hardware)
    config = override(config, {"device.precision": "auto", "schedule.optimiser": "muon"}, "test")
    plan = runs.check(config)
    assert plan.device == f"1 x 1 cpu, {chosen} (auto)" and not plan.warning
    fabric = session.make_fabric(config)
    assert optimiser_of(fabric, config).dtype == (torch.bfloat16 if in_hardware else torch.float32)
    config = override(config, {"schedule.max_samples": 8}, "test")
    assert json.loads(RunDir(runs.train(config).run).status.read_text())["precision"] == chosen
    assert "bfloat16" not in capsys.readouterr().err


def test_bfloat16_that_is_emulated_says_what_it_costs_and_goes_on(config, monkeypatch, capsys):
    torch.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))  # oneDNN reads the variable here, for good
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # an older processor, as far as headforge sees
    config = override(config, {"device.precision": "bf16-mixed", "schedule.max_samples": 8}, "test")
    assert "13 times as long as in float32" in runs.check(config).warning
    outcome = runs.train(config)
    assert outcome.state == "finished"
    assert capsys.readouterr().err.count("13 times as long as in float32") == 1
    assert json.loads(RunDir(outcome.run).status.read_text())["precision"] == "bf16-mixed"


def test_processes_that_chose_different_arithmetic_do_not_train_together(config, monkeypatch):
    fabric = session.make_fabric(config)
    monkeypatch.setattr(fabric, "broadcast", lambda mine: "bf16-mixed")
    with pytest.raises(MachineError, match="32-true on this node and bf16-mixed on the first"):
        session.check_precision(fabric, config)


# ---------------------------------------------------------------- what a run leaves behind


def test_a_run_leaves_everything_that_its_page_and_its_repetition_need(config, environments, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(photos / "a.png")
    config = override(config, {"output.images": True, "output.tensorboard": True, "output.photos": str(photos)}, "test")
    outcome = runs.train(config)
    run = RunDir(outcome.run)
    assert outcome.state == "finished" and outcome.step == 21 and run.run_id.startswith("tiny-abc123-20")
    assert registry.run_config(run.path) == config

    meta = json.loads(run.meta.read_text())
    assert meta["run_id"] == run.run_id and len(meta["data"]["index_sha256"]) == 64 and meta["data"]["tag"] == "abc123"
    assert meta["parameters"] == sum(v.numel() for v in weights(run.path).values()) and meta["versions"]["torch"]
    assert json.loads(run.status.read_text())["state"] == "finished"

    train = lines(run.path, "train")
    assert [line["step"] for line in train] == [5, 10, 15, 20] and train[-1]["samples_seen"] == 160
    assert set(train[0]["terms"]) >= {"uv", "mask", "occluded_mask", "uv_dudx"} and train[0]["samples_per_s"] > 0
    assert sum(train[0]["terms"].values()) == pytest.approx(train[0]["loss"], rel=1e-4)
    for kind in ("test", "test_occluded"):
        assert [line["epoch"] for line in lines(run.path, kind)] == [1, 2, 3]
        assert {"uv_error", "mask_iou", "occluded_iou"} <= lines(run.path, kind)[-1]["metrics"].keys()
    assert lines(run.path, "test")[-1]["loss"] < lines(run.path, "test")[0]["loss"]
    assert lines(run.path, "test")[-1]["metrics"] != lines(run.path, "test_occluded")[-1]["metrics"]
    splits = json.loads((run.evaluation / "splits.json").read_text())
    assert {"|yaw|", "camera.focal_mm", "skin"} <= splits["test"].keys()
    hidden = {
        kind: [(r["label"], r["count"]) for r in splits[kind]["occlusion share"]] for kind in splits if kind != "epoch"
    }
    assert hidden["test"][0][0] == "0..0.001"  # some faces have nothing before them as they are rendered,
    assert hidden["test"] != hidden["test_occluded"]  # but an occluder in the other evaluation

    layout = json.loads((run.evaluation / "layout.json").read_text())
    rows = [json.loads(line) for line in (run.evaluation / "rows.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2, 3] and layout["columns"] == list(COLUMNS)
    kinds = [row["kind"] for row in rows[0]["rows"]]
    assert kinds == ["chosen"] * 6 + ["random", "photo", "random photo"]
    with Image.open(run.evaluation / rows[0]["file"]) as sheet:
        assert sheet.size == (layout["tile_px"] * len(COLUMNS), layout["tile_px"] * len(kinds))
        photo_tile = np.asarray(sheet)[7 * 32 : 8 * 32, :32]
    assert (photo_tile == 200).all()
    assert not list(run.evaluation.glob(".pending*")) and list(run.tensorboard.glob("events*"))
    assert len(checkpoints(run.checkpoints)) == config.output.keep_checkpoints


def test_a_run_may_start_from_the_weights_of_another_and_needs_them_no_more_once_it_has_a_checkpoint(config, tmp_path):
    first = runs.train(config).run
    onward = override(config, {"start": str(first), "schedule.lr": [0.0, 0.0], "schedule.max_samples": 8}, "test")
    second = runs.train(onward).run
    before, after = weights(first), weights(second)
    assert all(torch.equal(before[name], after[name]) for name in before)  # no step was any long
    fresh = weights(runs.train(override(onward, {"start": ""}, "test")).run)
    assert any(not torch.equal(before[name], fresh[name]) for name in before)

    with pytest.raises(FormatError, match=r"another network architecture: network\.initial_features 6 there, 8 here"):
        runs.check(override(onward, {"network.initial_features": 8}, "test"))
    RunDir(first).weights.rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match="there are no weights"):
        runs.check(onward)
    runs.resume(second)


def test_a_small_network_learns_the_synthetic_faces_by_heart(config):
    changes = {
        "data.limit": 4, "data.batch_size": 4, "data.test_on_train": True, "data.cache": "memory", "augment": OFF,
        "schedule.max_samples": 1000, "schedule.lr": [1e-3, 1e-4], "schedule.second_phase_at": 0.8,
        "network.initial_features": 24, "network.levels": 3, "network.filter_sizes": [3, 3, 3, 1],
        "output.evaluate_epochs": 250,
    }  # fmt: skip
    config = override(config, changes, "test")
    run = runs.train(config).run
    metrics = lines(run, "test")[-1]["metrics"]
    assert metrics["uv_error"] < 0.05 and metrics["mask_iou"] > 0.9


# ---------------------------------------------------------------- repetition and resume


def test_equal_seeds_give_equal_weights_whatever_the_cache_and_workers(config):
    first = weights(runs.train(config).run)
    again = weights(runs.train(override(config, {"data.cache": "memory", "data.workers": 3}, "test")).run)
    other = weights(runs.train(override(config, {"seed": 1}, "test")).run)
    assert all(torch.equal(again[k], v) for k, v in first.items())
    assert any(not torch.equal(other[k], v) for k, v in first.items())


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_run_killed_in_the_middle_of_an_epoch_resumes_bit_equal(config, tmp_path, optimiser):
    changes = {"output.checkpoint_steps": 2, "schedule.ema": 0.9, "schedule.plateau_epochs": 1}
    config = override(config, changes | {"schedule.optimiser": optimiser}, "test")
    reference = runs.train(config).run
    spec = tmp_path / "spec.yaml"
    # the killed run waits at step 11, in the second epoch, between the checkpoints of steps 10 and 12
    killed = override(config, {"output.runs": str(tmp_path / "killed")}, "test")
    spec.write_text(to_yaml(killed))
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom trainer.training import loop\n"
        "from trainer.systems.registry import load_config\nfrom trainer.systems.runs import train\n"
        "due = loop.due\n"
        "def slow(config, step, saved_at):\n"
        "    if step == 11:\n        print('waiting', flush=True); time.sleep(600)\n"
        "    return due(config, step, saved_at)\n"
        "loop.due = slow\ntrain(load_config(Path(sys.argv[1])))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(spec)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert any("waiting" in line for line in process.stdout)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    (run,) = (tmp_path / "killed").iterdir()
    assert [c.name for c in checkpoints(RunDir(run).checkpoints)][-1] == "step-0000000010.pt"
    outcome = runs.resume(run)
    assert outcome.state == "finished" and outcome.step == 21
    expected, found = weights(reference), weights(run)
    assert expected and all(torch.equal(found[k], v) for k, v in expected.items())

    def losses(path):
        return [(line["kind"], line["step"], line["loss"]) for line in RunDir(path).lines() if "loss" in line]

    assert losses(run) == losses(reference)  # no line twice, none missing, all means as if nothing had happened
    final = [load_checkpoint(checkpoints(RunDir(r).checkpoints)[-1], config) for r in (reference, run)]
    for state in final:
        state["progress"].pop("seconds")
    assert final[0]["progress"] == final[1]["progress"] and final[0]["loader"] == final[1]["loader"]


def test_a_signal_saves_and_stops_and_resume_goes_on(config, monkeypatch):
    reference = weights(runs.train(config).run)
    due = loop.due

    def interrupt(spec, step, saved_at):
        if step == 4:
            os.kill(os.getpid(), signal.SIGUSR1)
        return due(spec, step, saved_at)

    monkeypatch.setattr(loop, "due", interrupt)
    before = signal.getsignal(signal.SIGUSR1)
    outcome = runs.train(config)
    assert outcome.state == "interrupted" and outcome.step in (4, 5)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert json.loads(RunDir(outcome.run).status.read_text())["state"] == "interrupted"
    monkeypatch.undo()
    assert runs.resume(outcome.run).state == "finished"
    assert all(torch.equal(weights(outcome.run)[k], v) for k, v in reference.items())


@pytest.mark.parametrize(("optimiser", "rounding"), [("adam", 2e-5), ("muon", 3e-4)])
def test_two_processes_train_as_one_with_the_same_global_minibatch(config, optimiser, rounding):
    config = override(config, {"schedule.optimiser": optimiser}, "test")
    alone = runs.train(config).run
    together = runs.train(override(config, {"device.devices": 2, "device.strategy": "ddp_spawn"}, "test")).run
    one, two = weights(alone), weights(together)
    start = weights(runs.train(override(config, {"schedule.max_samples": 1, "schedule.lr": [0, 0]}, "test")).run)
    moved = max(float((start[k] - v).abs().max()) for k, v in one.items())
    apart = max(float((two[k] - v).abs().max()) for k, v in one.items())
    # sums in another order, 21 steps long; Muon steps as far where gradients are small enough to be rounding
    assert apart < rounding and moved > 100 * apart
    logged = [[line["loss"] for line in lines(run, "train")] for run in (alone, together)]
    assert len(logged[0]) == 4 and logged[1] == pytest.approx(logged[0], rel=1e-3)  # means over all samples


def test_no_process_group_outlives_a_training(config):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        runs.train(config)
        assert not torch.distributed.is_initialized()  # a process that ended with one aborted now and then
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def test_many_gpus_normalise_by_the_global_minibatch(config):
    network = make_network(replace(config.network, batch_norm=True), 0)
    names = list(network.state_dict())
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in updates.synchronised(network, fabric(1, "cuda")).modules())
    synchronised = updates.synchronised(network, fabric(2, "cuda"))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in synchronised.modules())
    assert list(synchronised.state_dict()) == names


def fabric(world_size: int, device: str) -> SimpleNamespace:
    return SimpleNamespace(world_size=world_size, device=torch.device(device))


def test_the_scale_of_half_precision_gradients_is_part_of_a_checkpoint(config):
    reader, network = checks.open_reader(config, UVNetSystem()), make_network(config.network, 0)
    loader = SimpleNamespace(state_dict=dict, load_state_dict=lambda state: None)
    optimiser = torch.optim.Adam(network.parameters())
    before, after = (MixedPrecision("16-mixed", "cpu") for _ in range(2))
    before.scaler.load_state_dict({**before.scaler.state_dict(), "scale": 128.0})
    folder = Path(config.output.runs)
    folder.mkdir()
    modules, optimisers = {"network": network}, {"network": optimiser}
    states = [State(modules, optimisers, {}, loader, Progress(), precision) for precision in (before, after)]
    path = save_checkpoint(folder, 1, checkpoint_state(states[0], config, reader), 1)
    restore(states[1], path, config, reader)
    assert after.scaler.state_dict()["scale"] == 128.0


def test_a_run_started_with_relative_paths_is_resumed_and_shown_from_anywhere(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, path in (("data", config.data.path), ("environments", config.augment.environments)):
        (tmp_path / name).symlink_to(path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "a.png")
    first = runs.train(override(config, {"schedule.max_samples": 8}, "test")).run
    relative = {
        "data.path": "data", "augment.environments": "environments", "output.runs": "runs", "output.photos": "photos",
        "start": os.path.relpath(first), "schedule.max_samples": 8,
    }  # fmt: skip
    run = runs.train(override(config, relative, "test")).run
    assert run.is_absolute() and run.parent == tmp_path / "runs"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    stored = registry.run_config(run)
    assert stored.start == str(first) and stored.output.photos == str(tmp_path / "photos")
    assert runs.resume(run).state == "finished"
    gallery, why_not = runs.gallery(run, tmp_path / "elsewhere" / "a.png")
    assert gallery is not None and not why_not and len(gallery["rows"]) >= 4
    with Image.open(tmp_path / "elsewhere" / gallery["file"]) as picture:
        assert picture.size == (32 * len(gallery["columns"]), 32 * len(gallery["rows"]))


def test_only_one_process_trains_a_run(config):
    run = RunDir(runs.train(override(config, {"schedule.max_samples": 8}, "test")).run)
    with run.locked(), pytest.raises(DatasetError, match="another process"):
        runs.resume(run.path)
    assert runs.resume(run.path).state == "finished"


def test_a_resumed_run_logs_its_own_speed_and_no_step_twice_in_tensorboard(config, tmp_path):
    config = override(config, {"output.tensorboard": True}, "test")
    run = RunDir(tmp_path / "run")
    run.evaluation.mkdir(parents=True)
    loader, rates = SimpleNamespace(epoch=0, batch=1), {"network": (0.1, 0.9)}
    for first in (0, 40):  # killed after 80 samples, resumed from a checkpoint at 40
        progress = Progress(step=first, samples_seen=first, seconds=first * 100)
        log = Log(run, config, UVNetSystem(), progress, "32-true", True)
        for _ in range(4):
            progress.samples_seen, progress.seconds = progress.samples_seen + 20, progress.seconds + 5
            log.train_line(progress, loader, rates)
        log.close()
    assert all(line["samples_per_s"] == 4 for line in run.lines()) and len(run.lines()) == 8
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [e.step for e in events.Scalars("train/samples_per_s")] == [20, 40, 60, 80, 100, 120]


# ---------------------------------------------------------------- schedule


def test_the_plateau_is_that_of_the_error_in_epochs(config, small):
    config = override(config, {"output.evaluate_epochs": 3, "schedule.plateau_gain": 0.01}, "test")
    progress = Progress()
    for score in (0.5, 0.4, 0.399, 0.398):
        note_plateau(progress, score, config)
    assert (progress.best_score, progress.epochs_since_best) == (0.4, 6)
    task = UVTask(config, Banks(), None)
    assert task.score({"uv_error": 0.1, "mask_iou": 0.8, "occluded_iou": 0.1}) == pytest.approx(0.3)
    assert task.score({}) == 2


def test_the_rate_may_fall_to_the_end_from_wherever_the_second_phase_starts():
    schedule = ScheduleConfig(lr=(1e-3, 1e-5), second_phase_at=0.4, decay="linear", max_samples=1000)

    def rate(seen, **about):
        return learning_rate(schedule, Progress(samples_seen=seen, **about).moment(schedule))

    assert rate(0) == rate(300) == 1e-3
    assert rate(400, phase=1, second_phase_from=0.4) == pytest.approx(1e-3)
    assert rate(700, phase=1, second_phase_from=0.4) == pytest.approx((1e-3 + 1e-5) / 2)
    assert rate(700, phase=1, second_phase_from=0.6) == pytest.approx(1e-5 + 0.99e-3 * 0.75)  # a plateau came later
    assert rate(1000, phase=1, second_phase_from=0.4) == pytest.approx(1e-5)
    assert learning_rate(replace(schedule, decay="step"), Moment(phase=1)) == 1e-5


def test_the_second_phase_starts_when_the_loss_levels_off(config):
    run = runs.train(override(config, {"schedule.plateau_gain": 0.99, "schedule.plateau_epochs": 1}, "test")).run
    events = [line["text"] for line in lines(run, "event")]
    assert any("second phase: the held-out error levelled off" in text for text in events)
    train = lines(run, "train")
    assert (train[0]["lr"], train[0]["beta1"]) == (2e-3, 0.9) and (train[-1]["lr"], train[-1]["beta1"]) == (2e-4, 0.99)
    assert train[0]["phase"] == 1 and train[-1]["phase"] == 2


def test_a_run_ends_after_its_minutes(config):
    run = runs.train(override(config, {"schedule.max_samples": 10**9, "schedule.max_minutes": 0.02}, "test")).run
    assert json.loads(RunDir(run).status.read_text())["state"] == "finished"


@pytest.mark.parametrize("grad_clip", [0.0, 0.5])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(config, monkeypatch, grad_clip):
    training_samples = UVTask.training_samples
    poisoned: list[str] = []

    def poison(task, minibatch, progress):
        samples = training_samples(task, minibatch, progress)
        if minibatch.epoch == 1 and not poisoned:
            poisoned.append(minibatch.keys[3])
            samples.input[3, 0, 5, 5] = float("nan")
        return samples

    monkeypatch.setattr(UVTask, "training_samples", poison)
    with pytest.raises(NonFiniteError) as caught:
        runs.train(override(config, {"schedule.grad_clip": grad_clip}, "test"))
    assert f"at samples {poisoned[0]} of epoch 2" in str(caught.value)
    (run,) = Path(config.output.runs).iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert [c.name for c in checkpoints(run / "checkpoints")] == ["step-0000000007.pt"]


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt(), "interrupted"), (RuntimeError("no memory"), "failed")]
)
def test_whatever_ends_a_run_its_status_says_so(config, monkeypatch, error, state):
    def stop(*_):
        raise error

    monkeypatch.setattr(UVTask, "total_loss", stop)
    with pytest.raises(type(error)):
        runs.train(config)
    (run,) = Path(config.output.runs).iterdir()
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == state and type(error).__name__ in status["message"]


# ---------------------------------------------------------------- bad input


def overwrite(path: Path, position: int, extension: str) -> str:
    """Zero one member of a sample in place. Returns the key."""
    reader = SampleReader(path, ("input", "uv", "mask"))
    shard, entry = reader.entry(position)
    member = entry.members[extension]
    with shard.tar.open("r+b") as file:
        file.seek(member.offset)
        file.write(bytes(member.size))
    return entry.key


def test_damage_met_in_evaluation_is_counted_and_passed_over(config, make_dataset):
    path = make_dataset(70)
    held_out = SampleReader(path, ("input", "uv", "mask")).split(config.data.test_share)[1]
    assert len(held_out) >= 4
    keys = [overwrite(path, int(held_out[0]), "json"), overwrite(path, int(held_out[1]), "uv.exr")]
    changes = {"data.path": str(path), "output.images": True, "schedule.max_samples": 8, "output.chosen": keys}
    run = runs.train(override(config, changes, "test")).run
    assert {line["samples"] for line in lines(run, "test")} == {len(held_out) - 2}
    rows = json.loads((run / "eval" / "rows.jsonl").read_text().splitlines()[-1])["rows"]
    assert len(rows) <= 1 and not any(row.get("key") in keys for row in rows)
    events = [line["text"] for line in lines(run, "event")]
    assert all(sum(text.startswith(f"skipped sample {key}: ") for text in events) == 1 for key in keys)


def test_a_photo_that_is_none_is_refused_before_training(config, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"broken\.jpg"):
        runs.train(override(config, {"output.photos": str(tmp_path / "photos")}, "test"))
    assert not Path(config.output.runs).exists()


def test_too_many_devices_are_refused_however_they_are_asked_for(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for accelerator in ("auto", "cuda"):
        changes = {"device.accelerator": accelerator, "device.devices": 2}
        with pytest.raises(MachineError, match="torch sees 1 CUDA"):
            checks.resolve_accelerator(override(config, changes, "test"))


def test_room_is_asked_for_as_many_copies_as_there_are_processes(config):
    two = override(config, {"device.devices": 2}, "test")
    assert checks.cached_samples(two, 100, 10, torch.device("cpu")) == 210  # only one process evaluates
    assert checks.cached_samples(two, 100, 10, torch.device("cuda")) == 110  # each has a device of its own
    assert (
        checks.cached_samples(override(two, {"data.test_on_train": True}, "test"), 100, 10, torch.device("cpu")) == 200
    )


def test_a_cache_leaves_room_for_what_training_itself_takes(config, monkeypatch):
    asked = []
    monkeypatch.setattr(checks, "check_room", lambda reader, count, place, reserve: asked.append(reserve))
    for batch_size in (8, 16):
        runs.check(override(config, {"data.cache": "device", "data.batch_size": batch_size}, "test"))
    weights_bytes = 4 * 5 * runs.check(config).parameters  # weights, gradients, two moments, average
    assert (asked[1] - weights_bytes) == 2 * (asked[0] - weights_bytes) > 0
    # the first convolution alone has 6 maps of 32 x 32 for each sample, kept and with a gradient
    assert asked[0] - weights_bytes > 2 * 4 * 8 * 6 * 32 * 32
    asked.clear()
    runs.check(config)
    assert not asked  # nothing is cached


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data.path": ""}, SpecError, "--data"),
        ({"data.path": "/nowhere"}, DatasetError, "gen render"),
        ({"data.batch_size": 64}, SpecError, "fewer than"),
        ({"data.test_share": 0.0}, DatasetError, "held out"),
        ({"augment.environments": "/nowhere"}, AssetError, "augment.environments"),
        ({"output.photos": "/nowhere"}, DatasetError, "no photos"),
        ({"output.chosen": ["zzz"]}, DatasetError, "zzz"),
        ({"network.output_channels": 3}, SpecError, "unknown key .network.output_channels"),
        ({"network.batch_norm": True, "device.devices": 2}, SpecError, "batch_norm with several processes"),
        pytest.param(
            {"device.accelerator": "cuda"}, MachineError, "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device"),
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_a_run_directory_exists(config, changes, error, words):
    with pytest.raises(error, match=words):
        runs.train(override(config, changes, "test"))
    assert not Path(config.output.runs).exists()


def test_compiling_without_a_compiler_is_refused(config, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MachineError, match="no-such-compiler"):
        runs.train(override(config, {"device.compile": True}, "test"))
    assert not Path(config.output.runs).exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="this machine has no g++")
def test_a_compiled_network_learns_the_same(config):
    size = {"network.levels": 1, "network.filter_sizes": [3, 1]}  # each layer is compiled
    small = override(config, {**size, "schedule.max_samples": 40}, "test")
    trained = [runs.train(override(small, {"device.compile": on}, "test")).run for on in (False, True)]
    plain, compiled = (weights(run) for run in trained)
    assert plain.keys() == compiled.keys()
    assert all(torch.allclose(plain[name], compiled[name], atol=1e-3) for name in plain)


def test_landmarks_that_the_data_lack_are_refused(config, make_dataset):
    path = make_dataset(70)
    info = json.loads((path / "dataset.json").read_text())
    info.pop("landmark_uv")
    (path / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="landmark_uv"):
        runs.check(override(config, {"data.path": str(path), "loss.landmarks": 1}, "test"))


def test_the_optional_loss_terms_train(config):
    run = runs.train(override(config, {"loss.landmarks": 1, "loss.face_present": 0.1}, "test")).run
    assert {"landmarks", "face_present"} <= lines(run, "train")[-1]["terms"].keys()


def test_checkpoints_of_another_kind_are_refused(config, make_dataset, tmp_path):
    run = RunDir(runs.train(config).run)
    newest = checkpoints(run.checkpoints)[-1]
    with pytest.raises(FormatError, match="initial_features 6 there, 8 here"):
        load_checkpoint(newest, replace(config, network=replace(config.network, initial_features=8)))
    other = make_dataset(70, per_shard=35)
    run.config.write_text(to_yaml(override(config, {"data.path": str(other)}, "test")))
    with pytest.raises(DatasetError, match="other shards"):
        runs.resume(run.path)
    run.config.write_text(to_yaml(config))
    newest.write_bytes(newest.read_bytes()[:-2000])
    with pytest.raises(FormatError, match="cannot be read"):
        runs.resume(run.path)
    with pytest.raises(SpecError, match="not a run directory"):
        runs.resume(tmp_path)


class Attack:
    """Runs code when a careless reader unpickles it."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_cannot_run_code(config, tmp_path):
    path = tmp_path / "step-0000000001.pt"
    torch.save({"checkpoint_version": 2, "modules": Attack(tmp_path / "attacked")}, path)
    with pytest.raises(FormatError, match="cannot be read"):
        load_checkpoint(path, config)
    assert not (tmp_path / "attacked").exists()
    torch.load(path, weights_only=False)  # a careless reader
    assert (tmp_path / "attacked").is_dir()


def test_weights_load_into_the_network_that_their_header_describes(config, tmp_path):
    run = runs.train(config).run
    trained = runs.load_trained(run)
    network, header = trained.module, trained.header
    assert header["uv_frame"] == "hm08-frontal-1" and header["run_id"] == run.name and not network.training
    assert network(torch.zeros(1, 3, 20, 30)).shape == (1, 4, 20, 30)
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    for path in (tmp_path / "x.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(HeadforgeError, match=r"safetensors|no weights"):
            runs.load_trained(path)


def test_a_photo_is_cut_to_its_middle_square(tmp_path):
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 10:30] = 255
    Image.fromarray(picture).save(tmp_path / "p.png")
    assert (load_photo(tmp_path / "p.png", (8, 8)) == 1).all()


def test_the_trainer_imports_without_blender_or_slurm():
    modules = "trainer.commands.train, trainer.commands.export, trainer.training.loop, trainer.training.export"
    code = f"import sys; sys.modules['bpy'] = sys.modules['submitit'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    broken = "import sys; sys.modules['torch'] = None; import trainer.training.loop"
    assert subprocess.run([sys.executable, "-c", broken], cwd=ROOT, capture_output=True).returncode != 0

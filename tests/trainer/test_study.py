"""A study on stand-ins for rendered heads: what it finds, that it goes on where it was killed, what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from renderer.cli import main
from renderer.errors import DatasetError, SpecError
from renderer.format.sample_format import sample_key
from renderer.format.staging import encode_sample
from trainer.study.measure import load
from trainer.study.plan import Layout, Step, refuse_overlap
from trainer.study.spec import StudySpec, load_study
from trainer.study.statistics import difference, interval, moving_average

sys.path.insert(0, str(Path(__file__).parent))
import heads_of_four

TRAINING = {
    "name": "four",
    "system": "headparams",
    "data": {"batch_size": 16, "workers": 0, "cache": "memory", "test_share": 0.1},
    "network": {"kind": "small", "input_px": 64, "parameters": 4, "features": 8},
    "schedule": {"max_samples": 2400, "optimiser": "adam", "lr": [3e-3, 1e-4], "decay": "cosine"},
    "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
    "output": {"log_steps": 20, "evaluate_epochs": 8, "images": False, "tensorboard": False, "checkpoint_steps": 10},
}


@pytest.fixture(scope="session")
def stand_ins(synthetic, tmp_path_factory) -> Path:
    """Data sets to train on (seed 0) and to test on (seed 1), before gray and before noise. Read only."""
    folder = tmp_path_factory.mktemp("stand_ins")
    for name, noise in (("gray", 0.0), ("noisy", 0.5)):
        for part, seed, count in (("train", 0, 160), ("test", 1, 100)):
            tag = {"gray": "aaaaa", "noisy": "bbbbb"}[name] + str(seed)
            encode = partial(heads_of_four.encoded, tag=tag, seed=seed, noise=noise)
            synthetic.write_dataset(folder / f"{name}-{part}", count, 80, tag=tag, encode=encode)
    return folder


def write_study(folder: Path, stand_ins: Path, **changes: object) -> Path:
    """study.yaml beside its training."""
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    scenarios = {
        name: {"data": str(stand_ins / f"{name}-train"), "test_data": str(stand_ins / f"{name}-test")}
        for name in ("gray", "noisy")
    }
    study = {"name": "four", "training": "training.yaml", "scenarios": scenarios, "shown": 0, **changes}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def gen(*words: object) -> list[str]:
    return [sys.executable, "-m", "renderer.cli", *map(str, words)]


def stamps(out: Path) -> dict[str, int]:
    """When what steps have made was written."""
    files = [*out.glob("results/*.npz"), *out.glob("runs/*/*/weights.safetensors")]
    return {str(path): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def finished(stand_ins, tmp_path_factory) -> Path:
    """The folder of a study that was killed in its second training, and given again."""
    folder = tmp_path_factory.mktemp("study")
    path, out = write_study(folder, stand_ins, seeds=[3]), folder / "out"
    words = gen("study", path, "--out", out)
    process = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    second = out / "runs" / "noisy-3"
    end = time.monotonic() + 120
    while not list(second.glob("*/checkpoints/step-*.pt")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for status in second.glob("*/status.json"):  # its training has a session of its own, and is killed, too
        (trainer,) = [
            int(pid.name)
            for pid in Path("/proc").iterdir()
            if pid.name.isdecimal() and str(out / "specs" / "train-noisy-3.yaml").encode() in _command_line(pid)
        ] or [0]
        if trainer:
            os.kill(trainer, signal.SIGKILL)
        assert json.loads(status.read_text())["state"] == "running"
    before = stamps(out)
    assert len(before) >= 1 and not list(out.glob("results/*"))
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "train:gray:3" not in ended.stderr and "train:noisy:3" in ended.stderr
    assert all(stamps(out)[name] == when for name, when in before.items() if "gray-3" in name)
    assert len(list(second.iterdir())) == 1  # the run was resumed, not begun again
    log = next(second.glob("*/log.jsonl")).read_text()
    assert "resumed from step-" in log
    return out


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_networks_that_never_saw_noise_do_worse_before_it(finished):
    found = json.loads((finished / "summary.json").read_text())
    assert found["main"] == "noisy" and [row[0] for row in found["ranking"]] == ["noisy", "gray"]
    value, low, high = found["matrix"]["noisy on noisy"]
    assert low < value < high < 0.9
    assert found["matrix"]["gray on noisy"][0] > high
    assert found["matrix"]["gray on gray"][0] < 0.9
    apart = dict((row[0], row[2]) for row in found["ranking"])["gray"]
    assert apart[1] > 0
    shares = found["by_parameter"]["noisy"]
    assert len(shares) == 4 and max(shares[:3]) < 0.8 < shares[3]


def test_the_page_shows_every_figure_and_opens_from_disk(finished):
    page = (finished / "index.html").read_text()
    files = re.findall(r'<img src="([^"]+)"', page)
    assert {"violins.svg", "angle.svg", "matrix.svg", "parameters.svg"} == set(files)
    assert all((finished / name).stat().st_size > 1000 for name in files)
    assert page.count("<tr>") >= 7 and "trained on" in page and "60 held-out" not in page


def test_a_finished_study_repeats_nothing_but_its_page(finished):
    before = stamps(finished)
    path = finished.parent / "study.yaml"
    ended = CliRunner().invoke(main, ["study", str(path), "--out", str(finished)])
    assert ended.exit_code == 0 and stamps(finished) == before and len(before) == 6
    assert "all 7 steps are done, 6 of them before" in ended.output
    listed = CliRunner().invoke(main, ["study", str(path), "--out", str(finished), "--dry-run"]).output
    assert listed.count("  done  ") == 6 and "7 steps, 6 done" in listed


def test_results_hold_every_sample_with_its_angle_and_estimate(finished):
    found = load(finished / "results" / "gray-3-on-noisy.npz")
    truth = np.stack([heads_of_four.truth(1, int(key[6:])) for key in found.keys])
    assert len(found.keys) == 100 and np.abs(found.yaw_deg).max() > 20
    np.testing.assert_allclose(found.given["truth"], truth, atol=1e-6)
    wrong = ((found.given["estimate"] - truth) ** 2).sum(1)
    np.testing.assert_allclose(found.values["squared_error"], wrong, rtol=1e-4)


def test_other_settings_are_refused_where_a_study_lies_already(finished, stand_ins):
    folder = finished.parent
    (folder / "other").mkdir()
    path = write_study(folder / "other", stand_ins, seeds=[3], train={"schedule.max_samples": 3200})
    with pytest.raises(SpecError, match=r"was trained with other settings \(schedule differ\).*choose another --out"):
        list(Layout(load_study(path), finished).done(step) for step in Layout(load_study(path), finished).steps())


def test_a_test_set_that_was_trained_on_is_refused_by_key(stand_ins, synthetic, tmp_path):
    with pytest.raises(DatasetError, match=r"gray-train shares 160 samples, such as aaaaa0\w+, with the training set"):
        refuse_overlap(stand_ins / "gray-train", stand_ins / "gray-train")
    refuse_overlap(stand_ins / "gray-train", stand_ins / "gray-test")
    path = write_study(tmp_path, stand_ins)
    spec = yaml.safe_load(path.read_text())
    spec["scenarios"]["noisy"]["test_data"] = spec["scenarios"]["gray"]["data"]
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    ended = CliRunner().invoke(main, ["study", str(path), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 2 and "shares 160 samples" in ended.output
    assert not (tmp_path / "out" / "runs").exists()  # before anything is trained


def test_steps_that_are_unknown_or_too_early_are_refused(stand_ins, tmp_path):
    words = ["study", str(write_study(tmp_path, stand_ins)), "--out", str(tmp_path / "out"), "--only"]
    ended = CliRunner().invoke(main, [*words, "train:grey:0"])
    assert ended.exit_code == 2 and "no such step; there are train:gray:0, train:noisy:0" in ended.output
    ended = CliRunner().invoke(main, [*words, "measure:gray:0:noisy"])
    assert ended.exit_code == 2 and "measure:gray:0:noisy needs train:gray:0, not done yet" in ended.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenarios": {}}, "scenarios, with those of base and changes, are 0"),
        ({"seeds": [1, 1]}, r"seeds is \[1, 1\]; it must hold different numbers"),
        ({"test": {"seed": 0}}, "test.seed is 0, as seed is"),
        ({"test": {"scenario": "grey"}}, "test.scenario is 'grey'; there are gray, noisy"),
        ({"base": "all"}, "base and changes belong together"),
        ({"scenarios": {"a": {"spec": "all", "data": "x"}}}, "one of the two"),
        ({"scenarios": {"a/b": {"spec": "all"}}}, "'a/b' may hold letters"),
        ({"scenarios": {"a": {"spec": "al"}}}, "no spec 'al'"),
        ({"scenarios": {"a": {"spec": "all", "change": {"occluders.hair": 0}}}}, "scenario a: unknown key"),
        ({"scenarios": {"a": {"spec": "all"}}}, "a: identity.pca makes 36 parameters, network.parameters is 4"),
        ({"scenarios": {"a": {"spec": "mixed"}}}, "a: identity.kind is 'sliders', and head parameters are those of"),
        (
            {
                "training": "train_headparams_small",
                "scenarios": {
                    "a": {"spec": "none"},
                    "b": {"spec": "all", "change": {"identity.pca.shape": 30, "identity.pca.texture": 6}},
                },
            },
            "scenarios a and b share no parameters: 26 parameters of the shape and 10 of the texture, and 30",
        ),
        ({"train": {"schedule.rate": 1}}, "train: unknown key"),
    ],
)
def test_bad_studies_are_refused_in_one_line(stand_ins, tmp_path, changes, words):
    with pytest.raises(SpecError, match=words) as caught:
        load_study(write_study(tmp_path, stand_ins, **changes))
    assert "\n" not in str(caught.value)


def test_grids_leave_one_change_out_or_add_one():
    changes = {"hair": {"occluders.hair_share": 0}, "sun": {"light.sun_share": 0}}
    every = StudySpec(base="all", changes=changes, grid=("add_one_in", "leave_one_out", "each")).all_scenarios()
    keys = {name: sorted(scenario.change) for name, scenario in every.items()}
    hair, sun = "occluders.hair_share", "light.sun_share"
    assert keys == {
        "bare": [sun, hair][::-1] if hair < sun else [sun, hair], "only_hair": [sun], "only_sun": [hair],
        "without_hair": [hair], "without_sun": [sun], "hair": [hair], "sun": [sun], "base": [],
    }  # fmt: skip
    assert list(every)[-1] == "base"


def test_intervals_cover_what_repeats_and_samples_vary_by():
    rng = np.random.default_rng(0)
    few, many = rng.normal(1, 0.3, (1, 50)), rng.normal(1, 0.3, (1, 5000))
    assert abs(interval(many).value - 1) < 0.03 and interval(many).low < 1 < interval(many).high
    assert interval(few).high - interval(few).low > 4 * (interval(many).high - interval(many).low)
    moved = many + np.array([[-0.5], [0.5]])  # two trainings that differ
    assert interval(moved).high - interval(moved).low > 0.9
    paired = difference(few + 0.1, few)
    assert paired.value == pytest.approx(0.1) and paired.high - paired.low < 1e-9
    assert interval(np.full((1, 9), 2.0), np.full(9, 4.0)).text() == "0.500 [0.500, 0.500]"


def test_a_moving_average_follows_the_window():
    x = np.linspace(-90, 90, 721)
    mean, spread = moving_average(x, np.where(x > 0, 1.0, 0.0), np.array([-60.0, 0.0, 60.0, 500.0]), 20)
    assert mean[[0, 2]].tolist() == [0, 1] and 0.4 < mean[1] < 0.6 and spread[1] > spread[0] == 0
    assert np.isnan(mean[3])


def test_the_study_that_comes_with_headforge_is_sound():
    study = load_study(Path("study_variability"))
    steps = Layout(study, Path("/nowhere")).steps()
    assert [s.scenario for s in steps if s.kind == "train"] == ["none", "angle", "angle_bg", "all"]
    assert study.spec.main == "all" and {s.test for s in steps if s.kind == "measure"} == set(study.scenarios)
    renders = [s for s in steps if s.kind == "render"]
    layout = Layout(study, Path("/nowhere"))
    assert {layout.count(s) for s in renders if s.test == "test"} == {2000, 300}
    assert all(layout.needs(Step("measure", "none", 0, "all"))), layout


def test_a_study_of_uv_net_is_measured_by_its_own_score(synthetic, tmp_path):
    for part, tag, count in (("train", "aaaaa0", 40), ("test", "aaaaa1", 20)):
        encode = partial(encoded_face, synthetic, tag)
        synthetic.write_dataset(tmp_path / part, count, tag=tag, encode=encode)
    training = {
        "name": "tiny",
        "data": {"batch_size": 8, "workers": 0},
        "network": {"levels": 1, "initial_features": 4, "filter_sizes": [3, 1]},
        "augment": {"occlusion": {"enabled": False}, "no_face": {"enabled": False}},
        "schedule": {"max_samples": 64, "lr": [1e-3, 1e-4]},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"images": False, "tensorboard": False},
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    scenario = {"data": str(tmp_path / "train"), "test_data": str(tmp_path / "test")}
    spec = {"name": "uv", "training": "training.yaml", "scenarios": {"faces": scenario}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(spec))
    ended = CliRunner().invoke(main, ["study", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["metric"] == "uv_error" and found["naive"] == "" and 0 < found["matrix"]["faces on faces"][0] < 1
    page = (tmp_path / "out" / "index.html").read_text()
    assert "median uv error" in page and "parameters.svg" not in page and "saliency" not in page


def encoded_face(synthetic, tag, index):
    """A sample of `conftest.face` under another tag."""
    images, record = synthetic.face(index + int(tag[-1]) * 1000)
    record |= {"tag": tag, "index": index, "key": sample_key(tag, index)}
    return encode_sample(index, record["key"], images, record)


def test_the_study_in_the_docs_is_sound(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "commands" / "study.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example)
    study = load_study(tmp_path / "mine.yaml")
    names = ["hair", "backdrop", "lens"]
    wanted = ["bare", *(f"only_{n}" for n in names), *(f"without_{n}" for n in names), "base"]
    assert list(study.scenarios) == wanted and study.spec.main == "base"
    assert study.render_spec("without_lens").camera.focal_mm != study.render_spec("base").camera.focal_mm

"""What a user gets wrong is one line and exit code 2, before anything is rendered. No Blender."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from renderer.cli import BENCHES, COMMANDS, main
from renderer.format.manifest import Skipped
from renderer.format.sample_format import sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import encode_sample
from renderer.report import card
from renderer.run import doctor


def gen(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def refused(result: Result) -> str:
    """The one line that says why."""
    assert result.exit_code == 2, result.output
    assert not isinstance(result.exception, OSError)
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("gen: ")
    return line


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("renderer.commands.render", "slurm.submit.render"):
        monkeypatch.setattr(f"{module}.prepare", lambda *a, **k: pytest.fail("went on to prepare a render"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--only", "3", "--dry-run"], "--dry-run has no effect with --only"),
        (["--only", "3", "--slurm", "local"], "--slurm has no effect with --only"),
        (["--only", "3", "--retry-failed"], "--retry-failed has no effect with --only"),
        (["--count", "3", "--follow"], "--follow has no effect without --slurm"),
        (["--count", "3", "--allow-dirty"], "--allow-dirty has no effect without --slurm"),
        (["--count", "3", "--workers", "2", "--slurm", "local"], "--workers has no effect with --slurm"),
        (["--count", "3", "--threads", "2", "--slurm", "local"], "--threads has no effect with --slurm"),
    ],
)
def test_options_without_effect_are_refused(never: None, words: list[str], expected: str) -> None:
    assert expected in refused(gen("render", *words))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--count is missing"),
        (["--count", "0"], "--count is 0"),
        (["--count", "4", "--shard-size", "0"], "--shard-size is 0"),
        (["--count", "4", "--seed", "-1"], "--seed is -1"),
        (["--only", "-1"], "--only is -1"),
        (["--count", "4", "--threads", "0"], "--threads is 0"),
        (["--count", "4", "--slurm", "generc"], "did you mean 'generic'"),
        (["--count", "4", "--spec", "realsitic"], "did you mean 'realistic'"),
        (["--count", "4", "--out", "full"], "full is not empty and no data set"),
    ],
)
def test_a_render_is_refused_before_assets_are_fetched(
    never: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    assert expected in refused(gen("render", *words))


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["rendr"], "render"), (["bench", "netwrok"], "network"), (["assets", "biuld"], "build")],
)
def test_a_misspelt_command_is_recognised(words: list[str], meant: str) -> None:
    result = gen(*words)
    assert result.exit_code == 2 and f"did you mean {meant!r}?" in result.stderr


def test_every_command_that_is_listed_can_be_called() -> None:
    called = 0
    for prefix, names in (((), COMMANDS), (("bench",), BENCHES)):
        for name in names:
            result = gen(*prefix, name, "--help")
            assert result.exit_code == 0 and "Usage:" in result.output, (name, result.output)
            called += 1
    assert called > 15


def test_the_scaling_of_a_data_set_that_no_cluster_made_is_refused(tmp_path: Path) -> None:
    assert "no shard of it was made by a cluster job" in refused(gen("bench", "scaling", str(small(tmp_path))))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["verify", ".", "--workers", "0"], "--workers is 0"),
        (["collage", "--columns", "-1"], "--columns is -1"),
        (["collage", "--clip", "0", "--out", "c.gif"], "'c.gif'; the video of a clip is an .mp4 file"),
        (["collage", "--out", "c.foo"], "'c.foo'; a picture's name ends in"),
        (["stats", ".", "--out", "c.foo"], "'c.foo'; a picture's name ends in"),
    ],
)
def test_values_that_cannot_be_used_are_refused(never: None, words: list[str], expected: str) -> None:
    assert expected in refused(gen(*words))


def test_trouble_with_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path / "secret"))

    monkeypatch.setattr("renderer.format.dataset.open_dataset", fail)
    assert refused(gen("verify", str(tmp_path))) == f"gen: {tmp_path}/secret: Permission denied"


def small(folder: Path, *, skipped: bool = False) -> Path:
    info = {"format_version": 1, "tag": "abc123", "name": "x", "seed": 0, "labels": [], "resolution": 16}
    info |= {"uv_frame": "f", "bit_repeatable": True, "assets": {"pack": "none", "own": {}}}
    info |= {"spec": {"name": "x", "assets": {"head": ""}}}
    (folder / "dataset.json").write_text(json.dumps(info))
    sample = encode_sample(0, sample_key("abc123", 0), {}, {})
    if skipped:
        write_shard(folder, 0, 1, "abc123", [], skipped=[Skipped(0, "dark")])
    else:
        write_shard(folder, 0, 1, "abc123", [sample])
    return folder


def test_a_data_set_whose_samples_all_failed_has_a_card_all_the_same(tmp_path: Path) -> None:
    card.write_card(small(tmp_path, skipped=True))
    assert "| samples | 0 (0 images) |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "spec.yaml").read_text().startswith("name: x")  # the card's commands name it


def test_a_stray_file_among_the_shards_does_not_end_status(tmp_path: Path) -> None:
    for suffix in ("tar", "json"):
        (small(tmp_path) / "shards" / f"1x-2.{suffix}").touch()
        (tmp_path / "dataset.json").touch()
    result = gen("status", str(tmp_path))
    assert result.exit_code == 0 and "1 of 1 samples" in result.output


def test_a_local_run_is_refused_while_jobs_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from renderer.errors import DatasetError
    from slurm.records import Beat, JobFolder
    from slurm.submit.render import check_idle

    monkeypatch.setenv("PATH", str(tmp_path))  # no scheduler answers
    folder = JobFolder(small(tmp_path))
    folder.create()
    check_idle(tmp_path, "abc123")
    Beat("7_0", "n1", "running", [(1, 5)], 1, 1, 1, 0.0, 0.0).write(folder)
    with pytest.raises(DatasetError, match="jobs of this data set are in the queue"):
        check_idle(tmp_path, "abc123")


def test_doctor_counts_memory_that_could_be_had_not_only_what_is_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "granted_cores", lambda: 4)
    for available, ok in ((8 << 30, True), (1 << 30, False)):
        monkeypatch.setattr(doctor, "memory_free_bytes", lambda available=available: available)
        finding = doctor._memory()
        assert (finding.ok, finding.found) == (ok, f"{available / 2**30:.1f} GiB")
    assert "--workers 1" in finding.fix


@pytest.mark.parametrize("ok", [True, False])
def test_the_doctor_ends_with_one_where_something_is_wrong_and_names_the_fix(
    monkeypatch: pytest.MonkeyPatch, ok: bool
) -> None:
    sound = doctor.Finding("Python", True, "3.11.9", "install Python 3.11")
    monkeypatch.setattr(doctor, "examine", lambda: [sound, replace(sound, what="scratch disk", ok=ok, fix="free some")])
    result = gen("doctor")
    assert result.exit_code == (0 if ok else 1)
    assert ("BAD  scratch disk" in result.output and "fix: free some" in result.output) == (not ok)
    assert "install Python" not in result.output

"""headforge as installed from a wheel: another environment, another directory, no checkout in reach."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("renderer", "slurm", "trainer", "blend_assets", "jobspecs")
pytestmark = pytest.mark.blender

WEIGHTS = """
from pathlib import Path
from renderer.format.sample_format import UV_FRAME
from trainer.systems.uvnet.config import NetworkConfig, UVNetConfig
from trainer.systems.uvnet.network import make_network
from trainer.training.checkpoint import save_weights
config = UVNetConfig(network=NetworkConfig(levels=1, initial_features=4, filter_sizes=(3, 1)))
header = {"run_id": "r", "uv_frame": UV_FRAME}
save_weights(Path("weights.safetensors"), make_network(config.network, 3).state_dict(), config, header)
"""


class Installed:
    """A virtual environment with the wheel, which borrows everything else from the one that runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "work"
        self.bin = folder / "venv" / "bin"
        wheel = self._build(folder)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        own = next((folder / "venv").glob("lib/python3*/site-packages"))
        # a path in a .pth file is searched, but its own .pth files, such as that of an editable install, are not read
        (own / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--force-reinstall", "-q", str(wheel)], check=True, env=self.environment)
        self.home.mkdir()
        # a user's own repository says nothing about the code that is installed
        subprocess.run(["git", "init", "-q", str(folder)], check=True)

    def _build(self, folder: Path) -> Path:
        source = folder / "source"  # building writes beside the code
        source.mkdir()
        for name in PACKAGES:
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source / name)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
        subprocess.run([*command, str(source)], check=True, env=self.environment)
        shutil.rmtree(source)
        (wheel,) = folder.glob("headforge-*.whl")
        return wheel

    @property
    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(self, *words: str, code: int = 0) -> str:
        """Output of a command in a directory without a checkout, `gen` or `python`."""
        command = [str(self.bin / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def rendered(installed: Installed, head_pack: Path) -> str:
    words = installed.run("gen", "render", "--spec", "smoke", "--count", "2", "--workers", "1")
    assert "2 samples = " in words
    return "out/smoke"


def test_what_runs_is_the_wheel(installed: Installed) -> None:
    code = f"import {', '.join(PACKAGES)}\nfor p in ({', '.join(PACKAGES)}): print(p.__file__)"
    places = installed.run("python", "-c", code).split()
    assert len(places) == len(PACKAGES)
    assert all(Path(place).is_relative_to(installed.bin.parent) for place in places), places


def test_every_file_that_the_code_reads_is_in_the_wheel(installed: Installed) -> None:
    own = next(installed.bin.parent.glob("lib/python3*/site-packages"))
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", *PACKAGES], capture_output=True, text=True, check=True
    )
    names = tracked.stdout.split()
    assert len(names) > 100 and [name for name in names if not (own / name).is_file()] == []


def test_a_data_set_is_rendered_verified_and_shown(installed: Installed, rendered: str) -> None:
    assert "2 samples sound" in installed.run("gen", "verify", rendered)
    installed.run("gen", "collage", "--dataset", rendered, "--triplets", "--out", "sheet.png")
    assert (installed.home / "sheet.png").stat().st_size > 1000


def test_a_training_is_planned_by_the_name_of_its_spec(installed: Installed, rendered: str) -> None:
    settings = ["--set", "data.batch_size=1", "--set", "data.test_on_train=true"]
    plan = installed.run("gen", "train", "train_uvnet_small", "--data", rendered, *settings, "--dry-run")
    assert "name:              uvnet_small" in plan
    assert re.search("training samples:  [12],", plan)  # keys decide which is held out
    assert "did you mean 'train_uvnet_small'" in installed.run(
        "gen", "train", "jobspecs/train_uvnet_small.yaml", code=2
    )


def test_a_network_is_applied_to_a_picture(installed: Installed, rendered: str) -> None:
    installed.run("gen", "collage", "--dataset", rendered, "--count", "1", "--out", "photo.png")
    installed.run("python", "-c", WEIGHTS)
    installed.run("gen", "apply", "photo.png", "--run", "weights.safetensors")
    assert {p.name for p in (installed.home / "applied").iterdir()} == {
        "photo.lines.png",
        "photo.texture.png",
        "photo.json",
    }


def test_the_weights_that_come_with_it_are_applied_where_none_are_named(installed: Installed, rendered: str) -> None:
    installed.run("gen", "collage", "--dataset", rendered, "--count", "1", "--out", "photo.png")
    installed.run("gen", "apply", "photo.png", "--out", "shipped")
    assert (installed.home / "shipped" / "photo.json").is_file()
    found = installed.run(
        "python", "-c", "from trainer import weights; print(weights.SAFETENSORS, weights.CARD.is_file())"
    )
    assert "site-packages" in found and "True" in found


def test_a_data_set_knows_the_version_that_made_it(installed: Installed, rendered: str) -> None:
    said = installed.run("python", "-c", "from renderer.commit import commit; print(commit())")
    assert said.startswith("headforge 0.") and "unknown" not in said


def test_a_cluster_job_from_a_wheel_is_refused_with_the_way_out(installed: Installed, rendered: str) -> None:
    words = ["render", "--spec", "smoke", "--count", "2", "--slurm", "local", "--out", "queued"]
    assert "no git checkout" in (said := installed.run("gen", *words, code=2)) and "git clone" in said


def test_a_missing_library_is_named_with_the_distribution_that_brings_it(installed: Installed, rendered: str) -> None:
    own = next(installed.bin.parent.glob("lib/python3*/site-packages"))
    (own / "borrowed.pth").rename(own / "borrowed.away")
    try:
        (own / "some.pth").write_text("import sys; sys.modules['torch'] = sys.modules['av'] = None\n")
        (own / "borrowed.away").rename(own / "borrowed.pth")
        said = installed.run("gen", "train", "train_uvnet_small", "--data", rendered, "--dry-run", code=2)
    finally:
        (own / "some.pth").unlink()
    assert said == "gen: torch is not installed here: run `pip install 'headforge[train]'`\n"

"""Jobs in a container: run with a stand-in for apptainer that hides whatever is not bound; and the recipes' lists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderer.errors import SpecError
from renderer.format import exr
from renderer.format.dataset import open_dataset
from renderer.parameters.spec import parse_spec
from renderer.run.doctor import LIBRARIES
from slurm.profile import load_profile
from slurm.submit.batch import node_text, python_command
from slurm.submit.render import prepare_submission, submit_render

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
Site = Any


@pytest.fixture
def image(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image for the fake apptainer, which hides all of tmp_path that is not bound."""
    (site.folder / "bin" / "apptainer").symlink_to(Path(__file__).parent / "fakes" / "apptainer")
    monkeypatch.setenv("FAKE_HOST", str(tmp_path))
    monkeypatch.setenv("FAKE_PYTHON", sys.executable)
    path = tmp_path / "image.sif"
    path.touch()
    return path


@pytest.mark.blender
def test_a_render_in_a_container_sees_own_assets_and_scratch_named_on_the_node(
    site: Site, image: Path, tmp_path: Path, profile: Callable[..., Path], head_pack: Path
) -> None:
    skies, scratch = tmp_path / "own" / "skies", tmp_path / "scratch" / "me"
    for folder in (skies, scratch):
        folder.mkdir(parents=True)
    (skies / "flat.exr").write_bytes(exr.encode("input", np.full((8, 16, 3), 0.5, np.float32)))
    render = {"resolution": 32, "samples_per_pixel": 1, "mask_grid": 3, "denoise": False}
    spec = parse_spec({"name": "own", "render": render, "assets": {"hdris": [str(skies)]}}, "the tests")
    keys = {"container": str(image), "scratch": f"{tmp_path}/scratch/$NODE_USER", "cores": 1, "workers": 1}
    context = prepare_submission(spec, 5, profile(**keys), lambda text: None)
    assert context.blend is None, "the scene is built in the job"
    sent = submit_render(context, tmp_path / "data", 2, 2, profile(**keys), allow_dirty=True)
    assert sent is not None
    job = site.run(sent.jobs[0], NODE_USER="me")
    assert job.returncode == 0, job.stdout + job.stderr
    assert [e.index for _, e in open_dataset(tmp_path / "data").entries()] == [0, 1]
    assert not list(scratch.iterdir())
    for path in (tmp_path / "data" / "shards").iterdir():
        path.unlink()
    script = site.script(sent.jobs[0])
    (site.folder / "999.sh").write_text(script.replace(f"--bind={skies} ", ""))
    shutil.copy(sent.folder / f"{sent.jobs[0]}_submitted.pkl", sent.folder / "999_submitted.pkl")
    blind = site.run("999", NODE_USER="me")
    assert blind.returncode != 0 and "not bound into the container" in blind.stdout + blind.stderr, (
        "or this proves nothing"
    )


def test_a_training_in_a_container_sees_every_path_of_its_config(
    site: Site, image: Path, tmp_path: Path, profile: Callable[..., Path]
) -> None:
    from slurm.node.command_job import CommandOrder
    from slurm.submit.commands import submit_commands

    (tmp_path / "scratch").mkdir()
    for name in ("photos", "weights"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    look = "import sys, pathlib; [print('read', pathlib.Path(p, 'file').read_text()) for p in sys.argv[1:]]"
    words = ("{python}", "-c", look, str(tmp_path / "photos"), str(tmp_path / "weights"))
    chosen = profile(container=str(image), scratch=str(tmp_path / "scratch"))
    both = {"photos": tmp_path / "photos", "start": tmp_path / "weights"}
    for paths, code in ((both, 0), ({"photos": tmp_path / "photos"}, 1)):
        sent = submit_commands(
            [CommandOrder(words)],
            "look",
            tmp_path / "runs",
            chosen,
            paths=paths,
            allow_dirty=True,
        )
        assert sent is not None
        job = site.run(sent.jobs[0])
        assert job.returncode == code and "read photos" in job.stdout, job.stdout + job.stderr
        assert ("read weights" in job.stdout) == (code == 0)


def test_a_path_that_apptainer_would_misread_is_refused() -> None:
    profile = replace(load_profile("local")[0], container="/r.sif")
    with pytest.raises(SpecError, match="without colons and commas"):
        python_command(profile, Path("/work/a:b"), Path("/work/a:b/.slurm/code/c"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/scratch/$USER", "/scratch/me"),
        ("${TMPDIR:-/tmp}/x y", "/tmp/x y"),
        ("$(touch evil)`touch evil`", "$(touch evil)`touch evil`"),
        ('a"b\\c', 'a"b\\c'),
    ],
)
def test_variables_get_their_values_on_the_node_and_nothing_is_executed(
    tmp_path: Path, text: str, expected: str
) -> None:
    command = f"printf %s {node_text(text)}"
    result = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"USER": "me", "PATH": os.environ["PATH"]},
    )
    assert result.stdout == expected and not list(tmp_path.iterdir())


def test_the_job_is_requeued_outside_of_the_container(
    site: Site, image: Path, tmp_path: Path, profile: Callable[..., Path]
) -> None:
    from slurm.node.command_job import CommandOrder
    from slurm.submit.commands import submit_commands

    sleep = site.folder / "bin" / "sleep"  # the script waits for the scheduler to end it
    sleep.write_text("#!/bin/sh\n")
    sleep.chmod(0o755)
    tell = "import os, signal; os.kill(os.getppid(), signal.SIGUSR2); import time; time.sleep(30)"
    sent = submit_commands(
        [CommandOrder(("{python}", "-c", tell))],
        "x",
        tmp_path / "runs",
        profile(container=str(image)),
        allow_dirty=True,
    )
    assert sent is not None
    assert site.run(sent.jobs[0]).returncode == 75
    assert f"scontrol requeue {sent.jobs[0]}" in site.calls


# ---------------------------------------------------------------- the recipes' lists


def recipe(name: str) -> str:
    return (ROOT / "slurm" / f"{name}.def").read_text()


@pytest.mark.parametrize(("name", "extra"), [("renderer", "render"), ("trainer", "train")])
def test_a_recipe_copies_every_package_that_its_installation_names(tmp_path: Path, name: str, extra: str) -> None:
    """Copies what %files lists and has pip read the project there, as the image's build does."""
    listed = re.search(r"^%files\n(.*?)\n\n", recipe(name), re.M | re.S)
    assert listed is not None and f"[{extra}]" in recipe(name) and extra in PROJECT["project"]["optional-dependencies"]
    for line in listed[1].splitlines():
        source, target = line.split()
        place = tmp_path / Path(target).relative_to("/opt/headforge")
        subprocess.run(["cp", "-r", ROOT / source, place], check=True)
    code = (
        "import json; from setuptools.config.pyprojecttoml import read_configuration as read;"
        "print(json.dumps(read('pyproject.toml')['tool']['setuptools']))"
    )
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    packages = json.loads(told.stdout)["packages"]
    assert (
        len(packages) > 4
        and [n for n in packages if not (tmp_path / n.replace(".", "/") / "__init__.py").exists()] == []
    )
    assert (tmp_path / PROJECT["project"]["readme"]).exists()


def test_image_and_makefile_install_the_libraries_that_the_doctor_looks_for() -> None:
    listing = re.search(r"\$\((awk .*)\)$", recipe("renderer"), re.M)
    assert listing is not None
    command = listing[1].replace("/opt/headforge", str(ROOT))
    image = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    show = ["make", "-s", "--eval", "show: ; @echo $(DEBIAN)", "show"]
    makefile = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(LIBRARIES) > 10
    assert image.stdout.split() == makefile.stdout.split() == list(LIBRARIES.values())

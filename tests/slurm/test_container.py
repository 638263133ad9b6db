"""The Apptainer recipes, as far as they can be checked without apptainer, and the command that uses an image."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from slurm import submit
from slurm.profile import load_profile

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def sections(name: str) -> dict[str, str]:
    text = (ROOT / "slurm" / f"{name}.def").read_text()
    parts = re.split(r"^%(\w+)\n", text, flags=re.M)
    return {"header": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


@pytest.mark.parametrize(("name", "extra", "module"), [("renderer", "render", "bpy"), ("trainer", "train", "torch")])
def test_a_recipe_installs_what_the_project_asks_for(name: str, extra: str, module: str) -> None:
    recipe = sections(name)
    assert {"files", "post", "environment", "test"} <= set(recipe)
    assert "From: debian:12" in recipe["header"], "its Python is 3.11, which bpy needs"
    assert f"/opt/headforge[{extra}]" in recipe["post"] and extra in PROJECT["project"]["optional-dependencies"]
    for line in recipe["files"].strip().splitlines():
        source, target = line.split()
        assert target == f"/opt/headforge/{source}"
        assert (ROOT / source).exists() or source == "README.md"
    packages = {p.split(".")[0] for p in PROJECT["tool"]["setuptools"]["packages"]}
    assert packages <= {line.split()[0] for line in recipe["files"].strip().splitlines()}
    assert f"import {module}" in recipe["test"] and "submitit" in recipe["test"]


def test_the_renderers_image_has_the_system_libraries_that_bpy_needs() -> None:
    needed = re.search(r"^DEBIAN := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert needed is not None
    assert not set(needed[1].split()) - set(sections("renderer")["post"].split())


def test_a_job_in_a_container_sees_output_code_cache_and_scratch(tmp_path: Path) -> None:
    profile = replace(
        load_profile("local")[0], container="/images/r.sif", scratch="$TMPDIR", container_options=("--nv",)
    )
    folder = tmp_path / "data" / ".slurm" / "submissions" / "1"
    code = tmp_path / "data" / ".slurm" / "code" / "abc"
    words = shlex.split(submit._python(profile, folder, code))
    assert words[:2] == ["apptainer", "exec"] and words[-2:] == ["/images/r.sif", "python3"]
    assert f"--bind={tmp_path / 'data'}" in words and "--bind=$TMPDIR" in words and f"--pwd={code}" in words
    assert "--nv" in words
    script = submit._parameters(profile, code, "name", 1, ())
    assert any("scontrol requeue" in line for line in script["teardown"]), "asked for outside of the container"

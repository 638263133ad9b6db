"""Who may import whom: the contracts in pyproject.toml, and what is loaded when."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
BREACHES = [  # contract, file, a line that it forbids there
    ("renderer", "renderer/format/exr.py", "from renderer.run import plan"),
    ("renderer", "renderer/labels/raster.py", "def late():\n    from renderer.report import card"),
    ("renderer", "renderer/parlour/__init__.py", ""),  # a room that the order does not know
    ("trainer", "trainer/data/reader.py", "from trainer.training import loop"),
    ("slurm", "slurm/records.py", "from slurm.submit import batch"),
    ("circles", "renderer/format/sample_format.py", "from renderer.format import exr\nEXR = exr"),
    ("renderer-alone", "renderer/report/collage.py", "import torch"),
    ("renderer-alone", "renderer/run/plan.py", "from slurm import profile"),
    ("bpy", "renderer/labels/maps.py", "import bpy"),
    ("bpy", "trainer/uvmaps/mesh.py", "import bpy"),
    ("assets", "blend_assets/synthetic/textures.py", "from renderer.sampling import draw"),
    ("packs", "renderer/format/exr.py", "import blend_assets.build"),
    ("trainer-alone", "trainer/data/reader.py", "from renderer.run import local"),
    ("slurm-alone", "slurm/node/render_job.py", "def late():\n    from renderer.commands import render"),
]


def broken_contracts(tree: Path, *only: str) -> str:
    """What lint-imports says of a tree whose imports break a contract; "" where all are kept."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    chosen = [word for name in only for word in ("--contract", name)]
    done = subprocess.run([*command, *chosen], cwd=tree, capture_output=True, text=True)
    assert done.returncode in (0, 1) and "Contracts: " in done.stdout, done.stdout + done.stderr
    return done.stdout if done.returncode else ""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages, to be broken."""
    for name in CONTRACTS["root_packages"]:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=lambda folder, names: {n for n in names if "cache" in n})
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_keep_to_the_contracts() -> None:
    assert broken_contracts(ROOT) == ""


@pytest.mark.parametrize(("contract", "file", "line"), BREACHES, ids=[f"{c}-{Path(f).stem}" for c, f, _ in BREACHES])
def test_every_contract_can_be_broken(tree: Path, contract: str, file: str, line: str) -> None:
    (tree / file).parent.mkdir(exist_ok=True)
    with (tree / file).open("a") as code:
        code.write(f"\n{line}\n")
    said = broken_contracts(tree, contract)
    assert "1 broken" in said, said
    assert file.partition("/")[0] in said


def test_every_contract_has_a_breach_above() -> None:
    assert {contract["id"] for contract in CONTRACTS["contracts"]} == {contract for contract, _, _ in BREACHES}


MODULES = (
    "renderer.cli, renderer.commands.render, renderer.commands.collage, renderer.commands.checks, renderer.run.local, "
    "renderer.report.checks, renderer.report.card, blend_assets.build"
)
CASES = [("torch", MODULES), ("bpy", MODULES)]


def imports_without(blocked: str, modules: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == {blocked!r}:
            raise ModuleNotFoundError(f"no module named {{name}}")
sys.meta_path.insert(0, Absent())
import {modules}"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(("blocked", "modules"), CASES)
def test_the_renderer_imports_without(blocked: str, modules: str) -> None:
    result = imports_without(blocked, modules)
    assert result.returncode == 0, result.stderr


def test_the_check_above_can_fail() -> None:
    assert imports_without("bpy", "renderer.blender.scene").returncode != 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom renderer.cli import main\n"
        "result = CliRunner().invoke(main, ['--help'])\nassert result.exit_code == 0 and 'render' in result.output\n"
        "heavy = {'numpy', 'bpy', 'torch', 'scipy', 'OpenEXR', 'PIL', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

"""Who may import whom: promises that a test keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest

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

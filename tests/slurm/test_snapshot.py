"""Jobs run the code that was submitted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from renderer.errors import MachineError
from slurm.submit.snapshot import snapshot


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    (root / "renderer").mkdir(parents=True)
    (root / "renderer" / "run.py").write_text("version = 1\n")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "notes.txt").write_text("no part of the code\n")
    (root / ".gitignore").write_text("__pycache__/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    return root


def test_a_snapshot_is_the_commit_and_says_so(checkout: Path, tmp_path: Path) -> None:
    path, commit = snapshot(tmp_path / "copies", root=checkout)
    assert commit == git(checkout, "rev-parse", "--short=12", "HEAD").strip() == path.name
    assert (path / "renderer" / "run.py").read_text() == "version = 1\n"
    assert (path / ".commit").read_text() == f"{commit}\n"
    assert not (path / "notes.txt").exists()
    (checkout / "notes.txt").write_text("changed, but no part of the code\n")
    assert snapshot(tmp_path / "copies", root=checkout) == (path, commit)


def test_later_edits_change_no_snapshot_and_are_refused_or_named(checkout: Path, tmp_path: Path) -> None:
    path, commit = snapshot(tmp_path / "copies", root=checkout)
    (checkout / "renderer" / "run.py").write_text("version = 2\n")
    (checkout / "renderer" / "new.py").write_text("added = True\n")
    assert (path / "renderer" / "run.py").read_text() == "version = 1\n"
    with pytest.raises(MachineError, match=rf"differs from commit {commit} .*run.py.*--allow-dirty"):
        snapshot(tmp_path / "copies", root=checkout)
    dirty, name = snapshot(tmp_path / "copies", allow_dirty=True, root=checkout)
    assert name.startswith(f"{commit}-dirty-")
    assert (dirty / "renderer" / "run.py").read_text() == "version = 2\n" and (dirty / "renderer" / "new.py").exists()
    (checkout / "renderer" / "run.py").write_text("version = 3\n")
    assert snapshot(tmp_path / "copies", allow_dirty=True, root=checkout)[1] != name


def test_a_snapshot_of_a_snapshot_keeps_its_commit(checkout: Path, tmp_path: Path) -> None:
    path, commit = snapshot(tmp_path / "copies", root=checkout)
    again, same = snapshot(tmp_path / "others", root=path)
    assert same == commit and (again / "renderer" / "run.py").exists()


def test_code_outside_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no git checkout"):
        snapshot(tmp_path / "copies", root=tmp_path)

"""The code that a job runs: a copy made when it was submitted, so that later edits change no queued job."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final
from uuid import uuid4

from renderer.commit import COMMIT_FILE
from renderer.errors import MachineError
from renderer.install import ROOT

PARTS: Final = ("renderer", "slurm", "trainer", "blend_assets", "jobspecs", "pyproject.toml")


def snapshot(folder: Path, allow_dirty: bool = False, root: Path = ROOT) -> tuple[Path, str]:
    """Copy the code at `root` to folder/COMMIT, unless it is there; returns that path and the commit.

    Raises MachineError if files differ from the commit, unless `allow_dirty`: then the files as they are get copied and
    the commit ends in -dirty and a hash of them. A snapshot of a snapshot keeps its commit.
    """
    if (root / COMMIT_FILE).exists():
        commit = (root / COMMIT_FILE).read_text().strip()
        return _copy(_files(root, root.rglob("*")), folder, commit), commit
    check_origin(root)
    commit = _git(root, "rev-parse", "--short=12", "HEAD").strip()
    changed = _git(root, "status", "--porcelain", "--", *PARTS).splitlines()
    if not changed:
        final = folder / commit
        if not final.exists():
            archive = subprocess.run(
                ["git", "-C", str(root), "archive", commit, *_present(root, commit)], capture_output=True, check=True
            )
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
                files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
            _copy(files, folder, commit)
        return final, commit
    if not allow_dirty:
        names = ", ".join(line[3:] for line in changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise MachineError(f"the code differs from commit {commit} ({names}): commit it, or add --allow-dirty")
    listed = _git(root, "ls-files", "-co", "--exclude-standard", "--", *PARTS).splitlines()
    files = _files(root, (root / name for name in listed))
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)} ".encode() + data)
    commit = f"{commit}-dirty-{digest.hexdigest()[:8]}"
    return _copy(files, folder, commit), commit


def check_origin(root: Path = ROOT) -> None:
    """Raises MachineError where the code at `root` does not know its commit, as that of a wheel does not."""
    if not (root / COMMIT_FILE).exists() and not (root / ".git").exists():
        raise MachineError(
            f"this headforge lies in {root}, which is no git checkout, so jobs could not say what code they ran: submit"
            " from a clone with its own environment (git clone, make setup)"
        )


def _present(root: Path, commit: str) -> list[str]:
    return _git(root, "ls-tree", "--name-only", commit, "--", *PARTS).splitlines()


def _files(root: Path, paths: object) -> dict[str, bytes]:
    """Content of the files among `paths`, by name relative to `root`. A file that vanishes meanwhile is left out."""
    found = {}
    for path in paths:  # type: ignore[attr-defined]
        if "__pycache__" in path.parts or path.name == COMMIT_FILE:
            continue
        try:
            found[str(path.relative_to(root))] = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            continue
    return found


def _copy(files: dict[str, bytes], folder: Path, commit: str) -> Path:
    """Finished or absent: written beside its place and renamed."""
    final = folder / commit
    if final.exists():
        return final
    partial = folder / f".{commit}.{uuid4().hex}"
    try:
        for name, data in {**files, COMMIT_FILE: f"{commit}\n".encode()}.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(data)
        try:
            partial.rename(final)
        except OSError:
            if not final.exists():  # else another submission was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def _git(root: Path, *arguments: str) -> str:
    try:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # `status` must not disturb a commit going on
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, env=environment
        )
    except FileNotFoundError as error:
        raise MachineError("git is not on PATH, which records what code jobs run: load or install it") from error
    except subprocess.CalledProcessError as error:
        raise MachineError(f"git says about {root}: {error.stderr.strip().splitlines()[-1:]}") from error
    return result.stdout

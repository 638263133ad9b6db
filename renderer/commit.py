"""The commit of the code that runs; it goes into every manifest and run directory."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Final

from renderer.install import DISTRIBUTION, ROOT, installed_version

COMMIT_FILE: Final = ".commit"  # a snapshot made for a cluster job has no .git and carries its commit in this file


def commit() -> str:
    """Git commit of the code that runs, with -dirty if it has been changed; "headforge VERSION" outside a checkout.

    Only a repository of this code counts: one that a virtual environment lies in knows nothing about it.
    """
    recorded = ROOT / COMMIT_FILE
    if recorded.exists():
        return recorded.read_text().strip()
    if not (ROOT / ".git").exists():
        return f"{DISTRIBUTION} {installed_version() or 'of unknown version'}"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"

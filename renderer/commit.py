"""The commit of the code that runs; it goes into every manifest and run directory."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Final

COMMIT_FILE: Final = ".commit"  # a snapshot made for a cluster job has no .git and carries its commit in this file


def commit() -> str:
    """Git commit of the code that runs, with -dirty if it has been changed; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    recorded = root / COMMIT_FILE
    if recorded.exists():
        return recorded.read_text().strip()
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"

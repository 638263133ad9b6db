"""Is this machine able to render? Every finding comes with its fix."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from renderer.errors import MachineError
from renderer.install import how_to_install
from renderer.machine import granted_cores, memory_free_bytes
from renderer.processor import this_processor

LIBRARIES: Final = dict(line.split() for line in Path(__file__).with_name("libraries.txt").read_text().splitlines())
"""What the bpy wheel takes from the system: library -> Debian package. Makefile and slurm/renderer.def read it, too."""


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what to do about it."""

    what: str
    ok: bool
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Every check, in the order in which they matter."""
    return [
        _python(),
        _libraries(),
        _bpy(),
        _blender_starts(),
        _processor(),
        _cores(),
        _memory(),
        _descriptors(),
        _scratch(),
        _pack(),
        _scheduler(),
    ]


def _python() -> Finding:
    ok = sys.version_info[:2] == (3, 11)
    return Finding("Python", ok, platform.python_version(), f"install Python 3.11, then {how_to_install('render')}")


def _libraries() -> Finding:
    missing = []
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    found = f"missing: {', '.join(missing)}" if missing else f"{len(LIBRARIES)} found"
    return Finding("system libraries", not missing, found, f"apt-get install {' '.join(missing)}")


def _bpy() -> Finding:
    from renderer.run.context import check_machine

    try:
        check_machine()
    except MachineError as error:
        return Finding("bpy", False, str(error), how_to_install("render"))
    return Finding("bpy", True, metadata.version("bpy"))


def _blender_starts() -> Finding:
    """In a process of its own: this one must never import bpy."""
    code = "import bpy; print(bpy.app.version_string)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    words = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()
    ok = result.returncode == 0 and bool(result.stdout.strip())
    return Finding("Blender starts", ok, words[-1], "install the system libraries above")


def _processor() -> Finding:
    processor = this_processor()
    precision = "bf16-mixed" if processor.computes_bf16 else "32-true"
    return Finding("processor", True, f"{processor.describe()}: training on it takes device.precision {precision}")


def _cores() -> Finding:
    return Finding("cores granted", True, f"{granted_cores()} of {os.cpu_count()}")


def _memory() -> Finding:
    free, need = memory_free_bytes() / 2**30, 0.7 * granted_cores()
    return Finding(
        "memory available",
        free > need,
        f"{free:.1f} GiB",
        f"a worker takes about 0.7 GiB: use --workers {max(1, int(free))}",
    )


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding("file descriptors", soft >= 1024, f"{soft} (hard limit {hard})", "ulimit -n 4096")


def _scratch() -> Finding:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free / 2**30
    return Finding("scratch disk", free > 2, f"{free:.1f} GiB free in {folder}", "free some, or set TMPDIR elsewhere")


def _pack() -> Finding:
    from blend_assets.standard import find_pack
    from renderer.head.pack import check_hashes

    pack = find_pack()
    if pack is None:
        return Finding("head pack", False, "not built yet", "gen assets build")
    problems = check_hashes(pack)
    return Finding("head pack", not problems, problems[0] if problems else pack.name, "gen assets build --force")


def _scheduler() -> Finding:
    sbatch = shutil.which("sbatch")
    return Finding("SLURM", True, sbatch or "none on this machine; `gen render` works without")

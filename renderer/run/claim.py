"""The folder that a run writes to: empty or of this very data set, and one run at a time."""

from __future__ import annotations

import contextlib
import json
import os
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from renderer import files
from renderer.errors import DatasetError, FormatError, SpecError
from renderer.files import make_folder, write_atomic
from renderer.format.folder import DATASET_FILE, finished_manifests, read_info
from renderer.format.manifest import read_manifest
from renderer.parameters.spec import parse_spec
from renderer.run.context import RenderContext
from renderer.strict import to_plain

STAGING: Final = ".staging"  # folder of samples whose shard is not finished
LOCK: Final = ".lock"
LEFT_OVERS: Final = (f".{DATASET_FILE}.*.partial", ".probe-*")  # files that a run leaves if it is killed as it starts
LEFT_OVER_S: Final = 600.0  # age from which such a file cannot belong to a run that starts at this moment


def claim(out: Path, context: RenderContext) -> None:
    """Make `out` the folder of this data set, or check that it is. Raises DatasetError for anything else."""
    try:
        make_folder(out)
        for pattern in LEFT_OVERS:
            for left in out.glob(pattern):
                with contextlib.suppress(FileNotFoundError):  # another run may be as quick
                    if time.time() - left.stat().st_mtime > LEFT_OVER_S:  # and younger ones may be its own, in use
                        left.unlink()
        probe = out / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    if holds(out, context):
        return
    info = json.dumps(context.info(), indent=1, sort_keys=True).encode()
    write_atomic(out / DATASET_FILE, info)


def holds(out: Path, context: RenderContext) -> bool:
    """Is `out` the folder of this data set already? Raises DatasetError if it is anything but that or empty."""
    if (out / DATASET_FILE).exists():
        there = read_info(out)
        if there["tag"] != context.tag:
            raise DatasetError(f"{out} holds another data set: {_difference(out, there, context)}")
        return True
    check_folder(out)
    return False


def check_folder(out: Path) -> None:
    """Raises DatasetError if a folder holds something, but no data set: what can be known before assets are there."""
    known = (STAGING, LOCK, *LEFT_OVERS)
    if (out / DATASET_FILE).exists() or not out.is_dir():
        return
    if any(not any(fnmatch(p.name, pattern) for pattern in known) for p in out.iterdir()):
        raise DatasetError(f"{out} is not empty and no data set; choose another --out")


def _difference(out: Path, there: dict[str, Any], context: RenderContext) -> str:
    """In words: what the data set there has that this run has not, and the way out."""
    here = context.info()
    if there["seed"] != here["seed"]:
        return f"its seed is {there['seed']}, this run's {here['seed']}; choose another --out"
    if changed := _changed(there["spec"], here["spec"], str(out / DATASET_FILE)):
        return f"its spec is {there['name']!r} and differs in {', '.join(changed)}; choose another --out"
    kinds = ("draw_version", "render_version", "bpy")
    if other := [f"{k} {there.get(k, 'not stated')} (here {here[k]})" for k in kinds if there.get(k) != here[k]]:
        by = {"headforge": "unknown", "commit": "unknown", **_maker(out, there)}
        return (
            f"code that draws or renders differently made it: {', '.join(other)}. Choose another --out, or add to it"
            f" with the headforge that made it, version {by['headforge']}, commit {by['commit']}"
        )
    return "it was rendered with other assets; choose another --out"


def _changed(there: dict[str, Any], here: dict[str, Any], source: str) -> list[str]:
    """Fields in which two plain specs differ; what an older data set does not state has its default."""
    try:
        old = to_plain(parse_spec(there, source))
    except SpecError as error:  # of a headforge that knows other fields
        return [str(error)]
    differing = []
    for section, value in here.items():
        if not isinstance(value, dict):
            differing += [section] if old[section] != value else []
        else:
            differing += [f"{section}.{key}" for key in value if old[section][key] != value[key]]
    return differing


def _maker(out: Path, info: dict[str, Any]) -> dict[str, str]:
    """Version and commit of the headforge that made a data set; older ones state them in their manifests alone."""
    found: dict[str, str] = info.get("made_by") or {}
    for file in finished_manifests(out)[:1] if not found else ():
        with contextlib.suppress(FormatError):
            found = read_manifest(file).versions
    return found


def locked(out: Path) -> contextlib.AbstractContextManager[None]:
    """Only one run at a time may stage samples in a folder. Raises DatasetError where another one is at work."""
    return files.locked(out / LOCK, f"another `gen render` is at work in {out}; wait for it or stop it")

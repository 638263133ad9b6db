"""Libraries for pages that run a network or show a mesh, out of packages that are fetched by name (browser.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from blend_assets.fetch import Log, fetched, listed, members

RUNTIME: Final = "onnxruntime-web"
THREE: Final = "three"


def about(name: str) -> dict[str, Any]:
    """The entry of a package in browser.yaml."""
    return listed(Path(__file__).with_name("browser.yaml"))[name]


def write_runtime(folder: Path, log: Log = print) -> str:
    """Put the files of onnxruntime-web into a folder, with a word on whose they are; returns its version.

    Raises AssetError where the package cannot be had.
    """
    return _write_members(RUNTIME, folder, log)


def write_three(folder: Path, log: Log = print) -> str:
    """Put three.js into a folder, as `write_runtime` does; returns its version."""
    return _write_members(THREE, folder, log)


def _write_members(name: str, folder: Path, log: Log) -> str:
    package = about(name)
    folder.mkdir(parents=True, exist_ok=True)
    for member, content in zip(
        package["members"], members(fetched(name, package, log), package["members"]), strict=True
    ):
        (folder / Path(member).name).write_bytes(content)
    credit = f"{name} {package['version']}: {package['credit']}, licence {package['licence']}\n"
    (folder / "CREDITS.txt").write_text(credit, "utf-8")
    return str(package["version"])

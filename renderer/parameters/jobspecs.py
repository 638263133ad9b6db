"""Specs by name or file, with what the command line changes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final

from renderer.errors import SpecError, did_you_mean
from renderer.parameters.spec import Spec
from renderer.strict import load, override, settings

JOBSPECS: Final = Path(str(files("jobspecs")))  # a package of its own, so that it is found wherever it is installed
TRAININGS: Final = ("train_", "sweep_")  # names of jobspecs for the trainer
STUDIES: Final = "study_"
CLUSTERS: Final = "cluster_"  # and of cluster profiles


def find_jobspec(source: str | Path, kind: str, names: list[str], prefix: str = "") -> Path:
    """The file, or that of the jobspec of this name; a folder that is named like one is neither.

    kind, names: what it should be and what there is, for messages. prefix: of file names. Raises SpecError if none is.
    """
    path = Path(source)
    if not path.is_file() and path.suffix == "" and len(path.parts) == 1:
        path = JOBSPECS / f"{prefix}{path.name.removeprefix(prefix)}.yaml"
    if not path.is_file():
        meant = did_you_mean(Path(source).stem.removeprefix(prefix), names)
        give = f"{meant} Give" if meant else ": give"
        raise SpecError(f"no {kind} {str(source)!r}{give} a YAML file or one of {', '.join(names)}")
    return path


def load_spec(source: str | Path, changes: Iterable[str] = ()) -> Spec:
    """A spec by file or by the name of a jobspec ("mixed"), with `changes` as `--set` takes them. Raises SpecError.

    Asset folders become absolute: those of the file start at its folder, those of `changes` where one stands.
    """
    path = find_jobspec(source, "spec", spec_names())
    spec = _resolved(load(Spec, path), path.parent)
    if found := settings(changes):
        spec = _resolved(override(spec, found, f"{source} with --set"), Path.cwd())
    return spec


def _resolved(spec: Spec, base: Path) -> Spec:
    def absolute(folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str((base / folder).resolve()) for folder in folders)

    a = spec.assets
    head = str((base / a.head).resolve()) if a.head else ""
    own = replace(a, hdris=absolute(a.hdris), textures=absolute(a.textures), faces=absolute(a.faces), head=head)
    return replace(spec, assets=own)


def spec_names() -> list[str]:
    """Names of the specs that come with headforge (not those of clusters, trainings, sweeps and studies)."""
    return [name for name in _jobspecs() if not name.startswith((CLUSTERS, STUDIES, *TRAININGS))]


def training_names() -> list[str]:
    """Names of the trainings and sweeps that come with headforge."""
    return [name for name in _jobspecs() if name.startswith(TRAININGS)]


def study_names() -> list[str]:
    """Names of the studies that come with headforge."""
    return [name for name in _jobspecs() if name.startswith(STUDIES)]


def profile_names() -> list[str]:
    """Names of the cluster profiles that come with headforge, without their prefix."""
    return [name.removeprefix(CLUSTERS) for name in _jobspecs() if name.startswith(CLUSTERS)]


def _jobspecs() -> list[str]:
    return sorted(p.stem for p in JOBSPECS.glob("*.yaml"))

"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

from pathlib import Path

import click

from renderer.errors import SpecError
from renderer.run.packing import packing
from renderer.run.pool import PoolOptions

SPEC_HELP = "YAML file of the spec, or the name of one that comes with headforge."
FOLDER = click.Path(path_type=Path, file_okay=False)
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


def at_least(least: int, **values: int | None) -> None:
    """Refuse options below `least`; None was not given. Raises SpecError."""
    for name, value in values.items():
        if value is not None and value < least:
            raise SpecError(f"--{name.replace('_', '-')} is {value}; it must be at least {least}")


def pool_options(workers: int | None, threads: int | None, device: str) -> PoolOptions:
    """How many workers and threads render here, on the spec's device. Raises SpecError."""
    at_least(1, workers=workers, threads=threads)
    return PoolOptions(*packing(workers, threads, device=device))


def check_picture(out: Path | None) -> None:
    """Whether a picture can be written under this name. Raises SpecError, before anything is rendered for it."""
    if out is not None and out.suffix.lower() not in PICTURES:
        raise SpecError(f"--out is {str(out)!r}; a picture's name ends in .png, .jpg, .tif or .webp")


def say(text: str) -> None:
    """A line for people, who may send the results elsewhere."""
    click.echo(text, err=True)

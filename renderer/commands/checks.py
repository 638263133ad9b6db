"""`gen verify`, `gen doctor`: is a data set sound, is this machine?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from renderer.commands.options import FOLDER, at_least, say
from renderer.progress import Progress


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--workers", type=int, help="Processes.  [default: as many as cores granted]")
@click.option("--count", type=int, help="Samples that must be there.")
def verify(dataset: Path, workers: int | None, count: int | None) -> None:
    """Prove DATASET sound; exit code 1 and a list of problems if it is not.

    Checks hashes, members, number formats, finite values and ranges, mask and UV against each other, UV against an
    independent projection of the stored geometry, duplicates, gaps, pose and mouth statistics against the spec.

    \b
    gen verify out/mixed
    gen verify out/mixed --count 64
    """
    import numpy as np

    from renderer import archive, checks
    from renderer.pool import granted_cores

    at_least(1, workers=workers, count=count)
    total = len(archive.open_dataset(dataset))
    with Progress(total, "sample", "verifying") as bar:
        verdict = checks.verify(dataset, workers or granted_cores(), bar.update)
    if count is not None and verdict.samples != count:
        verdict.problems.append(f"{verdict.samples} samples are there, {count} were expected")
    for problem in verdict.problems[:50]:
        click.echo(problem)
    if len(verdict.problems) > 50:
        click.echo(f"... and {len(verdict.problems) - 50} more")
    if verdict.problems:
        say(f"{dataset}: {verdict.samples} samples, {len(verdict.problems)} problems")
        sys.exit(1)
    uv = f"median error {np.median(verdict.uv_error):.3f} pixels" if verdict.uv_error else "no face to compare"
    click.echo(f"{dataset}: {verdict.samples} samples sound; UV against geometry: {verdict.unchecked or uv}")
    if verdict.note:
        click.echo(f"{dataset}: {verdict.note}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> None:
    """Check this machine, and say the fix for what is wrong. Exit code 1 if something is.

    \b
    gen doctor
    """
    from renderer.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=1))
    else:
        for f in findings:
            click.echo(f"{'ok  ' if f.ok else 'BAD '} {f.what}: {f.found}")
            if not f.ok:
                click.echo(f"     fix: {f.fix}")
    sys.exit(0 if all(f.ok for f in findings) else 1)

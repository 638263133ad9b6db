"""`gen verify`, `gen doctor`: is a data set sound, is this machine?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderer.commands.options import FOLDER, at_least, say
from renderer.progress import Progress

if TYPE_CHECKING:
    from renderer.report.proof import Verdict


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--workers", type=int, help="Processes.  [default: one per core granted]")
@click.option("--count", type=int, help="Number of samples that must be there.  [default: as asked of `gen render`]")
@click.option("--again", is_flag=True, help="Verify again what has been verified before.")
def verify(dataset: Path, workers: int | None, count: int | None, again: bool) -> None:
    """Prove DATASET sound; exit code 1 and a list of problems if it is not.

    Checks hashes, members, number formats, finite values and ranges, mask and UV against each other, UV against an
    independent projection of the stored geometry, duplicates, gaps, pose and mouth statistics against the spec.

    Each verified shard leaves a proof in DATASET/verified/, so that the same command goes on after a stop. The
    conclusion is written to DATASET/verdict.json.

    \b
    gen verify out/mixed
    gen verify out/mixed --count 64
    """
    from renderer.format.dataset import open_dataset
    from renderer.format.folder import finished_stems
    from renderer.machine import granted_cores
    from renderer.report import proof
    from renderer.stopper import Stopper

    at_least(1, workers=workers, count=count)
    open_dataset(dataset)
    everything = finished_stems(dataset)
    stems = everything if again else proof.unproven(dataset)
    if len(stems) < len(everything):
        say(f"{len(everything) - len(stems)} of {len(everything)} shards are proven already")
    total = sum(proof.stem_samples(stem) for stem in stems)
    with Stopper(lambda: "giving up the shards in hand") as stop, Progress(total, "sample", "verifying") as bar:
        left = proof.verify_shards(dataset, stems, workers or granted_cores(), stop, bar.update)
    if left:
        say(f"stopped with {len(left)} of {len(everything)} shards left; run the same command again to go on")
        sys.exit(130)
    _tell(dataset, proof.conclude(dataset, count or 0))


def _tell(dataset: Path, verdict: Verdict) -> None:
    """Print a verdict; ends with exit code 1 where it names problems."""
    for problem in verdict.problems:
        click.echo(problem)
    if verdict.found > len(verdict.problems):
        click.echo(f"... and {verdict.found - len(verdict.problems)} more")
    if verdict.found:
        say(f"{dataset}: {verdict.samples} samples, {verdict.found} problems")
        sys.exit(1)
    uv = "no face to compare" if verdict.uv_error_px is None else f"median error {verdict.uv_error_px:.3f} pixels"
    click.echo(f"{dataset}: {verdict.samples} samples sound; UV against geometry: {verdict.unchecked or uv}")
    if verdict.note:
        click.echo(f"{dataset}: {verdict.note}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check this machine, and say the fix for what is wrong. Exit code 1 if something is.

    \b
    gen doctor
    """
    from renderer.run.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=1))
    else:
        for f in findings:
            click.echo(f"{'ok  ' if f.ok else 'BAD '} {f.what}: {f.found}")
            if not f.ok:
                click.echo(f"     fix: {f.fix}")
    sys.exit(0 if all(f.ok for f in findings) else 1)

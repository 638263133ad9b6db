"""`gen knobs`: every knob of a spec, a training or a cluster profile, from the fields that declare them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from itertools import groupby
from operator import getitem
from pathlib import Path
from typing import Any

import click

from renderer.parameters.jobspecs import CLUSTERS, TRAININGS, find_jobspec, load_spec, training_names
from renderer.strict import knobs, section_at, to_plain


@click.command(
    epilog="""\b
Examples:
  gen knobs                          those of a spec, with the values of `mixed`
  gen knobs thesis | grep light
  gen knobs train_uvnet_small
  gen knobs cluster_generic
  gen knobs mine.yaml --kind training
"""
)
@click.argument("name", default="mixed")
@click.option(
    "--kind",
    type=click.Choice(["spec", "training", "profile"]),
    help="What NAME is.  [default: by its name; train_* and sweep_* are trainings, cluster_* profiles, others specs]",
)
def list_knobs(name: str, kind: str | None) -> None:
    """List every knob that the YAML file NAME, and `--set`, can turn: its value there, what it accepts, its meaning.

    NAME is a YAML file, or the name of one that comes with headforge.
    """
    for line in lines(_loaded(name, kind or _kind(name))):
        click.echo(line)


def _kind(name: str) -> str:
    stem = Path(name).stem
    return "training" if stem.startswith(TRAININGS) else "profile" if stem.startswith(CLUSTERS) else "spec"


def _loaded(name: str, kind: str) -> Any:
    """The spec, the (first) training or the profile of this name. Raises SpecError."""
    if kind == "training":
        from trainer.systems.registry import load_sweep

        return load_sweep(find_jobspec(name, "training spec", training_names()))[0]
    if kind == "profile":
        from slurm.profile import load_profile

        return load_profile(name)[0]
    return load_spec(name)


def lines(section: Any) -> Iterator[str]:
    """Sections with their knobs below, one a line: key, value, what it accepts, default if that is another, meaning."""
    kind, plain = type(section), to_plain(section)
    for name, found in groupby(knobs(kind), lambda knob: knob.key.rpartition(".")[0]):
        if name:
            yield f"\n{name}: {' '.join((section_at(kind, name).__doc__ or '').split())}"
        for knob in found:
            value = reduce(getitem, knob.key.split("."), plain)
            default = "" if value == knob.default else f", default {json.dumps(knob.default)}"
            accepted = f"{knob.accepted} {knob.unit}".strip()
            yield f"  {knob.key:34}  {json.dumps(value):20}  {accepted + default:28}  {knob.about}"

"""`gen bench input`, `network`, `visualise` and `second-view`: each prints one JSON line per figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from trainer.commands.options import VALUES
from trainer.systems.registry import configs_of


@click.command(
    epilog="""\b
Examples:
  gen bench input out/mixed
  gen bench input out/mixed --samples 1000 --workers 2
"""
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--samples", default=2000, show_default=True, type=click.IntRange(64), help="Samples per measurement.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 256), help="Decoding threads.")
@click.option("--environments", type=click.Path(path_type=Path), help="Folder of EXR environments.")
def bench_input(dataset: Path, samples: int, workers: int, environments: Path | None) -> None:
    """Measure the input pipeline on DATASET: one JSON line per figure."""
    from trainer.bench import inputs

    for line in inputs.input_lines(dataset, samples, workers, environments):
        click.echo(line)


@click.command(
    epilog="""\b
Examples:
  gen bench network train_uvnet --set data.batch_size=256
  gen bench network train_uvnet --data out/mixed
  gen bench network train_uvnet_small --set device.precision=32-true
"""
)
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Measure whole training steps on this data set, too.")
@VALUES
@click.option(
    "--size", default=128, show_default=True, type=click.IntRange(8, 4096), help="Pixels per side, without --data."
)
def bench_network(spec: Path, data: Path | None, values: tuple[str, ...], size: int) -> None:
    """Measure training steps of SPEC against matrix products on the same device: one JSON line per figure.

    With --data whole steps are measured, too: samples in device memory, loader and augmentation included. On a GPU
    the figures also say for which share of the time it was busy.
    """
    from trainer.bench import network

    config = configs_of(spec, data, None, values)[0]
    if data is None:
        config = replace(config, data=replace(config.data, path=""))
    for line in network.network_lines(config, size):
        click.echo(line)


@click.command()
def bench_visualise() -> None:
    """Speed of the projections of UV maps at 256 x 256 on one core: one JSON line per figure."""
    from trainer.bench.visualise import lines

    for line in lines():
        click.echo(line)


@click.command(
    epilog="""\b
Examples:
  gen bench second-view out/pairs
  gen bench second-view out/pairs_protocol --limit 54
"""
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--limit", default=0, type=click.IntRange(0), help="Samples, evenly spread.  [default: all]")
def bench_second_view(dataset: Path, limit: int) -> None:
    """How good made second views are on DATASET, which has the label view2: one JSON line per figure."""
    from trainer.bench.second_view import lines

    for line in lines(dataset, limit):
        click.echo(line)

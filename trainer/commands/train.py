"""`gen train`, `gen export`, `gen bench input`, `gen bench network`: options in, library calls, text out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderer.errors import SpecError
from renderer.parameters.jobspecs import training_names
from renderer.strict import to_yaml
from trainer.systems.registry import configs_of, load_sweep
from trainer.systems.uvnet.config import UVNetConfig

if TYPE_CHECKING:
    from trainer.training.loop import Outcome

INTERRUPTED = 75  # exit code of a run that a signal stopped and `--resume` continues (EX_TEMPFAIL)


@click.command(
    epilog="""\b
Examples:
  gen train train_uvnet_small --data out/mixed
  gen train train_uvnet --data out/mixed --set device.devices=2 --dry-run
  gen train sweep_occlusion --data out/mixed --only 3
  gen train --resume runs/uvnet_small-1a2b3c-20260101-120000
  gen train sweep_occlusion --data /shared/mixed --slurm cluster_gpu
"""
)
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of the data set, in place of the spec's data.path."
)
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Folder of run directories, in place of the spec's output.runs."
)
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a field, for example loss.uv=2; may be repeated.",
)
@click.option("--only", type=int, help="Train only this run of a sweep; the first is 0.")
@click.option("--resume", "run", type=click.Path(path_type=Path), help="Resume a run from its last checkpoint.")
@click.option(
    "--from", "checkpoint", default="", help="With --resume: start from an older checkpoint, such as step-0000001234."
)
@click.option(
    "--slurm",
    "profile",
    help="Submit to SLURM, a sweep as one array; a profile is a YAML file or a name such as cluster_gpu.",
)
@click.option("--allow-dirty", is_flag=True, help="With --slurm: run uncommitted code; the run says so.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan and the whole config, train nothing.")
def train(
    spec: Path | None,
    data: Path | None,
    runs: Path | None,
    values: tuple[str, ...],
    only: int | None,
    run: Path | None,
    checkpoint: str,
    profile: str | None,
    allow_dirty: bool,
    dry_run: bool,
) -> None:
    """Train UV-net as SPEC says (a YAML file, or the name of one that comes with headforge), or every run of a sweep.

    Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint and end with exit code 75; `--resume` goes on exactly there.
    """
    from trainer.training import loop
    from trainer.training.run_dir import RunDir

    if (spec is None) == (run is None):
        raise SpecError(
            f"give either a SPEC to start ({', '.join(training_names())}, or a file), or --resume RUN to go on"
        )
    if run is not None:
        if data or runs or values or profile or only is not None:
            raise SpecError(
                "--resume goes on with the run's own config; --data, --runs, --set, --only and --slurm need a SPEC"
            )
        if dry_run:
            _print_plan(RunDir(run).load_config())
        else:
            _report(loop.resume(run, checkpoint))
        return
    assert spec is not None
    if checkpoint:
        raise SpecError("--from names the checkpoint that --resume RUN goes on from; it needs --resume")
    configs = configs_of(spec, data, runs, values)
    if only is not None:
        if not 0 <= only < len(configs):
            raise SpecError(f"--only {only}: {spec} makes runs 0 to {len(configs) - 1}")
        configs = [configs[only]]
    if profile is not None:
        from slurm.submit.training import submit_training

        options = {"data": data, "runs": runs, "values": values, "only": only}
        submit_training(spec, profile, **options, dry_run=dry_run, allow_dirty=allow_dirty, log=click.echo)  # type: ignore[arg-type]
        return
    for config in configs:  # all of a sweep are checked before the first one starts
        if dry_run:
            _print_plan(config)
        else:
            loop.check(config)
    for config in configs if not dry_run else []:
        _report(loop.train(config))


def _print_plan(config: UVNetConfig) -> None:
    from trainer.training import loop

    plan = loop.check(config)
    click.echo(f"name:              {config.name}")
    click.echo(f"device:            {plan.device}")
    if plan.warning:
        click.echo(plan.warning, err=True)
    click.echo(f"parameters:        {plan.parameters:,}")
    click.echo(f"data set:          {config.data.path} (tag {plan.tag})")
    click.echo(f"training samples:  {plan.training_samples:,}, held out {plan.test_samples:,}")
    click.echo(f"steps per epoch:   {plan.steps_per_epoch:,} of {config.data.batch_size} samples")
    click.echo(f"epochs:            {plan.epochs:.1f} ({config.schedule.max_samples:,} samples)")
    click.echo(f"decoded size:      {plan.bytes_decoded / 1e9:.2f} GB, cache {config.data.cache}")
    click.echo(f"environments:      {plan.environments}")
    click.echo("---\n" + to_yaml(config))


def _report(outcome: Outcome) -> None:
    click.echo(f"{outcome.state} at step {outcome.step}: {outcome.run}")
    if outcome.state == "interrupted":
        click.echo(f"go on with: gen train --resume {outcome.run}", err=True)
        raise SystemExit(INTERRUPTED)


@click.command(
    epilog="""\b
Examples:
  gen export runs/uvnet_small-1a2b3c-20260101-120000 --out exported
  gen export weights.safetensors --format onnx
"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("exported"), show_default=True, help="Folder.")
@click.option("--format", "formats", multiple=True, help="safetensors, onnx or pt2; may be repeated.  [default: all]")
@click.option("--dry-run", is_flag=True, help="Read the weights and print what would be written.")
def export(run: Path, out: Path, formats: tuple[str, ...], dry_run: bool) -> None:
    """Export the network of a RUN directory or a weights file: safetensors, ONNX (checked) and torch.export."""
    from trainer.training import export as exporting
    from trainer.training.checkpoint import load_network

    chosen = formats or exporting.FORMATS
    if dry_run:
        _, header = load_network(run)
        click.echo(f"would write {', '.join(chosen)} of {header.get('run_id', run.name)} to {out}")
        return
    for result in exporting.export(run, out, chosen):
        click.echo(f"{result.path} (largest difference to torch {result.difference:.2g})")


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
    from trainer.bench import network

    for line in network.input_lines(dataset, samples, workers, environments):
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
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="Change a field of SPEC; may be repeated.")
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


def augment_collages(dataset: Path, out: Path, spec: Path | None = None, columns: int = 8) -> list[Path]:
    """For `gen collage --augment`: pictures of every augmentation stage. Returns the files written."""
    from trainer.augmentation.preview import augment_collage

    config = load_sweep(spec)[0] if spec else UVNetConfig()
    config = replace(config, data=replace(config.data, path=str(dataset)))
    return augment_collage(dataset, out, config, columns)  # type: ignore[arg-type]

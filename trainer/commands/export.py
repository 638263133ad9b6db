"""`gen export`: options in, library calls, text out."""

from __future__ import annotations

from pathlib import Path

import click

from trainer.commands.options import FOLDER, WEIGHTS


@click.command(
    epilog="""\b
Examples:
  gen export runs/uvnet_small-1a2b3c-20260101-120000 --out exported
  gen export weights.safetensors --format onnx
  gen export runs/photo-... --half --format onnx
  gen export runs/photo-... --ship --out shipped
"""
)
@WEIGHTS
@click.option("--out", type=FOLDER, default=Path("exported"), show_default=True, help="Folder.")
@click.option("--format", "formats", multiple=True, help="safetensors, onnx or pt2; may be repeated.  [default: all]")
@click.option("--half", is_flag=True, help="Store numbers in 16 bits; safetensors and ONNX become half as large.")
@click.option(
    "--ship",
    is_flag=True,
    help="For others: safetensors and ONNX in 16 bits, and a model card with what `gen evaluate` left in the run.",
)
@click.option("--dry-run", is_flag=True, help="Read the weights and print what would be written.")
def export(weights: Path, out: Path, formats: tuple[str, ...], half: bool, ship: bool, dry_run: bool) -> None:
    """Export the network of a run directory or a weights file: safetensors, ONNX (checked) and torch.export."""
    from trainer.evaluation import card
    from trainer.systems import runs
    from trainer.training.export import FORMATS

    if dry_run:
        header = runs.load_trained(weights).header
        click.echo(f"would write {', '.join(formats or FORMATS)} of {header.get('run_id', weights.name)} to {out}")
        return
    if ship:
        for path in card.ship(weights, out):
            click.echo(path)
        return
    for result in runs.export(weights, out, formats, half):
        click.echo(f"{result.path} (largest difference to torch {result.difference:.2g})")

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
"""
)
@WEIGHTS
@click.option("--out", type=FOLDER, default=Path("exported"), show_default=True, help="Folder.")
@click.option("--format", "formats", multiple=True, help="safetensors, onnx or pt2; may be repeated.  [default: all]")
@click.option("--dry-run", is_flag=True, help="Read the weights and print what would be written.")
def export(weights: Path, out: Path, formats: tuple[str, ...], dry_run: bool) -> None:
    """Export the network of a run directory or a weights file: safetensors, ONNX (checked) and torch.export."""
    from trainer.training import export as exporting
    from trainer.training.checkpoint import load_network

    chosen = formats or exporting.FORMATS
    if dry_run:
        _, header = load_network(weights)
        click.echo(f"would write {', '.join(chosen)} of {header.get('run_id', weights.name)} to {out}")
        return
    for result in exporting.export(weights, out, chosen):
        click.echo(f"{result.path} (largest difference to torch {result.difference:.2g})")

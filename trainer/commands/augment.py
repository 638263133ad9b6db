"""What `gen collage --augment` needs of the trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainer.systems.registry import load_sweep
from trainer.systems.uvnet.config import UVNetConfig


def augment_collages(dataset: Path, out: Path, spec: Path | None = None, columns: int = 8) -> list[Path]:
    """Pictures of every augmentation stage. Returns the files written."""
    from trainer.augmentation.preview import augment_collage

    config = load_sweep(spec)[0] if spec else UVNetConfig()
    config = replace(config, data=replace(config.data, path=str(dataset)))
    return augment_collage(dataset, out, config, columns)  # type: ignore[arg-type]

"""What `gen collage --augment` needs of the trainer."""

from __future__ import annotations

from pathlib import Path

from trainer.systems.registry import load_sweep
from trainer.systems.uvnet.config import UVNetConfig, as_uvnet


def augment_collages(dataset: Path, out: Path, spec: Path | None = None, columns: int = 8) -> list[Path]:
    """Pictures of every augmentation stage. Returns the files written."""
    from trainer.systems.uvnet.preview import augment_collage

    config = load_sweep(spec)[0] if spec else UVNetConfig()
    return augment_collage(dataset, out, as_uvnet(config, "the collage of augmentations"), columns)

"""The weights that come with headforge: a network for photographs, as safetensors and ONNX (MODEL_CARD.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

NAME: Final = "shipped"
"""What commands call them where they take a run or a weights file."""
FOLDER: Final = Path(__file__).parent
SAFETENSORS: Final = FOLDER / "photo.safetensors"
ONNX: Final = FOLDER / "photo.onnx"
CARD: Final = FOLDER / "MODEL_CARD.md"

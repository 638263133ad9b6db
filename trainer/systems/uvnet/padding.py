"""Pictures of any size for networks that halve them."""

from __future__ import annotations

import torch
from torch import Tensor


def repeat_border(x: Tensor, height: int, width: int) -> Tensor:
    """A larger map, its last row and column repeated. Look-ups export for any size, which padding does not."""
    rows = torch.arange(height, device=x.device).clamp(max=x.shape[2] - 1)
    columns = torch.arange(width, device=x.device).clamp(max=x.shape[3] - 1)
    return x.index_select(2, rows).index_select(3, columns)

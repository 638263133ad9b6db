"""Where in a picture an output of a network comes from: gradients by captum (Simonyan et al. 2014)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from renderer.errors import MachineError
from renderer.install import how_to_install

BRIGHTEST: Final = 99.0  # percentile that is shown white


def saliency(network: nn.Module, pictures: Tensor, output: int) -> npt.NDArray[np.float64]:
    """(N, H, W) largest absolute derivative over the channels of one output by each pixel.

    network: (N, 3, H, W) to (N, outputs). Raises MachineError where captum is missing.
    """
    try:
        from captum.attr import Saliency
    except ImportError as error:
        raise MachineError(f"saliency needs captum: {how_to_install('train')}") from error
    with torch.enable_grad():
        slopes = Saliency(network).attribute(pictures.clone().requires_grad_(), target=output)
    return np.asarray(slopes.abs().amax(1).detach().double().cpu().numpy())


def shown(slopes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(H, W) saliency as a gray picture (H, W, 3), its brightest percent white."""
    top = float(np.percentile(slopes, BRIGHTEST)) or 1.0
    gray = (np.clip(slopes / top, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)

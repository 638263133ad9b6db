"""Where faces may start from: a linear model of shape and colours of the companions, predicted from features.

A mean of faces is blurred, since features of the face lie elsewhere in each. So companions are brought into one shape
first, by dense optical flow; components of the shapes, and of the colours in that one shape, are then regressed on the
features (ridge). Source: Cootes et al. 1998 for the model; Cole et al. 2017 decode shape and colours apart, too.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.data.pictures import to_bytes
from trainer.systems.frontal.spline import pixel_centres

ROUNDS: Final = 3  # of alignment to a mean that gets sharper
SMOOTH: Final = 0.025  # of the side: deviation of the Gaussian that flows are smoothed by
INVERTING: Final = 8  # steps of the fixed point
EVENED: Final = (2.0, (4, 4))  # limit and tiles of the equalisation (CLAHE) that takes skin and light out


class Appearance(nn.Module):
    """(N, F) features of zero mean and unit deviation to colours and a flow. Fitted once, not trained.

    Colours (N, 3, S, S) are picture values in the one shape; the flow (N, S, S, 2) says, in shares of the side, how far
    from each pixel of the face its colour is found there.
    """

    codes: Tensor
    mean_colours: Tensor
    colours: Tensor
    mean_flow: Tensor
    flows: Tensor

    def __init__(self, features: int, count: int, side_px: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(2, features, count))
        self.register_buffer("mean_colours", torch.full((3, side_px, side_px), 0.5))
        self.register_buffer("colours", torch.zeros(count, 3, side_px, side_px))
        self.register_buffer("mean_flow", torch.zeros(side_px, side_px, 2))
        self.register_buffer("flows", torch.zeros(count, side_px, side_px, 2))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        of_colours, of_flows = (features @ codes for codes in self.codes)
        colours = self.mean_colours + torch.einsum("nk,kcij->ncij", of_colours, self.colours)
        return colours, self.mean_flow + torch.einsum("nk,kijc->nijc", of_flows, self.flows)

    def fit(self, companions: Tensor, features: Tensor, owners: Tensor) -> None:
        """companions: (P, 3, S, S) in [0, 1]; features: (N, F) of zero mean; owners: (N,) rows of companions."""
        aligned, flows = align(companions)
        found = zip(
            self.codes, (aligned, flows), (self.mean_colours, self.mean_flow), (self.colours, self.flows), strict=True
        )
        for codes, values, mean, components in found:
            mean.copy_(values.mean(0))
            flat = (values - mean).flatten(1)
            basis = torch.linalg.svd(flat, full_matrices=False)[2][: len(components)]
            components[: len(basis)].copy_(basis.view(-1, *mean.shape))
            wanted = (flat @ basis.T)[owners]
            penalty = len(features) * torch.eye(features.shape[1])  # as strong as the variance of a feature
            codes[:, : len(basis)].copy_(torch.linalg.solve(features.T @ features + penalty, features.T @ wanted))


def align(companions: Tensor) -> tuple[Tensor, Tensor]:
    """Companions (P, 3, S, S) in their mean shape, and the flows (P, S, S, 2) that give them their own shape back."""
    flows, aligned = companions.new_zeros(len(companions), *companions.shape[2:], 2), companions
    for _ in range(ROUNDS):
        middle = aligned.mean(0)
        flows = torch.stack([flow_between(middle, companion) for companion in companions])
        aligned = moved(companions, flows)
    return aligned, torch.cat([inverse(flow) for flow in torch.split(flows, 16)])


def flow_between(first: Tensor, second: Tensor) -> Tensor:
    """Smooth flow (S, S, 2), shares of the side: where in the second face (3, S, S) each pixel of the first is."""
    import cv2

    even = cv2.createCLAHE(*EVENED)
    gray = [even.apply(cv2.cvtColor(to_bytes(face[None].cpu()), cv2.COLOR_RGB2GRAY)) for face in (first, second)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    side = first.shape[2]
    found = search.calc(gray[0], gray[1], np.zeros((side, side, 2), np.float32))
    return torch.from_numpy(cv2.GaussianBlur(found, (0, 0), SMOOTH * side)).to(first) / side


def moved(pictures: Tensor, flows: Tensor) -> Tensor:
    """Pictures (N, C, S, S) whose pixels come from where flows (N, S, S, 2) say."""
    side = pictures.shape[2]
    source = pixel_centres(side, flows).view(side, side, 2) + flows
    return F.grid_sample(pictures, source * 2 - 1, "bilinear", "border", align_corners=False)


def inverse(flows: Tensor) -> Tensor:
    """The flows back: g with g(x) = -f(x + g(x))."""
    back = -flows
    for _ in range(INVERTING):
        back = -moved(flows.permute(0, 3, 1, 2), back).permute(0, 2, 3, 1)
    return back

"""What first weights take from the training samples: whitening, PCA of the meshes, PCA of the pictures."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from trainer.systems.capture.network import MM, CaptureNet, ImagePca

_LEAST: Final = 1e-10  # of the largest variance: components below it are noise of the arithmetic


def principal(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mean (D,), directions (count, D) of unit length, standard deviations along them, share of variance they explain.

    rows: (N, D). Through the products of rows with each other: there are fewer rows than numbers in one. Directions
    beyond the rank of the rows are zero.
    """
    mean = rows.mean(0)
    centred = rows - mean
    products = (centred @ centred.T).double()
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0).clamp(min=0)[:count], vectors.flip(1)[:, :count]
    total = float(products.diagonal().sum())
    known = values > _LEAST * max(total, 1e-30)
    directions = (vectors.T.float() @ centred) / values.sqrt().clamp(min=1e-20).float()[:, None]
    directions[~known] = 0
    found, spread = torch.zeros(count, rows.shape[1]), torch.zeros(count)
    found[: len(values)], spread[: len(values)] = directions, (values / max(len(rows) - 1, 1)).sqrt().float()
    return mean, found, spread, float(values[known].sum()) / total if total else 1.0


@torch.no_grad()
def whiten(network: CaptureNet, frames: Tensor) -> None:
    """One mean and variance of each view over all pixels of all frames (N, views, H, W)."""
    network.mean.copy_(frames.mean((0, 2, 3))[:, None, None])
    network.deviation.copy_(frames.std((0, 2, 3))[:, None, None].clamp(min=1e-6))


@torch.no_grad()
def fill_output(network: CaptureNet, vertices: Tensor, basis: Literal["trainable", "fixed", "none"]) -> None:
    """Mean mesh as bias; as weights its principal components, each as long as one standard deviation.

    vertices: (N, V, 3) metres. basis: "none" leaves the weights random.
    """
    mean, directions, spread, explained = principal(vertices.flatten(1) * MM, network.output.in_features)
    network.output.bias.copy_(mean)
    network.average.copy_(mean.reshape(-1, 3) / MM)
    if basis != "none":
        network.output.weight.copy_((directions * spread[:, None]).T)
        network.explained.fill_(explained)


@torch.no_grad()
def fill_image_pca(pca: ImagePca, white: Tensor) -> None:
    """white: whitened frames (N, 1, H, W)."""
    mean, directions, spread, _ = principal(white.flatten(1), len(pca.basis))
    pca.average.copy_(mean)
    pca.basis.copy_(directions / spread.clamp(min=1e-3 * float(spread.max()) + 1e-12)[:, None])

"""What a new network takes from the training samples: means, and a landmark network that reads faces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from renderer.errors import FormatError
from renderer.progress import Progress
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions, chunks, epoch_order, spread
from trainer.data.sources import Cached, Streaming
from trainer.systems.frontal.config import FrontalConfig
from trainer.systems.frontal.landmarks import LandmarkNet, fit
from trainer.systems.frontal.network import OPEN, FrontalNetwork, Stage, before_tanh
from trainer.training.checkpoint import read_weights, weights_file

PREFIX: Final = "landmarks."  # of the landmark network's tensors among those of a run
_AT_ONCE: Final = 32  # pictures in memory


def take_means(
    network: FrontalNetwork,
    source: Streaming | Cached,
    training: Positions,
    most: int,
    supervised: bool,
    seen: Callable[[Minibatch], tuple[Tensor, Tensor]],
) -> None:
    """The mean face, and mean and deviation of each feature, of up to `most` training samples, spread evenly.

    supervised: faces start as the mean one, or of components where the config has some, and masks open. seen: of a
    minibatch its companions (N, 3, S, S) and features (N, F).
    """
    faces, every = torch.zeros_like(network.mean_face, dtype=torch.float64), []
    subjects, owners = list[Tensor](), list[int]()
    for batch in source.batches(chunks(spread(training, most), _AT_ONCE), epoch=0):
        companions, features = seen(batch)
        faces += companions.double().sum(0).cpu()
        every.append(features.cpu())
        for face in companions.cpu() if network.appearance is not None else ():
            if not subjects or not torch.equal(subjects[-1], face):  # views of a subject stand in a row and share it
                subjects.append(face.clone())
            owners.append(len(subjects) - 1)
    features = torch.cat(every)
    network.mean_face.copy_(faces / len(features))
    if supervised:
        network.start.copy_(before_tanh(network.mean_face))
        if network.mask_decoder is not None:
            last = network.mask_decoder.stages[-1]
            assert isinstance(last, Stage) and last.up.bias is not None
            nn.init.constant_(last.up.bias, OPEN)
    network.feature_mean.copy_(features.mean(0))
    network.feature_spread.copy_(features.std(0, correction=0).clamp(min=1e-3 * float(features.abs().mean()) + 1e-12))
    if network.appearance is not None:
        normal = (features - network.feature_mean.cpu()) / network.feature_spread.cpu()
        network.appearance.cpu().fit(torch.stack(subjects), normal, torch.tensor(owners))


def fit_landmarks(
    config: FrontalConfig, network: LandmarkNet, source: Streaming | Cached, training: Positions
) -> None:  # fmt: skip
    """Fit the landmark network to training samples, before anything else is trained."""
    size = min(config.data.batch_size, len(training))
    steps = max(1, config.landmarks.samples // size)
    bar = Progress(steps * size, "sample", "fitting landmarks").start()

    def batches() -> Iterator[Minibatch]:
        done, epoch = 0, 0
        while done < steps:
            order = epoch_order(training, source.reader.shard_of, config.seed, epoch, config.data.window)
            full = chunks(order[: len(order) // size * size], size)[: steps - done]
            for batch in source.batches(full, epoch):
                yield batch
                bar.update(len(batch))
            done, epoch = done + len(full), epoch + 1

    error = fit(network, batches(), config.seed, config.landmarks.lr, steps, source.device)
    bar.close()
    print(f"landmarks are read to {100 * error:.2f} % of the side of a crop", file=sys.stderr, flush=True)


def stored_landmarks(config: FrontalConfig) -> dict[str, Tensor]:
    """The landmark network of another run. Raises FormatError where it has none of this size."""
    path = weights_file(Path(config.landmarks.run))
    tensors = {n.removeprefix(PREFIX): t for n, t in read_weights(path)[0].items() if n.startswith(PREFIX)}
    features = config.network.landmark_features
    with torch.device("meta"):
        wanted = LandmarkNet(features).state_dict()
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise FormatError(f"landmarks.run: {path} has no landmark network with landmark_features {features}")
    return tensors

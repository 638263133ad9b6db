"""The order of samples in an epoch: a function of seed and epoch, never of workers, cache or machine."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

PIECE: Final = 1 << 16  # positions shuffled at a time: as Python numbers they take ten times the room
Positions = npt.NDArray[np.int64]


def epoch_order(positions: Positions, shard_of: npt.NDArray[Any], seed: int, epoch: int, window: int) -> Positions:
    """The order of one epoch: shards shuffled, then samples within a sliding window.

    positions: what to visit. shard_of: shard per position in the reader. Reads stay within a few shards at a time.
    """
    rng = np.random.default_rng([seed, epoch])
    present = np.unique(shard_of[positions])
    rank = np.zeros(int(present.max()) + 1, np.int32)
    rank[present] = rng.permutation(len(present))
    stream = positions[np.argsort(rank[shard_of[positions]], kind="stable")]
    return _window_shuffle(stream, rng, window)


def spread(positions: Positions, count: int) -> Positions:
    """At most `count` of the positions, evenly spread, first and last among them."""
    chosen: Positions = positions[np.unique(np.linspace(0, len(positions) - 1, min(count, len(positions))).astype(int))]
    return chosen


def chunks(positions: Positions, size: int) -> list[Positions]:
    """Positions in their order, `size` at a time; the last chunk may be smaller."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def _window_shuffle(stream: Positions, rng: np.random.Generator, window: int) -> Positions:
    """Each step gives out a random one of the next `window` items not yet given. In place, piece by piece."""
    buffer, count = stream[:window].tolist(), len(stream)
    for start in range(0, count, PIECE):
        stop = min(start + PIECE, count)
        room = np.minimum(window, count - np.arange(start, stop))
        draws = (rng.random(stop - start) * room).astype(np.int64).tolist()
        source = iter(stream[start + window : stop + window].tolist())
        for i, draw in enumerate(draws, start):
            stream[i] = buffer[draw]
            following = next(source, None)
            last = buffer.pop() if following is None else following
            if draw < len(buffer):
                buffer[draw] = last
    return stream

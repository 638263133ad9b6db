"""Minibatches of one split, epoch after epoch, in a fixed order that processes share and that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator

from renderer.errors import DatasetError, SpecError
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions, epoch_order
from trainer.data.sources import Cached, Streaming


class Loader:
    """Minibatches of one split, epoch after epoch. Each process takes its part of every global minibatch.

    positions: the split. batch_size: over all processes. Raises SpecError if the split is smaller than that.
    """

    def __init__(
        self,
        source: Streaming | Cached,
        positions: Positions,
        batch_size: int,
        *,
        seed: int,
        window: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if len(positions) < batch_size:
            raise SpecError(
                f"{source.reader.path} has {len(positions)} training samples, fewer than data.batch_size = "
                f"{batch_size}: render more, or lower it"
            )
        self.source, self.positions, self.batch_size = source, positions, batch_size
        self.seed, self.window, self.rank, self.world = seed, window, rank, world
        self.epoch, self.batch = 0, 0  # of the minibatch that comes next

    def __len__(self) -> int:
        """Minibatches per epoch. What is left over takes part in another epoch."""
        return len(self.positions) // self.batch_size

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.batch = state["epoch"], state["batch"]

    def __iter__(self) -> Iterator[Minibatch]:
        """The rest of the current epoch. State moves on when a minibatch is handed out; then epoch + 1 begins."""
        order = epoch_order(self.positions, self.source.reader.shard_of, self.seed, self.epoch, self.window)
        mine = self.batch_size // self.world
        firsts = (b * self.batch_size + self.rank * mine for b in range(self.batch, len(self)))
        for minibatch in self.source.batches((order[f : f + mine] for f in firsts), self.epoch):
            self.batch += 1
            if len(minibatch):
                yield minibatch
            elif self.world > 1:
                raise DatasetError(f"every sample of a minibatch is bad ({', '.join(list(self.source.bad.found)[:5])})")
        self.epoch, self.batch = self.epoch + 1, 0

"""Where samples come from: decoded from the tars as they are asked for, or held in memory.

Decoding runs in threads: OpenEXR releases the interpreter lock, and a thread decodes straight into its slot of the
minibatch, so that nothing is pickled, copied or left behind in shared memory (docs/design/0200).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from renderer.errors import DatasetError, HeadforgeError, MachineError
from renderer.machine import memory_free_bytes
from renderer.progress import Progress
from trainer.data.device import send
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions
from trainer.data.reader import SampleReader

Cache = Literal["none", "memory", "device"]
CHUNK: Final = 8  # samples that one thread decodes in a row
AHEAD: Final = 4  # minibatches decoded ahead
Chunk = tuple[int, int, "Future[list[tuple[int, str]]]"]


@dataclass
class BadSamples:
    """Counts what could not be read, reports each once, and stops the run beyond the limit."""

    limit: int
    option: str = "data.max_bad"  # where the limit comes from
    found: dict[str, str] = field(default_factory=dict)
    logged: int = 0  # how many of them `news` has told

    def add(self, key: str, reason: str) -> None:
        if key in self.found:
            return
        self.found[key] = reason
        print(f"skipped sample {key}: {reason}", file=sys.stderr, flush=True)
        if len(self.found) > self.limit:
            raise DatasetError(
                f"{len(self.found)} bad samples ({', '.join(list(self.found)[:5])} ...), more than {self.option} = "
                f"{self.limit}: run `gen verify` on the data set, or raise the limit"
            )

    def news(self) -> list[str]:
        """A line for each that was found since the last call."""
        fresh = list(self.found.items())[self.logged :]
        self.logged += len(fresh)
        return [f"skipped sample {key}: {reason}" for key, reason in fresh]


class Streaming:
    """Decodes samples from the tars as they are asked for, in `workers` threads."""

    def __init__(self, reader: SampleReader, workers: int, bad: BadSamples, device: torch.device) -> None:
        self.reader, self.bad, self.device = reader, bad, device
        self.workers = workers

    def batches(self, groups: Iterable[Positions], epoch: int) -> Iterator[Minibatch]:
        """One minibatch per group of positions, in order; bad samples are left out."""
        pool = ThreadPoolExecutor(self.workers, "decode") if self.workers else None
        waiting: deque[tuple[Positions, dict[str, Tensor], list[Chunk]]] = deque()
        shards_seen: set[int] = set()
        shard_of = self.reader.shard_of
        try:
            for group in groups:
                for shard in set(shard_of[group].tolist()) - shards_seen:
                    shards_seen.add(shard)
                    self.reader.read_ahead(shard)
                waiting.append((group, *self._start(group, pool)))
                if len(waiting) > (AHEAD if pool else 0):
                    yield self._finish(*waiting.popleft(), epoch)
            while waiting:
                yield self._finish(*waiting.popleft(), epoch)
        finally:
            if pool:
                pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, group: Positions, pool: ThreadPoolExecutor | None) -> tuple[dict[str, Tensor], list[Chunk]]:
        tensors = empty_tensors(self.reader, len(group), pin=self.device.type == "cuda")
        slots = {name: tensor.numpy() for name, tensor in tensors.items()}
        chunks: list[Chunk] = []
        for start in range(0, len(group), CHUNK):
            stop = min(start + CHUNK, len(group))
            if pool:
                future = pool.submit(self._decode, group, slots, start, stop)
            else:
                future = Future()
                future.set_result(self._decode(group, slots, start, stop))
            chunks.append((start, stop, future))
        return tensors, chunks

    def _decode(self, group: Positions, slots: dict[str, Any], start: int, stop: int) -> list[tuple[int, str]]:
        """Fill slots start .. stop-1. Returns the slots that failed, with the reason."""
        failed = []
        for slot in range(start, stop):
            try:
                for name, array in self.reader.read(int(group[slot])).items():
                    if array.shape != slots[name].shape[1:]:
                        raise ValueError(f"{name} is {array.shape}, others are {slots[name].shape[1:]}")
                    slots[name][slot] = array
            except (HeadforgeError, OSError, ValueError, KeyError) as error:
                failed.append((slot, str(error)))
        return failed

    def _finish(self, group: Positions, tensors: dict[str, Tensor], chunks: list[Chunk], epoch: int) -> Minibatch:
        good = np.ones(len(group), bool)
        for _, _, future in chunks:
            for slot, reason in future.result():
                good[slot] = False
                self.bad.add(self.reader.keys[int(group[slot])], reason)
        if not good.all():
            tensors = {name: tensor[torch.from_numpy(good)] for name, tensor in tensors.items()}
            group = group[good]
        arrays = {name: send(tensor, self.device) for name, tensor in tensors.items()}
        return Minibatch.of(self.reader, torch.from_numpy(group), arrays, epoch)


class Cached:
    """All decoded samples held in tensors, in host memory or on the device; filled by streaming once."""

    def __init__(self, streaming: Streaming, positions: Positions, place: torch.device, label: str = "") -> None:
        reader = streaming.reader
        self.reader, self.device, self.bad = reader, streaming.device, streaming.bad
        check_room(reader, len(positions), place)
        self.slot = np.full(len(reader), -1, np.int64)
        pin = place.type == "cpu" and self.device.type == "cuda"
        self.tensors = empty_tensors(reader, len(positions), pin=pin, device=place)
        groups = [positions[i : i + 64] for i in range(0, len(positions), 64)]
        filled = 0
        host = Streaming(reader, streaming.workers, streaming.bad, torch.device("cpu"))
        with Progress(len(positions), "sample", label) if label else nullcontext() as bar:
            for batch in host.batches(groups, epoch=0):
                stop = filled + len(batch)
                for name, tensor in {**batch.images, **batch.vectors}.items():
                    self.tensors[name][filled:stop] = tensor.to(place)
                self.slot[batch.positions.numpy()] = np.arange(filled, stop)
                filled = stop
                if bar is not None:
                    bar.update(len(batch))

    def batches(self, groups: Iterable[Positions], epoch: int) -> Iterator[Minibatch]:
        for group in groups:
            present = group[self.slot[group] >= 0]
            slots = torch.from_numpy(self.slot[present])
            arrays = {name: self._pick(tensor, slots) for name, tensor in self.tensors.items()}
            yield Minibatch.of(self.reader, torch.from_numpy(present), arrays, epoch)

    def _pick(self, tensor: Tensor, slots: Tensor) -> Tensor:
        """Some samples on the device of training; the CPU does not wait for the copy."""
        if tensor.device.type == "cuda":
            return tensor[send(slots, tensor.device)]
        pinned = torch.empty((len(slots), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=self.device.type == "cuda")
        return send(torch.index_select(tensor, 0, slots, out=pinned), self.device)


def empty_tensors(
    reader: SampleReader, count: int, *, pin: bool = False, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Uninitialised tensors for `count` samples."""
    dtypes = {name: torch.from_numpy(np.empty(0, dtype)).dtype for name, dtype in reader.dtypes.items()}
    return {
        name: torch.empty((count, *shape), dtype=dtypes[name], device=device, pin_memory=pin)
        for name, shape in reader.shapes.items()
    }


def check_room(reader: SampleReader, count: int, place: torch.device, reserve: int = 0) -> None:
    """Raise MachineError if `count` decoded samples do not fit on `place`, beside `reserve` bytes for other things."""
    need = reader.bytes_per_sample * count
    free = torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else memory_free_bytes()
    if need + reserve > 0.9 * free:
        beside = f" beside the {reserve / 1e9:.1f} GB that training takes" if reserve else ""
        raise MachineError(
            f"{count} samples need {need / 1e9:.1f} GB on {place}{beside}, {free / 1e9:.1f} GB are free: set "
            "data.cache to 'none', or data.limit"
        )


def open_source(
    reader: SampleReader,
    positions: Positions,
    cache: Cache,
    workers: int,
    bad: BadSamples,
    device: torch.device,
    label: str = "",
) -> Streaming | Cached:
    """Where the samples come from. cache "memory" and "device" read everything now. label: shown with its progress."""
    streaming = Streaming(reader, workers, bad, device)
    if cache == "none":
        return streaming
    return Cached(streaming, positions, device if cache == "device" else torch.device("cpu"), label)

"""A pool of render workers: fresh processes that are fed indices, watched, recycled and replaced. Never imports bpy."""

from __future__ import annotations

import contextlib
import itertools
import math
import selectors
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from renderer.errors import MachineError
from renderer.parameters.spec import RenderSpec, Spec
from renderer.run.packing import VISIBLE, gpus, worker_memory
from renderer.run.process import Worker, start_worker, sweep_scratch
from renderer.strict import to_plain

TRIES: Final = 2  # a sample that fails this often is skipped
_STARTS: Final = 3  # workers in a row that may fail to start
_PIXEL_BYTES: Final = 64  # of one pixel in Blender's file: up to 16 floats


@dataclass(frozen=True)
class RenderJob:
    """What a worker has to know."""

    spec: Spec
    seed: int
    tag: str
    pack: str
    blend: str

    def to_plain(self) -> dict[str, Any]:
        """For JSON, in which it crosses the process border."""
        return {**vars(self), "spec": to_plain(self.spec)}


@dataclass(frozen=True)
class PoolOptions:
    """How many workers, and when one is recycled or given up."""

    workers: int
    threads: int
    recycle_after: int = 1000  # samples
    recycle_rss: int = 0  # bytes; 0: by the memory granted, `worker_memory`
    recycle_descriptors: int = 256
    stall_s: float = 300.0  # silence of an idle process that counts as stuck; one that computes has `patience_s`


@dataclass(frozen=True)
class Done:
    """A sample that lies in the staging folder."""

    index: int
    seconds: dict[str, float]
    rss: int
    descriptors: int
    pid: int


@dataclass(frozen=True)
class Failed:
    """A sample that failed `TRIES` times."""

    index: int
    reason: str


class WorkerPool:
    """Renders indices with several workers. `versions` is known once the first worker is ready."""

    def __init__(self, job: RenderJob, staging: Path, options: PoolOptions) -> None:
        self.job, self.staging, self.options = job, staging, options
        self.versions: dict[str, str] = {}
        self.patience_s = 4 * options.stall_s + patience_s(job.spec.render)
        self.recycle_rss = options.recycle_rss or worker_memory(options.workers)
        self.devices = gpus(job.spec.render.device)
        self.recycled = self.killed = 0
        self._workers: list[Worker] = []
        self._waiting: deque[int] = deque()  # samples that no worker has yet
        self._failures: Counter[int] = Counter()  # by sample
        self._failed_starts = 0

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        return [w.process.pid for w in self._workers]

    @property
    def in_hand(self) -> int:
        """Samples that were handed to workers and have not come back."""
        return sum(len(w.busy) for w in self._workers)

    def render(self, indices: Iterable[int], stop: Callable[[], bool] = lambda: False) -> Iterator[Done | Failed]:
        """Render the indices, in any order of completion. Once `stop` is true no further sample is begun.

        indices: asked for as workers become free, so that there may be millions of them.
        Raises MachineError if workers cannot be started.
        """
        sweep_scratch()
        source = iter(indices)
        self._waiting.clear()
        self._failures.clear()
        with selectors.DefaultSelector() as selector:
            try:
                while True:
                    if stop():
                        source = iter(())
                        self._waiting.clear()
                    wanted = 2 * self.options.workers - len(self._waiting)
                    self._waiting.extend(itertools.islice(source, max(0, wanted)))
                    if not self._waiting and not self.in_hand:
                        return
                    self._start_workers(selector)
                    self._feed()
                    for key, _ in selector.select(timeout=0.2):
                        for answer in key.data.answers():
                            yield from self._handle(key.data, answer)
                    yield from self._replace_broken(selector)
            finally:
                for worker in list(self._workers):
                    self._remove(worker, selector)

    def _start_workers(self, selector: selectors.BaseSelector) -> None:
        """As many as are granted, as far as there is work for them."""
        active = [w for w in self._workers if not w.retiring]
        wanted = min(self.options.workers, len(self._waiting) + sum(bool(w.busy) for w in active))
        for _ in range(wanted - len(active)):
            worker = self._start()
            assert worker.process.stdout is not None
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            self._workers.append(worker)

    def _start(self) -> Worker:
        render, device = self.job.spec.render, ""
        if self.devices:  # Cycles would use all that it sees, so that workers would share every GPU
            device = min(self.devices, key=[w.device for w in self._workers].count)
        job = {**self.job.to_plain(), "staging": str(self.staging), "threads": self.options.threads}
        return start_worker(job, self.options.workers * file_bytes(render), device, VISIBLE.get(render.device, ""))

    def _feed(self) -> None:
        for worker in self._workers:
            # One sample in hand and one in the pipe, so that no worker waits for us
            while worker.ready and not worker.retiring and self._waiting and len(worker.busy) < 2:
                if not worker.busy:
                    worker.restart_clock()
                index = self._waiting.popleft()
                worker.busy.append(index)
                worker.send({"index": index})

    def _handle(self, worker: Worker, answer: dict[str, Any]) -> Iterator[Done | Failed]:
        worker.restart_clock()
        if "ready" in answer:
            worker.ready = True
            self._failed_starts = 0
            self.versions = {k: str(v) for k, v in answer.items() if k != "ready"}
        elif "broken" in answer:
            last = answer["broken"].strip().splitlines()[-1]
            if not worker.ready:
                raise MachineError(f"a render worker could not start: {last}")
        elif answer.get("fatal"):
            raise MachineError(
                f"{answer['fatal']}; make room and run the same command again, finished samples are kept."
                f" Sample {answer['failed']} says: {answer['error'].strip().splitlines()[-1]}"
            )
        else:
            index: int = answer["done"] if "done" in answer else answer["failed"]
            worker.busy.remove(index)
            worker.finished += 1
            if "done" in answer:
                yield Done(index, answer["seconds"], answer["rss"], answer["descriptors"], worker.process.pid)
            else:
                yield from self._failed(index, answer["error"])
            if not worker.retiring and self._worn_out(worker, answer):
                worker.retire()
                self.recycled += 1

    def _worn_out(self, worker: Worker, answer: dict[str, Any]) -> bool:
        o = self.options
        tired = worker.finished >= o.recycle_after or answer["rss"] > self.recycle_rss
        return tired or answer["descriptors"] > o.recycle_descriptors

    def _failed(self, index: int, why: str) -> Iterator[Failed]:
        """A sample is tried again, until it has failed too often."""
        self._failures[index] += 1
        if self._failures[index] < TRIES:
            self._waiting.append(index)
        else:
            yield Failed(index, why.strip())

    def _replace_broken(self, selector: selectors.BaseSelector) -> Iterator[Failed]:
        """Remove workers that ended or are stuck. Only the sample in hand failed with its worker, none in the pipe."""
        for worker in list(self._workers):
            why = worker.exit_reason()
            if not why and (why := worker.stall_reason(self.options.stall_s, self.patience_s)):
                self.killed += 1
            if not why:
                continue
            last = self._remove(worker, selector)
            if not worker.ready:
                self._failed_starts += 1
                if self._failed_starts >= _STARTS:
                    raise MachineError(f"render workers do not start: {why}; run `gen doctor`. Last words: {last}")
            elif worker.busy:
                current = worker.busy.popleft()
                self._waiting.extendleft(reversed(worker.busy))
                yield from self._failed(current, f"{why}. {last}")

    def _remove(self, worker: Worker, selector: selectors.BaseSelector) -> str:
        """Take a worker out of the pool and end it. Returns the last lines of its log."""
        self._workers.remove(worker)
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        return worker.end()


def patience_s(render: RenderSpec) -> float:
    """Seconds that a sample of this size and quality may compute without a word: ten times the slowest seen."""
    return 0.3 * render.samples_per_pixel * render.area


def file_bytes(render: RenderSpec) -> int:
    """Bytes of the largest file that Blender hands to its worker: small pixels, before compression."""
    return math.prod(render.size) * render.oversample**2 * _PIXEL_BYTES

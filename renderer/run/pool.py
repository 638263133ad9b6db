"""A pool of render workers: fresh processes that are fed indices, watched, recycled and replaced. Never imports bpy."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from renderer.errors import MachineError
from renderer.files import is_private
from renderer.machine import memory_limit_bytes

TRIES: Final = 2  # a sample that fails this often is skipped
COMMAND: Final = (sys.executable, "-m", "renderer.blender.worker")
MEMORY: Final = Path("/dev/shm")
_STARTS: Final = 3  # workers in a row that may fail to start
_PREFIX: Final = "headforge-worker-"
_NEWBORN_S: Final = 60.0  # a scratch folder as young as this may not be locked yet
_PIXEL_BYTES: Final = 64  # of one pixel in Blender's file: up to 16 floats
VISIBLE: Final = {"CUDA": "CUDA_VISIBLE_DEVICES", "OPTIX": "CUDA_VISIBLE_DEVICES", "HIP": "HIP_VISIBLE_DEVICES"}
PARENT_BYTES: Final = 200 << 20  # of the process that feeds the workers
WORKER_BYTES: Final = 640 << 20  # peak of one worker of the default spec, docs/benchmarks.md
LEAST_BYTES: Final = 300 << 20  # Blender and a head by themselves
RECYCLE_RSS: Final = 3 << 30  # of one worker, however much memory there is
RECYCLE_SHARE: Final = 0.8  # of its part of the memory granted: a sample may need more than the one before
_IDLE: Final = 0.01  # CPU seconds per second below which a process waits rather than works


@dataclass(frozen=True)
class RenderJob:
    """What a worker has to know; crosses the process border as JSON."""

    spec: dict[str, Any]  # plain, as `renderer.strict.to_plain` gives it
    seed: int
    tag: str
    pack: str
    blend: str


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


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    scratch: Path
    log: IO[bytes]
    heard: float
    device: str = ""  # the GPU that it sees; empty: whatever there is
    cpu_s: float = 0.0  # CPU time when it was last heard
    tail: str = ""  # last words, once it is buried
    busy: deque[int] = field(default_factory=deque)
    finished: int = 0
    ready: bool = False
    retiring: bool = False
    buffer: bytes = b""


class WorkerPool:
    """Renders indices with several workers. `versions` is known once the first worker is ready."""

    def __init__(self, job: RenderJob, staging: Path, options: PoolOptions) -> None:
        self.job, self.staging, self.options = job, staging, options
        self.versions: dict[str, str] = {}
        self.patience_s = 4 * options.stall_s + patience_s(job.spec.get("render", {}))
        self.recycle_rss = options.recycle_rss or worker_memory(options.workers)
        self.kind = str(job.spec.get("render", {}).get("device", "CPU"))
        self.devices = gpus(self.kind)
        self.recycled = self.killed = 0
        self._workers: list[_Worker] = []
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
        _sweep_scratch()
        source, waiting = iter(indices), deque[int]()
        failures: dict[int, str] = {}
        selector = selectors.DefaultSelector()
        try:
            while True:
                stopping = stop()
                if stopping:
                    source = iter(())
                    waiting.clear()
                waiting.extend(itertools.islice(source, max(0, 2 * self.options.workers - len(waiting))))
                working = len(waiting) + sum(len(w.busy) for w in self._workers)
                if not working:
                    return
                self._staff(len(waiting), selector)
                self._feed(waiting)
                for key, _ in selector.select(timeout=0.2):
                    worker: _Worker = key.data
                    for answer in self._read(worker):
                        yield from self._handle(worker, answer, waiting, failures)
                for worker in list(self._workers):
                    why = self._gone(worker)
                    if why:
                        self._bury(worker, selector)
                        yield from self._blame(worker, why, waiting, failures)
        finally:
            for worker in list(self._workers):
                self._bury(worker, selector)
            selector.close()

    # -- staff -----------------------------------------------------------------------------------------------------

    def _staff(self, waiting: int, selector: selectors.BaseSelector) -> None:
        active = [w for w in self._workers if not w.retiring]
        for _ in range(min(self.options.workers, waiting + sum(bool(w.busy) for w in active)) - len(active)):
            worker = self._start()
            assert worker.process.stdout is not None
            os.set_blocking(worker.process.stdout.fileno(), False)
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            self._workers.append(worker)

    def _start(self) -> _Worker:
        need = self.options.workers * file_bytes(self.job.spec.get("render", {}))
        scratch = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=scratch_base(need)))
        log = (scratch / "log.txt").open("wb")
        fcntl.flock(log, fcntl.LOCK_EX)  # held by the worker, too, which inherits it: free once both are dead
        device, environment = "", dict(os.environ)
        if self.devices:  # Cycles would use all that it sees, so that workers would share every GPU
            device = min(self.devices, key=[w.device for w in self._workers].count)
            environment[VISIBLE[self.kind]] = device
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        worker = _Worker(process, scratch, log, time.monotonic(), device)
        job = {
            **asdict(self.job),
            "staging": str(self.staging),
            "scratch": str(scratch),
            "threads": self.options.threads,
        }
        self._send(worker, job)
        return worker

    def _send(self, worker: _Worker, message: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # noticed by `_gone`
            worker.process.stdin.write(json.dumps(message) + "\n")
            worker.process.stdin.flush()

    def _feed(self, waiting: deque[int]) -> None:
        for worker in self._workers:
            # One sample in hand and one in the pipe, so that no worker waits for us
            while worker.ready and not worker.retiring and waiting and len(worker.busy) < 2:
                if not worker.busy:
                    self._hear(worker)
                index = waiting.popleft()
                worker.busy.append(index)
                self._send(worker, {"index": index})

    def _read(self, worker: _Worker) -> list[dict[str, Any]]:
        assert worker.process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(worker.process.stdout.fileno(), 1 << 16):
                worker.buffer += chunk
        *lines, worker.buffer = worker.buffer.split(b"\n")
        return [json.loads(line) for line in lines if line]

    def _handle(
        self, worker: _Worker, answer: dict[str, Any], waiting: deque[int], failures: dict[int, str]
    ) -> Iterator[Done | Failed]:
        self._hear(worker)
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
                yield from self._fault(index, answer["error"], waiting, failures)
            o = self.options
            tired = worker.finished >= o.recycle_after or answer["rss"] > self.recycle_rss
            if (tired or answer["descriptors"] > o.recycle_descriptors) and not worker.retiring:
                worker.retiring = True  # finishes what it holds, then sees the end of its input
                self.recycled += 1
                assert worker.process.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    worker.process.stdin.close()

    # -- trouble ---------------------------------------------------------------------------------------------------

    def _gone(self, worker: _Worker) -> str:
        """Why the worker has to be replaced, or nothing."""
        code = worker.process.poll()
        if code is not None:
            if self._read_rest(worker):
                return ""
            return f"the worker ended with code {code}" if code else "the worker ended early"
        silent = time.monotonic() - worker.heard
        waits = bool(worker.busy) or not worker.ready
        if waits and silent > self.options.stall_s:
            works = _cpu_s(worker.process.pid) - worker.cpu_s > _IDLE * silent
            if silent > self.patience_s or not works:
                self.killed += 1
                return f"the worker was silent for {silent:.0f} s" + (" while it computed" if works else "")
        return ""

    def _hear(self, worker: _Worker) -> None:
        worker.heard, worker.cpu_s = time.monotonic(), _cpu_s(worker.process.pid)

    def _read_rest(self, worker: _Worker) -> bool:
        """Whether a dead worker left answers that the selector will still deliver."""
        assert worker.process.stdout is not None
        ready = selectors.DefaultSelector()
        ready.register(worker.process.stdout, selectors.EVENT_READ)
        try:
            if not ready.select(timeout=0):
                return False
            worker.buffer += os.read(worker.process.stdout.fileno(), 1 << 16)
            return b"\n" in worker.buffer
        finally:
            ready.close()

    def _bury(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        self._workers.remove(worker)
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        if worker.process.poll() is None:
            if not worker.busy and worker.ready:  # idle: let it leave by itself
                with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                    worker.process.communicate(timeout=5)
            worker.process.kill()
        for pipe in (worker.process.stdin, worker.process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        worker.process.wait()
        worker.log.close()
        worker.tail = _tail(worker.scratch / "log.txt")
        shutil.rmtree(worker.scratch, ignore_errors=True)

    def _blame(
        self, worker: _Worker, why: str, waiting: deque[int], failures: dict[int, str]
    ) -> Iterator[Done | Failed]:
        """The sample in hand failed with its worker; the one in the pipe did not."""
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise MachineError(f"render workers do not start: {why}; run `gen doctor`. Last words: {worker.tail}")
        elif worker.busy:
            current = worker.busy.popleft()
            waiting.extendleft(reversed(worker.busy))
            yield from self._fault(current, f"{why}. {worker.tail}", waiting, failures)

    def _fault(self, index: int, why: str, waiting: deque[int], failures: dict[int, str]) -> Iterator[Done | Failed]:
        if index in failures:
            yield Failed(index, why.strip())
        else:
            failures[index] = why
            waiting.append(index)


def _tail(path: Path, lines: int = 3) -> str:
    with contextlib.suppress(OSError):
        return " | ".join(path.read_text(errors="replace").strip().splitlines()[-lines:])
    return ""


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far; 0 if it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def patience_s(render: Mapping[str, Any]) -> float:
    """Seconds that a sample of this size and quality may compute without a word: ten times the slowest seen."""
    return 0.3 * float(render.get("samples_per_pixel", 12)) * (float(render.get("resolution", 128)) / 128) ** 2


def file_bytes(render: Mapping[str, Any]) -> int:
    """Bytes of the largest file that Blender hands to its worker: small pixels, before compression."""
    side = int(render.get("resolution", 128)) * int(render.get("oversample", 1))
    return side * side * _PIXEL_BYTES


def scratch_base(need: int) -> Path | None:
    """Memory, where it has room for `need` bytes and as much again; else None: the temporary folder."""
    with contextlib.suppress(OSError):
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 * need:
            return MEMORY
    return None


def _sweep_scratch() -> None:
    """Remove the scratch folders of runs that were killed: those whose lock nobody holds."""
    for base in {MEMORY, Path(tempfile.gettempdir())}:
        for folder in base.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                old = time.time() - folder.lstat().st_mtime > _NEWBORN_S
                if old and is_private(folder) and _ownerless(folder):  # others may put traps of this name there
                    shutil.rmtree(folder, ignore_errors=True)


def _ownerless(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), (folder / "log.txt").open("rb") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def granted_cores() -> int:
    """Cores this process may really use: CPU affinity (SLURM, taskset) and the cgroup's quota (containers)."""
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, float(quota) / float(period))
    return max(1, int(cores))


def worker_memory(workers: int, granted: int | None = None) -> int:
    """Bytes at which one of so many workers is replaced. Raises MachineError where Blender does not fit in.

    granted: memory of all of them together; that of this machine or job if not given.
    """
    granted = granted or memory_limit_bytes()
    share = (granted - PARENT_BYTES) // workers
    if share < LEAST_BYTES:
        raise MachineError(
            f"{workers} workers share {granted >> 20} MiB of memory; each needs {LEAST_BYTES >> 20} or more: have fewer"
            " workers, or ask for more memory (memory_gb of a cluster profile)"
        )
    return min(RECYCLE_RSS, int(RECYCLE_SHARE * share))


def gpus(kind: str) -> list[str]:
    """GPUs granted for Cycles' device `kind`, as its variable names them; none for the CPU, or where nobody tells."""
    if kind not in VISIBLE:
        return []
    granted = os.environ.get(VISIBLE[kind])
    if granted is None and kind == "HIP" and (outer := os.environ.get("ROCR_VISIBLE_DEVICES")):
        return [str(i) for i in range(len(outer.split(",")))]  # counted within those
    if granted is None and kind != "HIP":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
            return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))]
    return [name for name in (granted or "").split(",") if name]


def packing(workers: int | None, threads: int | None, cores: int | None = None, device: str = "CPU") -> tuple[int, int]:
    """Workers and threads of each for what is granted: one worker a core, of one thread each, or one worker a GPU.

    Two threads each are no faster (docs/benchmarks.md); fewer workers leave theirs the cores of those missing. Memory
    bounds the workers, too, unless their number is given.
    """
    cores = cores or granted_cores()
    if device != "CPU":
        workers = workers or max(1, len(gpus(device)))
    fits = max(1, (memory_limit_bytes() - PARENT_BYTES) // WORKER_BYTES)
    workers = workers or min(cores, fits)
    return workers, threads or max(1, cores // workers)

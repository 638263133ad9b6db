"""Renders shards of a data set on this machine with a pool of workers. Never imports bpy."""

from __future__ import annotations

import platform
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError, FormatError, MachineError
from renderer.files import make_folder
from renderer.format.folder import INDEX_FILE, SHARDS, finished_manifests, is_finished
from renderer.format.manifest import Skipped, read_manifest, read_summary
from renderer.format.sample_format import shard_stem
from renderer.format.shard import ShardReader, unpack, write_shard
from renderer.format.staging import load_staged
from renderer.run.context import RenderContext, made_by
from renderer.run.pool import Done, Failed, PoolOptions, WorkerPool

FREE_BYTES: Final = 200 << 20  # stop before the disk is full
SKIPS: Final = (5, 0.2)  # more failed samples of a shard than this many and this share mean that the machine fails


@dataclass
class Report:
    """What a run did."""

    rendered: int = 0
    shards: int = 0
    skipped: list[int] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False
    recycled: int = 0
    killed: int = 0
    peak_rss: int = 0
    in_hand: Callable[[], int] = lambda: 0  # samples that workers hold at this moment


Progress = Callable[[int, Report], None]


@dataclass
class OpenShard:
    """A shard on its way: samples start .. stop-1, of which some are staged and some have failed."""

    start: int
    stop: int
    staged: set[int]
    failed: dict[int, Failed] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.staged) + len(self.failed) == self.stop - self.start

    def missing(self) -> list[int]:
        return [i for i in range(self.start, self.stop) if i not in self.staged and i not in self.failed]


def render_shards(
    context: RenderContext,
    ranges: Sequence[tuple[int, int]],
    out: Path,
    staging: Path,
    options: PoolOptions,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = lambda step, report: None,
    work: dict[str, Any] | None = None,
    report: Report | None = None,
) -> Report:
    """Render shards into the data set at `out`, staging samples in `staging` (may be node-local scratch).

    Samples that lie in the staging folder already are not rendered again. Once `stop` is true the samples in hand are
    finished, and stay staged. `progress` is called with the number of new samples. work: goes into the manifests.
    report: filled while samples are rendered, for those who want to look at it meanwhile; returned in any case.
    """
    for folder in (out / SHARDS, staging):
        make_folder(folder)
    _sweep(staging)
    pool = WorkerPool(context.job(), staging, options)
    run = _Run(context.tag, deque(ranges), out, staging, pool, progress, dict(work or {}), report or Report())
    return run.render(stop)


@dataclass
class _Run:
    """One call of `render_shards`."""

    tag: str
    ahead: deque[tuple[int, int]]  # shards that were not looked at yet: of ten million samples, most are far ahead
    out: Path
    staging: Path
    pool: WorkerPool
    progress: Progress
    work: dict[str, Any]
    report: Report
    opened: dict[tuple[int, int], OpenShard] = field(default_factory=dict)
    damaged: list[set[int]] = field(default_factory=list)  # samples that were damaged where they were staged

    def render(self, stop: Callable[[], bool]) -> Report:
        report, pool, started = self.report, self.pool, time.monotonic()
        report.in_hand = lambda: pool.in_hand
        for outcome in self._outcomes(stop):
            shard = next(s for s in self.opened.values() if s.start <= outcome.index < s.stop)
            if isinstance(outcome, Done):
                shard.staged.add(outcome.index)
                report.rendered += 1
                report.peak_rss = max(report.peak_rss, outcome.rss)
            else:
                shard.failed[outcome.index] = outcome
                _check_failures(list(shard.failed.values()), (shard.start, shard.stop))
            self.progress(1, report)
            if shard.complete:
                self._close(shard)
        report.stopped = bool(self.opened) or not all(_finished(self.out, *r) for r in self.ahead)
        report.seconds = time.monotonic() - started
        report.recycled, report.killed = pool.recycled, pool.killed
        return report

    def _outcomes(self, stop: Callable[[], bool]) -> Iterator[Done | Failed]:
        """Of what is missing, then of samples that turned out damaged meanwhile."""
        yield from self.pool.render(self._missing(), stop)
        for samples in self.damaged:  # grows when a shard is closed
            yield from self.pool.render(sorted(samples), stop)

    def _missing(self) -> Iterator[int]:
        """Samples to render; opens shard after shard as the pool asks for them."""
        while self.ahead:
            r = self.ahead.popleft()
            if _finished(self.out, *r):
                continue
            shard = self.opened[r] = OpenShard(*r, _staged(self.staging, r, self.tag))
            self.progress(len(shard.staged), self.report)
            if shard.complete:
                self._close(shard)
            else:
                yield from shard.missing()

    def _close(self, shard: OpenShard) -> None:
        """Publish a complete shard and remove its staged samples; damaged ones of them are rendered again instead."""
        _check_space(self.out)
        r = shard.start, shard.stop
        skipped = [Skipped(f.index, f.reason) for _, f in sorted(shard.failed.items())]
        samples = (load_staged(self.staging / f"{i:010d}.tar") for i in sorted(shard.staged))
        work = {**self.work, "host": platform.node(), "finished": time.time()}
        versions = {**made_by(), **self.pool.versions, "machine": platform.machine()}
        try:
            write_shard(
                self.out, *r, self.tag, samples, skipped=skipped, versions=versions, work=work, scratch=self.staging
            )
        except FormatError as error:
            self.damaged.append(_take_back(shard.staged, self.staging, r, self.tag, self.damaged, error))
            self.progress(-len(self.damaged[-1]), self.report)
            return
        for i in range(*r):
            (self.staging / f"{i:010d}.tar").unlink(missing_ok=True)
        self.report.shards += 1
        self.report.skipped += [s.index for s in skipped]
        del self.opened[r]


def _take_back(
    staged: set[int], staging: Path, r: tuple[int, int], tag: str, before: list[set[int]], error: FormatError
) -> set[int]:
    """Remove damaged samples of a range from the staging folder and from `staged`, and return them."""
    damaged = staged - _staged(staging, r, tag)
    if not damaged:
        raise error
    if twice := damaged & set().union(*before):
        words = f"sample {min(twice)} was damaged in {staging} twice: check that disk, or choose another"
        raise MachineError(words) from error
    staged -= damaged
    return damaged


def _check_failures(failed: list[Failed], r: tuple[int, int]) -> None:
    """A few samples may fail, and are listed; many fail for a reason of their own, which is worth stopping for."""
    if len(failed) > SKIPS[0] and len(failed) > SKIPS[1] * (r[1] - r[0]):
        raise MachineError(
            f"{len(failed)} samples of shard {r[0]}-{r[1]} failed twice, so it is not published; run `gen doctor`, then"
            f" the same command again. Sample {failed[-1].index}: {failed[-1].reason.splitlines()[-1]}"
        )


def reopen_skipped(out: Path, staging: Path | None) -> list[int]:
    """Take shards with skipped samples back, so that the next run tries those again; returns the samples.

    staging: where the sound samples of those shards wait meanwhile; None: they are rendered again, too.
    """
    indices: list[int] = []
    for file in finished_manifests(out):
        if not read_summary(file).skipped:
            continue
        manifest = read_manifest(file)
        indices += [s.index for s in manifest.skipped]
        if staging is not None:
            staging.mkdir(parents=True, exist_ok=True)
            unpack(ShardReader(file.with_suffix(".tar"), manifest), staging)
        for path in (out / INDEX_FILE, file, file.with_suffix(".tar")):  # the manifest is what counts
            path.unlink(missing_ok=True)
    return sorted(indices)


def _finished(out: Path, start: int, stop: int) -> bool:
    return is_finished(out / SHARDS / f"{shard_stem(start, stop)}.json")


def _staged(staging: Path, r: tuple[int, int], tag: str) -> set[int]:
    """Samples of a range that an earlier run left, sound and of this data set."""
    found = set()
    for i in range(*r):
        path = staging / f"{i:010d}.tar"
        if path.exists():
            try:
                sound = load_staged(path).key.startswith(tag)
            except FormatError:
                sound = False
            if sound:
                found.add(i)
            else:
                path.unlink()
    return found


def _sweep(staging: Path) -> None:
    """Remove what killed processes left half-written."""
    for path in staging.glob(".*"):
        path.unlink(missing_ok=True)


def _check_space(out: Path) -> None:
    if shutil.disk_usage(out).free < FREE_BYTES:
        raise DatasetError(
            f"less than {FREE_BYTES >> 20} MiB are free on the disk of {out}; make room and run the same command again,"
            " finished samples are kept"
        )

"""How many Blender processes with how many threads each make the most samples on a node: measured, not guessed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from renderer.errors import MachineError
from renderer.machine import granted_cores
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.spec import RenderSpec
from renderer.run.context import RenderContext, prepare
from renderer.run.plan import seconds_per_sample
from renderer.run.pool import Done, PoolOptions, WorkerPool
from slurm.profile import load_profile, set_values


@dataclass(frozen=True)
class Packing:
    """One way to fill a node, and what came of it."""

    workers: int
    threads: int
    samples_per_s: float
    peak_rss: int  # bytes, of the largest process


def candidates(cores: int) -> list[tuple[int, int]]:
    """(workers, threads) worth trying: from one process with all cores to one and a half per core."""
    workers = {1, max(1, cores // 4), max(1, cores // 2), cores, -(-3 * cores // 2)}
    found = {(w, t) for w in workers for t in (1, 2, max(1, cores // w)) if w * t <= 2 * cores}
    return sorted(found)


def measure(
    context: RenderContext,
    cores: int | None = None,
    samples_per_worker: int = 12,
    choices: Sequence[tuple[int, int]] | None = None,
    scratch: Path | None = None,
    log: Callable[[str], None] = print,
) -> list[Packing]:
    """Render with each choice on this machine and return them, fastest first.

    Start-up does not count: the clock runs from the moment every worker has finished one sample. Nothing is kept.
    Raises MachineError where nothing could be measured.
    """
    cores = cores or granted_cores()
    found = []
    for workers, threads in choices or candidates(cores):
        folder = Path(tempfile.mkdtemp(prefix="headforge-packing-", dir=scratch))
        try:
            pool = WorkerPool(context.job(), folder, PoolOptions(workers, threads))
            began, done, rss = 0.0, 0, 0
            warm: set[int] = set()
            for outcome in pool.render(range(workers * samples_per_worker)):
                if not isinstance(outcome, Done):
                    continue
                rss = max(rss, outcome.rss)
                if began:
                    done += 1
                warm.add(outcome.pid)
                if len(warm) >= workers and not began:
                    began = time.monotonic()
            if done:
                found.append(Packing(workers, threads, done / (time.monotonic() - began), rss))
                log(
                    f"{workers:3d} processes x {threads} threads: {found[-1].samples_per_s:6.2f} samples/s,"
                    f" {rss / 2**20:.0f} MiB each"
                )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if not found:
        raise MachineError("no packing could be measured: every sample failed; run `gen doctor`")
    return sorted(found, key=lambda p: -p.samples_per_s)


def write_best(profile: str | Path, results: Sequence[Packing], cores: int, render: RenderSpec) -> Packing:
    """Write the fastest into a profile: workers, threads, and seconds_per_sample, which plans rest on.

    render: settings it was measured with; what is written holds for default ones, from which plans scale it.
    Memory counts: what does not fit into the profile's memory_gb is passed over. Raises SpecError, MachineError.
    """
    known, path = load_profile(profile)
    fits = [p for p in results if p.workers * p.peak_rss <= known.memory_gb * 2**30]
    if not fits:
        least = min(p.workers * p.peak_rss for p in results) / 2**30
        raise MachineError(f"{path}: memory_gb is {known.memory_gb:g}, the leanest packing needs {least:.1f}: raise it")
    best = fits[0]
    effort = seconds_per_sample(render) / seconds_per_sample(RenderSpec())
    per_sample = round(cores / best.samples_per_s / effort, 4)
    set_values(path, {"workers": best.workers, "threads": best.threads, "seconds_per_sample": per_sample})
    return best


def tune(profile: str | Path, spec: str | Path = "mixed", log: Callable[[str], None] = print) -> Packing:
    """Measure on this machine and write the best into the profile. Run it on a node, not on the login node.

    The cores are the profile's, or those granted here where that is fewer. Raises SpecError, AssetError, MachineError.
    """
    cores = min(load_profile(profile)[0].cores, granted_cores())
    context = prepare(load_spec(spec), 0, log)
    best = write_best(profile, measure(context, cores, log=log), cores, context.spec.render)
    log(f"best on {cores} cores: {best.workers} processes x {best.threads} threads, written to the profile")
    return best

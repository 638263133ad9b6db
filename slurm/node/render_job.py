"""What one array element does on its node: renders its shards in node-local scratch and publishes each when finished.

Told to stop (SIGTERM: cancelled; SIGUSR1, SIGUSR2: the time limit or a preemption is near) it ends the samples in hand,
brings those of unfinished shards to shared disk, and, if time was the reason, ends with `AGAIN`: the batch script then
has the scheduler start it again. Nothing here talks to the scheduler, so it works inside a container.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import shutil
import signal
import sys
import tarfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blend_assets.standard import find_pack
from renderer.errors import DatasetError, HeadforgeError, MachineError
from renderer.files import file_sha256, is_private, private_folder, publish
from renderer.format.folder import DATASET_FILE, finished_ranges, read_info
from renderer.format.sample_format import shard_stem
from renderer.head.catalog import build_catalog, check_assets
from renderer.head.pack import load_head
from renderer.machine import granted_cores
from renderer.parameters.spec import Spec
from renderer.run.context import RenderContext, check_machine, ensure_scene
from renderer.run.local import FREE_BYTES, Report, render_shards
from renderer.run.packing import packing
from renderer.run.pool import PoolOptions
from renderer.stopper import Stopper
from slurm.plan import Range
from slurm.records import Beat, Failure, JobFolder, read_beat

AGAIN: Final = 75  # exit code, EX_TEMPFAIL: start me again
BEAT_S: Final = 30.0
LOOK_S: Final = 10.0  # between looks for room on a full disk
SPARE_BYTES: Final = 256 << 20  # free scratch beyond the samples in flight
OLD_SCRATCH_S: Final = 3 * 86400.0  # what killed jobs left in scratch goes after so long


@dataclass(frozen=True)
class RenderOrder:
    """What every element of a submission has to know."""

    out: str
    spec: Spec
    seed: int
    tag: str
    pack: str
    count: int
    sample_bytes: int  # estimate
    cores: int
    workers: int  # 0: by cores
    threads: int
    scratch: str
    requeues: int
    space_wait_s: float


class Signals(Stopper):
    """A scheduler's signals end work in order, too; `again` tells whether the job should be started once more."""

    def __init__(self) -> None:
        super().__init__(signals=(signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))
        self.again = False

    def _ask(self, number: int, frame: object) -> None:
        os.write(2, f"told to stop by {signal.Signals(number).name}\n".encode())
        self.asked = True
        self.again = self.again or number in (signal.SIGUSR1, signal.SIGUSR2)


def job_id() -> str:
    """ARRAY_TASK, the id of a single job, or the process id outside a cluster."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", str(os.getpid()))


def node_name() -> str:
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def render_task(order: RenderOrder, ranges: list[Range]) -> dict[str, Any]:
    """Render shards of the data set that `order` describes, and return how it went.

    Raises HeadforgeError after writing down what failed where, SystemExit with `AGAIN` where time ran out.
    """
    with Signals() as stop:
        folder = JobFolder(Path(order.out))
        workers, threads = packing(order.workers or None, order.threads or None, order.cores, order.spec.render.device)
        old = read_beat(folder, job_id())
        beat = Beat(
            job_id(), node_name(), "running", [(a, b) for a, b in ranges], order.cores, workers, threads,
            time.time(), time.time(), shards=old.shards if old else 0, earlier_s=old.seconds if old else 0.0,
        )  # fmt: skip
        beat.write(folder)
        try:
            say(f"cores granted: {granted_cores()}, asked: {order.cores}; {workers} workers with {threads} threads")
            _render(order, beat, folder, stop)
        except BaseException as error:
            _record(error, beat, folder)
            raise
        unfinished = set(beat.ranges) - set(finished_ranges(folder.out))
        beat.state = "stopped" if unfinished else "finished"
        if beat.state == "stopped" and stop.again and restarts() < order.requeues:
            beat.state = "requeued"
        beat.write(folder)
    say(f"{beat.state}: {beat.rendered} samples, {beat.shards} shards")
    if beat.state == "requeued":
        raise SystemExit(AGAIN)
    return {"state": beat.state, "rendered": beat.rendered, "shards": beat.shards}


def _render(order: RenderOrder, beat: Beat, folder: JobFolder, stop: Signals) -> None:
    out = folder.out
    context = _context(order, out)
    scratch = _scratch(order, beat)
    live = {"job": beat.job, "node": beat.node, "cores": beat.cores, "began": time.time()}
    live |= {"workers": beat.workers, "threads": beat.threads}
    rendered, shards = beat.rendered, beat.shards  # before the present call of render_shards
    heard = time.time()

    def progress(step: int, report: Report) -> None:
        nonlocal heard
        beat.rendered = rendered + report.rendered
        if shards + report.shards > beat.shards:
            live["began"] = heard  # the next shard's time runs from the last sample of the one before
        beat.shards, heard = shards + report.shards, time.time()
        if heard - beat.now > BEAT_S:
            beat.state, beat.note = "running", ""
            beat.write(folder)

    options, full_at, full_since = PoolOptions(beat.workers, beat.threads), -1, 0.0
    try:
        _bring_back(folder, beat.ranges, scratch)
        while True:
            try:
                report = render_shards(
                    context, beat.ranges, out, scratch, options, stop=stop, progress=progress, work=live
                )
                progress(0, report)
                break
            except (OSError, DatasetError) as error:
                if not is_full(error, out):
                    raise
                if beat.rendered + beat.shards > full_at:  # the first time, or there was room in between
                    full_at, full_since = beat.rendered + beat.shards, time.time()
                if stop():
                    break
                if time.time() - full_since > order.space_wait_s:
                    raise
                rendered, shards = beat.rendered, beat.shards
                _wait_for_space(beat, folder, stop)
    finally:
        with contextlib.suppress(OSError, HeadforgeError):
            _take_away(folder, beat.ranges, scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def _context(order: RenderOrder, out: Path) -> RenderContext:
    """The data set, as the submitter prepared it; the node must see the same files."""
    node = node_name()
    needed = {out / DATASET_FILE: "output", Path(order.pack): "cache"}
    for path, what in needed.items():
        if not path.exists():
            raise MachineError(f"node {node} does not see {path}: put the {what} on shared disk")
    check_machine()
    spec, pack = order.spec, Path(order.pack)
    catalog = build_catalog(pack, spec, find_pack())
    context = RenderContext(spec, order.seed, pack, ensure_scene(say), load_head(pack), catalog)
    there = read_info(out)["tag"]
    if not context.tag == order.tag == there:
        raise DatasetError(f"{out} holds data set {there}, submitted was {order.tag}, this node makes {context.tag}")
    check_assets(context.catalog)
    return context


def expand(text: str) -> str:
    """$NAME, ${NAME} and ${NAME:-otherwise} as a shell reads them; a variable that is not set stays as it stands."""

    def value(found: re.Match[str]) -> str:
        return os.environ.get(found[1]) or found[2]

    return os.path.expandvars(re.sub(r"\$\{(\w+):-([^}]*)\}", value, text))


def _scratch(order: RenderOrder, beat: Beat) -> Path:
    """A folder of this job's own on the node. A job that starts again there finds its samples."""
    base = Path(expand(order.scratch))
    if "$" in str(base) or not base.is_dir() or not os.access(base, os.W_OK):
        raise MachineError(f"scratch {order.scratch!r} is no folder on {beat.node} to write to: change the profile")
    for left in base.glob("headforge-job-*"):
        with contextlib.suppress(OSError):
            if is_private(left) and time.time() - left.stat().st_mtime > OLD_SCRATCH_S:
                shutil.rmtree(left, ignore_errors=True)
    longest = max((b - a for a, b in beat.ranges), default=0)
    need = 3 * longest * order.sample_bytes + SPARE_BYTES  # two shards in flight, and the tar of the one that closes
    free = shutil.disk_usage(base).free
    if free < need:
        raise MachineError(
            f"scratch {base} on {beat.node} has {free >> 20} MiB free, shards of {longest} samples need {need >> 20}:"
            " choose another scratch or a smaller --shard-size"
        )
    return private_folder(base / f"headforge-job-{os.getuid()}-{order.tag}-{beat.job}")


# ---------------------------------------------------------------- samples of unfinished shards


def _take_away(folder: JobFolder, ranges: list[Range], scratch: Path) -> None:
    """Bring the samples of unfinished shards from scratch to shared disk, one tar per shard."""
    finished = set(finished_ranges(folder.out))
    for r in ranges:
        staged = [p for i in range(*r) if (p := scratch / f"{i:010d}.tar").exists()]
        if r in finished:
            folder.saved(r).unlink(missing_ok=True)
        elif staged:
            local = scratch / f"{shard_stem(*r)}.saved"
            with tarfile.open(local, "w") as tar:
                for path in staged:
                    tar.add(path, path.name)
            publish(local, folder.saved(r), file_sha256(local))


def _bring_back(folder: JobFolder, ranges: list[Range], scratch: Path) -> None:
    """The reverse. `render_shards` checks every sample before it counts it; a damaged tar is dropped."""
    for r in ranges:
        try:
            with tarfile.open(folder.saved(r)) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    target = scratch / f"{int(Path(member.name).stem):010d}.tar"
                    if content is not None and not target.exists():
                        target.write_bytes(content.read())
        except FileNotFoundError:
            continue
        except (tarfile.TarError, ValueError):
            folder.saved(r).unlink(missing_ok=True)


# ---------------------------------------------------------------- trouble


def is_full(error: BaseException, out: Path) -> bool:
    """Whether the shared disk, or the user's quota on it, is what failed."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    with contextlib.suppress(OSError):
        return isinstance(error, DatasetError) and shutil.disk_usage(out).free < FREE_BYTES
    return False


def _wait_for_space(beat: Beat, folder: JobFolder, stop: Signals) -> None:
    """Look every few seconds; what is rendered stays in scratch meanwhile."""
    beat.state, beat.note = "waiting", f"the disk of {folder.out} is full"
    say(beat.note)
    beat.write(folder)
    end = time.time() + LOOK_S
    while time.time() < end and not stop():
        time.sleep(0.2)


def _record(error: BaseException, beat: Beat, folder: JobFolder) -> None:
    """Write down what failed, where, on which shard: the first unfinished one, as they are rendered in order."""
    kind = "node" if isinstance(error, MachineError) else "shard"
    if is_full(error, folder.out):
        kind = "space"
    words = str(error) if isinstance(error, HeadforgeError) else traceback.format_exc(limit=-4)
    finished = set(finished_ranges(folder.out))
    shard = next((r for r in beat.ranges if r not in finished), beat.ranges[0])
    tail = "\n".join(traceback.format_exc().splitlines()[-12:])
    beat.state, beat.note = "failed", " ".join(words.split())[-300:]
    beat.write(folder)
    Failure(shard, beat.node, beat.job, time.time(), kind, beat.note, tail).write(folder)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {node_name()} {job_id()} {text}", file=sys.stderr, flush=True)

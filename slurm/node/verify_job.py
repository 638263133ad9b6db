"""What the jobs after the last render do: an array verifies, each element its share, and one job concludes.

Every shard that was examined leaves its proof on disk, so that a job which is stopped or killed loses only the shards
in hand; at its time limit it asks to be started again, as renders do. Whatever is left the last job does itself.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderer.errors import DatasetError
from renderer.format.dataset import write_index
from renderer.format.folder import finished_stems
from renderer.report.card import write_card
from renderer.report.proof import conclude, unproven, verify_shards
from slurm.node.render_job import AGAIN, BEAT_S, Signals, job_id, node_name, restarts, say
from slurm.records import Beat, JobFolder, read_beat


@dataclass(frozen=True)
class VerifyOrder:
    """What every job that verifies has to know."""

    out: str
    cores: int
    parts: int  # elements of the array
    requeues: int
    later: int = 0  # samples of the data set that another submission will render


def verify_task(order: VerifyOrder, part: int) -> dict[str, Any]:
    """Verify shards number `part`, `part` + `order.parts`, ... that are not proven sound yet.

    Raises SystemExit with `AGAIN` where time ran out. What is wrong with a shard stands in its proof; it is no error.
    """
    path = Path(order.out)
    with Signals() as stop:
        share = set(finished_stems(path)[part :: order.parts])
        stems = [stem for stem in unproven(path) if stem in share]
        left = _verify(order, stems, stop)
    return {"examined": len(stems) - len(left), "left": len(left)}


def finish(order: VerifyOrder) -> dict[str, Any]:
    """Verify what is left, write index and card, and conclude.

    Runs after all others, also where some of them failed, and may be repeated. Raises DatasetError where samples are
    missing, or problems are found; SystemExit with `AGAIN` where time ran out.
    """
    path = Path(order.out)
    with Signals() as stop:
        left = _verify(order, unproven(path), stop)
        verdict = conclude(path)
    found = {"verified": verdict.verified, "samples": verdict.samples, "missing": verdict.missing, "left": len(left)}
    say(f"concluded: {found}")
    if verdict.verified:
        write_index(path)
        write_card(path)
        shutil.rmtree(JobFolder(path).root / "saved", ignore_errors=True)
    elif verdict.missing and order.later:
        say(f"{verdict.missing} samples are still to be submitted")
    elif verdict.missing:
        raise DatasetError(
            f"{path}: {verdict.missing} of {verdict.count} samples are missing; run the same `gen render --slurm` again"
        )
    else:
        raise DatasetError(f"{path}: {verdict.found} problems, the first: {verdict.problems[0]}")
    return found


def _verify(order: VerifyOrder, stems: Sequence[str], stop: Signals) -> list[str]:
    """Examine shards with a heartbeat; returns those left. Raises SystemExit with `AGAIN` where time ran out."""
    folder, now = JobFolder(Path(order.out)), time.time()
    old = read_beat(folder, job_id())
    beat = Beat(
        job_id(), node_name(), "verifying", [], order.cores, order.cores, 1, now, now,
        earlier_s=old.seconds if old else 0.0,
    )  # fmt: skip
    beat.write(folder)
    say(f"{len(stems)} shards to verify in {order.cores} processes")

    def progress(samples: int) -> None:
        beat.rendered += samples
        if time.time() - beat.now > BEAT_S:
            beat.write(folder)

    try:
        left = verify_shards(folder.out, stems, order.cores, stop, progress)
    except BaseException:
        beat.state = "failed"
        beat.write(folder)
        raise
    again = bool(left) and stop.again and restarts() < order.requeues
    beat.state = "requeued" if again else "stopped" if left else "finished"
    beat.write(folder)
    say(f"{beat.state}: {beat.rendered} samples verified, {len(left)} shards left")
    if again:
        raise SystemExit(AGAIN)
    return left

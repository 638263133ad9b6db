"""`gen render`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from renderer.commands.options import FOLDER, SPEC_HELP, at_least, pool_options, say
from renderer.errors import DatasetError, SpecError
from renderer.format.dataset import write_index
from renderer.format.staging import load_staged
from renderer.format.state import raise_count
from renderer.parameters.given import read_parameters
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.spec import Spec
from renderer.progress import Progress
from renderer.report.card import write_card
from renderer.run.claim import STAGING, check_folder, claim, locked
from renderer.run.context import RenderContext, prepare
from renderer.run.local import Report, render_shards, reopen_skipped
from renderer.run.plan import make_plan
from renderer.run.pool import Failed, PoolOptions, WorkerPool
from renderer.stopper import Stopper


@dataclass(frozen=True)
class Request:
    """The options of `gen render`."""

    source: str
    count: int | None
    seed: int
    sequence: int | None
    out: Path | None
    workers: int | None
    threads: int | None
    shard_size: int
    settings: tuple[str, ...]
    profile: str | None
    follow: bool
    retry_failed: bool
    allow_dirty: bool
    only: int | None
    params: Path | None
    dry_run: bool


@click.command()
@click.option("--spec", "source", default="mixed", show_default=True, help=SPEC_HELP)
@click.option("--count", type=int, help="Number of samples (triplets) in the data set.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the data set.")
@click.option(
    "--sequence", type=int, metavar="FRAMES", help="Render clips of this many frames instead of single images."
)
@click.option("--out", type=FOLDER, help="Folder of the data set.  [default: out/NAME, out/NAME-sequence]")
@click.option(
    "--workers",
    type=int,
    help="Render processes.  [default: one per core granted, as far as memory allows; one per GPU]",
)
@click.option(
    "--threads", type=int, help="Threads per process.  [default: cores granted / workers, so 1 with both left out]"
)
@click.option("--shard-size", type=int, default=500, show_default=True, help="Samples per tar.")
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the spec; may be repeated."
)
@click.option(
    "--slurm",
    "profile",
    is_flag=False,
    flag_value="cluster_generic",
    help="Submit to SLURM; a profile is a YAML file or a name such as cluster_generic.",
)
@click.option("--follow", is_flag=True, help="With --slurm: wait until all is done and verified, and show progress.")
@click.option("--retry-failed", is_flag=True, help="Try skipped samples again (with --slurm also quarantined shards).")
@click.option("--allow-dirty", is_flag=True, help="With --slurm: run uncommitted code; the manifests say so.")
@click.option("--only", type=int, help="Render sample N alone, as loose files with a preview.")
@click.option(
    "--params",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Render the heads of these parameters (identity.kind: pca), one a line, instead of drawn ones.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan, render nothing.")
def render(**options: Any) -> None:
    """Render a data set, or what is missing of it.

    The same command again completes what was interrupted; a larger --count adds to what is there. Ctrl-C
    finishes the samples in hand, then stops.

    \b
    gen render --count 64                                 64 samples of `mixed` into out/mixed
    gen render --spec realistic --count 10000 --seed 7    another spec
    gen render --count 100000 --dry-run                   what would be done
    gen render --count 300000 --slurm cluster_generic     on a cluster
    gen render --count 480 --sequence 48                  ten clips into out/mixed-sequence
    gen render --only 42 --set render.resolution=512      sample 42 alone, larger
    gen render --spec none --params estimates.jsonl       heads that a network estimated
    """
    request = Request(**options)
    given = [] if request.params is None else read_parameters(request.params)
    if given and request.count is None and request.only is None:
        request = replace(request, count=len(given))
    _check(request)
    more = [] if request.sequence is None else [f"sequence.frames={request.sequence}"]
    more += [f"identity.given={given}"] if given else []
    spec = load_spec(request.source, (*request.settings, *more))
    out = request.out or Path("out") / (spec.name if request.sequence is None else f"{spec.name}-sequence")
    check_folder(out)
    if request.profile is not None:
        _submit(spec, out, request)
        return
    pool = pool_options(request.workers, request.threads, spec.render.device)
    context = prepare(spec, request.seed, log=say)
    if request.only is not None:
        _render_only(context, request.only, out, pool)
    else:
        _render_here(context, out, request, pool)


def _check(request: Request) -> None:
    """Everything that can be refused before assets are fetched, which may take minutes. Raises SpecError."""
    r = request
    if r.sequence is not None and r.sequence < 2:
        raise SpecError(f"--sequence is {r.sequence}; a clip has at least 2 frames")
    _check_combination(
        local={"--workers": r.workers is not None, "--threads": r.threads is not None},
        slurm={"--follow": r.follow, "--allow-dirty": r.allow_dirty},
        whole={"--slurm": r.profile is not None, "--retry-failed": r.retry_failed, "--dry-run": r.dry_run},
        queued=r.profile is not None,
        alone=r.only is not None,
    )
    if r.count is None and r.only is None:
        raise SpecError("--count is missing: how many samples is the data set to have?")
    at_least(1, count=r.count, shard_size=r.shard_size, workers=r.workers, threads=r.threads)
    at_least(0, seed=r.seed, only=r.only)
    if r.profile is not None:
        from slurm.profile import load_profile
        from slurm.submit.snapshot import check_origin

        load_profile(r.profile)
        if not r.dry_run:
            check_origin()


def _check_combination(
    *, local: dict[str, bool], slurm: dict[str, bool], whole: dict[str, bool], queued: bool, alone: bool
) -> None:
    """Options that would be without effect are refused. Each group: option -> whether it is given."""
    refused = [
        (queued, local, "with --slurm; set workers and threads in the profile"),
        (not queued, slurm, "without --slurm"),
        (alone, whole, "with --only, which renders one sample here and now"),
    ]
    for case, group, words in refused:
        if case and (given := [option for option, is_given in group.items() if is_given]):
            raise SpecError(f"{given[0]} has no effect {words}: leave it out")


def _submit(spec: Spec, out: Path, r: Request) -> None:
    from slurm.submit.render import prepare_submission, submit_render

    assert r.count is not None and r.profile is not None
    context = prepare_submission(spec, r.seed, r.profile, say)
    submit_render(
        context, out, r.count, r.shard_size, r.profile, dry_run=r.dry_run, follow=r.follow, allow_dirty=r.allow_dirty,
        retry_failed=r.retry_failed, log=say,
    )  # fmt: skip


def _render_here(context: RenderContext, out: Path, r: Request, pool: PoolOptions) -> None:
    """Render on this machine what is missing; exit code 130 after a stop, 1 if samples were skipped."""
    assert r.count is not None
    plan = make_plan(out, context, r.count, r.shard_size)
    say(f"{context.spec.name} -> {out}: {plan.describe(pool.workers)}")
    if r.dry_run:
        return
    claim(out, context)
    raise_count(out, r.count)
    report = Report()
    with locked(out), Stopper(lambda: _finishing(report.in_hand())) as stop:
        if (out / ".slurm").exists():
            from slurm.submit.render import check_idle

            check_idle(out, context.tag)
        if r.retry_failed:
            again = reopen_skipped(out, out / STAGING)
            say(f"{len(again)} skipped samples are tried again: {again}")
        plan = make_plan(out, context, r.count, r.shard_size)  # another run may have ended since
        with Progress(plan.missing, "sample", "rendering") as bar:
            render_shards(
                context, list(plan.ranges), out, out / STAGING, pool,
                stop=stop, progress=lambda step, _: bar.update(step), report=report,
            )  # fmt: skip
        if report.stopped:
            say(f"stopped after {report.rendered} samples; run the same command again to go on")
            sys.exit(130)
        shutil.rmtree(out / STAGING, ignore_errors=True)
        index = write_index(out)
        write_card(out)
    _say_result(out, report, index, plan.images)


def _finishing(samples: int) -> str:
    return f"finishing the {samples} samples in hand" if samples else "ending, no sample is in hand"


def _say_result(out: Path, report: Report, index: dict[str, Any], images_each: int) -> None:
    rate = report.rendered / report.seconds if report.seconds else 0.0
    samples, shards = index["samples"], len(index["shards"])
    say(f"{samples} samples = {samples * images_each} images in {shards} shards at {out}")
    say(f"{report.rendered} rendered now in {report.seconds:.0f} s ({rate:.2f} samples/s)")
    if index["skipped"]:
        say(
            f"gen: {len(index['skipped'])} samples failed twice and were skipped: {index['skipped']};"
            " the same command with --retry-failed tries them again"
        )
        sys.exit(1)


def _render_only(context: RenderContext, index: int, out: Path, pool: PoolOptions) -> None:
    """Sample `index` as loose files in OUT-only/, with a PNG to look at."""
    import numpy as np
    from PIL import Image

    from renderer.format import exr
    from renderer.report import collage

    folder = out.with_name(out.name + "-only")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as staging, Progress(1, "sample", "rendering"):
        outcome = next(iter(WorkerPool(context.job(), Path(staging), pool).render([index])))
        if isinstance(outcome, Failed):
            raise DatasetError(f"sample {index} failed: {outcome.reason}")
        sample = load_staged(Path(staging) / f"{index:010d}.tar")
    for name, data in sample.members.items():
        (folder / name).write_bytes(data)
    images = {n: exr.decode(n, sample.members[f"{sample.key}.{n}.exr"]) for n in ("input", "uv", "mask")}
    picture = folder / f"{sample.key}.png"
    Image.fromarray(np.asarray(collage.triplet_picture(images))).save(picture)
    for name in [*sample.members, picture.name]:
        click.echo(folder / name)


def preview(spec: Spec, seed: int, samples: tuple[int, int], folder: Path) -> Path:
    """A throw-away data set of the samples (start, stop)."""
    context = prepare(spec, seed, log=say)
    out = folder / "preview"
    claim(out, context)
    with Progress(samples[1] - samples[0], "sample", "rendering") as bar:
        render_shards(
            context, [samples], out, out / STAGING, pool_options(None, None, spec.render.device),
            progress=lambda step, _: bar.update(step),
        )  # fmt: skip
    return out

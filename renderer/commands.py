"""The renderer's commands: read options, call the library, print."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from renderer.errors import DatasetError, SpecError

SPEC_HELP = "Spec: a YAML file, or the name of one in jobspecs/."
FOLDER = click.Path(path_type=Path, file_okay=False)


def _spec(source: str, settings: tuple[str, ...]) -> Any:
    """Load a spec and apply `--set section.key=value` on top."""
    from renderer.spec import load_spec, parse_spec, resolved, to_plain

    spec = load_spec(source)
    if not settings:
        return spec
    raw = to_plain(spec)
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, _, key = name.rpartition(".")
        if not equals or (section and not isinstance(raw.get(section), dict)):
            raise SpecError(f"--set {setting!r} is not of the form section.key=value")
        try:
            (raw[section] if section else raw)[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError(f"--set {setting!r} has a value that is not YAML") from error
    return resolved(parse_spec(raw, f"{source} with --set"), Path.cwd())


def _options(workers: int | None, threads: int | None, device: str) -> Any:
    from renderer.pool import PoolOptions, packing

    for name, value in (("--workers", workers), ("--threads", threads)):
        if value is not None and value < 1:
            raise SpecError(f"{name} is {value}; it must be at least 1")
    return PoolOptions(*packing(workers, threads, device=device))


@click.command()
@click.option("--spec", "source", default="mixed", show_default=True, help=SPEC_HELP)
@click.option("--count", type=int, help="Samples (triplets) that the data set shall have.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the data set.")
@click.option(
    "--sequence", type=int, metavar="FRAMES", help="Clips of so many frames of smooth motion instead of single images."
)
@click.option("--out", type=FOLDER, help="Folder of the data set.  [default: out/NAME, out/NAME-sequence]")
@click.option(
    "--workers",
    type=int,
    help="Render processes.  [default: one per core granted, as far as memory allows; one per GPU]",
)
@click.option("--threads", type=int, help="Threads of each.  [default: 2]")
@click.option("--shard-size", type=int, default=500, show_default=True, help="Samples per tar.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change the spec.")
@click.option(
    "--slurm", "profile", is_flag=False, flag_value="cluster_generic", help="Queue it; PROFILE: jobspecs/cluster_*."
)
@click.option("--follow", is_flag=True, help="With --slurm: wait, with a progress line.")
@click.option("--retry-failed", is_flag=True, help="Try skipped samples (with --slurm: quarantined shards, too) again.")
@click.option("--allow-dirty", is_flag=True, help="With --slurm: render uncommitted code, and say so in the manifests.")
@click.option("--only", type=int, help="Render sample N alone, as loose files with a preview.")
@click.option("--dry-run", is_flag=True, help="Print the plan, render nothing.")
def render(
    source: str,
    count: int | None,
    seed: int,
    sequence: int | None,
    out: Path | None,
    workers: int | None,
    threads: int | None,
    shard_size: int,
    settings: tuple[str, ...],
    profile: str | None,
    follow: bool,
    retry_failed: bool,
    allow_dirty: bool,
    only: int | None,
    dry_run: bool,
) -> None:
    """Render a data set, or what is missing of it.

    The same command again completes what was interrupted; a larger --count adds to what is there.

    \b
    gen render --count 64                                 64 samples of `mixed` into out/mixed
    gen render --spec realistic --count 10000 --seed 7    another spec
    gen render --count 100000 --dry-run                   what would be done
    gen render --count 300000 --slurm cluster_generic     on a cluster
    gen render --count 480 --sequence 48                  ten clips into out/mixed-sequence
    gen render --only 42 --set render.resolution=512      sample 42 alone, larger
    """
    from tqdm import tqdm

    from renderer import archive, run
    from renderer.card import write_card

    if sequence is not None:
        if sequence < 2:
            raise SpecError(f"--sequence is {sequence}; a clip has at least 2 frames")
        settings = (*settings, f"sequence.frames={sequence}")

    _check_combination(
        local={"--workers": workers is not None, "--threads": threads is not None},
        slurm={"--follow": follow, "--allow-dirty": allow_dirty},
        whole={"--slurm": profile is not None, "--retry-failed": retry_failed, "--dry-run": dry_run},
        queued=profile is not None,
        alone=only is not None,
    )
    spec = _spec(source, settings)
    out = out or Path("out") / (spec.name if sequence is None else f"{spec.name}-sequence")
    options = _options(workers, threads, spec.render.device)
    setup = run.prepare(spec, seed, log=lambda text: click.echo(text, err=True))
    if only is not None:
        _render_only(setup, only, out, options)
        return
    if count is None:
        raise SpecError("--count is missing: how many samples shall the data set have?")
    if profile is not None:
        from slurm.submit import submit_render

        submit_render(
            setup, out, count, shard_size, profile, dry_run=dry_run, follow=follow, allow_dirty=allow_dirty,
            retry_failed=retry_failed,
            log=lambda text: click.echo(text, err=True),
        )  # fmt: skip
        return
    plan = run.make_plan(out, setup, count, shard_size)
    cores = options.workers
    click.echo(f"{spec.name} -> {out}: {plan.describe(cores, spec.render.resolution)}", err=True)
    if dry_run:
        return
    run.claim(out, setup)
    with run.locked(out), run.Stopper() as stop:
        if (out / ".slurm").exists():
            from slurm.submit import check_idle

            check_idle(out, setup.tag)
        if retry_failed:
            again = run.reopen_skipped(out, out / run.STAGING)
            click.echo(f"{len(again)} skipped samples are tried again: {again}", err=True)
        plan = run.make_plan(out, setup, count, shard_size)  # another run may have ended since
        with tqdm(total=plan.missing, unit="sample", smoothing=0.05, disable=None, dynamic_ncols=True) as bar:
            report = run.render_shards(
                setup,
                list(plan.ranges),
                out,
                out / run.STAGING,
                options,
                stop=stop,
                progress=lambda step, _: (bar.update(step), None)[1],
            )
        if report.stopped:
            click.echo(f"stopped after {report.rendered} samples; run the same command again to go on", err=True)
            sys.exit(130)
        shutil.rmtree(out / run.STAGING, ignore_errors=True)
        index = archive.write_index(out)
        write_card(out)
    rate = report.rendered / report.seconds if report.seconds else 0.0
    images, shards = index["samples"] * plan.images, len(index["shards"])
    click.echo(f"{index['samples']} samples = {images} images in {shards} shards at {out}", err=True)
    click.echo(f"{report.rendered} rendered now in {report.seconds:.0f} s ({rate:.2f} samples/s)", err=True)
    if index["skipped"]:
        click.echo(
            f"gen: {len(index['skipped'])} samples failed twice and were skipped: {index['skipped']};"
            " the same command with --retry-failed tries them again",
            err=True,
        )
        sys.exit(1)


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


def _render_only(setup: Any, index: int, out: Path, options: Any) -> None:
    """Sample `index` as loose files in OUT-only/, with a PNG to look at."""
    import numpy as np
    from PIL import Image

    from renderer import archive, collage, exr
    from renderer.pool import Failed, WorkerPool

    if index < 0:
        raise SpecError(f"--only is {index}; it must not be negative")
    folder = out.with_name(out.name + "-only")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as staging:
        outcome = next(iter(WorkerPool(setup.job(), Path(staging), options).render([index])))
        if isinstance(outcome, Failed):
            raise DatasetError(f"sample {index} failed: {outcome.reason}")
        sample = archive.load_staged(Path(staging) / f"{index:010d}.tar")
    for name, data in sample.members.items():
        (folder / name).write_bytes(data)
    images = {n: exr.decode(n, sample.members[f"{sample.key}.{n}.exr"]) for n in ("input", "uv", "mask")}
    picture = folder / f"{sample.key}.png"
    Image.fromarray(np.asarray(collage.triplet_picture(images))).save(picture)
    for name in [*sample.members, picture.name]:
        click.echo(folder / name)


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--workers", type=int, help="Processes.  [default: as many as cores granted]")
@click.option("--count", type=int, help="Samples that must be there.")
def verify(dataset: Path, workers: int | None, count: int | None) -> None:
    """Prove DATASET sound; exit code 1 and a list of problems if it is not.

    Checks hashes, members, number formats, finite values and ranges, mask and UV against each other, UV against an
    independent projection of the stored geometry, duplicates, gaps, pose and mouth statistics against the spec.

    \b
    gen verify out/mixed
    gen verify out/mixed --count 64
    """
    import numpy as np
    from tqdm import tqdm

    from renderer import archive, checks
    from renderer.pool import granted_cores

    if workers is not None and workers < 1:
        raise SpecError(f"--workers is {workers}; it must be at least 1")
    total = len(archive.open_dataset(dataset))
    with tqdm(total=total, unit="sample", disable=None, dynamic_ncols=True) as bar:
        verdict = checks.verify(dataset, workers or granted_cores(), lambda n: (bar.update(n), None)[1])
    if count is not None and verdict.samples != count:
        verdict.problems.append(f"{verdict.samples} samples are there, {count} were expected")
    for problem in verdict.problems[:50]:
        click.echo(problem)
    if len(verdict.problems) > 50:
        click.echo(f"... and {len(verdict.problems) - 50} more")
    if verdict.problems:
        click.echo(f"{dataset}: {verdict.samples} samples, {len(verdict.problems)} problems", err=True)
        sys.exit(1)
    uv = f"median error {np.median(verdict.uv_error):.3f} pixels" if verdict.uv_error else "no face to compare"
    click.echo(f"{dataset}: {verdict.samples} samples sound; UV against geometry: {verdict.unchecked or uv}")


@click.command()
@click.option("--dataset", type=FOLDER, help="Show this data set rather than rendering.")
@click.option("--spec", "source", default="mixed", show_default=True, help=SPEC_HELP)
@click.option("--count", type=int, default=96, show_default=True, help="Tiles.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the samples rendered.")
@click.option("--triplets", is_flag=True, help="Input, UV and mask side by side.")
@click.option(
    "--augment", is_flag=True, help="With --dataset: the trainer's augmentations, each alone and all together."
)
@click.option("--clip", type=int, help="Video of this clip of a sequence instead of a sheet.")
@click.option("--fps", type=click.FloatRange(1, 240), default=30, show_default=True, help="Rate of the video.")
@click.option("--captions", is_flag=True, help="Some parameters under each tile.")
@click.option("--columns", type=int, help="Tiles in a row.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Picture or .mp4.  [default: NAME-collage.png]"
)
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change the spec.")
def collage(
    dataset: Path | None,
    source: str,
    count: int,
    seed: int,
    triplets: bool,
    augment: bool,
    clip: int | None,
    fps: float,
    captions: bool,
    columns: int | None,
    out: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Picture sheet of a spec (rendered on the fly) or of a data set; or a clip of a sequence as video.

    \b
    gen collage --spec realistic --count 48 --captions
    gen collage --dataset out/mixed --triplets
    gen collage --dataset out/clip --clip 0 --out clip.mp4
    """
    import numpy as np
    from PIL import Image

    from renderer import archive
    from renderer import collage as pictures

    for name, value in (("--count", count), ("--columns", columns)):
        if value is not None and value < 1:
            raise SpecError(f"{name} is {value}; it must be at least 1")
    if not augment and clip is None:
        _check_picture(out)
    if augment:
        if dataset is None:
            raise SpecError("--augment needs --dataset: which data set shall be augmented?")
        from trainer.cli import collage as augment_collages

        for path in augment_collages(dataset, out or Path(f"{dataset.resolve().name}-augment")):
            click.echo(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        if dataset is None:
            spec = _spec(source, settings)
            samples = (0, count) if clip is None else _clip_samples(clip, spec.sequence.frames, spec.name)
            dataset, name = _preview(spec, seed, samples, Path(folder)), spec.name
        else:
            name = dataset.resolve().name
        if clip is not None:
            click.echo(_write_clip(dataset, clip, triplets, fps, out or Path(f"{name}-clip{clip}.mp4")))
            return
        data = archive.open_dataset(dataset)
        chosen = [pair for pair, _ in zip(data.entries(), range(count), strict=False)]
        tiles, texts = [], []
        for shard, entry in chosen:
            images = {n: shard.image(entry, n) for n in (("input", "uv", "mask") if triplets else ("input",))}
            tiles.append(pictures.triplet_picture(images) if triplets else pictures.tone_map(images["input"]))
            if captions:
                texts.append(pictures.caption(shard.params(entry)))
    out = out or Path(f"{name}-collage{'-triplets' if triplets else ''}.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pictures.sheet(tiles, columns, texts))).save(out)
    click.echo(out)


def _clip_samples(clip: int, frames: int, name: str) -> tuple[int, int]:
    """First sample of a clip, and the one after its last."""
    if not frames:
        raise DatasetError(f"{name} holds no clips: `gen render --sequence FRAMES` renders some")
    if clip < 0:
        raise SpecError(f"--clip is {clip}; it must not be negative")
    return clip * frames, (clip + 1) * frames


def _write_clip(dataset: Path, clip: int, triplets: bool, fps: float, out: Path) -> Path:
    """The frames of one clip of a data set as MP4."""
    from renderer import archive, collage, video

    if out.suffix != ".mp4":
        raise SpecError(f"--out is {str(out)!r}; the video of a clip is an .mp4 file")
    data = archive.open_dataset(dataset)
    start, stop = _clip_samples(clip, data.clip_frames, str(dataset))
    frames = [(shard, entry) for shard, entry in data.entries() if start <= entry.index < stop]
    if not frames:
        raise DatasetError(f"{dataset} holds no sample of clip {clip}; those are samples {start} .. {stop - 1}")
    out.parent.mkdir(parents=True, exist_ok=True)
    movie = video.Movie(out, fps)
    for shard, entry in frames:
        if triplets:
            movie.add(collage.triplet_picture({n: shard.image(entry, n) for n in ("input", "uv", "mask")}))
        else:
            movie.add(collage.tone_map(shard.image(entry, "input")))
    movie.close()
    return out


def _check_picture(out: Path | None) -> None:
    """Whether a picture can be written under this name. Raises SpecError, before anything is rendered for it."""
    if out is not None and out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"):
        raise SpecError(f"--out is {str(out)!r}; a picture's name ends in .png, .jpg, .tif or .webp")


def _preview(spec: Any, seed: int, samples: tuple[int, int], folder: Path) -> Path:
    """A throw-away data set of the samples (start, stop)."""
    from tqdm import tqdm

    from renderer import run

    setup = run.prepare(spec, seed, log=lambda text: click.echo(text, err=True))
    out = folder / "preview"
    run.claim(out, setup)
    with tqdm(total=samples[1] - samples[0], unit="sample", disable=None) as bar:
        run.render_shards(
            setup, [samples], out, out / run.STAGING, _options(None, None, spec.render.device),
            progress=lambda step, _: (bar.update(step), None)[1],
        )  # fmt: skip
    return out


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Picture.  [default: DATASET/stats.png]")
def stats(dataset: Path, out: Path | None) -> None:
    """Plot the distribution of every knob of DATASET.

    \b
    gen stats out/mixed
    """
    from renderer.stats import plot_knobs

    _check_picture(out)
    out = out or dataset / "stats.png"
    click.echo(f"{plot_knobs(dataset, out)} knobs -> {out}")


@click.command()
@click.argument("dataset", type=FOLDER)
@click.argument("tar", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be written.")
def gather(dataset: Path, tar: Path, dry_run: bool) -> None:
    """Merge the shards of DATASET into one TAR, for those who want a single file. Readers do not need it.

    \b
    gen gather out/mixed mixed.tar
    """
    from tqdm import tqdm

    from renderer import archive

    data = archive.open_dataset(dataset)
    size = sum(shard.manifest.tar_bytes for shard in data.shards)
    click.echo(f"{len(data)} samples, {size / 1e6:.1f} MB -> {tar}", err=True)
    if not dry_run:
        with tqdm(total=len(data), unit="sample", disable=None) as bar:
            archive.gather(data, tar, lambda n: (bar.update(n), None)[1])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> None:
    """Check this machine, and say the fix for what is wrong. Exit code 1 if something is.

    \b
    gen doctor
    """
    from renderer.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=1))
    else:
        for f in findings:
            click.echo(f"{'ok  ' if f.ok else 'BAD '} {f.what}: {f.found}")
            if not f.ok:
                click.echo(f"     fix: {f.fix}")
    sys.exit(0 if all(f.ok for f in findings) else 1)


@click.command()
@click.option("--count", type=int, default=200, show_default=True, help="Samples of the throughput run.")
@click.option("--what", type=click.Choice(["all", "throughput", "drift", "error"]), default="all", show_default=True)
@click.option(
    "--packing", type=click.Path(path_type=Path), help="Measure workers x threads, write the best to PROFILE."
)
def bench(count: int, what: str, packing: Path | None) -> None:
    """Measure this machine: samples per second against a plain render loop, and the error of the images.

    Prints JSON lines. Figures worth keeping go to docs/benchmarks.md.
    """
    if packing is not None:
        from slurm.packing import tune

        tune(packing, log=click.echo)
        return
    from renderer.bench import run_bench

    run_bench(count, what, lambda line: click.echo(json.dumps(line)))

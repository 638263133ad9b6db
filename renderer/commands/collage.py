"""`gen collage`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from renderer.commands.options import FOLDER, SPEC_HELP, at_least, check_picture
from renderer.commands.render import preview
from renderer.errors import DatasetError, SpecError
from renderer.format.dataset import open_dataset
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.spec import Spec
from renderer.progress import Progress
from renderer.report.collage import caption, sheet, tone_map, triplet_picture
from renderer.strict import override


@dataclass(frozen=True)
class Request:
    """The options of `gen collage`."""

    dataset: Path | None
    source: str
    count: int
    seed: int
    triplets: bool
    augment: bool
    components: bool
    clip: int | None
    fps: float
    captions: bool
    columns: int | None
    out: Path | None
    settings: tuple[str, ...]


@click.command()
@click.option("--dataset", type=FOLDER, help="Show samples of this data set instead of rendering some.")
@click.option("--spec", "source", default="mixed", show_default=True, help=SPEC_HELP)
@click.option("--count", type=int, default=96, show_default=True, help="Number of tiles.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the samples rendered.")
@click.option("--triplets", is_flag=True, help="Show input, UV and mask side by side.")
@click.option(
    "--augment", is_flag=True, help="With --dataset: show the trainer's augmentations, each alone and all together."
)
@click.option(
    "--components", is_flag=True, help="Show each component of a spec's heads (identity.kind: pca) at -1, 0 and +1."
)
@click.option("--clip", type=int, help="Write this clip of a sequence as video instead of a sheet.")
@click.option(
    "--fps", type=click.FloatRange(1, 240), default=30, show_default=True, help="Frames per second of the video."
)
@click.option("--captions", is_flag=True, help="Print some parameters under each tile.")
@click.option("--columns", type=int, help="Tiles per row.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Picture or .mp4.  [default: NAME-collage.png]"
)
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the spec; may be repeated."
)
def collage(**options: Any) -> None:
    """Picture sheet of a spec (rendered on the fly) or of a data set; or a clip of a sequence as video.

    \b
    gen collage --spec realistic --count 48 --captions
    gen collage --dataset out/mixed --triplets
    gen collage --dataset out/clip --clip 0 --out clip.mp4
    gen collage --spec none --components --set render.resolution=112
    """
    r = Request(**options)
    _check(r)
    if r.augment:
        assert r.dataset is not None
        from trainer.commands.augment import augment_collages

        for path in augment_collages(r.dataset, r.out or Path(f"{r.dataset.resolve().name}-augment")):
            click.echo(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        if r.components:
            click.echo(_write_components(load_spec(r.source, r.settings), r, Path(folder)))
            return
        if r.dataset is None:
            spec = load_spec(r.source, r.settings)
            samples = (0, r.count) if r.clip is None else _clip_samples(r.clip, spec.sequence.frames, spec.name)
            dataset, name = preview(spec, r.seed, samples, Path(folder)), spec.name
        else:
            dataset, name = r.dataset, r.dataset.resolve().name
        click.echo(_write_sheet(dataset, name, r) if r.clip is None else _write_clip(dataset, name, r.clip, r))


def _check(r: Request) -> None:
    """Raises SpecError before anything is rendered."""
    at_least(1, count=r.count, columns=r.columns)
    at_least(0, seed=r.seed, clip=r.clip)
    if r.augment and r.dataset is None:
        raise SpecError("--augment needs --dataset: which data set is to be augmented?")
    if r.components and (r.dataset is not None or r.clip is not None or r.triplets):
        raise SpecError("--components renders heads of --spec: leave --dataset, --clip and --triplets out")
    if r.clip is not None and r.out is not None and r.out.suffix != ".mp4":
        raise SpecError(f"--out is {str(r.out)!r}; the video of a clip is an .mp4 file")
    if not r.augment and r.clip is None:
        check_picture(r.out)


def _write_sheet(dataset: Path, name: str, r: Request) -> Path:
    """The first samples of a data set as tiles of one picture."""
    import numpy as np
    from PIL import Image

    chosen = [pair for pair, _ in zip(open_dataset(dataset).entries(), range(r.count), strict=False)]
    tiles, texts = [], []
    with Progress(len(chosen), "tile", "drawing") as bar:
        for shard, entry in chosen:
            images = {n: shard.image(entry, n) for n in (("input", "uv", "mask") if r.triplets else ("input",))}
            tiles.append(triplet_picture(images) if r.triplets else tone_map(images["input"]))
            if r.captions:
                texts.append(caption(shard.params(entry)))
            bar.update()
    out = r.out or Path(f"{name}-collage{'-triplets' if r.triplets else ''}.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(sheet(tiles, r.columns, texts))).save(out)
    return out


def _write_components(spec: Spec, r: Request, folder: Path) -> Path:
    """Each component of a spec's heads at -1, 0 and +1, the others at 0."""
    import numpy as np
    from PIL import Image

    from renderer.head.catalog import pack_folder
    from renderer.head.pca import load_pca

    counts = spec.identity.pca
    if spec.identity.kind != "pca":
        raise SpecError(
            f"--components shows heads of identity.kind 'pca'; those of {spec.name!r} are other: --spec none"
        )
    ends = np.eye(counts.shape + counts.texture)
    given = [np.zeros(len(ends)), *np.stack([-ends, ends], axis=1).reshape(-1, len(ends))]
    spec = override(spec, {"identity.given": [q.tolist() for q in given]}, "--components")
    dataset = open_dataset(preview(spec, r.seed, (0, len(given)), folder))
    middle, *others = [tone_map(shard.image(entry, "input")) for shard, entry in dataset.entries()]
    tiles = [tile for low, high in zip(others[::2], others[1::2], strict=True) for tile in (low, middle, high)]
    pca = load_pca(pack_folder(dataset.info))
    stated = [("shape", k, share) for k, share in enumerate(pca.shape.explained[: counts.shape], 1)]
    stated += [("texture", k, share) for k, share in enumerate(pca.texture.explained[: counts.texture], 1)]
    texts = [f"{kind} {k} ({100 * share:.1f} %)  {q}" for kind, k, share in stated for q in ("-1", "0", "+1")]
    out = r.out or Path(f"{spec.name}-components.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(sheet(tiles, r.columns or 9, texts))).save(out)
    return out


def _clip_samples(clip: int, frames: int, name: str) -> tuple[int, int]:
    """First sample of a clip, and the one after its last."""
    if not frames:
        raise DatasetError(f"{name} holds no clips: `gen render --sequence FRAMES` renders some")
    return clip * frames, (clip + 1) * frames


def _write_clip(dataset: Path, name: str, clip: int, r: Request) -> Path:
    """The frames of one clip of a data set as MP4."""
    from renderer.report import video

    out = r.out or Path(f"{name}-clip{clip}.mp4")
    data = open_dataset(dataset)
    start, stop = _clip_samples(clip, data.clip_frames, str(dataset))
    frames = list(data.entries(start, stop))
    if not frames:
        raise DatasetError(f"{dataset} holds no sample of clip {clip}; those are samples {start} .. {stop - 1}")
    out.parent.mkdir(parents=True, exist_ok=True)
    movie = video.Movie(out, r.fps)
    with Progress(len(frames), "frame", "writing") as bar:
        for shard, entry in frames:
            if r.triplets:
                movie.add(triplet_picture({n: shard.image(entry, n) for n in ("input", "uv", "mask")}))
            else:
                movie.add(tone_map(shard.image(entry, "input")))
            bar.update()
    movie.close()
    return out

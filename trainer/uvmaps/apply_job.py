"""What `gen apply` does with its inputs: read, find faces, draw, write; one bad input does not stop the others."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from renderer.errors import AssetError, DatasetError, FormatError, SpecError
from renderer.files import write_atomic
from renderer.progress import Progress
from renderer.report.video import Movie
from trainer.augmentation.mirror import Network
from trainer.data import pictures, video
from trainer.uvmaps import head_pose, mesh, results, textures
from trainer.uvmaps.drawing import VIEWS, Needs, draw, load_texture
from trainer.uvmaps.faces import Face, cut
from trainer.uvmaps.finding import Options, find_faces, options_of
from trainer.uvmaps.sheet import Sheet, shown_part
from trainer.uvmaps.tracking import Tracker
from trainer.uvmaps.window import LiveView

Say = Callable[[str], object]
TEXTURE_FRAMES = 5  # every such frame of a video goes into the texture gathered from all


@dataclass(frozen=True)
class Job:
    """What to write for each input, and where."""

    out: Path
    views: tuple[str, ...] = ("lines", "texture")
    texture: Path | None = None
    maps: str | None = None  # "exr" or "npz"
    csv: bool = False
    focal_px: float | None = None
    swap: Path | None = None  # photo whose face the view "swap" puts on
    max_side: int = 2048
    frames: int | None = None
    mesh: str | None = None  # part of the head: one of `mesh.PARTS`
    min_agreement: float | None = None  # None: what the network's weights say
    mirrored: bool = False  # read faces in their mirror images, too
    sheet: bool = False  # also one picture of all photos and their views
    beside: Path | None = None  # weights of a second network, whose views the sheet shows below those of the first
    window: bool = False  # show the first view of videos and webcams while they run


@dataclass(frozen=True)
class _Work:
    """A job at work: what all inputs share."""

    job: Job
    network: Network
    options: Options
    needs: Needs
    live: LiveView | None
    say: Say
    beside: tuple[Network, Options] | None = None
    sheet: Sheet = field(default_factory=Sheet)

    def path(self, name: str) -> Path:
        return self.job.out / name


def run_all(
    job: Job,
    load: Callable[[], Network],
    inputs: Sequence[str],
    say: Say,
    load_beside: Callable[[], Network] | None = None,
) -> int:
    """All inputs; returns how many could not be read whole. load: reads the network, once the job makes sense.

    load_beside: reads the second network of the sheet.

    Raises SpecError, DatasetError, AssetError or MachineError for what would spoil every input, before the first one.
    """
    known = (*VIEWS, "inverse")
    if unknown := [v for v in job.views if v not in known]:
        raise SpecError(f"unknown view {', '.join(unknown)}; known are {', '.join(known)}")
    if job.mesh:
        mesh.check(job.mesh)
    if job.beside and not job.sheet:
        raise SpecError("--beside shows a second network in the sheet alone: give --sheet, too")
    live = LiveView("headforge") if job.window else None
    network = load()
    sources = video.expand(inputs)
    options = options_of(network, job.mirrored, job.min_agreement)
    work = _Work(job, network, options, find_needs(job, say), live, say)
    if load_beside is not None:
        second = load_beside()
        work = replace(work, beside=(second, options_of(second, job.mirrored, job.min_agreement)))
    if "swap" in job.views:
        work = replace(work, needs=replace(work.needs, other=other_face(job, network, options)))
    job.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    names: set[str] = set()
    for source in sources:
        name = results.unused_name(Path(source).stem if not source.isdecimal() else f"webcam{source}", names)
        try:
            if problem := (moving if video.is_moving(source) else still)(work, source, name):
                say(problem)
                failed += 1
        except (FormatError, DatasetError) as error:  # a webcam that is not there stops no other input, either
            say(f"skipped: {error}")
            failed += 1
    if work.sheet.rows:
        work.sheet.write(work.path("sheet.png"))
    return failed


def find_needs(job: Job, say: Say) -> Needs:
    """Texture, landmarks and head. Without a head pack landmarks and pose are left out, unless a view needs them."""
    needs = Needs(load_texture(job.texture), job.focal_px)
    try:
        head = head_pose.pack_head()
        needs = replace(needs, head=head, landmark_uv=head_pose.landmark_uv())
        head_pose.position_map(head)  # made once, before frames are timed
    except AssetError as error:
        if {"landmarks", "axes"} & set(job.views) or job.mesh:
            raise
        say(f"no landmarks and no pose: {error}")
    return needs


def other_face(job: Job, network: Network, options: Options) -> tuple[Tensor, Face]:
    """The surest face of the photo to swap in. Raises SpecError without a photo, AssetError without a face in it."""
    if job.swap is None:
        raise SpecError('the view "swap" needs a photo of the other face: give --swap PHOTO')
    picture = pictures.to_tensor(pictures.read_picture(job.swap, job.max_side))
    faces = find_faces(network, picture, options)
    if not faces:
        raise AssetError(f"no face found in {job.swap}, the photo to swap in")
    return cut(picture, faces[0].window), faces[0]


# ---------------------------------------------------------------- one input


def still(work: _Work, source: str, name: str) -> str:
    """One photo. Returns what was wrong with it, if anything."""
    picture = pictures.to_tensor(pictures.read_picture(Path(source), work.job.max_side))
    faces = find_faces(work.network, picture, work.options)
    work.say(f"{source}: {len(faces)} face{'s' * (len(faces) != 1)}" if faces else f"{source}: no face found")
    drawn = {view: pictures.to_bytes(draw(view, picture, faces, work.needs)) for view in work.job.views}
    for view, shown in drawn.items():
        Image.fromarray(shown).save(work.path(f"{name}.{view}.png"))
    if work.job.sheet:
        _add_to_sheet(work, name, picture, faces, [drawn[view] for view in _sheet_views(work.job)])
    _write_records(work, name, source, picture, [_write_faces(work, name, 0, faces, picture)])
    return ""


def _sheet_views(job: Job) -> list[str]:
    """Those views that are as large as the picture."""
    return [view for view in job.views if view != "inverse"]


def _add_to_sheet(
    work: _Work, name: str, picture: Tensor, faces: Sequence[Face], views: Sequence[pictures.Bytes]
) -> None:
    seen = pictures.to_bytes(picture)
    part = shown_part(faces, *seen.shape[:2])
    work.sheet.add(name, [seen, *views], part)
    if work.beside is not None:
        network, options = work.beside
        others = find_faces(network, picture, options)
        drawn = [pictures.to_bytes(draw(view, picture, others, work.needs)) for view in _sheet_views(work.job)]
        assert work.job.beside is not None
        work.sheet.add(f"{name}: {work.job.beside.resolve().name}", [seen, *drawn], part)


@dataclass
class _Recording:
    """What a video gathers from frame to frame."""

    records: list[dict[str, Any]] = field(default_factory=list)
    movies: dict[str, Movie] = field(default_factory=dict)
    texture: textures.TextureAccumulator | None = None
    picture: Tensor | None = None  # the last frame
    network_s: float = 0.0


def moving(work: _Work, source: str, name: str) -> str:
    """One video or webcam. Returns what was wrong with it, if anything."""
    frames = video.Frames(source, work.job.max_side, work.job.frames)
    made, start = _Recording(), time.perf_counter()
    tracker = Tracker(work.network, work.options)
    try:
        with Progress(frames.count, "frame", name) as bar:
            for number, frame in enumerate(frames):
                bar.total = frames.count
                made.picture = pictures.to_tensor(frame)
                before = time.perf_counter()
                faces = tracker.step(made.picture)
                made.network_s += time.perf_counter() - before
                shown = _add_frame(work, made, name, number, faces, frames.rate)
                bar.update()
                if work.live is not None and not work.live.show(shown):
                    break
    except KeyboardInterrupt:
        work.say("stopped")
    finally:
        for movie in made.movies.values():
            movie.close()
    if made.texture is not None:
        gathered = textures.closed_texture(*made.texture.texture())
        Image.fromarray(pictures.to_bytes(gathered)).save(work.path(f"{name}.texture-of-all.png"))
    work.say(f"{source}: {_speed(made, time.perf_counter() - start)}")
    if made.picture is not None:
        _write_records(work, name, source, made.picture, made.records)
    return frames.problem


def _add_frame(
    work: _Work, made: _Recording, name: str, number: int, faces: Sequence[Face], rate: float
) -> pictures.Bytes:
    """Draw, gather and write one frame; returns its first view."""
    picture = made.picture
    assert picture is not None
    drawn = {view: pictures.to_bytes(draw(view, picture, faces, work.needs)) for view in work.job.views}
    for view, shown in drawn.items():
        made.movies.setdefault(view, Movie(work.path(f"{name}.{view}.mp4"), rate)).add(shown)
    if "inverse" in work.job.views and faces and number % TEXTURE_FRAMES == 0:
        face = faces[0]
        made.texture = made.texture or textures.TextureAccumulator(textures.fitting_size(face.visible, 512))
        made.texture.add(cut(picture, face.window), face.uv, (face.visible > 0.5).float())
    made.records.append(_write_faces(work, f"{name}.{number:06d}", number, faces, picture))
    return drawn[work.job.views[0]]


def _speed(made: _Recording, seconds: float) -> str:
    count, found = len(made.records), sum(bool(r["faces"]) for r in made.records)
    drawing = count / max(seconds - made.network_s, 1e-9)
    rates = f"{count / max(seconds, 1e-9):.1f} frames/s, {drawing:.1f} without finding faces"
    return f"{count} frames, {found} with a face; {rates}"


# ---------------------------------------------------------------- files


def _write_faces(work: _Work, name: str, number: int, faces: Sequence[Face], picture: Tensor) -> dict[str, Any]:
    """Maps and meshes of one picture, as far as the job asks for them; returns its record."""
    job, needs = work.job, work.needs
    if job.maps:
        height, width = picture.shape[2:]
        results.write_maps(work.path(f"{name}.{job.maps}"), results.maps(faces, height, width))
    described = [results.describe(f, needs.landmark_uv, needs.head, needs.focal_px) for f in faces]
    for which, face in enumerate(faces if job.mesh else ()):
        assert job.mesh is not None and needs.head is not None
        fit = results.fitted(face, needs.head, needs.focal_px)
        if fit is None:  # too little is seen
            continue
        described[which]["fit"] = results.describe_fit(fit, face)
        made = results.face_mesh(picture, face, needs.head, fit, job.mesh)
        for suffix in mesh.SUFFIXES:
            mesh.write_mesh(made, work.path(f"{name}.face{which}{suffix}"))
    return {"frame": number, "faces": described}


def _write_records(work: _Work, name: str, source: str, picture: Tensor, records: Sequence[Mapping[str, Any]]) -> None:
    height, width = picture.shape[2:]
    result = {"source": source, "width": width, "height": height, "frames": records}
    write_atomic(work.path(f"{name}.json"), json.dumps(result, indent=None, separators=(",", ":")).encode())
    if not work.job.csv:
        return
    head = ["frame", "face", "left", "top", "right", "bottom", "score", "yaw_deg", "pitch_deg", "roll_deg"]
    head += [f"{axis}{i}" for i in range(68) for axis in "xy"]
    with work.path(f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(head)
        for record in records:
            for number, face in enumerate(record["faces"]):
                pose = face.get("pose", {})
                angles = [pose.get(k, "") for k in ("yaw_deg", "pitch_deg", "roll_deg")]
                points = [value for p in face.get("landmarks_px", [None] * 68) for value in (p or ("", ""))]
                table.writerow([record["frame"], number, *face["box"], face["score"], *angles, *points])

"""What `gen apply` does with its inputs: read, find faces, draw, write; one bad input does not stop the others."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from renderer.errors import AssetError, DatasetError, FormatError, SpecError
from renderer.files import write_atomic
from renderer.progress import Progress
from renderer.report.video import Movie
from trainer.data import pictures
from trainer.uvmaps import faces as apply
from trainer.uvmaps import head_pose, mesh, projections
from trainer.uvmaps.window import LiveView

Say = Callable[[str], object]


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
    min_agreement: float = apply.Options.min_agreement
    mirrored: bool = False  # read faces in their mirror images, too
    window: bool = False  # show the first view of videos and webcams while they run

    def options(self, network: nn.Module) -> apply.Options:
        """How faces are looked for."""
        size = apply.trained_px(network)
        return apply.Options(min_agreement=self.min_agreement, mirrored=self.mirrored, network_px=size)


def run_all(job: Job, weights: Path, inputs: Sequence[str], device: str, say: Say) -> int:
    """All inputs; returns how many could not be read whole. Raises before any work what makes all of it pointless."""
    known = (*apply.VIEWS, "inverse")
    if unknown := [v for v in job.views if v not in known]:
        raise SpecError(f"unknown view {', '.join(unknown)}; known are {', '.join(known)}")
    if job.mesh:
        mesh.check(job.mesh)
    live = LiveView("headforge") if job.window else None
    network = apply.load(weights, device)
    sources = apply.expand(inputs)
    extra = needs(job, say)
    if "swap" in job.views:
        extra["other"] = other_face(job, network)
    job.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    names: set[str] = set()
    extra["live"] = live
    for source in sources:
        name = _unique(Path(source).stem if not source.isdecimal() else f"webcam{source}", names)
        try:
            work = moving if apply.is_moving(source) else still
            if problem := work(job, network, source, name, extra, say):
                say(problem)
                failed += 1
        except (FormatError, DatasetError) as error:  # a webcam that is not there stops no other input, either
            say(f"skipped: {error}")
            failed += 1
    return failed


def needs(job: Job, say: Say) -> dict[str, Any]:
    """Texture, landmarks and head. Without a head pack landmarks and pose are left out, unless a view needs them."""
    extra: dict[str, Any] = {"texture": apply.load_texture(job.texture), "focal_px": job.focal_px}
    try:
        extra |= {"head": head_pose.pack_head(), "landmark_uv": apply.landmark_uv()}
        head_pose.position_map(extra["head"])  # made once, before frames are timed
    except AssetError as error:
        if {"landmarks", "axes"} & set(job.views) or job.mesh:
            raise
        say(f"no landmarks and no pose: {error}")
    return extra


def other_face(job: Job, network: nn.Module) -> tuple[Tensor, apply.Face]:
    """The surest face of the photo to swap in. Raises SpecError without a photo, AssetError without a face in it."""
    if job.swap is None:
        raise SpecError('the view "swap" needs a photo of the other face: give --swap PHOTO')
    picture = pictures.to_tensor(pictures.read_picture(job.swap, job.max_side))
    faces = apply.find_faces(network, picture, job.options(network))
    if not faces:
        raise AssetError(f"no face found in {job.swap}, the photo to swap in")
    return apply.cut(picture, faces[0].window), faces[0]


def _unique(name: str, taken: set[str]) -> str:
    """a.jpg and a.png must not share their results."""
    number, wanted = 2, name
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    taken.add(name)
    return name


def still(job: Job, network: nn.Module, source: str, name: str, extra: Mapping[str, Any], say: Say) -> str:
    """One photo. Returns what was wrong with it, if anything."""
    picture = pictures.to_tensor(pictures.read_picture(Path(source), job.max_side))
    faces = apply.find_faces(network, picture, job.options(network))
    say(f"{source}: {len(faces)} face{'s' * (len(faces) != 1)}" if faces else f"{source}: no face found")
    for view in job.views:
        Image.fromarray(pictures.to_bytes(apply.draw(view, picture, faces, extra))).save(job.out / f"{name}.{view}.png")
    _write_maps(job, f"{name}", faces, picture)
    records = [_record(0, faces, extra, _write_meshes(job, name, faces, picture, extra))]
    _write_records(job, name, source, picture, records)
    return ""


def moving(job: Job, network: nn.Module, source: str, name: str, extra: Mapping[str, Any], say: Say) -> str:
    """One video or webcam. Returns what was wrong with it, if anything."""
    frames = apply.Frames(source, job.max_side, job.frames)
    tracker = apply.Tracker(network, job.options(network))
    movies: dict[str, Movie] = {}
    records: list[dict[str, Any]] = []
    texture: projections.TextureAccumulator | None = None
    picture: Tensor | None = None
    start = time.perf_counter()
    network_s = 0.0
    live = extra.get("live")
    try:
        with Progress(frames.count, "frame", name) as bar:
            for number, frame in enumerate(frames):
                bar.total = frames.count
                picture = pictures.to_tensor(frame)
                before = time.perf_counter()
                faces = tracker.step(picture)
                network_s += time.perf_counter() - before
                drawn = {view: pictures.to_bytes(apply.draw(view, picture, faces, extra)) for view in job.views}
                for view, shown in drawn.items():
                    movie = movies.setdefault(view, Movie(job.out / f"{name}.{view}.mp4", frames.rate))
                    movie.add(shown)
                if "inverse" in job.views and faces and number % 5 == 0:
                    face = faces[0]
                    texture = texture or projections.TextureAccumulator(projections.fitting_size(face.visible, 512))
                    texture.add(apply.cut(picture, face.window), face.uv, (face.visible > 0.5).float())
                _write_maps(job, f"{name}.{number:06d}", faces, picture)
                fits = _write_meshes(job, f"{name}.{number:06d}", faces, picture, extra)
                records.append(_record(number, faces, extra, fits))
                bar.update()
                if live is not None and not live.show(drawn[job.views[0]]):
                    break
    except KeyboardInterrupt:
        say("stopped")
    finally:
        for movie in movies.values():
            movie.close()
    if texture is not None:
        gathered = projections.closed_texture(*texture.texture())
        Image.fromarray(pictures.to_bytes(gathered)).save(job.out / f"{name}.texture-of-all.png")
    seconds = time.perf_counter() - start
    found = sum(bool(r["faces"]) for r in records)
    rates = f"{len(records) / max(seconds, 1e-9):.1f} frames/s"
    drawing = f"{len(records) / max(seconds - network_s, 1e-9):.1f} without finding faces"
    say(f"{source}: {len(records)} frames, {found} with a face; {rates}, {drawing}")
    if picture is not None:
        _write_records(job, name, source, picture, records)
    return frames.problem


def _record(
    number: int, faces: Sequence[apply.Face], extra: Mapping[str, Any], fits: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    landmarks, head = extra.get("landmark_uv"), extra.get("head")
    described = [apply.describe(f, landmarks, head, extra.get("focal_px")) for f in faces]
    for face, fit in zip(described, fits, strict=False):
        face |= fit
    return {"frame": number, "faces": described}


def _write_meshes(
    job: Job, name: str, faces: Sequence[apply.Face], picture: Tensor, extra: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """NAME.faceN.obj and .glb of each face; returns what the record says of them, {} where too little is seen."""
    described: list[dict[str, Any]] = []
    for number, face in enumerate(faces if job.mesh else ()):
        fit = apply.fitted(face, extra["head"], extra.get("focal_px"))
        described.append({"fit": apply.describe_fit(fit, face)} if fit else {})
        if fit:
            made = apply.face_mesh(picture, face, extra["head"], fit, str(job.mesh))
            for suffix in mesh.SUFFIXES:
                mesh.write_mesh(made, job.out / f"{name}.face{number}{suffix}")
    return described


def _write_maps(job: Job, name: str, faces: Sequence[apply.Face], picture: Tensor) -> None:
    if job.maps:
        height, width = picture.shape[2:]
        apply.write_maps(job.out / f"{name}.{job.maps}", apply.maps(faces, height, width))


def _write_records(job: Job, name: str, source: str, picture: Tensor, records: Sequence[Mapping[str, Any]]) -> None:
    height, width = picture.shape[2:]
    result = {"source": source, "width": width, "height": height, "frames": records}
    write_atomic(job.out / f"{name}.json", json.dumps(result, indent=None, separators=(",", ":")).encode())
    if not job.csv:
        return
    head = ["frame", "face", "left", "top", "right", "bottom", "score", "yaw_deg", "pitch_deg", "roll_deg"]
    head += [f"{axis}{i}" for i in range(68) for axis in "xy"]
    with (job.out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(head)
        for record in records:
            for number, face in enumerate(record["faces"]):
                pose = face.get("pose", {})
                angles = [pose.get(k, "") for k in ("yaw_deg", "pitch_deg", "roll_deg")]
                points = [value for p in face.get("landmarks_px", [None] * 68) for value in (p or ("", ""))]
                table.writerow([record["frame"], number, *face["box"], face["score"], *angles, *points])

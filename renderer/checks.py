"""Is a data set sound? Decodes everything and compares it with the manifest, the record, the spec and the geometry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from renderer import archive, geometry
from renderer.errors import FormatError
from renderer.params import Camera, Deform, Expression, Head, Identity, Interior, Pose, Surface, Wear
from renderer.sample_format import FLOAT_IMAGES, HALF_STEP, PURE, image_names

_POINTS = 400  # skin points that are projected per sample
UV_TOLERANCE_PX = 0.25  # a sound map is within 0.1; beyond the median, points may hide behind other parts of the face


@dataclass
class Verdict:
    """What a check found. `problems` is empty for a sound data set."""

    samples: int = 0
    problems: list[str] = field(default_factory=list)
    uv_error: list[float] = field(default_factory=list)  # per sample: median error of re-projection in pixels
    yaw: list[float] = field(default_factory=list)
    pitch: list[float] = field(default_factory=list)
    roll: list[float] = field(default_factory=list)
    mouth_open: list[bool] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        self.samples += other.samples
        for name in ("problems", "uv_error", "yaw", "pitch", "roll", "mouth_open"):
            getattr(self, name).extend(getattr(other, name))


def verify(path: Path, workers: int, progress: Callable[[int], None] = lambda n: None) -> Verdict:
    """Check every shard of a data set. Raises DatasetError where there is nothing to check."""
    dataset = archive.open_dataset(path)
    verdict = Verdict()
    jobs = [(path, i) for i in range(len(dataset.shards))]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for part in pool.map(_verify_shard, jobs):
            verdict.add(part)
            progress(part.samples)
    verdict.problems += _gaps(dataset) + _statistics(dataset.info, verdict) + _duplicates(dataset)
    return verdict


def _verify_shard(job: tuple[Path, int]) -> Verdict:
    path, number = job
    dataset = archive.open_dataset(path)
    shard, info, verdict = dataset.shards[number], dataset.info, Verdict()
    name = shard.tar.name
    if archive.file_sha256(shard.tar) != shard.manifest.tar_sha256:
        verdict.problems.append(f"{name}: the tar is not the one its manifest was written for")
    m = shard.manifest
    have = sorted([s.index for s in m.samples] + [s.index for s in m.skipped])
    if have != list(range(m.start, m.stop)):
        verdict.problems.append(f"{name}: its samples are not {m.start} .. {m.stop - 1}")
    verdict.problems += [f"{name}: sample {s.index} was skipped: {s.reason.splitlines()[-1]}" for s in m.skipped]
    reproject = Reprojection(dataset) if _pack_folder(info) else None
    for entry in m.samples:
        verdict.samples += 1
        try:
            _verify_sample(shard, entry, info, verdict, reproject)
        except (FormatError, KeyError, ValueError) as error:
            verdict.problems.append(f"{entry.key}: {error}")
    return verdict


def _verify_sample(
    shard: archive.ShardReader,
    entry: archive.SampleEntry,
    info: dict[str, Any],
    verdict: Verdict,
    reproject: Reprojection | None,
) -> None:
    wanted = {f"{image}.exr" for image in image_names(tuple(info["labels"]))} | {"json"}
    if set(entry.members) != wanted:
        raise FormatError(f"members are {sorted(entry.members)}, expected {sorted(wanted)}")
    for extension in entry.members:
        shard.read(entry, extension, verify=True)
    record = shard.params(entry)
    images = {image: shard.image(entry, image) for image in image_names(tuple(info["labels"]))}
    for problem in sample_problems(images, record, info, entry):
        verdict.problems.append(f"{entry.key}: {problem}")
    if record["heads"]:
        knobs = record["knobs"]
        verdict.yaw.append(knobs["pose.yaw_rad"])
        verdict.pitch.append(knobs["pose.pitch_rad"])
        verdict.roll.append(knobs["pose.roll_rad"])
        verdict.mouth_open.append(knobs["mouth_open"])
    if reproject is not None:
        errors = reproject.errors(record, images["uv"].astype(np.float64), images["mask"][..., 0])
        if len(errors):
            verdict.uv_error.append(float(np.median(errors)))
            if len(errors) >= 20 and verdict.uv_error[-1] > UV_TOLERANCE_PX:
                verdict.problems.append(
                    f"{entry.key}: UV disagrees with the geometry by {verdict.uv_error[-1]:.2f} pixels (median); "
                    f"{UV_TOLERANCE_PX} is allowed"
                )


def sample_problems(
    images: dict[str, Any], record: dict[str, Any], info: dict[str, Any], entry: archive.SampleEntry
) -> Iterable[str]:
    """What is wrong with the images of a sample, in words."""
    side = info["resolution"]
    for name, image in images.items():
        single = name in FLOAT_IMAGES or (name.endswith("uv") and info["uv_precision"] == "float")
        if image.shape[:2] != (side, side) or image.dtype != (np.float32 if single else np.float16):
            yield f"{name} is {image.dtype} {image.shape}"
        if not np.isfinite(image).all():
            yield f"{name} holds values that are not finite"
        if archive.pixel_hash(image) != entry.pixels[name]:
            yield f"{name} does not decode to the pixels that were written"
    uv, mask = images["uv"].astype(np.float32), images["mask"].astype(np.float32)
    face, visible = mask[..., 0], mask[..., 1]
    if images["input"].min() < 0:
        yield "input has negative radiance"
    if images["input"].max() == 0:
        yield "input is all black"
    if uv.min() < 0 or uv.max() > 1 or mask.min() < 0 or mask.max() > 1:
        yield "uv or mask leave [0, 1]"
    if (visible > face + HALF_STEP).any():
        yield "more face is visible than there is"
    labelled = uv.any(axis=2)
    if (labelled & (face <= 0)).any():
        yield "there is UV outside the mask"
    if (~labelled & (face >= PURE)).any():
        yield "there is pure face without UV"
    share = record["measured"]["face_share"]
    if abs(float(face.mean()) - share) > 1e-3:
        yield f"the mask covers {face.mean():.4f} of the image, the record says {share:.4f}"
    if not record["heads"] and face.any():
        yield "the record says there is no head, the mask shows one"


# ---------------------------------------------------------------- geometry


def _pack_folder(info: dict[str, Any]) -> Path | None:
    from blend_assets.fetch import cache_root

    folder = cache_root() / info["assets"]["pack"]
    return folder if (folder / "files.json").exists() else None


class Reprojection:
    """UV against geometry, without Blender: skin points, computed from the record, are projected into the image.

    Where a point is visible, the UV map must show the point's own UV at the pixel it falls on. The error is the
    distance in pixels to the position that has this UV, by the map's own gradient.
    """

    def __init__(self, dataset: archive.Dataset) -> None:
        from renderer.assets import build_catalog
        from renderer.head_model import load_head
        from renderer.parts import PartBuilder, triangles
        from renderer.spec import parse_spec

        folder = _pack_folder(dataset.info)
        assert folder is not None
        spec = parse_spec(dataset.info["spec"], "dataset.json")
        self.model = load_head(folder)
        self.builder = PartBuilder(self.model, build_catalog(folder, spec))
        skin = self.builder.skin
        at = np.full((len(skin.rest if skin.rest is not None else ()), 2), -1.0)
        at[skin.faces[skin.faces >= 0]] = skin.uvs["uv"].reshape(-1, 2)[(skin.faces >= 0).ravel()]
        inside = np.flatnonzero(((at > 0.02) & (at < 0.98)).all(axis=1))
        self.points = inside[:: max(1, len(inside) // _POINTS)]
        self.uv = at[self.points]
        self.triangles = triangles(skin)[0]

    def errors(self, record: dict[str, Any], uv: Any, face: Any) -> Any:
        """Errors in pixels of those points of the first head that are well inside a smooth part of the UV map."""
        if len(record["heads"]) != 1:
            return np.zeros(0)
        head, camera = head_from_record(record["heads"][0]), Camera(**record["camera"])
        side = uv.shape[0]
        skin = next(p for p in self.builder.build(head, bare=True) if p.kind == "skin").vertices
        pixels = geometry.project(skin[self.points].astype(np.float64), camera, side)
        column, row = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
        c, r = np.floor(column).astype(int), np.floor(row).astype(int)
        within = (c >= 0) & (r >= 0) & (c < side - 1) & (r < side - 1) & (pixels[:, 2] > 0)
        within &= self._faces_camera(skin.astype(np.float64), camera)
        c, r, fx, fy = c[within], r[within], (column - c)[within, None], (row - r)[within, None]
        want = self.uv[within]
        corners = [uv[r, c], uv[r, c + 1], uv[r + 1, c], uv[r + 1, c + 1]]
        pure = np.min([face[r, c], face[r, c + 1], face[r + 1, c], face[r + 1, c + 1]], axis=0) >= PURE
        du = (corners[1] - corners[0]) * (1 - fy) + (corners[3] - corners[2]) * fy
        dv = (corners[2] - corners[0]) * (1 - fx) + (corners[3] - corners[1]) * fx
        here = (
            corners[0] * (1 - fx) * (1 - fy) + corners[1] * fx * (1 - fy)
            + corners[2] * (1 - fx) * fy + corners[3] * fx * fy
        )  # fmt: skip
        determinant = du[:, 0] * dv[:, 1] - du[:, 1] * dv[:, 0]
        scale = np.maximum(np.abs(du).max(axis=1), np.abs(dv).max(axis=1))
        # A point whose UV is far from what its pixels show is hidden behind another part of the face; at creases
        # and grazing angles the map has no useful gradient
        near = np.abs(want - here).max(axis=1) < 6 * scale
        good = pure & near & (np.abs(determinant) > 0.05 * scale**2) & (scale > 0) & (scale < 0.08)
        off, a, b, d = (want - here)[good], du[good], dv[good], determinant[good]
        x = (off[:, 0] * b[:, 1] - off[:, 1] * b[:, 0]) / d
        y = (a[:, 0] * off[:, 1] - a[:, 1] * off[:, 0]) / d
        return np.hypot(x, y)

    def _faces_camera(self, skin: Any, camera: Camera) -> Any:
        """Which of the chosen points lie on skin that is turned to the camera."""
        corners = skin[self.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        smooth = np.stack(
            [np.bincount(self.triangles.ravel(), np.repeat(normals[:, axis], 3), len(skin)) for axis in range(3)],
            axis=1,
        )[self.points]
        towards = np.array([0.0, 0.0, camera.distance_m]) - skin[self.points]
        lengths = np.linalg.norm(smooth, axis=1) * np.linalg.norm(towards, axis=1)
        return (smooth * towards).sum(axis=1) > 0.2 * lengths


def head_from_record(raw: dict[str, Any]) -> Head:
    """The inverse of `params.to_record` for one head."""

    def tuples(values: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    return Head(
        identity=Identity(**raw["identity"]),
        expression=Expression(**raw["expression"]),
        pose=Pose(**tuples(raw["pose"])),
        deform=Deform(**tuples(raw["deform"])),
        surface=Surface(**tuples(raw["surface"])),
        interior=Interior(**raw["interior"]),
        wear=Wear(**tuples(raw["wear"])),
    )


# ---------------------------------------------------------------- the whole


def _gaps(dataset: archive.Dataset) -> list[str]:
    """Samples between the first and the last that no shard holds, or that two hold."""
    at, problems = 0, []
    for shard in dataset.shards:
        m = shard.manifest
        if m.start > at:
            problems.append(f"samples {at} .. {m.start - 1} are missing: run the data set's `gen render` again")
        if m.start < at:
            problems.append(f"samples {m.start} .. {at - 1} are in two shards")
        at = max(at, m.stop)
    return problems


def _duplicates(dataset: archive.Dataset) -> list[str]:
    """Samples whose input image is that of another one."""
    seen: dict[str, str] = {}
    problems = []
    for _, entry in dataset.entries():
        first = seen.setdefault(entry.pixels["input"], entry.key)
        if first != entry.key:
            problems.append(f"{entry.key} has the same input image as {first}")
    return problems


def _statistics(info: dict[str, Any], verdict: Verdict) -> list[str]:
    """Pose and mouth against the spec, by tests that a sound data set fails about once in ten thousand."""
    from renderer.sampling import Z_999

    problems, pose = [], info["spec"]["pose"]
    frames = archive.clip_frames(info) or 1  # frames of a clip resemble each other: only clips count as draws
    low, high = pose["yaw_uniform_deg"]
    for name, values in (("yaw", verdict.yaw), ("pitch", verdict.pitch), ("roll", verdict.roll)):
        x = np.degrees(np.asarray(values))
        draws = len(x) // frames
        if draws < 30:
            continue
        variance, mean = (pose[f"{name}_deg"] / Z_999) ** 2, 0.0
        if name == "yaw":
            variance += (high - low) ** 2 / 12
            mean = pose["yaw_fixed_deg"] + (low + high) / 2
        sigma = math.sqrt(variance)
        if abs(x.mean() - mean) > 4 * sigma / math.sqrt(draws) + 1e-9:
            problems.append(f"mean {name} is {x.mean():.2f} degrees, the spec's is {mean:.2f}")
        if abs(x.std() - sigma) > 4 * sigma / math.sqrt(2 * draws) + 1e-9:
            problems.append(f"spread of {name} is {x.std():.2f} degrees, the spec's is {sigma:.2f}")
    share, n = info["spec"]["expression"]["open_share"], len(verdict.mouth_open) // frames
    if n >= 30:
        got = float(np.mean(verdict.mouth_open))
        if abs(got - share) > 4 * math.sqrt(max(share * (1 - share), 0.01) / n):
            problems.append(f"{got:.2f} of the mouths are open, the spec says {share:.2f}")
    return problems

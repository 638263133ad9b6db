"""Is a shard sound? Reads it once, and compares it with its manifest, the records, the spec and the geometry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import FormatError, HeadforgeError
from renderer.format import exr
from renderer.format.folder import DATASET_FILE
from renderer.format.manifest import Manifest, SampleEntry
from renderer.format.sample_format import (
    DRAW_VERSION,
    FLOAT_IMAGES,
    HALF_STEP,
    PER_VERTEX,
    PURE,
    frame_size,
    image_names,
)
from renderer.format.staging import pixel_hash
from renderer.labels.reference import Reference
from renderer.parameters.spec import Spec, parse_spec
from renderer.report.statistics import Sums

CHECKS_VERSION: Final = 2  # raise it when checks are added or changed: what older ones proved is then proven again
_CHUNK: Final = 1 << 20
_COVERAGE_ERROR: Final = 0.3  # of A in a pixel, where Cycles' samples rather than the label rays have counted it


@dataclass
class Findings:
    """What examining one shard gave."""

    samples: int = 0
    problems: list[str] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)  # index and reason
    sums: Sums = field(default_factory=Sums)
    uv_errors: list[float] = field(default_factory=list)  # by view: median error of re-projection in pixels
    fingerprints: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))  # by sample, in order
    note: str = ""  # which checks are left out, as an older version made the data set
    unchecked: str = ""  # why records and UV could not be compared with the spec's geometry; empty: they were


class Examiner:
    """Examines shards of one data set; `info` is its dataset.json."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.spec: Spec | None = None
        self.reference: Reference | None = None
        self.note = self.unchecked = ""
        if "shots" in info:
            self.unchecked = "own footage has no geometry to draw again"
            return
        try:
            self.spec = parse_spec(info["spec"], DATASET_FILE)
            self.reference = Reference(info)
            self.note = self.reference.not_redrawn
        except HeadforgeError as error:
            self.unchecked = str(error)

    def examine(self, tar: Path, manifest: Manifest, heartbeat: Callable[[], None] = lambda: None) -> Findings:
        """Every check of one shard. `heartbeat` is called after each sample; what it raises ends the work.

        Raises OSError where the tar cannot be read: that says nothing about what it holds.
        """
        found, m = Findings(note=self.note, unchecked=self.unchecked), manifest
        found.fingerprints = np.zeros(m.stop - m.start, np.uint64)
        found.skipped = [(s.index, s.reason.splitlines()[-1] if s.reason else "") for s in m.skipped]
        found.problems += [f"{tar.name}: {problem}" for problem in _manifest_problems(tar, m, self.info["tag"])]
        with tar.open("rb") as file:
            once = _ReadOnce(file)
            for entry in sorted(m.samples, key=lambda e: min((b.offset for b in e.members.values()), default=0)):
                found.samples += 1
                try:
                    self._examine_sample(once, entry, found, m.start)
                except (FormatError, KeyError, ValueError, TypeError, IndexError) as error:
                    found.problems.append(f"{entry.key}: {error if str(error) else type(error).__name__}")
                heartbeat()
            if once.tar_sha256() != m.tar_sha256:
                found.problems.append(f"{tar.name}: the tar is not the one its manifest was written for")
        return found

    def _examine_sample(self, once: _ReadOnce, entry: SampleEntry, found: Findings, start: int) -> None:
        names = tuple(self.info.get("images") or image_names(tuple(self.info["labels"])))
        wanted = {f"{image}.exr" for image in names} | {"json"}
        if set(entry.members) != wanted:
            raise FormatError(f"members are {sorted(entry.members)}, expected {sorted(wanted)}")
        content = once.members(entry)
        record = json.loads(content["json"])
        images = {image: exr.decode(image, content[f"{image}.exr"]) for image in names}
        found.problems += [f"{entry.key}: {p}" for p in sample_problems(images, record, self.info, entry)]
        found.fingerprints[entry.index - start] = fingerprint(images, entry)
        if self.spec is not None:
            same_draws = self.info.get("draw_version") == DRAW_VERSION
            found.sums.add(record, self.spec, self.info["seed"] if same_draws else None)
        if self.reference is not None:
            again = self.reference.problems(record, images, found.uv_errors)
            found.problems += [f"{entry.key}: {problem}" for problem in again]


class _ReadOnce:
    """A tar read once, from its start to its end, and hashed on the way."""

    def __init__(self, file: Any) -> None:
        self._file, self._at, self._digest = file, 0, hashlib.sha256()

    def members(self, entry: SampleEntry) -> dict[str, bytes]:
        """Content of a sample's members, in archive order. Raises FormatError where one is not what was written."""
        content, damaged = {}, []
        for name, member in sorted(entry.members.items(), key=lambda item: item[1].offset):
            if member.offset < self._at:
                raise FormatError(f"{name} lies at {member.offset}, within what is before it")
            while self._at < member.offset and self._read(min(_CHUNK, member.offset - self._at)):
                pass
            content[name] = self._read(member.size)
            if len(content[name]) != member.size or hashlib.sha256(content[name]).hexdigest() != member.sha256:
                damaged.append(name)
        if damaged:  # after all were read, so that the next sample is found
            raise FormatError(f"{', '.join(damaged)}: cut short or damaged")
        return content

    def tar_sha256(self) -> str:
        """Hash of the whole file, after the rest of it."""
        while self._read(_CHUNK):
            pass
        return self._digest.hexdigest()

    def _read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self._at += len(data)
        self._digest.update(data)
        return data


def _manifest_problems(tar: Path, m: Manifest, tag: str) -> Iterable[str]:
    if m.tag != tag:
        yield f"belongs to data set {m.tag!r}, not to {tag!r}"
    if m.stem != tar.stem:
        yield f"its manifest is about {m.stem}"
    if sorted([s.index for s in m.samples] + [s.index for s in m.skipped]) != list(range(m.start, m.stop)):
        yield f"its samples are not {m.start} .. {m.stop - 1}"


def fingerprint(images: dict[str, Any], entry: SampleEntry) -> int:
    """64 bits of the input image's hash, to find images that occur twice; 0 for one that may.

    Without a face in view, an image may have one value all over, and there are but some thousand such values. Frames of
    own footage, which have no mask, may repeat.
    """
    if "mask" not in images or (_one_colour(images["input"]) and not _shows_face(images["mask"])):
        return 0
    return int(entry.pixels["input"][:16], 16) or 1


def _one_colour(image: exr.Image) -> bool:
    return bool((image == image[:1, :1]).all())


def _shows_face(mask: exr.Image) -> bool:
    return bool((mask[..., 1] >= PURE).any())


def sample_problems(
    images: dict[str, Any], record: dict[str, Any], info: dict[str, Any], entry: SampleEntry
) -> Iterable[str]:
    """What is wrong with the images of a sample, in words."""
    width, height = frame_size(info["resolution"])
    for name, image in images.items():
        single = name in FLOAT_IMAGES or (name.endswith("uv") and info["uv_precision"] == "float")
        sides = (1, image.shape[1]) if name in PER_VERTEX else (height, width)
        if image.shape[:2] != sides or image.dtype != (np.float32 if single else np.float16):
            yield f"{name} is {image.dtype} {image.shape}"
        if not np.isfinite(image).all():
            yield f"{name} holds values that are not finite"
        if pixel_hash(image) != entry.pixels[name]:
            yield f"{name} does not decode to the pixels that were written"
    if (record["key"], record["index"]) != (entry.key, entry.index):
        yield f"its record is that of {record['key']}, sample {record['index']}"
    if images["input"].min() < 0:
        yield "input has negative radiance"
    if "mask" not in images:
        return  # own footage
    lit = record["light"]["on"] or record["environment"]["strength"] > 0
    if lit and _one_colour(images["input"]) and _shows_face(images["mask"]):
        yield "input is of one colour, though the mask says it shows a face"
    if "foreground" in images:
        yield from _foreground_problems(*(images[k].astype(np.float32) for k in ("foreground", "input", "mask")))
    yield from _label_problems(images["uv"].astype(np.float32), images["mask"].astype(np.float32), record)


def _foreground_problems(foreground: Any, image: Any, mask: Any) -> Iterable[str]:
    """The backdrop is not stored, but it has no negative light, and none of it comes through where A is 1."""
    colour, alpha = foreground[..., :3], foreground[..., 3]
    if alpha.min() < 0 or alpha.max() > 1:
        yield "the coverage of the foreground leaves [0, 1]"
    rounding = 2 * HALF_STEP * (1 + np.abs(image))
    if (colour > image + rounding).any():
        yield "the foreground is brighter than the input that it is part of"
    if (np.abs(np.maximum(colour, 0) - image) > rounding + HALF_STEP * image.max())[alpha == 1].any():
        yield "the input differs from the foreground where that hides all else"
    if (mask[..., 1] > alpha + _COVERAGE_ERROR).any():
        yield "there is visible face outside the foreground"


def _label_problems(uv: Any, mask: Any, record: dict[str, Any]) -> Iterable[str]:
    face, visible = mask[..., 0], mask[..., 1]
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
    if not abs(float(face.mean()) - share) <= 1e-3:
        yield f"the mask covers {face.mean():.4f} of the image, the record says {share:.4f}"
    if not record["heads"] and face.any():
        yield "the record says there is no head, the mask shows one"

"""Shards: tar files of samples with a manifest beside them, and the data set folder that holds them.

Finished or absent. A shard is written under a temporary name, flushed, renamed, and counts only once its manifest
stands beside it. Equal samples give equal tar bytes: fixed member order, owner and times.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import re
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from renderer.errors import DatasetError, FormatError
from renderer.files import file_sha256, make_folder, publish, write_atomic
from renderer.format import exr
from renderer.format.open_files import OpenFiles
from renderer.format.sample_format import (
    FORMAT_VERSION,
    canonical_json,
    image_names,
    member_name,
    params_name,
    shard_stem,
)
from renderer.format.shard_index import ShardSummary, check_version, damaged, index_content, read_index, read_summary

SHARDS = "shards"
DATASET_FILE = "dataset.json"
INDEX_FILE = "index.json"
SHARD_STEM = re.compile(r"\d{10,}-\d{10,}")  # what `sample_format.shard_stem` gives
SPREAD_SHARDS = 100  # whose manifests are parsed for a sample of the whole
_MANIFESTS = 4  # parsed ones that a data set keeps: 1.3 MB each at 500 samples


# ---------------------------------------------------------------- one sample


@dataclass(frozen=True)
class EncodedSample:
    """A sample ready for the archive."""

    index: int
    key: str
    members: dict[str, bytes]  # member name -> file content, in archive order
    pixels: dict[str, str]  # image name -> sha256 of the decoded pixels
    work: dict[str, Any]  # where and how fast it was made; kept out of the tar, which must not depend on it


def pixel_hash(image: exr.Image) -> str:
    """sha256 over dtype, shape and values of an image."""
    digest = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def encode_sample(
    index: int,
    key: str,
    images: Mapping[str, exr.Image],
    params: Mapping[str, Any],
    work: Mapping[str, Any] | None = None,
) -> EncodedSample:
    """Images and parameters to archive members. Raises FormatError on bad images, as `exr.encode`."""
    ordered = [name for name in image_names(tuple(images)) if name in images]
    members = {member_name(key, name): exr.encode(name, images[name]) for name in ordered}
    members[params_name(key)] = canonical_json(params)
    hashes = {name: pixel_hash(images[name]) for name in ordered}
    return EncodedSample(index, key, members, hashes, dict(work or {}))


def stage_sample(folder: Path, sample: EncodedSample) -> Path:
    """Write one sample to `folder` as INDEX.tar. Worker processes hand samples over so.

    Whole or not at all if this process dies. Nothing is synced, so a power cut may leave a file of zeros: syncing each
    sample and its folder took 13 ms in place of 1.1 ms on a virtual disk, and all workers would queue for it.
    `load_staged` compares hashes instead, and what it refuses is rendered again: a power cut costs the time of unsealed
    samples, but lets no damaged one into a shard.
    """
    final = folder / f"{sample.index:010d}.tar"
    about = {
        "index": sample.index,
        "key": sample.key,
        "pixels": sample.pixels,
        "work": sample.work,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in sample.members.items()},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in {**sample.members, "about.json": canonical_json(about)}.items():
            tar.addfile(_tar_info(name, len(data)), io.BytesIO(data))
    partial = folder / f".{final.name}.{uuid.uuid4().hex}"
    partial.write_bytes(buffer.getvalue())
    partial.replace(final)
    return final


def load_staged(path: Path) -> EncodedSample:
    """Read what `stage_sample` wrote. Raises FormatError if it is not that, to the last bit of every member."""
    try:
        with tarfile.open(path) as tar:
            members = {}
            for info in tar:
                content = tar.extractfile(info)
                if content is None:
                    raise FormatError(f"{path} holds {info.name!r}, which is no file")
                members[info.name] = content.read()
        about = json.loads(members.pop("about.json"))
        if {name: hashlib.sha256(data).hexdigest() for name, data in members.items()} != about["sha256"]:
            raise FormatError(f"{path} is damaged: its members are not those that were staged")
        return EncodedSample(about["index"], about["key"], members, about["pixels"], about["work"])
    except (tarfile.TarError, KeyError, ValueError, TypeError, OSError) as error:
        raise FormatError(f"{path} is not a staged sample: {error}") from error


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, 0, 0o644
    return info


# ---------------------------------------------------------------- one shard


@dataclass(frozen=True)
class Member:
    """Where one member's content lies in the tar."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class SampleEntry:
    """One sample in a manifest. `members` is keyed by what follows `KEY.`: "input.exr", ..., "json"."""

    index: int
    key: str
    members: dict[str, Member]
    pixels: dict[str, str]
    work: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A sample that failed too often, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What a shard holds. Stored as JSON beside the tar, written last."""

    start: int
    stop: int
    tag: str  # the data set's tag, see `sample_format.dataset_tag`
    tar_bytes: int
    tar_sha256: str
    samples: tuple[SampleEntry, ...]
    skipped: tuple[Skipped, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)  # headforge, commit, bpy, numpy, ...
    work: dict[str, Any] = field(default_factory=dict)  # host, seconds, job: whatever must not be in the tar
    format_version: int = FORMAT_VERSION

    @property
    def stem(self) -> str:
        return shard_stem(self.start, self.stop)

    @property
    def summary(self) -> ShardSummary:
        skipped = tuple(sorted(s.index for s in self.skipped))
        return ShardSummary(self.start, self.stop, self.tag, self.tar_bytes, self.tar_sha256, skipped)


def write_shard(
    out: Path,
    start: int,
    stop: int,
    tag: str,
    samples: Iterable[EncodedSample],
    *,
    skipped: Sequence[Skipped] = (),
    versions: Mapping[str, str] | None = None,
    work: Mapping[str, Any] | None = None,
    scratch: Path | None = None,
) -> Manifest:
    """Write samples start .. stop-1 (those not skipped) as one shard of the data set at `out`.

    samples: in the order of their index; the tar is built in `scratch` (default: beside its final place), then copied,
    renamed, and announced by its manifest. A shard that is there already is left alone and its manifest returned.
    Raises FormatError if samples and skipped do not make up the range.
    """
    shards = out / SHARDS
    make_folder(shards)
    stem = shard_stem(start, stop)
    final, manifest_path = shards / f"{stem}.tar", shards / f"{stem}.json"
    if is_finished(manifest_path):
        return read_manifest(manifest_path)
    unique = uuid.uuid4().hex
    local = (scratch or shards) / f".{stem}.{unique}.tar.partial"
    entries: list[SampleEntry] = []
    try:
        with local.open("wb") as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                members = {}
                for name, data in sample.members.items():
                    offset = tar.offset + tarfile.BLOCKSIZE  # a USTAR header of a short name is one block
                    tar.addfile(_tar_info(name, len(data)), io.BytesIO(data))
                    extension = name.removeprefix(f"{sample.key}.")
                    members[extension] = Member(offset, len(data), hashlib.sha256(data).hexdigest())
                entries.append(SampleEntry(sample.index, sample.key, members, sample.pixels, sample.work))
        covered = sorted([e.index for e in entries] + [s.index for s in skipped])
        if covered != list(range(start, stop)) or [e.index for e in entries] != sorted(e.index for e in entries):
            raise FormatError(f"shard {stem} was given samples {covered[:3]}..{covered[-3:]} in disorder or with gaps")
        manifest = Manifest(
            start=start,
            stop=stop,
            tag=tag,
            tar_bytes=local.stat().st_size,
            tar_sha256=file_sha256(local),
            samples=tuple(entries),
            skipped=tuple(skipped),
            versions=dict(versions or {}),
            work=dict(work or {}),
        )
        if is_finished(manifest_path):  # another job finished the same shard meanwhile; its tar belongs to its manifest
            return read_manifest(manifest_path)
        publish(local, final, manifest.tar_sha256)
        write_atomic(manifest_path, json.dumps(asdict(manifest), separators=(",", ":")).encode())
    finally:
        local.unlink(missing_ok=True)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Parse a manifest. Raises FormatError where it is damaged or of another format version."""
    try:
        raw = json.loads(path.read_bytes())
        check_version(raw, path)
        samples = tuple(
            SampleEntry(
                s["index"],
                s["key"],
                {name: Member(**member) for name, member in s["members"].items()},
                s["pixels"],
                s["work"],
            )
            for s in raw.pop("samples")
        )
        skipped = tuple(Skipped(**s) for s in raw.pop("skipped"))
        return Manifest(samples=samples, skipped=skipped, **raw)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def _expected_manifest(path: Path, summary: ShardSummary) -> Manifest:
    """A manifest, as long as it is the one that the data set was opened with."""
    manifest = read_manifest(path)
    if manifest.summary != summary:
        raise FormatError(
            f"{path} is another one than when the data set was opened, or than {INDEX_FILE} says: delete {INDEX_FILE},"
            " which `gen render` makes again, and start anew"
        )
    return manifest


class ShardCache:
    """What the shards of a data set share, so that memory and open files do not grow with their number."""

    def __init__(self) -> None:
        self.files = OpenFiles()
        self.manifest = functools.lru_cache(_MANIFESTS)(_expected_manifest)

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardCache, ()


class ShardReader:
    """Random access to the members of one shard. Opens lazily; safe to pickle and to share in threads.

    known: the manifest, or its summary; then the manifest is read when a sample is asked for.
    cache: shared by the shards of a data set; by default the shard has its own.
    Raises FormatError on a member that is cut short; `verify=True` compares its hash, too.
    """

    def __init__(self, tar: Path, known: Manifest | ShardSummary, cache: ShardCache | None = None) -> None:
        self.tar = tar
        self.summary = known.summary if isinstance(known, Manifest) else known
        self._manifest = known if isinstance(known, Manifest) else None
        self._cache = cache or ShardCache()

    @property
    def manifest(self) -> Manifest:
        """With every sample. Raises FormatError if it is damaged, or another than it was as the index was written."""
        return self._manifest or self._cache.manifest(self.tar.with_suffix(".json"), self.summary)

    def read(self, entry: SampleEntry, extension: str, *, verify: bool = False) -> bytes:
        """Content of KEY.`extension`, for example "uv.exr"."""
        if extension not in entry.members:
            raise FormatError(f"{self.tar}: sample {entry.key} has no {extension!r}; it has {sorted(entry.members)}")
        member = entry.members[extension]
        data = self._cache.files.read(self.tar, member.size, member.offset)
        if len(data) != member.size or (verify and hashlib.sha256(data).hexdigest() != member.sha256):
            raise FormatError(f"{self.tar}: {entry.key}.{extension} is cut short or damaged; run `gen verify`")
        return data

    def image(self, entry: SampleEntry, name: str) -> exr.Image:
        """One decoded image, (H, W, C)."""
        return exr.decode(name, self.read(entry, f"{name}.exr"))

    def params(self, entry: SampleEntry) -> dict[str, Any]:
        """The sample's JSON record."""
        try:
            record = json.loads(self.read(entry, "json"))
        except ValueError as error:  # not JSON, or not even text
            raise FormatError(f"{self.tar}: {entry.key}.json is damaged: {error}; run `gen verify`") from error
        if not isinstance(record, dict):
            raise FormatError(f"{self.tar}: {entry.key}.json holds no record; run `gen verify`")
        return record


# ---------------------------------------------------------------- a data set


@dataclass(frozen=True)
class Dataset:
    """A data set folder: its identity and the shards finished so far, by start index."""

    path: Path
    info: dict[str, Any]  # dataset.json: format_version, name, tag, seed, spec, assets, uv_frame, labels, ...
    shards: tuple[ShardReader, ...]

    def __len__(self) -> int:
        return sum(shard.summary.samples for shard in self.shards)

    @functools.cached_property
    def ends(self) -> tuple[int, ...]:
        """Per shard: how many samples it and those before it hold."""
        return tuple(itertools.accumulate(shard.summary.samples for shard in self.shards))

    def locate(self, position: int) -> tuple[int, int]:
        """Number of the shard, and the place in it, of the sample at a position 0 .. len-1, by index."""
        number = bisect.bisect_right(self.ends, position)
        return number, position - self.ends[number] + self.shards[number].summary.samples

    def index(self, position: int) -> int:
        """Of the sample at a position."""
        number, place = self.locate(position)
        return self.shards[number].summary.index(place)

    def position(self, index: int) -> int:
        """The inverse of `index`. Raises ValueError where the data set lacks the sample."""
        number = bisect.bisect_right(self.shards, index, key=lambda shard: shard.summary.start) - 1
        if number < 0:
            raise ValueError(f"{self.path} holds no sample {index}")
        summary = self.shards[number].summary
        return self.ends[number] - summary.samples + summary.place(index)

    @property
    def clip_frames(self) -> int:
        """Frames of a clip, where samples are frames of clips (docs/design/0004); else 0."""
        return clip_frames(self.info)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ShardReader, SampleEntry]]:
        """Every sample with its shard, by index; only those with start <= index < stop."""
        for shard in self.shards:
            if shard.summary.stop <= start or (stop is not None and shard.summary.start >= stop):
                continue
            for entry in shard.manifest.samples:
                if entry.index >= start and (stop is None or entry.index < stop):
                    yield shard, entry

    def spread(self, count: int) -> Iterator[tuple[ShardReader, SampleEntry]]:
        """At most `count` samples, evenly spread over at most `SPREAD_SHARDS` shards that are evenly spread, too."""
        shards = [self.shards[i] for i in _evenly(len(self.shards), SPREAD_SHARDS)]
        ends = list(itertools.accumulate(shard.summary.samples for shard in shards))
        for position in _evenly(ends[-1], count):
            number = bisect.bisect_right(ends, position)
            shard = shards[number]
            yield shard, shard.manifest.samples[position - ends[number] + shard.summary.samples]


def _evenly(total: int, count: int) -> list[int]:
    """At most `count` of the numbers 0 .. total-1, first and last among them."""
    count = min(count, total)
    return sorted({round(i * (total - 1) / max(count - 1, 1)) for i in range(count)})


def read_info(path: Path) -> dict[str, Any]:
    """`dataset.json` of a folder. Raises DatasetError if there is none, or one of another format version; FormatError
    if it has no tag."""
    file = path / DATASET_FILE
    try:
        info: dict[str, Any] = json.loads(file.read_bytes())
        version = info["format_version"]
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is not a data set: it has no {DATASET_FILE}; render one with `gen render`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    if version != FORMAT_VERSION:
        raise DatasetError(f"{file} has format version {version!r}; this headforge reads {FORMAT_VERSION}")
    if not isinstance(info.get("tag"), str):
        raise FormatError(f"{file} has no tag: it is damaged, take it from a copy of the data set")
    return info


def clip_frames(info: Mapping[str, Any]) -> int:
    """Of `dataset.json`: frames of a clip, 0 where samples are images of their own."""
    return int(info["spec"].get("sequence", {}).get("frames", 0))


def is_finished(manifest: Path) -> bool:
    """Whether a shard counts: its manifest and its tar are there."""
    return manifest.exists() and manifest.with_suffix(".tar").exists()


def finished_stems(path: Path) -> list[str]:
    """Shards of a data set folder by range, from one listing: those whose manifest and tar are there."""
    try:
        names = {entry.name for entry in os.scandir(path / SHARDS)}
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(s for s in stems if SHARD_STEM.fullmatch(s) and f"{s}.tar" in names)


def finished_manifests(path: Path) -> list[Path]:
    """Manifests of a data set folder by range, those without a tar left out."""
    return [path / SHARDS / f"{stem}.json" for stem in finished_stems(path)]


def finished_ranges(path: Path) -> list[tuple[int, int]]:
    """(start, stop) of the finished shards of a data set folder, in order."""
    return [(int(start), int(stop)) for start, _, stop in (s.partition("-") for s in finished_stems(path))]


def open_dataset(path: Path) -> Dataset:
    """A data set for reading. Costs one listing of its folder; manifests are parsed as their samples are asked for.

    Raises DatasetError if it is none, foreign shards are among it, shards overlap, a tar is gone that a manifest or
    the index names, or none is finished.
    """
    info = read_info(path)
    listed = read_index(path / INDEX_FILE) or {}
    shards = _open_shards(path, info["tag"], listed)
    if gone := sorted(listed.keys() - {f"{SHARDS}/{shard.tar.name}" for shard in shards}):
        raise DatasetError(f"{path} lacks {gone[0]}, which its index names: put it back or run its `gen render` again")
    return Dataset(path, info, shards)


def _open_shards(path: Path, tag: str, listed: Mapping[str, ShardSummary | None]) -> tuple[ShardReader, ...]:
    """Every shard in the folder; of those that the index lists as they are on disk, the manifest is not opened."""
    sizes = _sizes(path / SHARDS)
    cache = ShardCache()
    shards: list[ShardReader] = []
    for stem in sorted(name.removesuffix(".json") for name in sizes if name.endswith(".json")):
        file, tar = path / SHARDS / f"{stem}.json", path / SHARDS / f"{stem}.tar"
        if tar.name not in sizes:
            raise DatasetError(f"{file} has lost its tar: put it back or run the data set's `gen render` again")
        known = listed.get(f"{SHARDS}/{tar.name}")
        if known is None or (known.tag, known.tar_bytes, known.manifest_bytes) != (
            tag, sizes[tar.name], sizes[file.name]
        ):  # fmt: skip
            known = read_summary(file)
        if shards and known.start < shards[-1].summary.stop:
            raise DatasetError(
                f"{file} holds samples that {shards[-1].tar.name} holds, too: delete one of the two, tar and manifest,"
                " and run the data set's `gen render` again"
            )
        if known.tag != tag:
            raise DatasetError(f"{file} belongs to data set {known.tag!r}, not to {tag!r} of {path}")
        if sizes[tar.name] != known.tar_bytes:
            raise DatasetError(f"{tar} has {sizes[tar.name]} bytes, its manifest says {known.tar_bytes}")
        shards.append(ShardReader(tar, known, cache))
    if not shards:
        raise DatasetError(f"{path} holds no finished shard yet; run its `gen render` again")
    return tuple(shards)


def _sizes(folder: Path) -> dict[str, int]:
    """Name -> bytes of the tars and manifests in a folder; what is not named by a range is none."""
    sizes = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as listing:
        for entry in listing:
            stem, _, suffix = entry.name.partition(".")
            if suffix in ("tar", "json") and SHARD_STEM.fullmatch(stem):
                with contextlib.suppress(FileNotFoundError):  # taken back at this moment
                    sizes[entry.name] = entry.stat().st_size
    return sizes


def write_index(path: Path) -> dict[str, Any]:
    """Write index.json: every finished shard with range, size and hash, and the totals. Returns it."""
    info = read_info(path)
    try:
        listed = read_index(path / INDEX_FILE) or {}
    except DatasetError:
        listed = {}  # it is about to be replaced
    shards = _open_shards(path, info["tag"], listed)  # an old index may name shards that were taken back since
    index = index_content(info["tag"], ((f"{SHARDS}/{shard.tar.name}", shard.summary) for shard in shards))
    write_atomic(path / INDEX_FILE, json.dumps(index, indent=1).encode())
    return index


def unpack(shard: ShardReader, folder: Path) -> None:
    """Stage every sample of a shard in `folder` again. Raises FormatError on a damaged one."""
    for entry in shard.manifest.samples:
        members = {f"{entry.key}.{name}": shard.read(entry, name, verify=True) for name in entry.members}
        stage_sample(folder, EncodedSample(entry.index, entry.key, members, entry.pixels, entry.work))


def gather(dataset: Dataset, tar: Path, progress: Callable[[int], None] = lambda samples: None) -> None:
    """Write every sample of a data set into one tar, whole or not at all."""
    partial = tar.with_name(f".{tar.name}.{uuid.uuid4().hex}.partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as target:
            for shard in dataset.shards:
                with tarfile.open(shard.tar) as source:
                    for info in source:
                        target.addfile(info, source.extractfile(info))
                progress(shard.summary.samples)
        publish(partial, tar, "")  # in one folder: renamed, not copied
    finally:
        partial.unlink(missing_ok=True)

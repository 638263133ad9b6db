"""A shard: a tar of samples with a manifest beside it.

Finished or absent. The tar is written under a temporary name, flushed, renamed, and counts only once its manifest
stands beside it. Equal samples give equal tar bytes: fixed member order, owner and times.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from renderer.errors import FormatError
from renderer.files import file_sha256, make_folder, publish, write_atomic
from renderer.format import exr
from renderer.format.folder import INDEX_FILE, SHARDS, is_finished
from renderer.format.manifest import Manifest, Member, SampleEntry, ShardSummary, Skipped, read_manifest
from renderer.format.open_files import OpenFiles
from renderer.format.sample_format import shard_stem
from renderer.format.staging import EncodedSample, stage_sample, tar_info

_MANIFESTS: Final = 4  # parsed ones that a data set keeps: 1.3 MB each at 500 samples


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
                    tar.addfile(tar_info(name, len(data)), io.BytesIO(data))
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


def unpack(shard: ShardReader, folder: Path) -> None:
    """Stage every sample of a shard in `folder` again. Raises FormatError on a damaged one."""
    for entry in shard.manifest.samples:
        members = {f"{entry.key}.{name}": shard.read(entry, name, verify=True) for name in entry.members}
        stage_sample(folder, EncodedSample(entry.index, entry.key, members, entry.pixels, entry.work))

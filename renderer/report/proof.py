"""Verification that can be split, stopped and repeated.

Every shard that was examined leaves a small proof in OUT/verified/. A proof holds as long as tar, manifest,
dataset.json and the checks are those it was made with, so that a call that was stopped or killed goes on where it was.
`conclude` merges the proofs: gaps, images that occur twice, statistics, number of samples.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import HeadforgeError, SpecError
from renderer.files import write_atomic
from renderer.format import state
from renderer.format.dataset import open_dataset
from renderer.format.folder import DATASET_FILE, SHARDS, finished_ranges, finished_stems, read_info
from renderer.format.manifest import SampleEntry, read_manifest
from renderer.format.sample_format import shard_stem
from renderer.format.shard import ShardReader
from renderer.parameters.spec import parse_spec
from renderer.report.checks import CHECKS_VERSION, Examiner, Findings
from renderer.report.statistics import Sums, statistics_problems
from renderer.report.verify_pool import run_shards
from renderer.run.plan import missing_ranges

PROOFS: Final = "verified"
_LISTED: Final = 50  # problems in a verdict, and in a proof; the rest is counted
_BIN_PX: Final = 0.001  # of the histogram that gives the median error of UV
_MOST_PAIRS: Final = 1000  # images that occur twice and are looked at

Fingerprints = npt.NDArray[np.uint64]


@dataclass
class Verdict:
    """What is known of a data set. `problems` is empty for a sound one; they are listed up to a limit, all counted."""

    count: int = 0  # samples it is meant to have
    samples: int = 0  # samples there, skipped ones left out
    skipped: list[int] = field(default_factory=list)
    missing: int = 0  # of the first `count`, those in no shard
    unproven: int = 0  # shards not examined yet
    problems: list[str] = field(default_factory=list)
    found: int = 0  # problems, listed or not
    uv_error_px: float | None = None  # median over all views of their median error; None: no face to compare
    note: str = ""  # which checks are left out, as an older version made the data set
    unchecked: str = ""  # why records and UV could not be compared with the spec's geometry; empty: they were

    @property
    def complete(self) -> bool:
        return self.missing == 0 < self.count

    @property
    def verified(self) -> bool:
        return self.complete and not self.found and not self.unproven

    def add(self, problems: Iterable[str], found: int | None = None) -> None:
        listed = list(problems)
        self.found += len(listed) if found is None else found
        self.problems += listed[: max(0, _LISTED - len(self.problems))]


# ---------------------------------------------------------------- one shard


def prove(path: Path, stem: str, examiner: Examiner, heartbeat: Callable[[], None] = lambda: None) -> None:
    """Examine one shard and leave its proof, whole or not at all. Raises OSError where its tar cannot be read."""
    tar, manifest_file = _files(path, stem)
    identity = _identity(path, stem)  # before the first byte is read: a change meanwhile makes the proof void
    try:
        manifest = read_manifest(manifest_file)
        found = examiner.examine(tar, manifest, heartbeat)
    except HeadforgeError as error:  # the manifest is damaged
        found = Findings(problems=[str(error)])
    head = {
        "identity": identity,
        "samples": found.samples,
        "skipped": found.skipped,
        "problems": found.problems[:_LISTED],
        "found": len(found.problems),
        "note": found.note,
        "unchecked": found.unchecked,
        "sums": found.sums.to_plain(),
        "fingerprints": len(found.fingerprints),
    }
    errors = np.asarray(found.uv_errors, "<f4").tobytes()
    data = json.dumps(head).encode() + b"\n" + found.fingerprints.astype("<u8").tobytes() + errors
    folder = path / PROOFS
    folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{stem}.proof", data)


@dataclass(frozen=True)
class Proof:
    """What a proof says; the arrays of its samples are read on demand."""

    file: Path
    head: dict[str, Any]

    @property
    def sound(self) -> bool:
        return not self.head["found"]

    def arrays(self) -> tuple[Fingerprints, npt.NDArray[np.float32]]:
        """(stop - start,) fingerprints by sample and (n,) median UV errors in pixels."""
        with self.file.open("rb") as file:
            file.readline()
            rest = file.read()
        size = 8 * int(self.head["fingerprints"])
        return np.frombuffer(rest[:size], "<u8"), np.frombuffer(rest[size:], "<f4")


def read_proof(path: Path, stem: str) -> Proof | None:
    """The proof of a shard, if there is one and it holds."""
    file = path / PROOFS / f"{stem}.proof"
    try:
        with file.open("rb") as opened:
            head = json.loads(opened.readline())
        holds = head["identity"] == _identity(path, stem)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Proof(file, head) if holds else None


def _identity(path: Path, stem: str) -> dict[str, Any]:
    """What a proof is about; it is void once any of this is another."""
    tar, manifest = (file.stat() for file in _files(path, stem))
    return {
        "checks": CHECKS_VERSION,
        "dataset": _digest(path / DATASET_FILE),
        "tar": [tar.st_size, tar.st_mtime_ns],
        "manifest": [manifest.st_size, manifest.st_mtime_ns],
    }


def _digest(file: Path) -> str:
    stat = file.stat()
    return _digest_of(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest_of(file: Path, size: int, mtime_ns: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _files(path: Path, stem: str) -> tuple[Path, Path]:
    base = path / SHARDS / stem
    return base.with_suffix(".tar"), base.with_suffix(".json")


# ---------------------------------------------------------------- many shards


def unproven(path: Path) -> list[str]:
    """Finished shards, by range, that have no proof, or one that found something wrong or could not see everything."""
    stems, blind = [], []
    for stem in finished_stems(path):
        proof = read_proof(path, stem)
        if proof is None or not proof.sound:
            stems.append(stem)
        elif proof.head["unchecked"] or proof.head["note"]:
            blind.append(stem)
    if blind:
        now = Examiner(read_info(path))
        if not now.unchecked and not now.note:  # what was lacking is here now
            stems = sorted(stems + blind)
    return stems


def stem_samples(stem: str) -> int:
    """Samples in the range that a shard is named by."""
    start, stop = (int(part) for part in stem.split("-"))
    return stop - start


def verify(
    path: Path,
    cores: int,
    *,
    again: bool = False,
    count: int = 0,
    progress: Callable[[int], None] = lambda samples: None,
) -> Verdict:
    """Verify what is not proven yet, or all of it `again`, and conclude. Raises DatasetError if there is nothing."""
    open_dataset(path)
    verify_shards(path, finished_stems(path) if again else unproven(path), cores, progress=progress)
    return conclude(path, count)


def verify_shards(
    path: Path,
    stems: Sequence[str],
    cores: int,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda samples: None,
) -> list[str]:
    """Examine shards in up to `cores` processes; each leaves its proof. Returns those that are left after a stop.

    `stop` is asked often; shards in hand are given up then. A call that is killed loses only those, too.
    Raises MachineError where a process was killed, OSError where a file cannot be read.
    """
    read_info(path)
    return run_shards(prove, path, list(stems), cores, stop, progress) if stems else []


# ---------------------------------------------------------------- the whole


def conclude(path: Path, count: int = 0) -> Verdict:
    """Merge the proofs into one verdict, and write it down (`renderer.format.state`).

    count: samples that must be there, no more and no fewer; 0: at least as many as the data set is meant to have.
    """
    info, ranges = read_info(path), finished_ranges(path)
    shards = state.shards_identity(path, ranges)
    verdict = Verdict(count or state.read_state(path).count)
    try:
        open_dataset(path)
    except HeadforgeError as error:
        verdict.add([str(error)])
    sums, histogram = Sums(), np.zeros(round(10 / _BIN_PX) + 1, np.int64)
    prints = np.zeros(sum(b - a for a, b in ranges), np.uint64)
    at = 0
    for start, stop in ranges:
        proof = read_proof(path, shard_stem(start, stop))
        if proof is None:
            verdict.unproven += 1
        else:
            marks, errors = proof.arrays()
            prints[at : at + len(marks)] = marks[: stop - start]
            np.add.at(histogram, (errors / _BIN_PX).clip(0, len(histogram) - 1).astype(np.int64), 1)
            sums.merge(Sums(**proof.head["sums"]))
            verdict.samples += proof.head["samples"]
            verdict.skipped += [index for index, _ in proof.head["skipped"]]
            verdict.note = verdict.note or proof.head["note"]
            verdict.unchecked = verdict.unchecked or proof.head["unchecked"]
            verdict.add(proof.head["problems"], proof.head["found"])
            verdict.add(f"sample {index} was skipped: {reason}" for index, reason in proof.head["skipped"])
        at += stop - start
    if verdict.unproven:
        verdict.add([f"{verdict.unproven} shards are not verified yet: run `gen verify` again"])
    if "shots" in info:
        verdict.count = sum(stop - start for start, stop in info["shots"])
        verdict.missing = verdict.count - sum(stop - start for start, stop in ranges)
        verdict.add(_shot_problems(ranges, info["shots"]))
    else:
        verdict.missing = _missing(ranges, verdict.count)
        verdict.add(_count_problems(ranges, verdict, exact=bool(count)))
    try:
        verdict.add(statistics_problems(sums, parse_spec(info["spec"], DATASET_FILE)))
    except SpecError as error:  # of a headforge that knows other fields
        verdict.unchecked = verdict.unchecked or str(error)
    verdict.add(_duplicates(path, ranges, prints))
    verdict.uv_error_px = _median_px(histogram)
    state.write_verdict(path, {**_plain(verdict), "time": time.time(), "shards": shards})
    return verdict


def _plain(verdict: Verdict) -> dict[str, Any]:
    plain = {**vars(verdict), "complete": verdict.complete, "verified": verdict.verified}
    return {**plain, "skipped": len(verdict.skipped)}


def _missing(ranges: list[tuple[int, int]], count: int) -> int:
    return sum(b - a for a, b in missing_ranges(ranges, count, max(count, 1)))


def _shot_problems(ranges: list[tuple[int, int]], shots: list[list[int]]) -> Iterator[str]:
    """Shots of own footage that no shard holds; between them indices may be free."""
    for start, stop in shots:
        if (start, stop) not in ranges:
            yield f"samples {start} .. {stop - 1} are missing: run the data set's `gen import-capture` again"


def _count_problems(ranges: list[tuple[int, int]], verdict: Verdict, exact: bool) -> Iterator[str]:
    """Samples that no shard holds, or that two hold."""
    at = 0
    for start, stop in ranges:
        if start > at:
            yield f"samples {at} .. {start - 1} are missing: run the data set's `gen render` again"
        if start < at:
            yield f"samples {start} .. {at - 1} are in two shards"
        at = max(at, stop)
    if at < verdict.count:
        yield f"samples {at} .. {verdict.count - 1} are missing: run the data set's `gen render` again"
    if exact and not verdict.unproven and verdict.samples != verdict.count:
        yield f"{verdict.samples} samples are there, {verdict.count} were expected"


def _median_px(histogram: npt.NDArray[np.int64]) -> float | None:
    if not histogram.any():
        return None
    middle = np.searchsorted(histogram.cumsum(), (histogram.sum() + 1) // 2)
    return float((middle + 0.5) * _BIN_PX)


def repeated(prints: Fingerprints) -> Iterator[npt.NDArray[np.intp]]:
    """Positions of equal fingerprints, group by group; 0 is none. Takes about 20 bytes of memory per fingerprint."""
    ordered = np.sort(prints)
    twice = np.unique(ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] > 0)])
    del ordered
    for value in twice:
        yield np.flatnonzero(prints == value)


def _duplicates(path: Path, ranges: list[tuple[int, int]], prints: Fingerprints) -> Iterator[str]:
    """Samples whose input image is that of another one, although something else should be on it.

    prints: by sample, in the order of `ranges`. Where no head is shown, and camera and surroundings are the same, the
    images are the same, too.
    """
    starts = np.cumsum([0, *(b - a for a, b in ranges)])

    def sample(position: int) -> tuple[ShardReader, SampleEntry]:
        number = int(np.searchsorted(starts, position, "right")) - 1
        shard, entries = _entries(path, shard_stem(*ranges[number]))
        return shard, entries[ranges[number][0] + int(position - starts[number])]

    pairs = ((first, other) for first, *others in repeated(prints) for other in others)
    for number, (one, two) in enumerate(pairs):
        if number == _MOST_PAIRS:
            yield f"more than {_MOST_PAIRS} input images are those of other samples"
            return
        (shard, a), (other_shard, b) = sample(one), sample(two)
        if a.pixels["input"] != b.pixels["input"]:
            continue  # only the first 64 bits of their hashes are equal
        if _scenery(shard.params(a)) != _scenery(other_shard.params(b)):
            yield f"{b.key} has the same input image as {a.key}"


@lru_cache(maxsize=16)
def _entries(path: Path, stem: str) -> tuple[ShardReader, dict[int, SampleEntry]]:
    tar, manifest_file = _files(path, stem)
    manifest = read_manifest(manifest_file)
    return ShardReader(tar, manifest), {entry.index: entry for entry in manifest.samples}


def _scenery(record: dict[str, Any]) -> Any:
    """What two samples without heads must have in common to look the same; a sample with heads is like no other."""
    if record["heads"]:
        return record["index"]
    return [record[name] for name in ("camera", "light", "environment", "props")]

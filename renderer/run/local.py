"""Renders a data set on this machine: what is missing, shard by shard, with a pool of workers. Never imports bpy."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer import files
from renderer.commit import commit
from renderer.errors import DatasetError, FormatError, MachineError, SpecError
from renderer.files import make_folder, write_atomic
from renderer.format.folder import (
    DATASET_FILE,
    INDEX_FILE,
    SHARDS,
    finished_manifests,
    finished_ranges,
    is_finished,
    read_info,
)
from renderer.format.manifest import Skipped, read_manifest, read_summary
from renderer.format.sample_format import (
    DRAW_VERSION,
    FORMAT_VERSION,
    RENDER_VERSION,
    UV_FRAME,
    dataset_tag,
    image_names,
    shard_stem,
)
from renderer.format.shard import ShardReader, unpack, write_shard
from renderer.format.staging import load_staged
from renderer.head.catalog import Catalog, build_catalog, check_assets, lacking
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.install import how_to_install
from renderer.parameters.spec import Spec, parse_spec, spec_identity
from renderer.run.plan import Plan, missing_ranges
from renderer.run.pool import Done, Failed, PoolOptions, RenderJob, WorkerPool
from renderer.strict import to_plain

BPY_VERSION: Final = "4.5"  # the LTS series whose pixels the tests and figures are about
STAGING: Final = ".staging"
LOCK: Final = ".lock"
FREE_BYTES: Final = 200 << 20  # stop before the disk is full
SKIPS: Final = (5, 0.2)  # more failed samples of a shard than this many and this share mean that the machine fails
LEFT_OVERS: Final = (f".{DATASET_FILE}.*.partial", ".probe-*")  # of runs that were killed as they began
LEFT_OVER_S: Final = 600.0


@dataclass(frozen=True)
class Setup:
    """A data set about to be rendered: spec, seed, and the assets they draw from."""

    spec: Spec
    seed: int
    pack: Path
    blend: Path | None  # None: rendered elsewhere, where it is built
    model: HeadModel
    catalog: Catalog

    @property
    def identity(self) -> dict[str, Any]:
        """What pixels depend on; two data sets with one identity are the same data set."""
        return {
            "spec": spec_identity(self.spec),
            "seed": self.seed,
            "assets": self.catalog.identity(),
            "format_version": FORMAT_VERSION,
            "draw_version": DRAW_VERSION,
            "render_version": RENDER_VERSION,
            "bpy": BPY_VERSION,
        }

    @property
    def tag(self) -> str:
        return dataset_tag(self.identity)

    def info(self) -> dict[str, Any]:
        """Content of dataset.json."""
        render = self.spec.render
        return {
            "format_version": FORMAT_VERSION,
            "draw_version": DRAW_VERSION,
            "render_version": RENDER_VERSION,
            "made_by": made_by(),
            "name": self.spec.name,
            "tag": self.tag,
            "seed": self.seed,
            "spec": to_plain(self.spec),
            "assets": self.catalog.identity(),
            "uv_frame": UV_FRAME,
            "labels": list(render.labels),
            "images": list(image_names(render.labels)),
            "uv_precision": render.uv_precision,
            "resolution": render.resolution,
            "bit_repeatable": render.device == "CPU",
            "landmark_uv": np.asarray(self.model.landmarks_uv, np.float64).round(6).tolist(),
            "bpy": BPY_VERSION,
        }

    def job(self) -> RenderJob:
        if self.blend is None:
            raise MachineError("this data set was set up for rendering elsewhere: no scene was built here")
        return RenderJob(to_plain(self.spec), self.seed, self.tag, str(self.pack), str(self.blend))


def prepare(spec: Spec, seed: int, log: Callable[[str], None] = print, renders: bool = True) -> Setup:
    """Check this machine, get the assets, check them. Raises before anything is rendered.

    renders: whether this machine will. If not, bpy need not be here, and `Setup.blend` is None.
    """
    if renders:
        check_machine()
    if seed < 0:
        raise SpecError(f"seed is {seed}; it must not be negative")
    from blend_assets.build import ensure_pack

    pack = Path(spec.assets.head) if spec.assets.head else ensure_pack(log=log)
    model = load_head(pack)
    if lacking(pack):
        ensure_pack(log=log)  # lends what an own head leaves out
    catalog = build_catalog(pack, spec)
    check_assets(catalog)
    for line in model.missing:
        log(f"head pack {pack.name} lacks {line}")
    _check_labels(spec, model)
    return Setup(spec, seed, pack, ensure_scene(log) if renders else None, model, catalog)


def check_machine() -> None:
    """Python and bpy are the ones that work. Raises MachineError."""
    if sys.version_info[:2] != (3, 11):
        raise MachineError(
            f"this is Python {platform.python_version()}; bpy needs 3.11: {how_to_install('render')} with that"
        )
    try:
        version = metadata.version("bpy")
    except metadata.PackageNotFoundError as error:
        raise MachineError(f"bpy is not installed here: {how_to_install('render')}") from error
    if not version.startswith(BPY_VERSION + "."):
        raise MachineError(f"bpy is {version}; this headforge needs {BPY_VERSION}.x: {how_to_install('render')}")


def _check_labels(spec: Spec, model: HeadModel) -> None:
    """Asking for what the head cannot give is an error before the first render."""
    if "neutral" in spec.render.labels and not model.units:
        raise SpecError(f"render.labels asks for 'neutral', but head {model.name!r} has no expression units")


def ensure_scene(log: Callable[[str], None] = print) -> Path:
    """The scene file in the cache, built now if this version's is not there."""
    from blend_assets.fetch import cache_root

    folder = Path(__file__).parent.parent / "blender"
    source = b"".join((folder / name).read_bytes() for name in ("make_scene.py", "materials.py"))
    key = hashlib.sha256(source + metadata.version("bpy").encode()).hexdigest()[:12]
    final = cache_root() / f"scene-{key}.blend"
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        log(f"building the scene file {final}")
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".scene-") as work:
            built = Path(work) / "scene.blend"
            command = [sys.executable, "-m", "renderer.blender.make_scene", str(built)]
            result = subprocess.run(command, capture_output=True, text=True)
            if not built.exists():
                words = (result.stderr or result.stdout).strip().splitlines()
                raise MachineError(f"Blender could not build the scene; run `gen doctor`. Last words: {words[-1:]}")
            built.replace(final)
    return final


# ---------------------------------------------------------------- the folder


def claim(out: Path, setup: Setup) -> None:
    """Make `out` the folder of this data set, or check that it is. Raises DatasetError for anything else."""
    try:
        make_folder(out)
        for pattern in LEFT_OVERS:
            for left in out.glob(pattern):
                with contextlib.suppress(FileNotFoundError):  # another run may be as quick
                    if time.time() - left.stat().st_mtime > LEFT_OVER_S:  # and younger ones may be its own, in use
                        left.unlink()
        probe = out / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    if holds(out, setup):
        return
    info = json.dumps(setup.info(), indent=1, sort_keys=True).encode()
    write_atomic(out / DATASET_FILE, info)


def holds(out: Path, setup: Setup) -> bool:
    """Is `out` the folder of this data set already? Raises DatasetError if it is anything but that or empty."""
    if (out / DATASET_FILE).exists():
        there = read_info(out)
        if there["tag"] != setup.tag:
            raise DatasetError(f"{out} holds another data set: {_difference(out, there, setup)}")
        return True
    check_folder(out)
    return False


def check_folder(out: Path) -> None:
    """Raises DatasetError if a folder holds something, but no data set: what can be known before assets are there."""
    known = (STAGING, LOCK, *LEFT_OVERS)
    if (out / DATASET_FILE).exists() or not out.is_dir():
        return
    if any(not any(fnmatch(p.name, pattern) for pattern in known) for p in out.iterdir()):
        raise DatasetError(f"{out} is not empty and no data set; choose another --out")


def _difference(out: Path, there: dict[str, Any], setup: Setup) -> str:
    """In words: what the data set there has that this run has not, and the way out."""
    here = setup.info()
    if there["seed"] != here["seed"]:
        return f"its seed is {there['seed']}, this run's {here['seed']}; choose another --out"
    if changed := _changed(there["spec"], here["spec"], str(out / DATASET_FILE)):
        return f"its spec is {there['name']!r} and differs in {', '.join(changed)}; choose another --out"
    kinds = ("draw_version", "render_version", "bpy")
    if other := [f"{k} {there.get(k, 'not stated')} (here {here[k]})" for k in kinds if there.get(k) != here[k]]:
        by = {"headforge": "unknown", "commit": "unknown", **_maker(out, there)}
        return (
            f"code that draws or renders differently made it: {', '.join(other)}. Choose another --out, or add to it"
            f" with the headforge that made it, version {by['headforge']}, commit {by['commit']}"
        )
    return "it was rendered with other assets; choose another --out"


def _changed(there: dict[str, Any], here: dict[str, Any], source: str) -> list[str]:
    """Fields in which two plain specs differ; what an older data set does not state has its default."""
    try:
        old = to_plain(parse_spec(there, source))
    except SpecError as error:  # of a headforge that knows other fields
        return [str(error)]
    differing = []
    for section, value in here.items():
        if not isinstance(value, dict):
            differing += [section] if old[section] != value else []
        else:
            differing += [f"{section}.{key}" for key in value if old[section][key] != value[key]]
    return differing


def _maker(out: Path, info: dict[str, Any]) -> dict[str, str]:
    """Version and commit of the headforge that made a data set; older ones state them in their manifests alone."""
    found: dict[str, str] = info.get("made_by") or {}
    for file in finished_manifests(out)[:1] if not found else ():
        with contextlib.suppress(FormatError):
            found = read_manifest(file).versions
    return found


def locked(out: Path) -> contextlib.AbstractContextManager[None]:
    """Only one run at a time may stage samples in a folder. Raises DatasetError where another one is at work."""
    return files.locked(out / LOCK, f"another `gen render` is at work in {out}; wait for it or stop it")


def make_plan(out: Path, setup: Setup, count: int, shard_size: int) -> Plan:
    """What is missing of the first `count` samples. Raises DatasetError if `out` is the folder of anything else."""
    if count <= 0:
        raise SpecError(f"--count is {count}; it must be at least 1")
    if shard_size <= 0:
        raise SpecError(f"--shard-size is {shard_size}; it must be at least 1")
    holds(out, setup)
    finished = finished_ranges(out)
    done = sum(min(stop, count) - start for start, stop in finished if start < count)
    ranges = tuple(missing_ranges(finished, count, shard_size))
    return Plan(count, done, ranges, setup.spec.render)


# ---------------------------------------------------------------- rendering


@dataclass
class Report:
    """What a run did."""

    rendered: int = 0
    shards: int = 0
    skipped: list[int] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False
    recycled: int = 0
    killed: int = 0
    peak_rss: int = 0
    in_hand: Callable[[], int] = lambda: 0  # samples that workers hold at this moment


Progress = Callable[[int, Report], None]


@dataclass
class OpenShard:
    """A shard on its way: samples start .. stop-1, of which some are staged and some have failed."""

    start: int
    stop: int
    staged: set[int]
    failed: dict[int, Failed] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.staged) + len(self.failed) == self.stop - self.start

    def missing(self) -> list[int]:
        return [i for i in range(self.start, self.stop) if i not in self.staged and i not in self.failed]


def render_shards(
    setup: Setup,
    ranges: list[tuple[int, int]],
    out: Path,
    staging: Path,
    options: PoolOptions,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = lambda step, report: None,
    work: dict[str, Any] | None = None,
    report: Report | None = None,
) -> Report:
    """Render shards into the data set at `out`, staging samples in `staging` (may be node-local scratch).

    Samples that lie in the staging folder already are not rendered again. `stop` ends the run after the samples in
    hand; they stay staged. `progress` is called with the number of new samples. report: filled while samples are
    rendered, for those who want to look at it meanwhile; returned in any case.
    """
    report, started = report or Report(), time.monotonic()
    for folder in (out / SHARDS, staging):
        make_folder(folder)
    _sweep(staging)
    pool = WorkerPool(setup.job(), staging, options)
    report.in_hand = lambda: pool.in_hand
    ahead, opened = deque(ranges), dict[tuple[int, int], OpenShard]()
    again: list[set[int]] = []  # samples that were damaged where they were staged

    def missing() -> Iterator[int]:
        """Opens shard after shard as the pool asks for samples: of ten million, most are far ahead."""
        while ahead:
            r = ahead.popleft()
            if _finished(out, *r):
                continue
            opened[r] = OpenShard(*r, _staged(staging, r, setup.tag))
            progress(len(opened[r].staged), report)
            if opened[r].complete:
                close(opened[r])
            else:
                yield from opened[r].missing()

    def close(shard: OpenShard) -> None:
        _check_space(out)
        r = shard.start, shard.stop
        skipped = [Skipped(f.index, f.reason) for _, f in sorted(shard.failed.items())]
        samples = (load_staged(staging / f"{i:010d}.tar") for i in sorted(shard.staged))
        try:
            write_shard(
                out, *r, setup.tag, samples, skipped=skipped, versions=versions(pool.versions),
                work={**(work or {}), "host": platform.node(), "finished": time.time()}, scratch=staging,
            )  # fmt: skip
        except FormatError as error:
            again.append(_take_back(shard.staged, staging, r, setup.tag, again, error))
            progress(-len(again[-1]), report)
            return
        for i in range(*r):
            (staging / f"{i:010d}.tar").unlink(missing_ok=True)
        report.shards += 1
        report.skipped += [s.index for s in skipped]
        del opened[r]

    for outcome in _rounds(pool, missing(), again, stop):
        shard = next(s for s in opened.values() if s.start <= outcome.index < s.stop)
        if isinstance(outcome, Done):
            shard.staged.add(outcome.index)
            report.rendered += 1
            report.peak_rss = max(report.peak_rss, outcome.rss)
        else:
            shard.failed[outcome.index] = outcome
            _check_failures(list(shard.failed.values()), (shard.start, shard.stop))
        progress(1, report)
        if shard.complete:
            close(shard)
    report.stopped = bool(opened) or not all(_finished(out, *r) for r in ahead)
    report.seconds = time.monotonic() - started
    report.recycled, report.killed = pool.recycled, pool.killed
    return report


def _rounds(
    pool: WorkerPool, missing: Iterable[int], again: list[set[int]], stop: Callable[[], bool]
) -> Iterator[Done | Failed]:
    """Render what is missing, then whatever `again` has been given meanwhile."""
    yield from pool.render(missing, stop)
    for samples in again:  # it may grow
        yield from pool.render(sorted(samples), stop)


def _take_back(
    staged: set[int], staging: Path, r: tuple[int, int], tag: str, before: list[set[int]], error: FormatError
) -> set[int]:
    """Remove damaged samples of a range from the staging folder and from `staged`, and return them."""
    damaged = staged - _staged(staging, r, tag)
    if not damaged:
        raise error
    if twice := damaged & set().union(*before):
        words = f"sample {min(twice)} was damaged in {staging} twice: check that disk, or choose another"
        raise MachineError(words) from error
    staged -= damaged
    return damaged


def _check_failures(failed: list[Failed], r: tuple[int, int]) -> None:
    """A few samples may fail, and are listed; many fail for a reason of their own, which is worth stopping for."""
    if len(failed) > SKIPS[0] and len(failed) > SKIPS[1] * (r[1] - r[0]):
        raise MachineError(
            f"{len(failed)} samples of shard {r[0]}-{r[1]} failed twice, so it is not published; run `gen doctor`, then"
            f" the same command again. Sample {failed[-1].index}: {failed[-1].reason.splitlines()[-1]}"
        )


def reopen_skipped(out: Path, staging: Path | None) -> list[int]:
    """Take shards with skipped samples back, so that the next run tries those again; returns the samples.

    staging: where the sound samples of those shards wait meanwhile; None: they are rendered again, too.
    """
    indices: list[int] = []
    for file in finished_manifests(out):
        if not read_summary(file).skipped:
            continue
        manifest = read_manifest(file)
        indices += [s.index for s in manifest.skipped]
        if staging is not None:
            staging.mkdir(parents=True, exist_ok=True)
            unpack(ShardReader(file.with_suffix(".tar"), manifest), staging)
        for path in (out / INDEX_FILE, file, file.with_suffix(".tar")):  # the manifest is what counts
            path.unlink(missing_ok=True)
    return sorted(indices)


def _finished(out: Path, start: int, stop: int) -> bool:
    return is_finished(out / SHARDS / f"{shard_stem(start, stop)}.json")


def _staged(staging: Path, r: tuple[int, int], tag: str) -> set[int]:
    """Samples of a range that an earlier run left, sound and of this data set."""
    found = set()
    for i in range(*r):
        path = staging / f"{i:010d}.tar"
        if path.exists():
            try:
                sound = load_staged(path).key.startswith(tag)
            except FormatError:
                sound = False
            if sound:
                found.add(i)
            else:
                path.unlink()
    return found


def _sweep(staging: Path) -> None:
    """Remove what killed processes left half-written."""
    for path in staging.glob(".*"):
        path.unlink(missing_ok=True)


def _check_space(out: Path) -> None:
    if shutil.disk_usage(out).free < FREE_BYTES:
        raise DatasetError(
            f"less than {FREE_BYTES >> 20} MiB are free on the disk of {out}; make room and run the same command again,"
            " finished samples are kept"
        )


def made_by() -> dict[str, str]:
    """Version and commit of this headforge."""
    try:
        own = metadata.version("headforge")
    except metadata.PackageNotFoundError:  # a snapshot on PYTHONPATH
        own = "not installed"
    return {"headforge": own, "commit": commit()}


def versions(worker: dict[str, str]) -> dict[str, str]:
    """What made the pixels: recorded in every manifest."""
    return {**made_by(), **worker, "machine": platform.machine()}

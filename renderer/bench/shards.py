"""What data sets of many shards cost to open, plan, plot and train on; each is measured in a process of its own.

The data set is real in all that counts here: every shard has its manifest and a tar that can be read. Only the samples
are alike, and all tars are one file under many names, so that ten million samples fit on a laptop.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer.errors import MachineError
from renderer.format.dataset import write_index
from renderer.format.folder import DATASET_FILE, SHARDS
from renderer.format.sample_format import CHANNELS, FORMAT_VERSION, TRIPLET, UV_FRAME, sample_key, shard_stem
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample

TAG: Final = "5ca1e0"
DESCRIPTORS: Final = 256  # as under `ulimit -n 256`
OPERATIONS: Final[dict[str, str]] = {
    "index from nothing": "(path / 'index.json').unlink(); print(write_index(path)['samples'])",
    "open": "print(len(open_dataset(path)))",
    "plan of a top-up": "print(make_plan(path, SimpleNamespace(tag=TAG, spec=Spec()), 2 * COUNT, 500).missing)",
    "gen status": "from slurm.status import read_status; print(read_status(path, ask_scheduler=False).samples)",
    "gen stats": "print(plot_knobs(path, path / 'stats.png'))",
    "card": "print(len(card_text(open_dataset(path), '')))",
    "the README's loop over 1,000,000 samples": (
        "print(sum(1 for _ in itertools.islice(open_dataset(path).entries(), 1_000_000)))"
    ),
    "trainer: open": "print(len(reader()))",
    "trainer: split": "print([len(p) for p in reader().split(0.05)])",
    "trainer: first minibatch": (
        "r = reader(); source = open_source(r, np.arange(len(r)), 'none', 2, BadSamples(0), torch.device('cpu'));"
        "print(len(next(iter(Loader(source, np.arange(len(r)), 64, seed=0, window=4096)))))"
    ),
}
_RENDERER: Final = """
import itertools
from renderer.parameters.spec import Spec
from renderer.report.card import card_text
from renderer.report.stats import plot_knobs
from renderer.run.plan import make_plan
from types import SimpleNamespace
"""
_TRAINER: Final = """
import numpy as np, torch
from trainer.data.reader import SampleReader
from trainer.data.loader import Loader
from trainer.data.sources import BadSamples, open_source
def reader(): return SampleReader(path, ('input', 'uv', 'mask'))
"""
_PROGRAM: Final = """
import json, resource, sys, time
from pathlib import Path
from renderer.bench.shards import TAG
from renderer.format.dataset import open_dataset, write_index
resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
path, COUNT = Path(sys.argv[1]), int(sys.argv[2])
{imports}
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
before, started, worked = peak(), time.perf_counter(), time.process_time()
{operation}
spent = {{"s": time.perf_counter() - started, "cpu_s": time.process_time() - worked, "MB": peak() - before}}
print(json.dumps({{name: round(value, 2) for name, value in spent.items()}}))
"""


def fake_sample(side: int) -> EncodedSample:
    """One sample of noise, with a record of as many knobs as real ones have."""
    rng = np.random.default_rng(0)
    images = {name: rng.random((side, side, len(CHANNELS[name]))).astype(np.float16) for name in TRIPLET}
    record = {"knobs": {f"knob{i}": float(i) for i in range(120)}, "measured": {"face_share": 0.3}, "landmarks_px": []}
    seconds = {name: 0.01234 for name in ("backdrop", "draw", "encode", "filter", "input", "labels", "rays", "scene")}
    work = {"pid": 12345, "seconds": seconds}
    return encode_sample(0, sample_key(TAG, 0), images, record, work)


def fake_dataset(path: Path, shards: int, per_shard: int, side: int = 128) -> Path:
    """A data set folder without index: the same samples in every shard, under the keys of their own."""
    path.mkdir(parents=True, exist_ok=True)
    info = {
        "format_version": FORMAT_VERSION, "name": "scale", "tag": TAG, "seed": 0, "spec": {}, "labels": [],
        "uv_frame": UV_FRAME, "resolution": side, "bit_repeatable": True, "assets": {"pack": "none", "own": {}},
    }  # fmt: skip
    (path / DATASET_FILE).write_text(json.dumps(info))
    alike = fake_sample(side)
    manifest = asdict(write_shard(path, 0, per_shard, TAG, _renamed(alike, per_shard)))
    samples = [_template(entry) for entry in manifest["samples"]]
    first = path / SHARDS / f"{shard_stem(0, per_shard)}.tar"
    for start in range(per_shard, shards * per_shard, per_shard):
        stem = shard_stem(start, start + per_shard)
        shard = {**manifest, "start": start, "stop": start + per_shard, "samples": []}
        body = ",".join([text % (start + i, start + i) for i, text in enumerate(samples)])
        content = json.dumps(shard, separators=(",", ":")).replace('"samples":[]', f'"samples":[{body}]', 1)
        (path / SHARDS / f"{stem}.json").write_text(content)
        os.link(first, path / SHARDS / f"{stem}.tar")
    return path


def _renamed(sample: EncodedSample, count: int) -> Iterator[EncodedSample]:
    for i in range(count):
        key = sample_key(TAG, i)
        members = {name.replace(sample.key, key): data for name, data in sample.members.items()}
        yield EncodedSample(i, key, members, sample.pixels, sample.work)


def _template(entry: dict[str, Any]) -> str:
    """A sample of a manifest as text, with places for its index and for that in its key."""
    text = json.dumps({**entry, "index": "INDEX", "key": f"{TAG}INDEX"}, separators=(",", ":"))
    return text.replace("%", "%%").replace('"INDEX"', "%d").replace("INDEX", "%010d")


def measure(path: Path, operation: str, count: int) -> dict[str, Any]:
    """Seconds, and MB of memory beyond what the imports took at their peak, in a process of its own.

    Raises MachineError where it fails.
    """
    imports = _TRAINER if operation.startswith("trainer") else _RENDERER
    program = _PROGRAM.format(descriptors=DESCRIPTORS, imports=imports, operation=OPERATIONS[operation])
    done = subprocess.run([sys.executable, "-c", program, str(path), str(count)], capture_output=True, text=True)
    if done.returncode:
        raise MachineError(f"{operation} of {path} failed: {done.stderr.strip().splitlines()[-1:]}")
    *said, figures = done.stdout.strip().splitlines()
    return {"name": f"scale: {operation}", **json.loads(figures), "result": said[-1]}


def run_scale(
    show: Callable[[dict[str, Any]], None], shards: int = 20_000, per_shard: int = 500, folder: Path | None = None
) -> None:
    """Measure every operation on a data set of so many shards. folder: where there is room for a kB a sample."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="headforge-scale-") as temporary:
        path = fake_dataset(Path(temporary) / "scale", shards, per_shard)
        write_index(path)
        for operation in OPERATIONS:
            show({**measure(path, operation, shards * per_shard), "shards": shards, "samples": shards * per_shard})

"""Speed of the input pipeline, as JSON lines. `gen bench input` prints them.

In one run over the same samples: loose EXR files read in random order, `webdataset` streaming the same tars, and our
three caches; then each augmentation stage.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from renderer.format import exr
from trainer.augmentation import stages as aug
from trainer.augmentation.config import AugmentConfig
from trainer.augmentation.draws import Draws
from trainer.bench.timing import line, seconds_per_call
from trainer.data.loader import Loader
from trainer.data.order import Positions
from trainer.data.reader import SampleReader, prepare
from trainer.data.sources import BadSamples, Streaming, open_source
from trainer.systems.uvnet.config import UVNetConfig
from trainer.systems.uvnet.preview import only_stage, possible_stages
from trainer.systems.uvnet.system import IMAGES, UVNetSystem, UVTask, open_banks
from trainer.training.config import DataConfig

BATCH = 40


def input_lines(dataset: Path, samples: int, workers: int, environments: Path | None = None) -> Iterator[str]:
    """Samples decoded per second from each kind of storage, then augmented per second by each stage.

    samples: how many per measurement, at most what the data set has. workers: threads, and webdataset's processes.
    """
    reader = SampleReader(dataset, IMAGES)
    positions = np.arange(min(samples, len(reader)))
    order = np.random.default_rng(0).permutation(positions)
    about = {"samples": len(positions), "workers": workers, "size_px": reader.shapes["input"][1]}
    with tempfile.TemporaryDirectory(dir=dataset.parent) as scratch:
        _unpack(reader, positions, Path(scratch))
        for count in sorted({1, workers}):
            rate = _rate(len(order), lambda n=count: _read_loose(reader, order, Path(scratch), n))  # type: ignore[misc]
            yield line("loose_exr_random_order", rate, "samples/s", **{**about, "workers": count})
    for count in sorted({0, workers}):
        rate = _webdataset(reader, len(positions), count)
        yield line("webdataset_streaming", rate, "samples/s", **{**about, "workers": count})
    for count in sorted({0, 1, workers}):
        rate = _rate(len(positions), lambda n=count: _epoch(reader, positions, "none", n))  # type: ignore[misc]
        yield line("cache_none_streaming", rate, "samples/s", **{**about, "workers": count})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for cache in ("memory", *(("device",) if device.type == "cuda" else ())):
        source = open_source(reader, positions, cache, workers, BadSamples(0), device)
        rate = _rate(len(positions), lambda s=source: _consume(s, positions, device))  # type: ignore[misc]
        yield line(f"cache_{cache}", rate, "samples/s", **about)
    yield from augment_lines(reader, device, environments)


def _rate(count: int, work: Callable[[], int]) -> float:
    started = time.perf_counter()
    done = work()
    assert done >= count // BATCH * BATCH, f"only {done} of {count} samples came"
    return done / (time.perf_counter() - started)


def _consume(source: Any, positions: Positions, device: torch.device) -> int:
    loader = Loader(source, positions, min(BATCH, len(positions)), seed=0, window=2000)
    done = 0
    for minibatch in loader:
        done += len(minibatch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return done


def _epoch(reader: SampleReader, positions: Positions, cache: Any, workers: int) -> int:
    cpu = torch.device("cpu")
    return _consume(open_source(reader, positions, cache, workers, BadSamples(0), cpu), positions, cpu)


def _unpack(reader: SampleReader, positions: Positions, folder: Path) -> None:
    """Loose files, as the thesis's first loader had them."""
    for position in positions:
        shard, entry = reader.entry(int(position))
        for name in IMAGES:
            (folder / f"{entry.key}.{name}.exr").write_bytes(shard.read(entry, f"{name}.exr"))


def _read_loose(reader: SampleReader, order: Positions, folder: Path, workers: int) -> int:
    """Open, read, decode and stack loose files in random order."""
    from concurrent.futures import ThreadPoolExecutor

    def read(position: int) -> dict[str, Any]:
        key = reader.keys[position]
        return prepare({n: exr.decode(n, (folder / f"{key}.{n}.exr").read_bytes()) for n in IMAGES})

    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(order), BATCH):
            arrays = list(pool.map(read, order[start : start + BATCH].tolist()))
            for name in IMAGES:
                torch.from_numpy(np.stack([a[name] for a in arrays]))
            done += len(arrays)
    return done


def _decode_webdataset(sample: dict[str, bytes]) -> tuple[Any, ...]:
    arrays = prepare({name: exr.decode(name, sample[f"{name}.exr"]) for name in IMAGES})
    return tuple(arrays[name] for name in IMAGES)


def _webdataset(reader: SampleReader, count: int, workers: int) -> float:
    """The same shards through webdataset, with its shuffle, batched by torch's loader."""
    import webdataset

    urls = [str(shard.tar) for shard in reader.dataset.shards]
    workers = min(workers, len(urls))
    pipeline = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0, empty_check=False)
        .shuffle(2000)
        .map(_decode_webdataset)
        .batched(BATCH, partial=False)
    )
    loader = torch.utils.data.DataLoader(pipeline, batch_size=None, num_workers=workers)
    started, done = time.perf_counter(), 0
    for batch in loader:
        done += len(batch[0])
        if done >= count - BATCH * max(workers, 1):
            break
    return done / (time.perf_counter() - started)


def augment_lines(reader: SampleReader, device: torch.device, environments: Path | None) -> Iterator[str]:
    """Samples per second through each stage alone, at full share, and through the default stages together."""
    base = AugmentConfig(environments=str(environments) if environments else "")
    names, every = possible_stages(base, reader)
    config = UVNetConfig(data=DataConfig(path=str(reader.path)), augment=every)
    task = UVTask(config, open_banks(config, reader).to(device), None)
    needs = UVNetSystem().needs(config)
    streaming = Streaming(SampleReader(reader.path, needs.images + needs.training), 0, BadSamples(0), device)
    positions = np.arange(min(BATCH, len(reader)))
    minibatch = next(streaming.batches([positions], epoch=0))
    samples = task.samples(minibatch)
    draws = Draws.for_samples(0, 0, minibatch.positions, device)
    for name in ("none", *names, "defaults"):
        stages = base if name == "defaults" else only_stage(every, name)
        seconds = seconds_per_call(lambda s=stages: aug.augment(samples, s, draws, task.banks, 0.0), device)  # type: ignore[misc]
        yield line(f"augment_{name}", len(samples.input) / seconds, "samples/s", threads=torch.get_num_threads())

"""Evaluation of a network on held-out samples, and the rows of the sprite sheet."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from renderer.errors import DatasetError, FormatError, HeadforgeError
from trainer.data.loader import BadSamples, Cached, Minibatch, Positions, Streaming
from trainer.data.pictures import PHOTO_SUFFIXES, read_picture
from trainer.data.reader import SampleReader
from trainer.systems.uvnet import system as uv
from trainer.systems.uvnet.metrics import split_metrics, summary
from trainer.training.config import OutputConfig

CHOSEN: Final = 6
PHOTO_PX: Final = 4096  # larger photos are scaled down while they are read
Autocast = Callable[[], AbstractContextManager[Any]]
UNREADABLE: Final = (HeadforgeError, OSError, ValueError, KeyError)  # what damaged samples raise


@dataclass(frozen=True)
class Evaluation:
    """Means over the held-out samples, and the metrics split by yaw, occlusion share and knob."""

    samples: int
    loss: float
    terms: dict[str, float]
    metrics: dict[str, float]
    splits: dict[str, list[dict[str, Any]]]


@torch.no_grad()
def evaluate(
    network: nn.Module,
    task: uv.UVTask,
    source: Streaming | Cached,
    positions: Positions,
    params: dict[int, dict[str, Any]],
    batch_size: int,
    occluded: bool,
    progress: float = 1.0,
    autocast: Autocast = nullcontext,
) -> Evaluation:
    """The network in evaluation mode over `positions`. params: cache of the samples' records, filled as needed.

    progress: share of the training that is done; the loss is weighted as in training at that moment. autocast: the
    training's arithmetic, for the network alone: landmarks and metrics stay in float32.
    """
    network.eval()
    values: dict[str, list[npt.NDArray[np.float64]]] = {}
    records: list[dict[str, Any]] = []
    totals: list[float] = []
    groups = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    term_names: list[str] = []
    hidden: list[npt.NDArray[np.float64]] = []
    for minibatch in source.batches(groups, epoch=0):
        minibatch, chosen = with_records(minibatch, source, params)
        if not chosen:
            continue
        samples = task.test_samples(minibatch, occluded)
        with autocast():
            prediction = network(samples.input).float()
        terms = task.loss_terms(prediction, samples, progress)
        term_names = list(terms)
        totals += [float(task.total_loss(terms, progress))] * len(minibatch)
        for name, tensor in {**terms, **task.metrics(prediction, samples, chosen)}.items():
            values.setdefault(name, []).append(tensor.double().cpu().numpy())
        hidden.append(task.hidden_share(samples).double().cpu().numpy())
        records += chosen
    network.train()
    if not records:
        raise DatasetError(f"none of the held-out samples of {source.reader.path} can be read; run `gen verify`")
    joined = {name: np.concatenate(parts) for name, parts in values.items()}
    measured = {name: v for name, v in joined.items() if name not in term_names}
    return Evaluation(
        samples=len(records),
        loss=float(np.mean(totals)),
        terms=summary({name: joined[name] for name in term_names}),
        metrics=summary(measured),
        splits=split_metrics(measured, records, hidden=np.concatenate(hidden)),
    )


def with_records(
    minibatch: Minibatch, source: Streaming | Cached, params: dict[int, dict[str, Any]]
) -> tuple[Minibatch, list[dict[str, Any]]]:
    """The samples whose records can be read, and these records; the others count as bad samples."""
    good, records = [], []
    for slot, position in enumerate(minibatch.positions.tolist()):
        try:
            records.append(_record(source.reader, params, position))
            good.append(slot)
        except UNREADABLE as error:
            source.bad.add(minibatch.keys[slot], str(error))
    return minibatch.only(good), records


def _record(reader: SampleReader, params: dict[int, dict[str, Any]], position: int) -> dict[str, Any]:
    """The few fields of a sample's JSON that evaluation needs."""
    if position not in params:
        full = reader.params(position)
        params[position] = {name: full.get(name, {}) for name in ("key", "index", "knobs", "measured")}
        params[position]["landmarks_px"] = full.get("landmarks_px", [])
    return params[position]


# ---------------------------------------------------------------- the sprite sheet


def chosen_positions(reader: SampleReader, held_out: Positions, keys: tuple[str, ...]) -> list[int]:
    """The held-out samples shown every time: those named, or six picked by a hash of their key."""
    if keys:
        if unknown := [key for key in keys if key not in reader.keys]:
            raise DatasetError(f"output.chosen names {unknown}, which {reader.path} does not hold")
        return [reader.keys.index(key) for key in keys]
    return heapq.nsmallest(
        CHOSEN, map(int, held_out), key=lambda p: hashlib.sha256(reader.keys[p].encode()).digest()
    )  # fmt: skip


def photo_paths(output: OutputConfig) -> tuple[list[Path], list[Path]]:
    """Photos shown every time, and all photos. Raises DatasetError if a folder or file named is not there."""
    if not output.photos:
        return [], []
    folder = Path(output.photos)
    every = sorted(p for p in folder.glob("*") if p.suffix.lower() in PHOTO_SUFFIXES) if folder.is_dir() else []
    if not every:
        raise DatasetError(f"output.photos: no photos ({', '.join(PHOTO_SUFFIXES)}) in {folder}")
    if missing := [name for name in output.chosen_photos if not (folder / name).is_file()]:
        raise DatasetError(f"output.chosen_photos: {', '.join(missing)} not in {folder}")
    return [folder / name for name in output.chosen_photos] or every[:CHOSEN], every


def load_photo(path: Path, size: tuple[int, int]) -> Tensor:
    """A photo as picture values, its middle square scaled to (3, H, W). Raises FormatError for what is no picture."""
    rgb = Image.fromarray(read_picture(path, PHOTO_PX))
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.resize((size[1], size[0]), Image.Resampling.BOX, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(square, np.float32) / 255).permute(2, 0, 1)


@torch.no_grad()
def sheet(
    network: nn.Module,
    task: uv.UVTask,
    reader: SampleReader,
    chosen: list[int],
    held_out: Positions,
    photos: tuple[list[Path], list[Path]],
    epoch: int,
    device: torch.device,
    bad: BadSamples,
    autocast: Autocast = nullcontext,
) -> tuple[list[npt.NDArray[np.uint8]], list[dict[str, Any]]]:
    """Rows of tiles (columns, H, W, 3) and their descriptions: chosen samples, a random one, photos likewise.

    What cannot be read is left out and counted in `bad`.
    """
    network.eval()
    rng = np.random.default_rng([epoch])
    tiles: list[npt.NDArray[np.uint8]] = []
    rows: list[dict[str, Any]] = []
    wanted = [(p, "chosen") for p in chosen] + [(int(rng.choice(held_out)), "random")]
    for number, (position, kind) in enumerate(wanted):
        try:
            minibatch, record = single(reader, position, device), _record(reader, {}, position)
        except UNREADABLE as error:
            bad.add(reader.keys[position], str(error))
            continue
        target = task.test_samples(minibatch, occluded=kind == "chosen" and number % 2 == 1)
        with autocast():
            prediction = network(target.input).float()
        measured = task.metrics(prediction, target, [record])
        tiles.append(uv.views(target.input[0], prediction[0], target))
        rows.append({"name": f"{kind} {number + 1}", "kind": kind, "key": reader.keys[position]})
        rows[-1] |= {name: float(value[0]) for name, value in measured.items()}
    size = (reader.shapes["input"][1], reader.shapes["input"][2])
    pictures = [(path, "photo") for path in photos[0]]
    if photos[1]:
        pictures.append((photos[1][int(rng.integers(len(photos[1])))], "random photo"))
    for path, kind in pictures:
        try:
            picture = load_photo(path, size).to(device)
        except FormatError as error:
            bad.add(path.name, str(error))
            continue
        with autocast():
            prediction = network(picture[None]).float()
        tiles.append(uv.views(picture, prediction[0], None))
        rows.append({"name": path.name, "kind": kind})
    network.train()
    return tiles, rows


def single(reader: SampleReader, position: int, device: torch.device) -> Minibatch:
    """A minibatch of one sample. Raises FormatError if it is of another size than the data set."""
    arrays = reader.read(position)
    if odd := [name for name, array in arrays.items() if array.shape != reader.shapes[name]]:
        raise FormatError(f"sample {reader.keys[position]}: {', '.join(odd)} of another size than the first sample's")
    images = {name: torch.from_numpy(array)[None].to(device) for name, array in arrays.items()}
    return Minibatch([reader.keys[position]], torch.tensor([position]), images, 0)

"""What a training writes while it runs: log.jsonl, status.json, TensorBoard scalars, and progress for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from renderer.files import write_atomic
from renderer.progress import Progress as ProgressLine
from trainer.data.loader import Loader
from trainer.data.sources import BadSamples
from trainer.training.config import TrainConfig
from trainer.training.run_dir import RunDir, finite, read_lines
from trainer.training.sheets import sheet_name
from trainer.training.state import Progress
from trainer.training.system import System
from trainer.training.validation import Evaluation


def epoch_number(loader: Loader) -> int:
    """1 for the first epoch, from its first minibatch to its evaluation."""
    return loader.epoch + (1 if loader.batch else 0)


class Log:
    """Writes log.jsonl, status.json, TensorBoard scalars and progress on stderr; silent in other processes."""

    def __init__(
        self, run: RunDir, config: TrainConfig, system: System, progress: Progress, precision: str, on: bool
    ) -> None:
        self.run, self.schedule, self.precision, self.on = run, config.schedule, precision, on
        self.layout = {"columns": list(system.columns), "rows_file": "rows.jsonl"}
        self.seconds_before, self.samples_before = progress.seconds, progress.samples_seen
        self.board: Any = None
        self.bar: ProgressLine | None = None
        self.loss_note = ""
        if on:
            if config.output.tensorboard:
                from torch.utils.tensorboard import SummaryWriter

                # what a killed session wrote after its last checkpoint is written again
                self.board = SummaryWriter(str(run.tensorboard), purge_step=progress.samples_seen + 1)
            self.bar = ProgressLine(config.schedule.max_samples, "sample", "training").start()
            run.write_json(run.evaluation / "layout.json", self.layout)

    def line(self, kind: str, progress: Progress, loader: Loader, values: dict[str, Any]) -> None:
        if not self.on:
            return
        head = {"kind": kind, "epoch": epoch_number(loader), "step": progress.step}
        head |= {"samples_seen": progress.samples_seen, "seconds": round(progress.seconds, 3)}
        self.run.append({**head, **values})
        for name, value in _scalars(kind, values):
            if self.board is not None:
                self.board.add_scalar(name, value, progress.samples_seen)

    def event(self, progress: Progress, loader: Loader, text: str) -> None:
        self.line("event", progress, loader, {"text": text})

    def bad_samples(self, progress: Progress, loader: Loader, bad: BadSamples) -> None:
        """An event for each bad sample that was found since the last call."""
        for text in bad.news():
            self.event(progress, loader, text)

    def train_line(self, progress: Progress, loader: Loader, rates: Mapping[str, tuple[float, float]]) -> None:
        """Means since the last line. rates: learning rate and momentum by optimiser, the main one first."""
        means = progress.take_means()
        took = progress.seconds - self.seconds_before
        rate = (progress.samples_seen - self.samples_before) / took if took > 0 else 0.0
        (lr, beta1), *_ = rates.values()
        values = {
            "lr": lr,
            "beta1": beta1,
            **({"rates": {name: rate for name, (rate, _) in rates.items()}} if len(rates) > 1 else {}),
            "phase": progress.phase + 1,
            "progress": progress.share(self.schedule),
            "loss": means.pop("loss", math.nan),
            "terms": means,
            "samples_per_s": round(rate, 3),
        }
        self.line("train", progress, loader, values)
        self.status(progress, loader, "running")
        if self.bar is not None:
            self.loss_note = f"loss {values['loss']:.4f}"
        self.seconds_before, self.samples_before = progress.seconds, progress.samples_seen

    def doing(self, words: str) -> None:
        """What stands at the end of the progress line until the next step."""
        if self.bar is not None:
            self.bar.note = words

    def tick(self, progress: Progress) -> None:
        """A step is done. Where the clock decides, the total is what the samples up to now suggest."""
        if self.bar is None:
            return
        share = progress.share(self.schedule)
        if self.schedule.max_minutes and share:
            self.bar.total = max(progress.samples_seen, round(progress.samples_seen / share))
        self.bar.update(progress.samples_seen - self.bar.n, self.loss_note)

    def test_line(self, progress: Progress, loader: Loader, kind: str, result: Evaluation) -> None:
        values = {"loss": result.loss, "terms": result.terms, "metrics": result.metrics, "samples": result.samples}
        self.line(kind, progress, loader, values)
        if not self.on:
            return
        path = self.run.evaluation / "splits.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        self.run.write_json(path, {**old, "epoch": epoch_number(loader), kind: result.splits})
        text = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        print(f"epoch {epoch_number(loader)} {kind}: loss {result.loss:.4f}, {text}", flush=True)

    def sheet(self, rows: list[dict[str, Any]], number: int, height: int, width: int) -> None:
        """What the rows of a sprite sheet show. height, width: of its tiles."""
        layout = {"tile_px": width, "tile_height_px": height, **self.layout}
        self.run.write_json(self.run.evaluation / "layout.json", layout)
        entry = finite({"epoch": number, "file": sheet_name(number), "rows": rows})
        path = self.run.evaluation / "rows.jsonl"
        kept = [row for row in read_lines(path) if row["epoch"] < number]
        write_atomic(path, "".join(f"{json.dumps(row)}\n" for row in [*kept, entry]).encode())

    def status(self, progress: Progress, loader: Loader, state: str, message: str = "") -> None:
        if self.on:
            values = {"state": state, "epoch": epoch_number(loader), "step": progress.step, "message": message}
            values |= {"samples_seen": progress.samples_seen, "seconds": round(progress.seconds, 3)}
            values |= {"precision": self.precision}
            self.run.write_json(self.run.status, values)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
        if self.bar is not None:
            self.bar.close()


def _scalars(kind: str, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{kind}/{name}/{inner}", v) for inner, v in value.items())
        elif isinstance(value, float):
            yield f"{kind}/{name}", value

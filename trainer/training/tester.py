"""What a test is for: metrics in the log, the plateau rule, the best weights, a sprite sheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lightning_fabric import Fabric

from trainer.data.order import Positions
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Cached, Streaming
from trainer.training.checkpoint import save_weights
from trainer.training.config import TrainConfig
from trainer.training.log import Log, epoch_number
from trainer.training.run_dir import RunDir
from trainer.training.sheets import SheetWriter, chosen_positions, photo_paths, sheet, shown
from trainer.training.state import Progress, State
from trainer.training.system import System, Task
from trainer.training.validation import evaluate, in_evaluation_mode


@dataclass
class Tester:
    """The first process's look at the held-out samples, with everything that it needs."""

    fabric: Fabric
    config: TrainConfig
    system: System
    task: Task
    reader: SampleReader
    source: Streaming | Cached
    held_out: Positions
    run_dir: RunDir
    log: Log
    bad: BadSamples

    def __post_init__(self) -> None:
        self.chosen = chosen_positions(self.reader, self.held_out, self.config.output.chosen)
        self.photos = photo_paths(self.config.output)
        self.writer = SheetWriter(self.run_dir.evaluation)

    def run(self, state: State) -> None:
        """Measure, log, keep the best weights, and draw. Losses are weighted as those of training are now."""
        progress, loader = state.progress, state.loader
        self.log.doing("evaluating")
        now, size = progress.moment(self.config.schedule), self.config.data.batch_size
        with in_evaluation_mode(state.tested, self.fabric.autocast) as modules:
            for test in self.task.tests():
                result = evaluate(modules, self.task, self.source, self.held_out, size, test, now)
                self.log.test_line(progress, loader, test, result)
                if test == self.task.tests()[0]:
                    score = self.task.score(result.metrics)
                    note_plateau(progress, score, self.config)
                    self.keep_best(state, score)
            if self.config.output.images:
                samples, photos = shown(epoch_number(loader), self.chosen, self.held_out, self.photos)
                photo_px, device = self.system.photo_px(self.config, self.reader), self.fabric.device
                tiles, rows = sheet(modules, self.task, self.reader, samples, photos, photo_px, device, self.bad)
                if rows:
                    self.log.sheet(rows, epoch_number(loader), *tiles[0].shape[1:3])
                    self.writer.write(np.stack(tiles), epoch_number(loader))
        self.log.bad_samples(progress, loader, self.bad)

    def header(self, progress: Progress) -> dict[str, str]:
        """What weights say of themselves."""
        about = {"run_id": self.run_dir.run_id, "tag": str(self.reader.info["tag"]), "step": str(progress.step)}
        return about | self.system.header(self.config, self.reader)

    def keep_best(self, state: State, score: float) -> None:
        """Weights whose score (lower is better) no earlier ones had, beside the last."""
        if score < state.progress.lowest_score:
            state.progress.lowest_score = score
            about = self.header(state.progress) | {"score": f"{score:.6g}"}
            weights = state.tested[self.system.exported].state_dict()
            save_weights(self.run_dir.best_weights, weights, self.config, about)


def note_plateau(progress: Progress, score: float, config: TrainConfig) -> None:
    """Count the epochs since the score (lower is better) last improved enough. Called after each evaluation."""
    if score < progress.best_score * (1 - config.schedule.plateau_gain):
        progress.best_score, progress.epochs_since_best = score, 0
    else:
        progress.epochs_since_best += config.output.evaluate_epochs

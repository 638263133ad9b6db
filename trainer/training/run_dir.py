"""The run directory: everything that one training run leaves behind, and the only module that knows its file names.

    RUN/                          RUN = NAME-TAG-YYYYMMDD-HHMMSS, its last part is the run-ID's time in UTC
        config.yaml               the whole resolved config
        meta.json                 run_id, created, commit, versions, parameters (their number), data: path, tag,
                                  name, index_sha256, uv_frame, training and held-out samples; system: its name,
                                  tests {kind: word}, columns, metrics [name, title, about, ...], tables
        status.json               state ("running", "finished", "interrupted", "failed"), epoch, step, samples_seen,
                                  seconds of training in all sessions, precision of this session, message; renewed
                                  with every log line
        .lock                     held by the process that trains
        log.jsonl                 one JSON object per line, see below
        weights.safetensors       the weights as of the last checkpoint (EMA where configured), with their config
        weights-best.safetensors  those of the test with the lowest score of the system, likewise
        checkpoints/              step-0000001234.pt: all that is needed to go on exactly; set-aside/ holds what came
                                  after the one that `--resume --from` went on from
        .processes/               how the processes of a training tell each other that one has failed
        eval/layout.json          how the sprite sheets are made up
        eval/rows.jsonl           per sheet: {"epoch", "file", "rows": [{"name", "kind", "key"?, metrics...}]}
        eval/epoch-0001.png       sprite sheets: one row per image, one column per view
        eval/splits.json          metrics of the last evaluation by yaw, occlusion share and every knob
        tensorboard/              the scalars of log.jsonl

Lines of log.jsonl. Every one has kind, epoch (1 = the first), step, samples_seen, seconds (of training so far).

    kind "train"      lr, beta1, phase (1 or 2), progress (share done), loss, terms {name: value}, samples_per_s;
                      means since the line before, over the samples of all processes
    kind "test"       loss, terms, metrics {name: value} on held-out samples without augmentation; samples. The loss is
                      weighted as in training at that moment
    kind "test_occluded"   the same with an occluder over every sample (only where occlusion is configured)
    kind "event"      text: second phase, bad samples (of the first process), resumed, stopped

Layout: {"tile_px": 128, "columns": ["input", ...], "rows_file": "rows.jsonl"}; tile (row r, column c) of a sheet
has its top left pixel at (c * tile_px, r * tile_px).
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from renderer.commit import commit
from renderer.errors import DatasetError, SpecError
from renderer.files import locked, write_atomic
from renderer.strict import load_yaml, to_yaml
from trainer.training.config import TrainConfig

META_VERSION: Final = 1
REPORT_VERSION: Final = 1  # of evaluation.json


@dataclass(frozen=True)
class RunDir:
    """Paths of one run, and small reads and writes."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def meta(self) -> Path:
        return self.path / "meta.json"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def best_weights(self) -> Path:
        return self.path / "weights-best.safetensors"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "eval"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Only one process at a time may train a run. Raises DatasetError where another one does, or none can."""
        return locked(self.path / ".lock", f"{self.path} is being trained by another process: wait for it or stop it")

    def append(self, line: Mapping[str, Any]) -> None:
        """One line to log.jsonl, whole."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(line), allow_nan=False) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines of log.jsonl."""
        return read_lines(self.log)

    def forget_after(self, step: int) -> None:
        """Drop log lines of steps that will be taken again, after a resume from an older checkpoint."""
        kept = [line for line in self.lines() if line.get("step", 0) <= step]
        write_atomic(self.log, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        write_atomic(path, json.dumps(finite(value), indent=1, allow_nan=False).encode())

    def update_status(self, state: str, message: str) -> None:
        """A new state and message in status.json; how far the run is stays as it was last noted."""
        before = read_json(self.status) or {"epoch": 0, "step": 0, "samples_seen": 0, "seconds": 0.0}
        self.write_json(self.status, {**before, "state": state, "message": message})

    def plain_config(self) -> dict[str, Any]:
        """The config that the run was started with, as plain values. Raises SpecError."""
        if not self.config.is_file():
            raise SpecError(f"{self.path} is not a run directory: it has no config.yaml")
        return load_yaml(self.config)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a run, {} where it is missing or damaged: a run that is still starting can be read, too."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a JSON-lines file; one that is being written, or was cut short by a crash, is left out."""
    rows: list[dict[str, Any]] = []
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return rows
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def finite(value: Any) -> Any:
    """NaN and infinity become null: JSON has neither."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def rounded(value: float) -> float | None:
    """To six digits, as reports have it; null where it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def create_run(
    config: TrainConfig, system: Mapping[str, Any], tag: str, data: Mapping[str, Any], parameters: int
) -> RunDir:
    """A new run directory under `config.output.runs` with config and meta. The time is that of now, in UTC.

    system: how its results are shown (`trainer.training.system.described`).
    """
    root = Path(config.output.runs)
    now = datetime.now(UTC)
    base = f"{config.name}-{tag}-{now:%Y%m%d-%H%M%S}"
    for attempt in range(100):
        run = RunDir(root / (base if attempt == 0 else f"{base}-{attempt}"))
        try:
            run.path.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise DatasetError(f"cannot create {run.path}: {error.strerror}; set output.runs elsewhere") from error
    else:
        raise DatasetError(f"{root} has 100 runs of this second already")
    run.checkpoints.mkdir()
    run.evaluation.mkdir()
    write_atomic(run.config, to_yaml(config).encode())
    meta = {
        "version": META_VERSION,
        "run_id": run.run_id,
        "created": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "parameters": parameters,
        "system": dict(system),
        "data": dict(data),
    }
    run.write_json(run.meta, meta)
    return run


def versions() -> dict[str, str]:
    """Of Python and the libraries that results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("headforge", "torch", "lightning-fabric", "numpy", "openexr"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""Test samples as each network sees them: input, saliency of the first parameter, and heads rebuilt from parameters.

The heads of the estimates and of the truth are rendered by `gen render --params` in one scenario, by default the first,
as figure 9 of Goepfert et al. 2018 has it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from renderer.errors import MachineError
from renderer.files import write_atomic
from renderer.format.dataset import open_dataset
from renderer.parameters.jobspecs import load_spec
from renderer.report import collage
from renderer.strict import override, to_yaml
from trainer.data.pictures import picture_values
from trainer.data.reader import SampleReader
from trainer.evaluation import saliency
from trainer.evaluation.results import Work, at_work
from trainer.study import measure
from trainer.study.plan import GEN, Layout, Step
from trainer.study.process import command
from trainer.study.spec import beside
from trainer.training.sheets import single

Picture = npt.NDArray[np.uint8]
FILE: Final = "shown.png"
ESTIMATE: Final = "estimate"  # what a system that can be shown gives of each sample, beside "truth"


def show_samples(layout: Layout, stop: Callable[[], bool]) -> bool:
    """Write shown.png and shown.json; whether it came to its end. Of a system without parameters: a note alone."""
    folder = layout.shown
    folder.mkdir(parents=True, exist_ok=True)
    spec, main = layout.study.spec, layout.study.spec.main
    trainings = [s for s in layout.steps() if s.kind == "train" and s.seed == spec.seeds[0]]
    found = {s.scenario: measure.load(layout.result(Step("measure", s.scenario, s.seed, main))) for s in trainings}
    first = next(iter(found.values()))
    about: dict[str, Any] = {"of": layout.identity(), "columns": [], "rows": []}
    if ESTIMATE in first.given:
        chosen = np.linspace(0, len(first.keys) - 1, spec.shown + 2).astype(int)[1:-1]
        truth = first.given["truth"][chosen]
        estimates = [found[s.scenario].given[ESTIMATE][chosen] for s in trainings]
        heads = rebuilt(layout, np.concatenate([truth, *estimates]), stop)
        if heads is None:
            return False
        keys = [first.keys[i] for i in chosen]
        pictures, explained = seen(layout, trainings, keys)
        # (columns, samples, H, W, 3)
        columns = [pictures, *(c for s in range(len(trainings)) for c in (explained[s], heads[1 + s]))]
        sheet = np.stack([*columns, heads[0]])
        rows, side = sheet.shape[1], sheet.shape[2]
        flat = sheet.transpose(1, 2, 0, 3, 4).reshape(rows * side, -1, 3)
        write_png(flat, folder / FILE)
        names = [n for s in trainings for n in (f"{s.scenario}: saliency", f"{s.scenario}: head")]
        about |= {"columns": ["input", *names, "true head"], "rows": keys, "side": side}
    write_atomic(folder / "shown.json", json.dumps(about, indent=1).encode())
    return True


def seen(layout: Layout, trainings: Sequence[Step], keys: Sequence[str]) -> tuple[Picture, list[Picture]]:
    """Inputs (N, side, side, 3), and for each network the saliency of its first output."""
    inputs: list[Picture] = []
    explained: list[Picture] = []
    for step in trainings:
        run = layout.run(step)
        assert run is not None
        work = at_work(measure.best_weights(run), layout.data(layout.study.spec.main, "test"))
        pictures = torch.cat([picture_of(work, key) for key in keys])
        network: Any = work.modules[work.system.exported]
        slopes = saliency.saliency(network, pictures, 0)
        explained.append(np.stack([saliency.shown(s) for s in slopes]))
        levels = (pictures * 255 + 0.5).byte().permute(0, 2, 3, 1).numpy()
        inputs = inputs or [levels]
    return inputs[0], explained


def picture_of(work: Work, key: str) -> torch.Tensor:
    """(1, 3, H, W) picture values of a sample."""
    reader: SampleReader = work.reader
    return picture_values(single(reader, reader.keys.index(key), torch.device("cpu")).images["input"])


def rebuilt(layout: Layout, parameters: npt.NDArray[np.float64], stop: Callable[[], bool]) -> list[Picture] | None:
    """Heads of parameters (G x N, P), as G pictures of N heads each, (N, side, side, 3); None after a signal."""
    spec, folder = layout.study.spec, layout.shown
    name = spec.shown_in or layout.study.scenarios[next(iter(layout.study.scenarios))].spec
    if spec.shown_in:
        scene = override(load_spec(beside(layout.study.folder, name)), spec.render, "render of the study")
    else:
        scene = layout.study.render_spec(next(iter(layout.study.scenarios)))
    write_atomic(folder / "scene.yaml", to_yaml(scene).encode())
    lines = [json.dumps([round(float(v), 6) for v in q]) for q in parameters]
    write_atomic(folder / "heads.jsonl", ("\n".join(lines) + "\n").encode())
    out = folder / "heads"
    words = [
        *GEN,
        "render",
        "--spec",
        str(folder / "scene.yaml"),
        "--params",
        str(folder / "heads.jsonl"),
        "--out",
        str(out),
    ]
    if not command(words, "show", stop):
        return None
    shards = open_dataset(out).entries()
    pictures = np.stack([collage.tone_map(shard.image(entry, "input")) for shard, entry in shards])
    if len(pictures) != len(parameters):
        raise MachineError(f"{out} holds {len(pictures)} heads in place of {len(parameters)}: see its manifests")
    return list(pictures.reshape(-1, spec.shown, *pictures.shape[1:]))


def write_png(picture: Picture, path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())

"""The model card of weights that are given to others: what their files, their run and its evaluations say.

Figures come from the `evaluation-*/evaluation.json` that `gen evaluate` left in the run; what nobody
measured is missing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from renderer.files import file_sha256, write_atomic
from trainer.evaluation.photos.report import text as photo_tables
from trainer.systems.runs import export, load_trained
from trainer.training.run_dir import RunDir, read_json

NAME: Final = "photo"  # of the files
CARD: Final = "MODEL_CARD.md"
RENDERED: Final = {"uv_error": "UV error", "mask_iou": "mask IoU", "occluded_iou": "visible IoU", "landmark_nme": "NME"}
SPLITS: Final = ("|yaw|", "occlusion share", "surface.face", "skin.melanin", "identity.age", "identity.african")
"""Tables of an evaluation on renders that a card shows, where the data set has the knob. Skins are named by age and
ancestry of whom they show."""
FIXED: Final = """## Intended use

Dense UV coordinates, masks, landmarks and head pose of faces in photographs and video, on machines of one's own:
effects, textures, research. It tells where a face is and how it lies, not whose it is; it was not made to identify,
to judge or to watch people, and nothing that matters to somebody should depend on it alone.

## Limits

- All faces that it has learnt from are renderings: fewer kinds of skin, hair, age and expression than there are
  people. Compare the figures by skin and age above; they are of rendered heads, and say nothing certain about
  photographs.
- Faces below about 40 pixels, from behind, turned by more than 90 degrees or cut in half are missed or read wrongly.
- Things with the layout of a face (statues, dolls, prints) may be called faces.
- The UV frame is that of headforge (`hm08-frontal-1`); another frame needs a map between the two.

## Licences of what it was made from

The weights are under headforge's licence. They began as EfficientNet-Lite0 of Google's TPU team (Apache-2.0), trained
on ImageNet. All samples were rendered by headforge from assets that allow it: MakeHuman's and MPFB's base mesh,
targets, skins, hair and clothes, Face Units, Poly Haven's panoramas, Blender's own panoramas (CC0, each), and
procedural textures, worlds and occluders (ours). `blend_assets/manifest.yaml` and `backbones.yaml` name every package
with version, hash, licence and credit. Beyond what ImageNet's weights hold, no photograph of a person was used to
train, nor to choose a checkpoint.
"""


def ship(run: Path, out: Path) -> list[Path]:
    """Write weights in 16 bits, ONNX and card of a run into `out`, as photo.safetensors, photo.onnx and MODEL_CARD.md.

    Raises FormatError or DatasetError where `run` is no run, MachineError where ONNX computes something else.
    """
    header = load_trained(run).header
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = export(run, Path(folder), ("safetensors", "onnx"), half=True)
        files = [out / f"{NAME}{each.path.suffix}" for each in made]
        for each, path in zip(made, files, strict=True):
            write_atomic(path, each.path.read_bytes())
    card = out / CARD
    write_atomic(card, model_card(run, header, files).encode())
    return [*files, card]


def model_card(run: Path, header: Mapping[str, str], files: Sequence[Path]) -> str:
    """The card as Markdown. header: of the weights. files: those that are shipped."""
    meta, config = read_json(RunDir(run).meta), RunDir(run).plain_config()
    data, step = meta["data"], int(header["step"])
    rows = [f"| `{path.name}` | {path.stat().st_size:,} | `{file_sha256(path)}` |" for path in files]
    about = (
        "A network that finds the UV coordinates of faces in photographs, taught by renderings: "
        f"{meta['parameters']:,} parameters, stored in 16 bits, computed in 32. Pictures of {header['input_px']} px "
        "of values in [0, 1] go in; U, V, mask (the face as if nothing covered it), visible mask, face score come out."
    )
    trained = (
        f"Run `{header['run_id']}` at commit {meta['commit']}, step {step:,}: {step * config['data']['batch_size']:,} "
        f"samples seen of {data['training_samples']:,} of the spec `{data['name']}`, tag `{data['tag']}`; "
        f"{data['test_samples']:,} more were held out. " + _beginning(config)
    )
    parts = [
        "# Model card", about,
        "\n".join(["| file | bytes | sha256 |", "|---|---|---|", *rows]),
        "## Training", trained, "## Figures", *_figures(run), FIXED,
    ]  # fmt: skip
    return "\n\n".join(parts).rstrip() + "\n"


def _beginning(config: Mapping[str, Any]) -> str:
    if config["start"]:
        return f"It went on from the weights of `{Path(config['start']).name}`."
    return "Its encoder began with weights of ImageNet." if config["pretrained"] else "It began with random weights."


def _figures(run: Path) -> Iterator[str]:
    for path in sorted(run.glob("evaluation-*/evaluation.json")):
        report = json.loads(path.read_text("utf-8"))
        if "splits" in report:
            yield f"### Renders: {report['samples']:,} samples of `{report['dataset']}` ({report['note']})"
            yield _rendered("all", [{"label": "", "count": report["samples"], **report["metrics"]}])
            yield from (_rendered(name, report["splits"][name]) for name in SPLITS if name in report["splits"])
        else:
            yield f"### Photographs: `{report['dataset']}`"
            yield f"```text\n{photo_tables(report)}\n```"


def _rendered(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [name for name in RENDERED if any(name in row for row in rows)]
    head = [title, "samples", *(RENDERED[name] for name in shown)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [f"{row[name]:.3f}" if row.get(name) is not None else "-" for name in shown]
        lines.append(f"| {row['label']} | {row['count']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

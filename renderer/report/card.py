"""The data set card: a README in the data set's folder, with a collage, that says what it is and how to read it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from renderer.commit import commit
from renderer.errors import AssetError
from renderer.files import write_atomic
from renderer.format.dataset import Dataset, open_dataset
from renderer.format.sample_format import CHANNELS, frame_size, image_names, images_of
from renderer.head.catalog import pack_folder
from renderer.report import collage

_TILES = 48
_MEASURED = 2000  # samples whose members are measured
_NAMED = 20  # skipped samples that are named
READING = """## Reading it

With headforge:

```python
from pathlib import Path
from renderer.format.dataset import open_dataset

for shard, entry in open_dataset(Path("FOLDER")).entries():
    image, uv = shard.image(entry, "input"), shard.image(entry, "uv")  # (H, W, 3), (H, W, 2)
    knobs = shard.params(entry)["knobs"]
```

With webdataset:

```python
import io, json, OpenEXR, webdataset

def exr(data):
    return {n: c.pixels for n, c in OpenEXR.File(io.BytesIO(data), separate_channels=True).channels().items()}

folder = "FOLDER"  # shards have ranges for names, which no {000..599} spans: the index lists them
tars = [f"{folder}/{shard['tar']}" for shard in json.load(open(f"{folder}/index.json"))["shards"]]
for sample in webdataset.WebDataset(tars, shardshuffle=False):
    image, uv = exr(sample["input.exr"]), exr(sample["uv.exr"])
```
"""
"""How the data set is read; FOLDER stands for its name."""


def write_card(path: Path) -> None:
    """Write README.md, spec.yaml and collage.png beside the shards of a finished data set."""
    dataset = open_dataset(path)
    tiles = [
        collage.triplet_picture({name: shard.image(entry, name) for name in ("input", "uv", "mask")})
        for shard, entry in itertools.islice(dataset.entries(), _TILES)
    ]
    Image.fromarray(np.asarray(collage.sheet(tiles))).save(path / "collage.png")
    spec = yaml.safe_dump(dataset.info["spec"], sort_keys=False)
    write_atomic(path / "spec.yaml", spec.encode())
    write_atomic(path / "README.md", card_text(dataset, _credits(dataset.info)).encode())


def _credits(info: dict[str, Any]) -> str:
    try:
        return (pack_folder(info) / "CREDITS.txt").read_text("utf-8")
    except (AssetError, OSError):
        return "(the head pack is not on this machine, or names nobody)"


def _clips(dataset: Dataset) -> str:
    frames = dataset.clip_frames
    return f"of {frames} frames: sample N is frame N % {frames} of clip N // {frames}" if frames else "none"


def _subjects(dataset: Dataset) -> dict[str, str]:
    size = dataset.group_size
    if size == 1 or dataset.clip_frames:
        return {}
    return {"subjects": f"of {size} samples: sample N is view N % {size} of subject N // {size}"}


def card_text(dataset: Dataset, credit: str) -> str:
    """The card as Markdown."""
    info = dataset.info
    reading = READING.replace("FOLDER", dataset.path.name)
    again = f"Any sample can be made again, alone: `gen render --spec spec.yaml --seed {info['seed']} --only N`."
    return f"""# {info["name"]}

{info["spec"].get("about", "")}

![samples](collage.png)

{_facts(dataset)}

## Members of a sample

{_members(dataset)}

{again}

{reading}
## Spec

```yaml
{yaml.safe_dump(info["spec"], sort_keys=False).strip()}
```

## Credits and licences

The images are yours to use; the assets that they show are listed here.

```
{credit.strip()}
```
"""


def _facts(dataset: Dataset) -> str:
    """A table of what the data set is."""
    info, shards = dataset.info, [shard.summary for shard in dataset.shards]
    versions = dataset.shards[0].manifest.versions
    images, own = images_of(tuple(info["labels"])), info["assets"]["own"]
    width, height = frame_size(info["resolution"])
    skipped = sorted(i for s in shards for i in s.skipped)
    failed = ", ".join(map(str, skipped[:_NAMED])) + (f" and {len(skipped) - _NAMED} more" * (len(skipped) > _NAMED))
    rows = {
        "samples": f"{len(dataset)} ({len(dataset) * images} images)",
        "clips": _clips(dataset),
        **_subjects(dataset),
        "resolution": f"{width} x {height}",
        "seed, tag": f"{info['seed']}, `{info['tag']}`",
        "shards, bytes": f"{len(shards)}, {sum(s.tar_bytes for s in shards) / 1e6:.1f} MB",
        "skipped samples": failed or "none",
        "UV frame": f"`{info['uv_frame']}`",
        "head pack": f"`{info['assets']['pack']}`" + (f", own files: {len(own)}" if own else ""),
        "sample format": info["format_version"],
        "bit-repeatable": "yes (CPU)" if info["bit_repeatable"] else "no (GPU render)",
        "code": f"{versions.get('commit', commit())}, bpy {versions.get('bpy', '?')}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _members(dataset: Dataset) -> str:
    """A table of a sample's files with their mean sizes."""
    some = [entry.members for _, entry in dataset.spread(_MEASURED)]

    def row(member: str, channels: str) -> str:
        size = sum(members[member].size for members in some) / max(len(some), 1)
        return f"| `KEY.{member}` | {channels} | {size / 1e3:.1f} |"

    head = [f"| member | channels | kB (mean of {len(some)}) |", "|---|---|---|"]
    names = image_names(tuple(dataset.info["labels"]))
    return "\n".join([*head, *(row(f"{n}.exr", " ".join(CHANNELS[n])) for n in names), row("json", "every parameter")])

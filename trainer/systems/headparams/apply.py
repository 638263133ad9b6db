"""Photos to textured heads: what `gen apply` does with a network that estimates head parameters.

The middle square of a photo goes in, and should show one head as rendered ones do: whole, 0.4 to 0.9 of the height.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from renderer.errors import AssetError, FormatError
from renderer.files import cache_root, write_atomic
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from trainer.data import video
from trainer.data.device import device_named
from trainer.systems.headparams.heads import Heads, heads_in
from trainer.systems.runs import load_trained
from trainer.training.sheets import load_photo
from trainer.uvmaps import mesh


def apply_to_photos(
    weights: Path, inputs: Sequence[str], out: Path, device: str, say: Callable[[str], object]
) -> int:  # fmt: skip
    """NAME.head.obj and .glb, the estimated head with its texture, and NAME.head.json of each photo.

    Returns how many inputs could not be read. Raises AssetError where the network's head pack is not on this machine,
    FormatError for weights that know none.
    """
    mesh.check("head")
    found, place = load_trained(weights, only="headparams"), device_named(device)
    heads, side = known_heads(found.header, weights), found.config.network.input_px  # type: ignore[attr-defined]
    model, network = load_head(heads.pack), found.module.to(place)
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for source in video.expand(inputs):
        try:
            if video.is_moving(source):
                raise FormatError(f"{source} is no photo; head parameters are estimated from photos alone")
            with torch.no_grad():
                q = network(load_photo(Path(source), (side, side))[None].to(place))[0].float().cpu().numpy()
        except FormatError as error:
            say(f"skipped: {error}")
            failed += 1
            continue
        write_head(heads, model, q.astype(np.float64), out / f"{Path(source).stem}.head", source)
        say(f"{source}: {len(q)} parameters, from {q.min():.2f} to {q.max():.2f}")
    return failed


def known_heads(header: dict[str, str], weights: Path) -> Heads:
    """The components that weights were trained on."""
    if "pack" not in header:
        raise FormatError(f"{weights} was trained on parameters of no head pack: no head can be made of them")
    pack = cache_root() / header["pack"]
    if not pack.is_dir():
        raise AssetError(f"head pack {pack}, whose components {weights} was trained on, is not on this machine")
    return heads_in(pack, int(header["shape_parameters"]), torch.device("cpu"))


def write_head(heads: Heads, model: HeadModel, q: npt.NDArray[np.float64], path: Path, source: str) -> None:
    """The head of parameters (P,) as a mesh with its texture, and the parameters as JSON."""
    shape, texture = q[: heads.shape], q[heads.shape :]
    made = mesh.textured_mesh(model, heads.pca.vertices(shape), heads.pca.picture(texture), "head", frame="uv_skin")
    for suffix in mesh.SUFFIXES:
        mesh.write_mesh(made, path.with_name(path.name + suffix))
    traits = {name.removeprefix("trait."): float(v[0]) for name, v in heads.traits(torch.from_numpy(q)[None]).items()}
    about = {"source": source, "q": q.round(6).tolist(), "shape": heads.shape, "on_average": traits}
    write_atomic(path.with_name(path.name + ".json"), json.dumps(about, indent=1).encode())

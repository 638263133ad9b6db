"""A trained network for use elsewhere: safetensors with its config, ONNX, and torch.export.

ONNX is checked against torch with onnxruntime on random inputs of two sizes before it gets its name.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from renderer.errors import MachineError, SpecError
from renderer.files import write_atomic
from renderer.install import how_to_install
from renderer.strict import to_plain
from trainer.systems.uvnet.network import UVNet
from trainer.training.checkpoint import load_network, read_weights, weights_file

FORMATS: Final = ("safetensors", "onnx", "pt2")
ONNX_TOLERANCE: Final = 1e-4  # largest difference allowed between onnxruntime and torch, in output units
OPSET: Final = 18


@dataclass(frozen=True)
class Exported:
    """One file made. difference: largest absolute difference to torch on random inputs; 0 for plain weights."""

    path: Path
    difference: float


def export(run_or_weights: Path, out: Path, formats: tuple[str, ...] = FORMATS) -> list[Exported]:
    """Write the network into `out` as NAME.FORMAT. Raises SpecError on another format, FormatError on bad weights."""
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise SpecError(f"unknown formats {', '.join(unknown)}; known are {', '.join(FORMATS)}")
    source = weights_file(run_or_weights)
    network, header = load_network(source)
    _, config, _ = read_weights(source)
    name = Path(header.get("run_id", "")).name or source.stem  # a foreign run-ID must not become a path
    out.mkdir(parents=True, exist_ok=True)
    size = config.multiple * 2
    about = {**{k: v for k, v in header.items() if k != "network"}, "network": to_plain(config)}
    about |= {
        "input": "N x 3 x H x W picture values (gamma 2.2) in [0, 1]",
        "output": ["U", "V", "mask", "occluded mask"],
    }
    write_atomic(out / f"{name}.json", json.dumps(about, indent=1).encode())
    results = []
    for kind in formats:
        path = out / f"{name}.{kind}"
        if kind == "safetensors":
            if path.resolve() != source.resolve():
                shutil.copyfile(source, path)
            results.append(Exported(path, 0.0))
        elif kind == "onnx":
            results.append(Exported(path, _to_onnx(network, path, size)))
        else:
            results.append(Exported(path, _to_pt2(network, path)))
    return results


def _inputs(size: int) -> list[Tensor]:
    """Random pictures of two sizes and minibatches; multiples of what the network halves, and one that is not."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 3, size, size), (3, 3, size + 5, 2 * size - 3)]
    return [torch.rand(shape, generator=generator) for shape in shapes]


def _dynamic() -> dict[int, Any]:
    auto = torch.export.Dim.AUTO
    return {0: auto, 2: auto, 3: auto}


def _to_onnx(network: nn.Module, path: Path, size: int) -> float:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise MachineError(f"ONNX export needs further libraries: {how_to_install('export')}") from error
    inputs = _inputs(size)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "network.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            torch.onnx.export(
                network,
                (inputs[1],),
                str(local),
                input_names=["image"],
                output_names=["uv_masks"],
                dynamic_shapes=(_dynamic(),),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        session = onnxruntime.InferenceSession(str(local), providers=["CPUExecutionProvider"])
        worst = 0.0
        for image in inputs:
            found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
            worst = max(worst, float((found - network(image)).abs().max()))
        if not worst <= ONNX_TOLERANCE:
            raise MachineError(
                f"onnxruntime differs from torch by {worst:.2g}, more than {ONNX_TOLERANCE:.2g}: {path} was not written"
            )
        write_atomic(path, local.read_bytes())
    return worst


class Unpadded(nn.Module):
    """The network for sizes that it halves evenly: torch.export cannot keep padding that depends on the size."""

    def __init__(self, network: UVNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.unpadded(image)


def _to_pt2(network: UVNet, path: Path) -> float:
    step = network.config.multiple
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.rand(shape, generator=generator) for shape in ((2, 3, 2 * step, 3 * step), (1, 3, 4 * step, 2 * step))
    ]
    dims = {i: step * torch.export.Dim(name, min=2, max=1024) for i, name in ((2, "rows"), (3, "columns"))}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        dynamic = {"image": {0: torch.export.Dim("batch"), **dims}}
        program = torch.export.export(Unpadded(network), (inputs[0],), dynamic_shapes=dynamic)
        local = Path(folder) / "network.pt2"
        torch.export.save(program, local)
        loaded = torch.export.load(local).module()
        worst = max(float((loaded(image) - network(image)).abs().max()) for image in inputs)
        write_atomic(path, local.read_bytes())
    return worst

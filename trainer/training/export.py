"""A trained module for use elsewhere: safetensors with its config, ONNX, and torch.export.

ONNX is checked against torch with onnxruntime on random inputs of several sizes before it gets its name.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from renderer.errors import MachineError, SpecError
from renderer.files import write_atomic
from renderer.install import how_to_install
from trainer.training.system import Exportable

FORMATS: Final = ("safetensors", "onnx", "pt2")
ONNX_TOLERANCE: Final = 1e-4  # largest difference allowed between onnxruntime and torch, in output units
OPSET: Final = 18


@dataclass(frozen=True)
class Exported:
    """One file made. difference: largest absolute difference to torch on random inputs; 0 for plain weights."""

    path: Path
    difference: float


def export(
    weights: Path, what: Exportable, header: Mapping[str, str], out: Path, formats: tuple[str, ...] = FORMATS
) -> list[Exported]:
    """Write a trained module into `out` as NAME.FORMAT, and NAME.json about it. header: of its weights file.

    Raises SpecError on another format, MachineError where ONNX computes something else.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise SpecError(f"unknown formats {', '.join(unknown)}; known are {', '.join(FORMATS)}")
    name = Path(header.get("run_id", "")).name or weights.stem  # a foreign run-ID must not become a path
    out.mkdir(parents=True, exist_ok=True)
    about = {**header, "architecture": json.loads(header["architecture"]), **what.about}
    write_atomic(out / f"{name}.json", json.dumps(about, indent=1).encode())
    results = []
    for kind in formats:
        path = out / f"{name}.{kind}"
        if kind == "safetensors":
            if path.resolve() != weights.resolve():
                shutil.copyfile(weights, path)
            results.append(Exported(path, 0.0))
        elif kind == "onnx":
            results.append(Exported(path, _to_onnx(what, path)))
        else:
            results.append(Exported(path, _to_pt2(what, path)))
    return results


def _to_onnx(what: Exportable, path: Path) -> float:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise MachineError(f"ONNX export needs further libraries: {how_to_install('export')}") from error
    names = list(what.dynamic)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "network.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            torch.onnx.export(
                what.module,
                what.inputs[0],
                str(local),
                input_names=names,
                output_names=list(what.outputs),
                dynamic_shapes=tuple(what.dynamic.values()),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        session = onnxruntime.InferenceSession(str(local), providers=["CPUExecutionProvider"])
        worst = 0.0
        for inputs in what.inputs:
            given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
            found = torch.from_numpy(session.run(None, given)[0])
            worst = max(worst, float((found - what.module(*inputs)).abs().max()))
        if not worst <= ONNX_TOLERANCE:
            raise MachineError(
                f"onnxruntime differs from torch by {worst:.2g}, more than {ONNX_TOLERANCE:.2g}: {path} was not written"
            )
        write_atomic(path, local.read_bytes())
    return worst


def _to_pt2(what: Exportable, path: Path) -> float:
    module, inputs = what.fixed or what.module, what.fixed_inputs or what.inputs
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        dynamic = dict(what.fixed_dynamic or what.dynamic)
        program = torch.export.export(module, inputs[0], dynamic_shapes=dynamic)
        local = Path(folder) / "network.pt2"
        torch.export.save(program, local)
        loaded = torch.export.load(local).module()
        worst = max(float((loaded(*each) - what.module(*each)).abs().max()) for each in inputs)
        write_atomic(path, local.read_bytes())
    return worst

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

import numpy as np
import safetensors.torch
import torch
from torch import nn

from renderer.errors import MachineError, SpecError
from renderer.files import write_atomic
from renderer.install import how_to_install
from trainer.training.checkpoint import read_weights, written_atomically
from trainer.training.system import Exportable

FORMATS: Final = ("safetensors", "onnx", "pt2")
ONNX_TOLERANCE: Final = 1e-4  # largest difference allowed between onnxruntime and torch, in output units
OPSET: Final = 18
LARGE: Final = 256  # numbers in a constant of an ONNX file from which it is worth storing them in 16 bits


@dataclass(frozen=True)
class Exported:
    """One file made. difference: largest absolute difference to torch on random inputs; 0 for plain weights."""

    path: Path
    difference: float


def export(
    weights: Path,
    what: Exportable,
    header: Mapping[str, str],
    out: Path,
    formats: tuple[str, ...] = FORMATS,
    half: bool = False,
) -> list[Exported]:
    """Write a trained module into `out` as NAME.FORMAT, and NAME.json about it. header: of its weights file.

    half: of safetensors and ONNX, store numbers in 16 bits; both compute in 32. `what.module` must hold rounded ones.
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
            if half:
                _halved_weights(weights, path)
            elif path.resolve() != weights.resolve():
                shutil.copyfile(weights, path)
            results.append(Exported(path, 0.0))
        elif kind == "onnx":
            results.append(Exported(path, _to_onnx(what, path, half)))
        else:
            results.append(Exported(path, _to_pt2(what, path)))
    return results


def rounded(module: nn.Module) -> nn.Module:
    """The module with its numbers as 16 bits hold them; it computes in 32 as before."""
    return module.half().float()


def _halved_weights(weights: Path, path: Path) -> None:
    tensors, _, header = read_weights(weights)
    with written_atomically(path) as partial:
        safetensors.torch.save_file(
            {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}, partial, header
        )


def _to_onnx(what: Exportable, path: Path, half: bool) -> float:
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
                optimize=not half,  # it would fold normalisation into kernels, which then round to other numbers
            )
        if half:
            _halve_onnx(local)
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


def _halve_onnx(path: Path) -> None:
    """Store the large constants of an ONNX file in 16 bits, each followed by a cast back.

    Runtimes fold the casts when they load it and compute in 32 bits, which CPUs do faster. Notes on where nodes come
    from are dropped.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.size >= LARGE:
            name, stored = tensor.name, f"{tensor.name}.half"
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
            casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    for number, node in enumerate(casts):
        graph.node.insert(number, node)
    for part in (model, graph, *graph.node):
        part.ClearField("metadata_props")  # where in our code each node comes from: a sixth of the file
    onnx.save(model, str(path))


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

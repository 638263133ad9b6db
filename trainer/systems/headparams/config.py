"""The config of the regression of head parameters. Defaults are those of Goepfert et al. 2018 with ResNet-50."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from renderer.errors import SpecError
from renderer.parameters.spec import Spec
from renderer.strict import knob
from trainer.training.config import DataConfig, ScheduleConfig, TrainConfig

BATCH: int = 32
CAFFE_GAMMA: float = 0.1  # of Caffe's policy "inv", per step


@dataclass(frozen=True)
class NetworkConfig:
    """What looks at the picture."""

    kind: Literal["resnet50", "lite0", "small"] = knob(
        "resnet50", "lite0: EfficientNet-Lite0; small: 1.2 million parameters with 32 features, for CPUs"
    )
    input_px: int = knob(224, "side that pictures are scaled to", 64, 1024)
    parameters: int = knob(36, "numbers that are estimated", 1, 10_000)
    features: int = knob(32, "of the first layer of `small`; they double with each of its four levels", 8, 64)
    dropout: float = knob(0.0, "share of the last features of `small` left out in each step of training", 0, 0.95)

    def check(self) -> None:
        if self.kind == "small" and self.input_px % 4:
            raise SpecError(
                f"input_px is {self.input_px}; kind small takes squares of 4 pixels as one: a multiple of 4"
            )


@dataclass(frozen=True)
class HeadParamsConfig(TrainConfig):
    """A training on head parameters."""

    name: str = knob("headparams", "start of the run-ID")
    system: Literal["headparams"] = knob("headparams", "what is trained")
    network: NetworkConfig = NetworkConfig()
    pretrained: str = knob(
        "",
        "checkpoint to take all layers but the last from: of torchvision's ResNet-50, or of EfficientNet-Lite0",
        path=True,
    )
    published: bool = knob(False, "network.kind lite0: start from the weights of ImageNet that a package holds")
    mean_samples: int = knob(1000, "training samples that the mean image is made of", 1, 10**6)
    data: DataConfig = DataConfig(batch_size=BATCH)
    schedule: ScheduleConfig = ScheduleConfig(
        optimiser="sgd",
        lr=(1e-4, 1e-4),
        beta1=(0.9, 0.9),
        decay="inverse",
        decay_samples=int(BATCH / CAFFE_GAMMA),
        decay_power=0.75,
    )

    def check(self) -> None:
        super().check()
        if self.pretrained and self.network.kind == "small":
            raise SpecError("pretrained names a checkpoint, but there is none of network.kind 'small': leave it empty")
        if self.published and (self.pretrained or self.network.kind != "lite0"):
            raise SpecError("published is true: that needs network.kind 'lite0', and leaves no room for pretrained")

    def lacks(self, spec: Spec) -> str:
        if spec.identity.kind != "pca":
            return f"identity.kind is {spec.identity.kind!r}, and head parameters are those of kind 'pca'"
        if spec.heads.empty_share:
            return f"heads.empty_share is {spec.heads.empty_share}, and every picture must show a head: set it to 0"
        if (count := spec.identity.pca.shape + spec.identity.pca.texture) != self.network.parameters:
            return f"identity.pca makes {count} parameters, network.parameters is {self.network.parameters}"
        return ""

    def target(self, spec: Spec) -> str:
        return f"{spec.identity.pca.shape} parameters of the shape and {spec.identity.pca.texture} of the texture"

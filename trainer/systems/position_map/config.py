"""The config of position maps. Defaults are the network of Kwon 2021 with one view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from renderer.errors import SpecError
from renderer.parameters.spec import Spec
from renderer.strict import knob
from trainer.training.config import TrainConfig

HALVINGS: Final = 5  # of the resolution, down to the network's narrowest place
IMAGENET: Final = "imagenet"


@dataclass(frozen=True)
class NetworkConfig:
    """What makes a map of pictures."""

    kind: Literal["full", "small", "lite0"] = knob(
        "full",
        "full: 13.8 million parameters; small: 1 million, for CPUs; lite0: an encoder that may begin with weights, and"
        " maps as sums of principal maps",
    )
    views: Literal["one", "made", "taken"] = knob(
        "one", "what goes in: a picture; a second one made of it, too; or the one that the second camera took"
    )
    side_px: int = knob(256, "side of pictures and of maps", 64, 512)
    expansion: int = knob(6, "kind full: features inside an inverted residual for one before it", 1, 12)
    features: int = knob(24, "kind small: of its first level; they double with each further one", 8, 64)
    components: int = knob(80, "kind lite0: principal maps", 1, 1000)

    def check(self) -> None:
        if self.side_px % 2**HALVINGS:
            raise SpecError(f"side_px is {self.side_px}; the network halves it {HALVINGS} times: a multiple of 32")

    @property
    def channels(self) -> int:
        """Of what goes in."""
        return 3 if self.views == "one" else 6


@dataclass(frozen=True)
class WindowConfig:
    """The square that is cut around a face, in units of the larger side of the face's box, and how it varies."""

    faces: tuple[float, float] = knob((1.2, 1.7), "side of the window in training; in tests it is 1.4", 0.5, 5)
    shift: float = knob(0.1, "largest distance of its middle from that of the box, in its sides", 0, 1)
    turn_deg: float = knob(10.0, "largest turn in the picture", 0, 180)

    def check(self) -> None:
        if self.faces[0] > self.faces[1]:
            raise SpecError(f"faces is {list(self.faces)}: the low end is above the high end")


@dataclass(frozen=True)
class AugmentConfig:
    """What training changes of pictures. Both views are changed alike, as two pictures of one instant are."""

    window: WindowConfig = WindowConfig()
    mirror_share: float = knob(0.5, "share of samples seen in a mirror", 0, 1)
    channels: tuple[float, float] = knob((0.6, 1.4), "factor on each colour channel, drawn apart (Kwon 2021)", 0, 10)
    dropout: float = knob(0.05, "largest share of pixels set to black", 0, 0.9)

    def check(self) -> None:
        if self.channels[0] > self.channels[1]:
            raise SpecError(f"channels is {list(self.channels)}: the low end is above the high end")


@dataclass(frozen=True)
class LossConfig:
    """The squared error of a map."""

    weighted: bool = knob(True, "weigh texels by region (`trainer.positions.texels`); false: all of the map alike")


@dataclass(frozen=True)
class PositionMapConfig(TrainConfig):
    """A training of position maps."""

    name: str = knob("position_map", "start of the run-ID")
    system: Literal["position_map"] = knob("position_map", "what is trained")
    network: NetworkConfig = NetworkConfig()
    first: str = knob(
        "", "network.views made: run or weights of one view, whose maps the second view is made by", path=True
    )
    encoder: str = knob(
        "",
        "network.kind lite0: what its encoder begins with: run or weights of a UV-net for photographs, `shipped`, or"
        f" {IMAGENET}, whose weights are fetched once; empty = the seed",
    )
    frozen_stages: int = knob(0, "network.kind lite0: of the encoder, keep their first weights; it has 6", 0, 6)
    mean_samples: int = knob(1000, "training samples that the mean map and principal maps are made of", 1, 10**6)
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()

    def check(self) -> None:
        super().check()
        for name in ("encoder", "frozen_stages"):
            if getattr(self, name) and self.network.kind != "lite0":
                raise SpecError(
                    f"{name} is set, but network.kind is {self.network.kind!r}: only 'lite0' has an encoder"
                )
        if self.frozen_stages and not self.encoder:
            raise SpecError(f"frozen_stages is {self.frozen_stages}, but encoder is empty: nothing learnt to keep")
        if self.first and self.network.views != "made":
            raise SpecError(f"first names a network, but network.views is {self.network.views!r}: only 'made' has one")

    def lacks(self, spec: Spec) -> str:
        if spec.heads.empty_share:
            return f"heads.empty_share is {spec.heads.empty_share}, and every picture must show a head: set it to 0"
        if self.network.views == "taken" and "view2" not in spec.render.labels:
            return "render.labels lacks view2, which network.views 'taken' takes"
        return ""

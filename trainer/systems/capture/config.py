"""The config of performance capture. Defaults are those of Laine et al. 2017, sections 3 and 4, appendices A and B."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from renderer.errors import SpecError
from renderer.parameters.spec import Spec
from renderer.strict import knob
from trainer.training.config import DataConfig, ScheduleConfig, TrainConfig

FRAMES: int = 18_000  # ten minutes at 30 frames per second
EPOCHS: int = 200


@dataclass(frozen=True)
class NetworkConfig:
    """What looks at a frame. The size of its last features follows from that of the frame.

    Frames twice, three times, ... as large as the network's are averaged down to it.
    """

    kind: Literal["convolutional", "connected"] = knob(
        "convolutional", "connected: image PCA and fully connected layers, as in appendix B; needs landmarks"
    )
    width_px: int = knob(240, "width of the frames, or of squares of their pixels", 16, 4096)
    height_px: int = knob(320, "height of the frames, or of such squares", 16, 4096)
    views: int = knob(1, "cameras; the second one's frames are the label view2", 1, 2)
    vertices: int = knob(5000, "vertices of the actor's mesh", 1, 10**6)
    components: int = knob(160, "features before the output layer, and meshes in its PCA basis", 1, 4096)
    features: tuple[int, ...] = knob(
        (64, 96, 144, 216, 324, 486),
        "kind convolutional: of each pair of convolutions, the first with stride 2",
        1,
        4096,
    )
    dropout: float = knob(0.2, "share of the features before the last two layers left out in a step", 0, 0.95)
    image_components: int = knob(3000, "kind connected: coefficients of the image PCA", 1, 100_000)
    hidden: tuple[int, ...] = knob((400, 200), "kind connected: features of the hidden layers", 1, 100_000)

    def check(self) -> None:
        """What fields must satisfy together. Raises SpecError."""
        if not self.features or not self.hidden:
            raise SpecError("features and hidden need one entry at least")
        if self.kind == "connected" and self.views != 1:
            raise SpecError(f"views is {self.views}; kind connected has one camera: its image PCA is of one picture")

    def reduction(self, width: int, height: int) -> int:
        """Side in pixels of the squares that a frame is averaged over; 0 where they do not fill the frame."""
        side = max(1, width // self.width_px)
        return side if (width, height) == (side * self.width_px, side * self.height_px) else 0

    @property
    def size(self) -> str:
        """Of a frame, for messages."""
        return f"{self.width_px} x {self.height_px}"


@dataclass(frozen=True)
class AugmentConfig:
    """How frames are varied in training, each view by itself: heads move in front of cameras, and lights flicker."""

    enabled: bool = knob(True, "whether frames are varied")
    ramp_up: float = knob(5 / EPOCHS, "share of training in which all of it grows from nothing", 0, 1)
    shift: float = knob(0.05, "largest shift as a share of width and height", 0, 0.5)
    turn_deg: float = knob(8.0, "largest rotation, either way", 0, 180)
    zoom: float = knob(1.1, "largest magnification, and one over the smallest; log-uniform", 1, 4)
    brightness: float = knob(0.1, "largest number added to picture values, either way", 0, 1)
    contrast: float = knob(
        1.25, "largest factor on the distance from the frame's mean, and one over the smallest", 1, 4
    )


@dataclass(frozen=True)
class CaptureConfig(TrainConfig):
    """A training on the footage of an actor."""

    name: str = knob("capture", "start of the run-ID")
    system: Literal["capture"] = knob("capture", "what is trained")
    network: NetworkConfig = NetworkConfig()
    basis: Literal["trainable", "fixed", "none"] = knob(
        "trainable",
        "the output layer begins with PCA basis and mean of the training meshes, and learns or stays; none: with the"
        " mean and random weights",
    )
    loss: Literal["squared", "affine"] = knob(
        "squared", "squared error of the vertices; affine: after the best affine map of the prediction (appendix A)"
    )
    statistics_frames: int = knob(
        2000, "training frames, evenly spread, that PCA and whitening are computed from", 2, 10**6
    )
    augment: AugmentConfig = AugmentConfig()
    data: DataConfig = DataConfig(batch_size=50)
    schedule: ScheduleConfig = ScheduleConfig(
        optimiser="adam",
        lr=(1e-3, 1e-3),
        beta1=(0.9, 0.5),
        decay="inverse_sqrt",
        decay_samples=FRAMES,
        ramp_up=1 / EPOCHS,
        ramp_down=30 / EPOCHS,
        max_samples=EPOCHS * FRAMES,
    )

    def lacks(self, spec: Spec) -> str:
        wanted = ["vertices", *(["view2"] if self.network.views == 2 else [])]
        if missing := [label for label in wanted if label not in spec.render.labels]:
            return f"render.labels lacks {', '.join(missing)}"
        return "" if spec.sequence.frames else "sequence.frames is 0, and footage is made of shots: set their length"

    def target(self, spec: Spec) -> str:
        return "the vertices of an actor's mesh"

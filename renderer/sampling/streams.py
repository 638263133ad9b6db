"""Named random streams: the only randomness of a sample.

Every knob draws from a stream of its own, named by sample and knob: a new knob never shifts the draws of the others,
and sample N is the same whoever draws it. Frames of a clip draw from the streams of the clip, and knobs that move
(`Streams.moving_*`) follow a smooth path there (docs/design/0004). Samples of one subject draw what belongs to the
subject from its streams, and the rest from their own (docs/design/0214).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import ClassVar, Final

import numpy as np

from renderer.parameters.limits import Gauss, Uniform
from renderer.parameters.params import Vec3
from renderer.parameters.spec import SequenceSpec

_WAVES: Final = 3  # of a moving knob's path
_SUBJECT: Final = tuple(  # topics of the first head that belong to the subject: identity, skin, hair and beard
    f"head0.{topic}"
    for topic in (
        *("identity.", "surface.", "skin.", "interior.", "pose.scale"),
        *("wear.hair", "wear.natural_hair", "wear.strands", "wear.beard"),
    )
)


class Streams:
    """Named random streams of one sample."""

    moves: ClassVar[bool] = False  # is the sample a frame of a clip?

    def __init__(self, seed: int, index: int) -> None:
        self._seed, self._index = seed, index

    def __call__(self, topic: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._index, zlib.crc32(topic.encode())])

    def uniform(self, topic: str, limits: Uniform) -> float:
        return float(self(topic).uniform(limits.low, limits.high))

    def gauss(self, topic: str, limits: Gauss) -> float:
        return float(self(topic).normal(0.0, limits.sigma))

    def share(self, topic: str, share: float) -> bool:
        return bool(self(topic).random() < share)

    def pick(self, topic: str, names: Sequence[str]) -> str:
        return names[int(self(topic).integers(len(names)))] if names else ""

    def weighted(self, topic: str, weights: Mapping[str, float]) -> str:
        names = sorted(weights)
        total = np.array([weights[n] for n in names])
        return str(self(topic).choice(names, p=total / total.sum()))

    def vec3(self, topic: str, low: float, high: float) -> Vec3:
        x, y, z = self(topic).uniform(low, high, 3)
        return float(x), float(y), float(z)

    def angles(self, topic: str) -> Vec3:
        return self.vec3(topic, -math.pi, math.pi)

    # Knobs that move from frame to frame of a clip; here, in a single image, they are like any other

    def moving_gauss(self, topic: str, limits: Gauss) -> float:
        return self.gauss(topic, limits)

    def moving_units(self, topic: str, count: int) -> tuple[float, ...]:
        """Uniform numbers in [0, 1)."""
        return tuple(float(v) for v in self(topic).random(count))

    def moving_uniform(self, topic: str, limits: Uniform) -> float:
        (unit,) = self.moving_units(topic, 1)
        return limits.low + (limits.high - limits.low) * unit


class ClipStreams(Streams):
    """Named random streams of one frame of a clip: all of the clip's, moving knobs on their path at this frame.

    At any frame, a moving knob has the very distribution that it has in single images.
    """

    moves = True

    def __init__(self, seed: int, clip: int, frame: int, swing_frames: float) -> None:
        super().__init__(seed, clip)
        self.clip, self.frame, self._swing_frames = clip, frame, swing_frames

    def __call__(self, topic: str) -> np.random.Generator:
        return self.of_clip(topic)

    def of_clip(self, topic: str) -> np.random.Generator:
        return super().__call__(f"clip.{topic}")  # clip 5 of a seed must not show the head of its single image 5

    def moving_gauss(self, topic: str, limits: Gauss) -> float:
        return limits.sigma * path(self.of_clip(topic), self.frame, self._swing_frames)

    def moving_units(self, topic: str, count: int) -> tuple[float, ...]:
        rng = self.of_clip(topic)
        return tuple(NormalDist().cdf(path(rng, self.frame, self._swing_frames)) for _ in range(count))


class ActorStreams(ClipStreams):
    """Those of a clip that shows a given actor: who that is, light and camera come from the actor's seed alone.

    Heads move on the clip's paths; camera and light, which move in other clips, rest.
    """

    def __init__(self, seed: int, clip: int, frame: int, swing_frames: float, actor_seed: int) -> None:
        super().__init__(seed, clip, frame, swing_frames)
        self._actor = Streams(actor_seed, 0)

    def __call__(self, topic: str) -> np.random.Generator:
        return self._actor(f"actor.{topic}")

    def moving_gauss(self, topic: str, limits: Gauss) -> float:
        return super().moving_gauss(topic, limits) if _of_head(topic) else self.gauss(topic, limits)

    def moving_units(self, topic: str, count: int) -> tuple[float, ...]:
        if _of_head(topic):
            return super().moving_units(topic, count)
        return tuple(float(v) for v in self(topic).random(count))


def _of_head(topic: str) -> bool:
    return topic.startswith("head")


class GroupStreams(Streams):
    """Named random streams of one sample of a subject: the subject's own for who that is."""

    def __init__(self, seed: int, subject: int, index: int) -> None:
        super().__init__(seed, index)
        self._of_subject = Streams(seed, subject)

    def __call__(self, topic: str) -> np.random.Generator:
        if topic.startswith(_SUBJECT):
            return self._of_subject(f"group.{topic}")  # subject 5 of a seed must not be the head of its sample 5
        return super().__call__(topic)


def path(rng: np.random.Generator, frame: int, swing_frames: float) -> float:
    """A smooth random path at one of its frames: a few waves, none quicker than `swing_frames` there and back.

    With Gaussian amplitudes the value is standard normal at every frame.
    """
    turn = 2 * math.pi * frame / swing_frames * rng.random(_WAVES)
    along, across = rng.standard_normal((2, _WAVES)) / math.sqrt(_WAVES)
    return float((along * np.cos(turn) + across * np.sin(turn)).sum())


def streams(sequence: SequenceSpec, seed: int, index: int, of: int = 1, actor_seed: int = -1) -> Streams:
    """Streams of sample `index`: its own, those of its frame in its clip, or also those of its subject.

    of: samples of each subject. actor_seed: of the one whom clips show; -1: each another.
    """
    if of > 1:
        return GroupStreams(seed, index // of, index)
    if not sequence.frames:
        return Streams(seed, index)
    place = (seed, *divmod(index, sequence.frames), sequence.swing_frames)
    return ClipStreams(*place) if actor_seed < 0 else ActorStreams(*place, actor_seed)

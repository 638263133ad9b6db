"""What an actor does in a shot: the face at any of its frames. Pure numpy.

Four kinds, as Laine et al. 2017 record them: a range of motion, expressions, pangrams, and takes in character. All
chance of a shot comes from the streams of its clip, so any frame can be drawn alone; see docs/design/0213.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from renderer.head.model import HeadModel
from renderer.head.pca import rest_vertices
from renderer.parameters.params import Expression, Identity
from renderer.parameters.shots import ShotSpec
from renderer.parameters.spec import Spec
from renderer.sampling.expression import gaze_units, lid_units, opens
from renderer.sampling.expression_sets import SETS, draw_set
from renderer.sampling.speech import PANGRAMS, length_s, utter
from renderer.sampling.streams import ClipStreams, Streams, path

Units = dict[str, float]
Floats = npt.NDArray[np.float64]

SWEEP_S: Final = 0.6  # of a unit to its extreme and back
COMPONENTS: Final = 8  # of the space of expressions
_LEARNT_FROM: Final = 400  # expressions that this space is learnt from
_MOODS: Final = ("smile", "anger", "sadness", "surprise", "disgust", "neutral", "squint")
_NO_SWEEP: Final = ("eyeLook", "tongueOut")  # the eyes turn with the gaze, and the tongue is no skin
_BLINK_S: Final = 0.25
_GAZE_DEG: Final = {"range_of_motion": 0.0, "expressions": 4.0, "pangrams": 4.0, "takes": 12.0}  # standard deviation
_SACCADE_S: Final = 0.06


@dataclass(frozen=True)
class Shot:
    """A shot to perform. rng: topic -> a stream of its own. number: of the shot among those of its kind."""

    rng: Callable[[str], np.random.Generator]
    number: int
    frames: int
    fps: float
    units: tuple[str, ...]  # that the head has

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def shot_kind(spec: ShotSpec, clip: int) -> str:
    """What a clip performs."""
    return spec.kinds[clip % len(spec.kinds)]


def perform(spec: Spec, s: Streams, p: str, identity: Identity, model: HeadModel) -> Expression:
    """The face of one head at the frame of a shot; p: prefix of its streams."""
    assert isinstance(s, ClipStreams)  # `Spec.check`: shots have frames
    kind, second = shot_kind(spec.shot, s.clip), s.frame / spec.shot.fps
    number = s.clip // len(spec.shot.kinds)
    frames, fps = spec.sequence.frames, spec.shot.fps
    shot = Shot(lambda topic: s.of_clip(f"{p}shot.{topic}"), number, frames, fps, model.units)
    units = _PERFORM[kind](shot, second)
    yaw, pitch = _gaze(shot, second, math.radians(_GAZE_DEG[kind]))
    eyes = gaze_units(yaw, pitch) | lid_units(pitch, spec.expression.lids_follow)
    closed = 0.0 if kind == "range_of_motion" else _blink(shot, second)
    eyes |= {lid: max(closed, eyes.get(lid, 0.0)) for lid in ("eyeBlinkLeft", "eyeBlinkRight")}
    together = {u: min(max(units.get(u, 0.0), eyes.get(u, 0.0)), 1.0) for u in units | eyes if u in model.units}
    together = {u: round(v, 6) for u, v in sorted(together.items()) if v > 1e-6}
    is_open = opens(together, rest_vertices(model, identity), model)
    return Expression(together, is_open, closed > 0.5, yaw, pitch)


# ---------------------------------------------------------------- the four kinds


def range_of_motion(shot: Shot, second: float) -> Units:
    """One sweep after the other: a unit alone, both sides of one, two units that differ. Shots go on with the list."""
    done, way = divmod(second / SWEEP_S, 1.0)
    gesture = _gestures(shot.units, shot.number * math.ceil(shot.seconds / SWEEP_S) + int(done))
    return dict.fromkeys(gesture, _smooth(min(way, 1.0 - way) / 0.4))


def expressions(shot: Shot, second: float) -> Units:
    """From one named set to the next, each held for a while."""
    rng, names = shot.rng("expressions"), sorted(set(SETS) - {"wink"})
    before: Units = {}
    end = 0.0
    while True:
        name, lasts = str(rng.choice(names)), float(rng.uniform(0.8, 1.8))
        now = _of_set(name, rng, float(rng.uniform(0.6, 1.0)), shot.units)
        if second < end + lasts:
            return _between(before, now, _smooth((second - end) / (0.5 * lasts)))
        before, end = now, end + lasts


def pangrams(shot: Shot, second: float) -> Units:
    """Sentences in random order, with brows that stress."""
    rng, end = shot.rng("pangrams"), 0.0
    sentences = list(PANGRAMS.values())
    while True:
        for which in rng.permutation(len(sentences)):
            phones, pace, force = sentences[which].split(), float(rng.uniform(0.8, 1.15)), float(rng.uniform(0.8, 1.2))
            lasts = length_s(phones, pace)
            if second < end + lasts:
                mouth = _sided(utter(phones, pace, force, end).at(second), shot.units)
                raised = max(0.0, 0.25 * path(shot.rng("brows"), round(second * shot.fps), shot.fps))
                return mouth | _sided({"browInnerUp": raised, "browOuterUp": 0.6 * raised}, shot.units)
            end += lasts


def takes(shot: Shot, second: float) -> Units:
    """A random walk in the learnt space of expressions, in a mood."""
    mean, basis = expression_space(shot.units)
    walk = shot.rng("walk")
    frame = round(second * shot.fps)
    at = np.array([path(walk, frame, 1.5 * shot.fps) for _ in range(len(basis))])
    values = np.clip(mean + at @ basis, 0.0, 1.0)
    rng = shot.rng("mood")
    mood = _of_set(str(rng.choice(_MOODS)), rng, float(rng.uniform(0.3, 0.8)), shot.units)
    swell = 0.5 + 0.5 * math.tanh(path(rng, frame, 4 * shot.fps))
    walked = dict(zip(shot.units, values.tolist(), strict=True))
    return {u: walked[u] * (1 - 0.5 * swell) + swell * mood.get(u, 0.0) for u in walked}


_PERFORM: Final[Mapping[str, Callable[[Shot, float], Units]]] = {
    "range_of_motion": range_of_motion,
    "expressions": expressions,
    "pangrams": pangrams,
    "takes": takes,
}


# ---------------------------------------------------------------- what they are made of


@lru_cache(maxsize=4)
def expression_space(units: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Principal components of drawn expressions: (units,) mean and (COMPONENTS, units), a standard deviation each."""
    rng, names = np.random.default_rng(0), sorted(SETS)
    drawn = [_of_set(names[i % len(names)], rng, float(rng.uniform(0.3, 1.0)), units) for i in range(_LEARNT_FROM)]
    samples = np.array([[one.get(u, 0.0) for u in units] for one in drawn])
    mean = samples.mean(axis=0)
    _, sizes, rows = np.linalg.svd(samples - mean, full_matrices=False)
    rows *= np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])[:, None]  # libraries differ in signs
    basis = rows[:COMPONENTS] * sizes[:COMPONENTS, None] / math.sqrt(_LEARNT_FROM - 1)
    return mean.round(6), basis.round(6)  # and in last digits


@lru_cache(maxsize=4)
def _order(units: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Gestures of the range of motion, in the order of their sweeps; the same for everyone."""
    rng = np.random.default_rng(0)
    alone = [u for u in units if not u.startswith(_NO_SWEEP)]
    stems = sorted({u.removesuffix("Left").removesuffix("Right") for u in alone})
    found = []
    for number, which in enumerate(rng.permutation(len(alone))):
        twins = tuple(_sided({stems[number % len(stems)]: 1.0}, units))
        first, second = rng.choice(len(alone), 2, replace=False)
        found += [(alone[which],), twins, (alone[first], alone[second])]
    return tuple(found)


def _gestures(units: tuple[str, ...], number: int) -> tuple[str, ...]:
    gesture = _order(units)[number % len(_order(units))]
    return (*gesture, "jawOpen") if "mouthClose" in gesture else gesture  # it closes the lips of an open jaw


def _of_set(name: str, rng: np.random.Generator, strength: float, units: Sequence[str]) -> Units:
    chosen = SETS[name]
    return draw_set(chosen, bool(rng.random() < chosen.open_share), strength, 0.15, units, rng)


def _sided(stems: Mapping[str, float], units: Sequence[str]) -> Units:
    """Units without their side as those that the head has."""
    known = set(units)
    named = ((f"{stem}{side}", value) for stem, value in stems.items() for side in ("", "Left", "Right"))
    return {name: value for name, value in named if name in known}


def _between(start: Units, goal: Units, way: float) -> Units:
    return {u: (1 - way) * start.get(u, 0.0) + way * goal.get(u, 0.0) for u in start | goal}


def _smooth(x: float) -> float:
    """From 0 to 1 and no further, without a jolt."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _gaze(shot: Shot, second: float, sigma_rad: float) -> tuple[float, float]:
    """Yaw and pitch of the eyes: they jump from point to point."""
    rng, end, before = shot.rng("gaze"), 0.0, np.zeros(2)
    while True:
        lasts, now = float(rng.uniform(0.4, 1.6)), sigma_rad * rng.normal(0.0, (1.0, 0.5))
        if second < end + lasts:
            yaw, pitch = before + (now - before) * _smooth((second - end) / _SACCADE_S)
            return float(yaw), float(pitch)
        before, end = now, end + lasts


def _blink(shot: Shot, second: float) -> float:
    """How far the lids are closed."""
    rng, at = shot.rng("blink"), 0.0
    while at < second:
        at += float(rng.uniform(1.5, 5.0))
        if at <= second < at + _BLINK_S:
            way = (second - at) / _BLINK_S
            return _smooth(way / 0.3) * _smooth((1 - way) / 0.5)
    return 0.0

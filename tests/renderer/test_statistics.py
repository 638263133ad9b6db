"""Statistics of sound samples pass whatever the seed, and what is wrong is found. No Blender, no rendering."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from renderer.head.pack import load_head
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.parameters.spec import Spec, parse_spec
from renderer.report import statistics
from renderer.report.statistics import ANGLES, Sums, expected, statistics_problems
from renderer.sampling import draw
from renderer.sampling.expression import draw_expression, wants_open
from renderer.sampling.pose import draw_pose
from renderer.sampling.streams import streams

SEEDS = 1000
SAMPLES = 10**6
AGAINST = 0.006  # share of mouths against the draw, above that of any spec that comes with headforge


def drawn(spec: Spec, samples: int, rng: np.random.Generator) -> Sums:
    """Sums of `samples` independent samples, by their exact distribution rather than one by one.

    The sums of n Gaussians and of their squares are a Gaussian and a chi-square; of n uniforms, for the many here, two
    Gaussians. Between the two kinds only their scalar product counts, which is Gaussian, too.
    """
    n = int(rng.binomial(samples, 1 - spec.heads.empty_share))
    sums = Sums(heads=n, against=int(rng.binomial(n, AGAINST)))
    for name in ANGLES:
        gauss = getattr(spec.pose, f"{name}_deg").sigma
        flat = spec.pose.yaw_uniform_deg.high - spec.pose.yaw_uniform_deg.low if name == "yaw" else 0.0
        along, across = rng.standard_normal(2) * gauss  # of the Gaussian vector: along (1, ..., 1), along the uniform
        mean_u = rng.normal(0.0, flat / math.sqrt(12 * n))
        square_u = n * rng.normal(flat**2 / 12, flat**2 / math.sqrt(180 * n))
        rest_u = math.sqrt(max(square_u - n * mean_u**2, 0.0))  # length of the uniform vector across (1, ..., 1)
        rest = gauss**2 * rng.chisquare(n - 2)
        sums.deviation[name] = math.sqrt(n) * along + n * mean_u
        sums.square[name] = (along + math.sqrt(n) * mean_u) ** 2 + (across + rest_u) ** 2 + rest
    return sums


def failures(spec: Spec, make: Callable[[np.random.Generator], Sums], false_alarm: float) -> int:
    """Seeds of a thousand that a test calls wrong."""
    rngs = (np.random.default_rng([seed, 17]) for seed in range(SEEDS))
    return sum(next(statistics_problems(make(rng), spec, false_alarm), "") != "" for rng in rngs)


# ---------------------------------------------------------------- no false alarms


@pytest.mark.parametrize("name", spec_names())
def test_a_million_sound_samples_pass_in_999_of_1000_seeds(name: str) -> None:
    spec = load_spec(name)
    frames = spec.sequence.frames or 1
    make = lambda rng: drawn(spec, SAMPLES // frames, rng)  # noqa: E731
    if frames > 1:  # frames that do not move within a clip are the worst case: every draw counts `frames` times
        make = lambda rng: repeated(drawn(spec, SAMPLES // frames, rng), frames)  # noqa: E731
    assert failures(spec, make, statistics.FALSE_ALARM) <= 1


def repeated(sums: Sums, times: int) -> Sums:
    """As if each sample were there so many times."""
    scaled = {name: {a: v * times for a, v in getattr(sums, name).items()} for name in ("deviation", "square")}
    return Sums(sums.heads * times, against=sums.against * times, **scaled)


@pytest.mark.parametrize("name", ["mixed", "all"])
def test_the_rate_of_false_alarms_is_the_one_asked_for(name: str) -> None:
    """Were tests far too lax, they would never err, and never find anything."""
    spec = load_spec(name)
    failed = failures(spec, lambda rng: drawn(spec, SAMPLES, rng), 0.2)
    assert failed <= 0.2 * SEEDS + 4 * math.sqrt(0.16 * SEEDS)
    if name == "mixed":  # six of its seven tests are exact; a mouth is never on the edge
        assert failed >= 0.2 * 6 / 7 * SEEDS - 4 * math.sqrt(0.16 * SEEDS)


@pytest.mark.parametrize("swing_frames", [3.0, 60.0, 1e6])
def test_frames_of_clips_pass_however_fast_they_move(swing_frames: float) -> None:
    """Real paths: 30 clips of 24 frames in each of 300 seeds."""
    raw = {"sequence": {"frames": 24, "swing_frames": swing_frames}, "pose": {"yaw_deg": 60, "pitch_deg": 20}}
    spec, clips, frames, seeds = parse_spec(raw, "the tests"), 30, 24, 300
    rng = np.random.default_rng(3)
    turn = 2 * np.pi / swing_frames * rng.random((seeds, len(ANGLES), clips, 1, 3)) * np.arange(frames)[:, None]
    along, across = rng.standard_normal((2, seeds, len(ANGLES), clips, 1, 3)) / math.sqrt(3)
    unit = (along * np.cos(turn) + across * np.sin(turn)).sum(axis=-1).reshape(seeds, len(ANGLES), -1)
    for values in unit:
        sums = Sums(heads=clips * frames)
        for name, x in zip(ANGLES, values, strict=True):
            mean, sigma = expected(spec.pose, name)
            assert mean == 0
            sums.deviation[name], sums.square[name] = float(sigma * x.sum()), float(sigma**2 * (x * x).sum())
        assert list(statistics_problems(sums, spec)) == []


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_few_samples_pass_too(count: int) -> None:
    spec, rng = load_spec("mixed"), np.random.default_rng(5)
    for _ in range(2000):
        sums = Sums(heads=count)
        for name in ANGLES:
            x = rng.normal(0, expected(spec.pose, name)[1], count)
            sums.deviation[name], sums.square[name] = float(x.sum()), float((x * x).sum())
        assert list(statistics_problems(sums, spec)) == []


def test_knobs_without_spread_pass_at_any_size() -> None:
    """Sums of a fixed angle must not lose their digits: 45 degrees, a million times, through radians."""
    spec, sums = load_spec("none"), Sums()
    record = {"index": 0, "heads": [1], "knobs": dict.fromkeys(("pose.pitch_rad", "pose.roll_rad"), 0.0)}
    record["knobs"] |= {"pose.yaw_rad": math.radians(45.0), "mouth_open": False}
    for _ in range(100):
        sums.add(record, spec, None)
    assert list(statistics_problems(repeated(sums, 10**4), spec)) == []


@pytest.mark.parametrize("name", ["mixed", "all", "clip"])
def test_the_sampler_draws_the_distributions_that_the_tests_assume(name: str) -> None:
    spec, values = load_spec(name), []
    for i in range(1500):
        pose = draw_pose(spec, streams(spec.sequence, 11, i * (spec.sequence.frames or 1)), "head0.", 0, i, ())
        values.append(math.degrees(pose.yaw_rad))
    mean, sigma = expected(spec.pose, "yaw")
    shape: Any = ("norm", (mean, sigma)) if spec.pose.yaw_deg.limit else ("uniform", (-90.0, 180.0))
    assert kstest(values, *shape).pvalue > 1e-3


def test_few_mouths_are_against_the_draw(head_pack: Any) -> None:
    """Some identities cannot close their mouth; there are fewer than the statistics allow by far."""
    spec, model, against = load_spec("mixed"), load_head(head_pack), 0
    for i in range(300):
        s = streams(spec.sequence, 1, i)
        identity = draw._identity(spec, s, "head0.", i, model)
        expression = draw_expression(spec, s, "head0.", identity, model)
        against += expression.mouth_open != wants_open(spec, s)
    assert against <= 6 < 300 * statistics.STUBBORN + 1


# ---------------------------------------------------------------- each test finds what it is for


def changed(sums: Sums, **fields: Any) -> Sums:
    return Sums(**{**sums.to_plain(), **fields})


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(
    ("shift", "stretch", "expected_words"),
    [
        (0.02, 1.0, "mean {} is"),
        (-0.02, 1.0, "mean {} is"),
        (0.0, 1.01, "spread of {} is"),
        (0.0, 0.99, "spread of {} is"),
        (math.nan, 1.0, "mean {} is nan"),
        (0.0, math.nan, "spread of {} is nan"),
    ],
)
def test_a_wrong_angle_is_found(angle: str, shift: float, stretch: float, expected_words: str) -> None:
    """A fiftieth of the spread in the mean, a hundredth in the spread, at 300,000 samples."""
    spec = load_spec("mixed")
    sums = drawn(spec, 300_000, np.random.default_rng(1))
    sigma = expected(spec.pose, angle)[1]
    assert list(statistics_problems(sums, spec)) == []
    off, square = sums.deviation[angle], sums.square[angle]
    sums.deviation[angle] = off + shift * sigma * sums.heads
    sums.square[angle] = square * stretch**2 + (0 if math.isnan(shift) else 2 * shift * sigma * off)
    assert [p for p in statistics_problems(sums, spec) if p.startswith(expected_words.format(angle))]


def test_mouths_against_the_draw_are_found() -> None:
    spec = load_spec("mixed")
    sums = drawn(spec, 300_000, np.random.default_rng(1))
    wrong = changed(sums, against=round(0.023 * sums.heads))
    (problem,) = statistics_problems(wrong, spec)
    assert "mouths are open or closed against the draw" in problem


def test_sums_merge_to_those_of_all_samples() -> None:
    spec, rng = load_spec("mixed"), np.random.default_rng(2)
    records = []
    for i in range(20):
        yaw, pitch, roll = rng.normal(size=3)
        knobs = {"pose.yaw_rad": yaw, "pose.pitch_rad": pitch, "pose.roll_rad": roll, "mouth_open": i % 3 == 0}
        records.append({"index": i, "heads": [1] if i % 5 else [], "knobs": knobs})
    whole, parts = Sums(), [Sums(), Sums()]
    for number, record in enumerate(records):
        whole.add(record, spec, 4)
        parts[number % 2].add(record, spec, 4)
    parts[0].merge(parts[1])
    assert whole.heads == parts[0].heads == 16 and whole.against == parts[0].against > 0
    for name in ANGLES:
        assert math.isclose(whole.square[name], parts[0].square[name])
        assert math.isclose(whole.deviation[name], parts[0].deviation[name], abs_tol=1e-9)

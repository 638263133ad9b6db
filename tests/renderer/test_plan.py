"""Which samples are missing, and in which shards they come."""

from __future__ import annotations

import pytest

from renderer.format.sample_format import OPTIONAL_LABELS
from renderer.parameters.spec import RenderSpec
from renderer.run.plan import Plan, bytes_per_sample, missing_ranges, seconds_per_sample


@pytest.mark.parametrize(
    ("finished", "count", "size", "expected"),
    [
        ([], 10, 4, [(0, 4), (4, 8), (8, 10)]),
        ([(0, 4)], 10, 4, [(4, 8), (8, 10)]),
        ([(0, 4), (4, 8), (8, 10)], 10, 4, []),
        ([(0, 4), (8, 10)], 10, 4, [(4, 8)]),
        ([(0, 4), (4, 6)], 12, 4, [(6, 8), (8, 12)]),  # a larger count only adds shards
        ([(0, 10)], 12, 4, [(10, 12)]),  # finished with another shard size
        ([(0, 10)], 5, 4, []),
    ],
)
def test_missing_ranges(
    finished: list[tuple[int, int]], count: int, size: int, expected: list[tuple[int, int]]
) -> None:
    assert missing_ranges(finished, count, size) == expected


def test_ranges_cover_every_sample_once_whatever_was_finished() -> None:
    finished = [(3, 7), (20, 25), (25, 31)]
    covered = sorted(i for r in [*missing_ranges(finished, 60, 9), *finished] for i in range(*r))
    assert covered == list(range(60))


def test_a_plan_tells_samples_and_images() -> None:
    text = Plan(100, 20, ((20, 100),), RenderSpec()).describe(2)
    assert "100 samples = 300 images" in text and "80 to render in 1 shards" in text


MEASURED = [  # CPU seconds, and bytes, of a sample of `mixed`; one worker of one thread on a shared machine
    (RenderSpec(), 0.401, 90_000),
    (RenderSpec(resolution=64), 0.206, 39_000),
    (RenderSpec(resolution=256), 0.822, 252_000),
    (RenderSpec(resolution=512), 2.905, 728_000),
    (RenderSpec(samples_per_pixel=48), 1.085, 90_000),
    (RenderSpec(mask_grid=15), 0.668, 90_000),
    (RenderSpec(oversample=2), 0.526, 90_000),
    (RenderSpec(uv_precision="float"), 0.423, 113_000),
    (RenderSpec(labels=("neutral",)), 0.697, 126_000),
    (RenderSpec(labels=("view2",)), 0.824, 166_000),
    (RenderSpec(labels=OPTIONAL_LABELS), 1.005, 392_000),
    (RenderSpec(labels=OPTIONAL_LABELS, resolution=256), 2.723, 1_241_000),
]


@pytest.mark.parametrize(("render", "seconds", "size"), MEASURED)
def test_estimates_know_samples_labels_grid_and_resolution(render: RenderSpec, seconds: float, size: float) -> None:
    ratio = seconds_per_sample(render) / seconds_per_sample(RenderSpec())
    assert ratio == pytest.approx(seconds / MEASURED[0][1], rel=0.3)
    assert bytes_per_sample(render) == pytest.approx(size, rel=0.25)


def test_a_measured_time_is_that_of_default_settings_and_scaled_from_there() -> None:
    assert seconds_per_sample(RenderSpec(), 0.8) == pytest.approx(0.8)
    large = RenderSpec(resolution=512)
    assert seconds_per_sample(large, 0.8) == pytest.approx(0.8 / 0.5 * seconds_per_sample(large))

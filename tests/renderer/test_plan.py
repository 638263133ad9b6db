"""Which samples are missing, and in which shards they come."""

from __future__ import annotations

import pytest

from renderer.plan import Plan, missing_ranges


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
    text = Plan(100, 20, ((20, 100),), 3).describe(2, 128)
    assert "100 samples = 300 images" in text and "80 to render in 1 shards" in text

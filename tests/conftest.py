"""Fixtures shared by all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tree under test, even when not installed


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under pytest-xdist, files go to processes whole, for their fixtures' sake, and the tests of a cluster to one.

    The longest come first, so that none is left to the end.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        on_cluster = item.get_closest_marker("slurm") is not None
        item.add_marker(pytest.mark.xdist_group("slurm" if on_cluster else item.path.stem))
    items.sort(key=lambda item: [item.get_closest_marker(mark) is None for mark in ("slurm", "blender")])


@pytest.fixture(scope="session")
def head_pack() -> Path:
    """Folder of the head pack in the cache, built on first use. Fails, rather than skips, where it cannot be had."""
    from blend_assets.build import ensure_pack

    return ensure_pack()

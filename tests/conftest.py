"""Fixtures shared by all tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tree under test, even when not installed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Processes take whole files, whose fixtures cost more than most tests; one takes all that share a cluster."""
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "tests/slurm" if file.startswith("tests/slurm/") else file

    return WholeFiles(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, what takes longest comes first: none of it is left to the end."""
    if config.pluginmanager.hasplugin("xdist"):
        items.sort(key=lambda item: [item.get_closest_marker(mark) is None for mark in ("slurm", "blender")])


@pytest.fixture(scope="session")
def head_pack() -> Path:
    """Folder of the head pack in the cache, built on first use. Fails, rather than skips, where it cannot be had."""
    from blend_assets.build import ensure_pack

    return ensure_pack()

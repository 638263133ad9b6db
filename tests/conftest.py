"""Fixtures shared by all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tree under test, even when not installed


@pytest.fixture(scope="session")
def head_pack() -> Path:
    """Folder of the head pack in the cache, built on first use. Fails, rather than skips, where it cannot be had."""
    from blend_assets.build import ensure_pack

    return ensure_pack()

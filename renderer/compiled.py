"""Loops over rays and pixels as machine code, without a compiler on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at its first call, and kept on disk for the next process.

    Without fast maths: equal bits on every machine of a kind.
    """
    return numba.njit(cache=True, fastmath=False)(function)

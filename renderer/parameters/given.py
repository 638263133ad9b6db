"""Parameters of heads out of a file, such as those that a network estimated."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from renderer.errors import SpecError


def read_parameters(path: Path) -> list[list[float]]:
    """Parameter vectors of `identity.kind: pca`, one for each head.

    The file holds one JSON list of them, or one JSON value a line; each is a list of numbers, {"q": list}, or the
    record of a sample. Raises SpecError.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read parameters from {path}: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    found = []
    for number, line in lines:
        try:
            found.append((number, json.loads(line)))
        except ValueError:
            found = _whole(path, text)
            break
    if (
        len(found) == 1
        and isinstance(found[0][1], list)
        and found[0][1]
        and not isinstance(found[0][1][0], float | int)
    ):
        found = list(enumerate(found[0][1], 1))
    if not found:
        raise SpecError(f"{path} holds no parameters")
    return [_vector(value, f"{path}, head {number}") for number, value in found]


def _whole(path: Path, text: str) -> list[tuple[int, Any]]:
    """The file as one JSON value over several lines."""
    try:
        return [(1, json.loads(text))]
    except ValueError as error:
        raise SpecError(f"{path} is neither JSON nor JSON lines ({error})") from error


def _vector(value: Any, where: str) -> list[float]:
    if isinstance(value, dict):
        try:
            value = value["q"] if "q" in value else value["heads"][0]["identity"]["pca"]["q"]
        except (KeyError, IndexError, TypeError):
            raise SpecError(f"{where} has neither 'q' nor heads[0].identity.pca.q") from None
    numbers = isinstance(value, list) and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    if not numbers or not value:
        raise SpecError(f"{where} is {str(value)[:60]!r}; it must be a list of numbers")
    return [float(v) for v in value]

"""The 68 iBUG landmarks of a sample: where its record says they are, and their place in the UV frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import FormatError

COUNT: Final = 68
Points = npt.NDArray[np.float32]  # (68, 2)


def landmark_uv(info: Mapping[str, Any]) -> Points | None:
    """Canonical (U, V) of the landmarks, (68, 2). info: of a data set; None where it does not state them."""
    return np.asarray(info["landmark_uv"], np.float32) if "landmark_uv" in info else None


def first_landmarks(params: Mapping[str, Any]) -> Points:
    """(68, 2) pixels (x, y) of the first head, NaN without a head."""
    heads = params.get("landmarks_px")
    if heads is None:
        raise FormatError(f"sample {params.get('key')!r} has no landmarks_px: it was rendered by an older headforge")
    if not heads:
        return np.full((COUNT, 2), np.nan, np.float32)
    points = np.array([[np.nan, np.nan] if p is None else p for p in heads[0]], np.float32)
    if points.shape != (COUNT, 2):
        raise FormatError(f"sample {params.get('key')!r} has landmarks of shape {points.shape}, not (68, 2)")
    return points


def single_head_landmarks(params: Mapping[str, Any]) -> Points:
    """As `first_landmarks`, but NaN where there is not exactly one head: a UV map cannot tell heads apart."""
    heads = params.get("landmarks_px") or []
    if len(heads) != 1:
        return np.full((COUNT, 2), np.nan, np.float32)
    return np.array([[np.nan, np.nan] if p is None else p for p in heads[0]], np.float32)

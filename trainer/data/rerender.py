"""The command that renders a sample of a data set again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from renderer.format.sample_format import frame_size
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.strict import to_plain


def render_command(info: Mapping[str, Any]) -> str:
    """How to render one sample again, four times as large; {index} is filled in by the page."""
    spec, changes = _spec_of(info)
    frames = changes.pop("sequence.frames", 0)
    size = frame_size(info.get("resolution") or 128)
    factor = min(4.0, 1024 / max(size))
    width, height = (round(n * factor) for n in size)
    changes["render.resolution"] = width if width == height else [width, height]
    settings = "".join(f" --set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in changes.items())
    clip = f" --sequence {frames}" if frames else ""
    return f"gen render --spec {shlex.quote(spec)}{clip} --seed {info.get('seed', 0)} --only {{index}}{settings}"


def _spec_of(info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The spec of a data set as one that comes with headforge, and section.key -> value where it differs from that."""
    name = str(info.get("name", ""))
    base = name if name in spec_names() else "mixed"
    shipped, stored = to_plain(load_spec(base)), info.get("spec") or {}
    changes = {
        f"{section}.{key}": value
        for section, values in stored.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
        if value != shipped.get(section, {}).get(key)
    }
    return base, changes

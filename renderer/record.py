"""The JSON record of a sample: every parameter, and what was measured on it. numpy only."""

from __future__ import annotations

from typing import Any

from renderer import geometry
from renderer.params import SampleParams, flat_knobs, to_record
from renderer.parts import PartBuilder
from renderer.sample_format import FORMAT_VERSION, UV_FRAME
from renderer.spec import Spec


def sample_record(params: SampleParams, spec: Spec, builder: PartBuilder, measured: dict[str, float]) -> dict[str, Any]:
    """What KEY.json holds: the parameters (`renderer.params`) and

    format_version, uv_frame, resolution; hidden_face: how occluded face counts; knobs: flat name -> value, of the
    sample and its first head; landmarks_px: per head 68 x [column, row] in pixels, centres at .5, also outside the
    frame; landmarks_depth_m: per head 68 distances along the viewing axis; measured: face_share and luminance are
    means over the image, visible_share is the visible part of the face area.
    """
    marks = [geometry.project(builder.landmarks(head), params.camera, spec.render.resolution) for head in params.heads]
    return {
        "format_version": FORMAT_VERSION,
        "uv_frame": UV_FRAME,
        "resolution": spec.render.resolution,
        "hidden_face": spec.render.hidden_face,
        **to_record(params),
        "knobs": flat_knobs(params),
        "landmarks_px": [m[:, :2].round(3).tolist() for m in marks],
        "landmarks_depth_m": [m[:, 2].round(5).tolist() for m in marks],
        "measured": {name: round(value, 6) for name, value in measured.items()},
    }

"""The JSON record of a sample: every parameter, and what was measured on it. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from renderer.format.sample_format import FORMAT_VERSION, UV_FRAME
from renderer.head.parts import PartBuilder
from renderer.head.pose import head_to_world, unposed
from renderer.labels import maps
from renderer.labels.camera import camera_matrix, project, world_to_camera
from renderer.parameters.params import SampleParams, flat_knobs, to_record
from renderer.parameters.spec import Spec
from renderer.strict import to_plain


def sample_record(
    params: SampleParams, spec: Spec, builder: PartBuilder, measured: dict[str, float], images: Mapping[str, Any]
) -> dict[str, Any]:
    """What KEY.json holds: the parameters (`renderer.parameters.params`) and

    format_version, uv_frame, resolution; hidden_face: how occluded face counts; knobs: flat name -> value, of the
    sample and its first head; landmarks_px: per head 68 x [column, row] in pixels, centres at .5, also outside the
    frame; landmarks_depth_m: per head 68 distances along the viewing axis; landmarks_m: per head 68 x [x, y, z] in head
    space; landmarks_visible: per head 68 flags, by `images` (the sample's `uv` and `mask`); camera_matrix,
    world_to_camera, head_to_world (per head), view2_world_to_camera (where there is a second view): matrices of
    `renderer.labels.camera`, OpenCV's conventions; measured: face_share and luminance are means over the image,
    visible_share is the visible part of the face area.
    """
    size, camera = spec.render.size, params.camera
    world = [builder.landmarks(head) for head in params.heads]
    marks = [project(points, camera, size) for points in world]
    own_uv, visible = np.asarray(builder.model.landmarks_uv), images["mask"][..., 1]
    second = world_to_camera(camera, params.second_camera_yaw_rad)
    return {
        "format_version": FORMAT_VERSION,
        "uv_frame": UV_FRAME,
        "resolution": to_plain(spec.render)["resolution"],
        "hidden_face": spec.render.hidden_face,
        **to_record(params),
        "knobs": flat_knobs(params),
        "landmarks_px": [m[:, :2].round(3).tolist() for m in marks],
        "landmarks_depth_m": [m[:, 2].round(5).tolist() for m in marks],
        "landmarks_m": [unposed(p, h.pose).round(5).tolist() for p, h in zip(world, params.heads, strict=True)],
        "landmarks_visible": [maps.shown(m[:, :2], own_uv, images["uv"], visible).tolist() for m in marks],
        "camera_matrix": camera_matrix(camera, size).tolist(),
        "world_to_camera": world_to_camera(camera).tolist(),
        "head_to_world": [head_to_world(head.pose).tolist() for head in params.heads],
        **({"view2_world_to_camera": second.tolist()} if "view2" in spec.render.labels else {}),
        "measured": {name: round(value, 6) for name, value in measured.items()},
    }

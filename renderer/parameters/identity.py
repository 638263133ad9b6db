"""What of a spec makes its data set another one: the part of it that tags, keys and splits are made of."""

from __future__ import annotations

from typing import Any, Final

from renderer.parameters.spec import Spec
from renderer.strict import to_plain

_FORMAT_1: Final = {  # the knobs of sample format 1: whatever is not named here came later
    "render": "resolution samples_per_pixel oversample denoise denoise_quality light_map mask_grid uv_precision labels"
    " hidden_face device",
    "heads": "empty_share several_share most",
    "pose": "yaw_deg pitch_deg roll_deg yaw_fixed_deg yaw_uniform_deg scale",
    "deform": "twist_deg bend_deg taper stretch noise_m noise_size_m",
    "camera": "focal_mm fill shift",
    "light": "sun_share strength angle_deg colour",
    "environment": "kinds scale rotate strength noise_scale",
    "surface": "kinds texture_scale colour_mix face_mix gloss_mix roughness subsurface_share flip_share noise_scale",
    "identity": "macros age sliders strength asymmetric_share",
    "expression": "open_share units strength blink_share gaze_deg",
    "interior": "eyes_share mouth_share brows_share lashes_share",
    "occluders": "hair_share hat_share glasses_share hand_share prop_share",
    "assets": "hdris textures faces only_own head",
    "sequence": "frames swing_frames",
}


def spec_identity(spec: Spec) -> dict[str, Any]:
    """`to_plain`, without clips where there are none.

    Knobs and sections that came after sample format 1 change nothing at their defaults, and are left out there: older
    data sets keep tag, keys and split.
    """
    plain, rest = to_plain(spec), to_plain(Spec())
    if not spec.sequence.frames:
        del plain["sequence"]
    identity = {}
    for section, values in plain.items():
        if not isinstance(values, dict):
            identity[section] = values
            continue
        first = _FORMAT_1.get(section, "").split()
        kept = {name: v for name, v in values.items() if name in first or v != rest[section][name]}
        if kept:
            identity[section] = kept
    return identity

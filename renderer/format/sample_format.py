"""The contract between everything that writes samples and everything that reads them. numpy only.

A **sample** is a set of files under one 16-character key; a **shard** is a tar of samples with a fixed index
range; a **data set** is a folder of shards::

    OUT/dataset.json                           what it is: format version, whole spec, seed, assets; written first
    OUT/shards/0000000000-0000000500.tar       samples 0..499, members of a sample side by side
    OUT/shards/0000000000-0000000500.json      manifest, written last: without it the tar does not count
    OUT/index.json                             list of the finished shards; derived, can be rebuilt
    OUT/state.json, OUT/verdict.json           samples it is meant to have; what `gen verify` found
    OUT/verified/                              proofs of verified shards; may be deleted (`renderer.report.proof`)

Members of one sample, in this order in the tar:

    ===================  =================  =======================================================
    member               channels           values
    ===================  =================  =======================================================
    KEY.input.exr        R G B half         linear HDR radiance, scene-referred, >= 0
    KEY.uv.exr           R=U G=V half/float UV at the pixel centre where it is face, (0, 0) elsewhere
    KEY.mask.exr         Y, visible half    Y: coverage of the face area, antialiased, in [0, 1];
                                            visible: coverage of the face area that no occluder hides
    KEY.depth.exr        Z float            distance along the viewing axis in metres, 0 = nothing hit
    KEY.normal.exr       X Y Z half         surface normal in camera space (x right, y up, z to the viewer)
    KEY.albedo.exr       R G B half         diffuse and glossy reflectance of what is seen, linear, without light
    KEY.position.exr     X Y Z float        position in head space in metres, where it is face, else 0
    KEY.camera_position.exr  X Y Z float    position in camera space (as the normal's) in metres, where it is face
    KEY.neutral.exr      R G B half         same identity and skin, frontal, neutral, plain light
    KEY.foreground.exr   R G B A half       radiance of everything but the backdrop, times its coverage A (below)
    KEY.view2.exr        R G B half         the same scene from a second camera
    KEY.view2_uv.exr     R=U G=V            UV of the second view
    KEY.view2_mask.exr   Y, visible half    mask of the second view
    KEY.vertices.exr     X Y Z float        (1, V, 3): no image, but the vertices of the first head's skin in head space
    KEY.json             UTF-8 JSON         every parameter of the sample and what was measured on it
    ===================  =================  =======================================================

Conventions. Images are (H, W, C), row 0 on top; all of a data set have one size, `frame_size`. Pixel (row, column) has
its centre at (column + 0.5, row + 0.5) pixels from the top left corner. U grows to the viewer's right on the frontal
head, V grows from chin to forehead; the frontal face area spans [0, 1] x [0, 1]. Head space: right-handed, metres, +X
to the subject's left, +Y up, +Z out of the face, origin midway between the ears. A pixel is pure face, free of mixing,
where Y >= `PURE`; the UV is to be trusted there.

Foreground and backdrop: input = max(0, foreground.RGB + (1 - A) * backdrop), to the precision of half. A is in [0, 1]
and covers heads, hair, glasses, clothes and props, so any picture can be put behind them: its radiance takes the
backdrop's place. What a lens or a lock of hair lets through is counted out of A, straight on, as the renderer has it:
lenses tint and mirror but do not refract. The light on the foreground stays that of the sample's surroundings. At
outlines RGB may lie a little below zero, where the denoised samples and the exact coverage disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

FORMAT_VERSION: Final = 1
DRAW_VERSION: Final = 1  # raise it when (spec, seed, index) gives other parameters
RENDER_VERSION: Final = 1  # raise it when parameters give other pixels, or other measures in the record
UV_FRAME: Final = "hm08-frontal-1"  # name of the UV frame; never mix two frames in one data set
CENTRE_U: Final = 0.4987  # of the vertices on the plane of symmetry: hm08's chart is not quite centred in that frame

TRIPLET: Final = ("input", "uv", "mask")
OPTIONAL_LABELS: Final = (
    "depth", "normal", "albedo", "position", "camera_position", "neutral", "foreground", "view2", "vertices",
)  # fmt: skip
"""Labels a spec may ask for beside the triplet; `view2` brings `view2_uv` and `view2_mask` with it."""

CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("R", "G", "B"),
    "uv": ("R", "G"),
    "mask": ("Y", "visible"),
    "depth": ("Z",),
    "normal": ("X", "Y", "Z"),
    "albedo": ("R", "G", "B"),
    "position": ("X", "Y", "Z"),
    "camera_position": ("X", "Y", "Z"),
    "neutral": ("R", "G", "B"),
    "foreground": ("R", "G", "B", "A"),
    "view2": ("R", "G", "B"),
    "view2_uv": ("R", "G"),
    "view2_mask": ("Y", "visible"),
    "vertices": ("X", "Y", "Z"),
}
"""Image name -> EXR channels, in the order of the array's last axis."""

PER_VERTEX: Final = frozenset({"vertices"})  # a row of numbers that is stored like an image, and has no pixels
FLOAT_IMAGES: Final = frozenset({"depth", "position", "camera_position", "vertices"})  # half is off by millimetres
HALF_STEP: Final = 2.0**-11  # spacing of half floats in [0.5, 1): 4.9e-4
PURE: Final = 1.0 - HALF_STEP  # a mask value below this is a mixed pixel
KEY_LENGTH: Final = 16


def frame_size(resolution: int | Sequence[int]) -> tuple[int, int]:
    """(width, height) in pixels of what specs, `dataset.json` and records call resolution.

    That is the side of a square, or [width, height].
    """
    if isinstance(resolution, int):
        return resolution, resolution
    width, height = resolution
    return width, height


def image_names(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Images of a sample in the order of the archive, for the optional labels asked for."""
    wanted = set(TRIPLET) | set(labels)
    if "view2" in wanted:
        wanted |= {"view2_uv", "view2_mask"}
    return tuple(name for name in CHANNELS if name in wanted)


def images_of(labels: tuple[str, ...]) -> int:
    """How many images of a sample there are to look at."""
    return len(set(image_names(labels)) - PER_VERTEX)


def member_name(key: str, image: str) -> str:
    """File name of one image of a sample: KEY.IMAGE.exr."""
    return f"{key}.{image}.exr"


def params_name(key: str) -> str:
    """File name of the parameters of a sample: KEY.json."""
    return f"{key}.json"


def dataset_tag(identity: Mapping[str, Any]) -> str:
    """Six hex digits that tell data sets apart: a hash of (spec, seed, assets, versions) as canonical JSON."""
    return hashlib.sha256(canonical_json(identity)).hexdigest()[:6]


def sample_key(tag: str, index: int) -> str:
    """16 characters: the data set's tag, then the index in ten digits. Sorts by index, names the sample."""
    return f"{tag}{index:010d}"


def key_index(key: str) -> int:
    """The index N of a sample key."""
    return int(key[6:])


def shard_stem(start: int, stop: int) -> str:
    """File name, without suffix, of the shard that holds samples start .. stop-1."""
    return f"{start:010d}-{stop:010d}"


def canonical_json(value: Any) -> bytes:
    """Equal values give equal bytes: sorted keys, no spaces, NaN refused."""
    import json

    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()

"""Principal components of random heads and of skins, for identities of a few parameters (`renderer.head.pca`).

Equal sources must give equal bytes on any processor, but eigenvectors differ in their last digits between versions of
BLAS. So rows are whole numbers (micrometres, bytes), whose products are exact in any order; only the eigenvectors are
not, and what is made of them is rounded far more coarsely than they differ.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.linalg import eigh
from scipy.ndimage import binary_dilation, map_coordinates

from renderer.head.identity import random_identity
from renderer.head.model import HeadModel
from renderer.head.parts import skin_mirror
from renderer.head.pca import COMPONENT_STEP, PCA_FILE
from renderer.parameters.limits import Uniform
from renderer.parameters.params import Identity
from renderer.parameters.spec import IdentitySpec

HEADS: Final = 2000  # random heads
SPACE: Final = IdentitySpec(sliders=Uniform(40, 80))  # a few sliders would leave weaker components too weak to be seen
SHAPES: Final = 50  # components kept
TEXTURES: Final = 20
_SEED: Final = 2018
_STEP_M: Final = 1e-6
_DIGITS: Final = 6  # of deviations and shares

Whole = npt.NDArray[np.float64]  # of whole numbers


def write_pca(model: HeadModel, out: Path, heads: int = HEADS) -> list[str]:
    """Write the components of random heads and of the model's skins into the pack folder `out`.

    Returns what they explain, in words.
    """
    identities = [head_number(i, model) for i in range(heads)]
    shapes = np.stack([model.identity_vertices(i.macros, i.sliders).ravel() for i in identities])
    rows = np.rint(shapes / _STEP_M)
    shape, scores = components(rows, SHAPES)
    arrays = {f"shape_{name}": values for name, values in shape.items()}
    arrays["shape_mean"], arrays["shape_deviation"] = shape["mean"] * _STEP_M, shape["deviation"] * _STEP_M
    arrays |= traits(identities, scores)
    arrays["shape_mean"] = arrays["shape_mean"].reshape(-1, 3)
    arrays["shape_components"] = arrays["shape_components"].reshape(SHAPES, -1, 3)
    pictures, shown = skins(model), skin_texels(model)
    texture, _ = components(pictures[:, shown].reshape(len(pictures), -1), TEXTURES)
    arrays |= {f"texture_{name}": values for name, values in texture.items()}
    arrays["texture_mean"] = pictures.mean(axis=0).round()
    arrays["texture_mean"][shown] = texture["mean"].reshape(-1, 3)
    arrays["texture_components"] = np.zeros((TEXTURES, *pictures.shape[1:]), np.int16)
    arrays["texture_components"][:, shown] = texture["components"].reshape(TEXTURES, -1, 3)
    np.savez(out / PCA_FILE, **arrays)
    return summary(arrays)


def head_number(index: int, model: HeadModel) -> Identity:
    """One of the random heads that the components are made from; further ones are fresh."""

    def rng_of(topic: str) -> np.random.Generator:
        return np.random.default_rng([_SEED, index, zlib.crc32(topic.encode())])

    return random_identity(SPACE, rng_of, model)


def components(rows: Whole, count: int) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float64]]:
    """Mean, components, deviations and shares of (N, D) whole numbers; and (N, count) scores in deviations.

    Components are (count, D) in steps of `COMPONENT_STEP`, of length 1, positive where they are largest.
    """
    mean = np.rint(rows.sum(axis=0) / len(rows))
    off = rows - mean
    assert np.abs(off).max() ** 2 * off.shape[1] < 2**53, "products of rows would be rounded"
    gram = off @ off.T
    values, vectors = eigh(gram, subset_by_index=(len(rows) - count, len(rows) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    made = (vectors / np.sqrt(values)).T @ off
    largest = np.take_along_axis(made, np.abs(made.round(9)).argmax(axis=1)[:, None], axis=1)
    sign = np.sign(largest)
    # processors differ by 1e-7 of a step: a value on the edge between two is brought onto the edge first
    steps = np.rint((sign * made / COMPONENT_STEP).round(6))
    assert np.abs(steps).max() < 2**15, "a component has too large an entry for its number format"
    found = {
        "mean": mean,
        "components": steps.astype(np.int16),
        "deviation": _rounded(np.sqrt(values / len(rows))),
        "explained": _rounded(values / np.trace(gram)),
    }
    return found, sign.T * vectors * np.sqrt(len(rows))


def traits(identities: Sequence[Identity], scores: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[Any]]:
    """What macro parameters are on average at a score: least squares, as scores are uncorrelated and of variance 1."""
    names = sorted(identities[0].macros)
    values = np.array([[i.macros[name] for name in names] for i in identities])
    off = values - values.mean(axis=0)
    slopes = off.T @ scores / len(scores)
    return {
        "trait_names": np.array(names),
        "trait_means": _rounded(values.mean(axis=0)),
        "trait_slopes": slopes.round(_DIGITS),
        "trait_fit": ((slopes**2).sum(axis=1) / off.var(axis=0)).round(_DIGITS),
    }


def skins(model: HeadModel) -> Whole:
    """(N, H, W, 3) every skin of the pack, then every one mirrored about the middle of the face."""
    pictures = [np.asarray(Image.open(model.path(skin["file"])).convert("RGB"), np.float64) for skin in model.skins()]
    height, width = pictures[0].shape[:2]
    place, scale = skin_mirror(model.subdivided("skin"), model.regions.index("face"))
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    u, v = place[0] + scale[0] * (columns + 0.5) / width, place[1] + scale[1] * (1 - (rows + 0.5) / height)
    where = [(1 - v) * height - 0.5, u * width - 0.5]

    def mirrored(picture: Whole) -> Whole:
        channels = [map_coordinates(picture[..., c], where, order=1, mode="nearest") for c in range(3)]
        return np.asarray(np.rint(np.stack(channels, axis=-1)))

    return np.stack([*pictures, *(mirrored(picture) for picture in pictures)])


def skin_texels(model: HeadModel) -> npt.NDArray[np.bool_]:
    """(H, W) where a skin shows on the head, and a dozen texels around; not on the inside of mouth and sockets."""
    width, height = Image.open(model.path(model.skins()[0]["file"])).size
    regions = [model.regions.index(name) for name in ("face", "neck", "other")]
    faces = model.uv_skin[np.isin(model.face_region, regions) & (model.face_part == model.parts.index("skin"))]
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for quad in faces:
        draw.polygon([(float(u) * width - 0.5, (1 - float(v)) * height - 0.5) for u, v in quad], fill=1)
    return np.asarray(binary_dilation(np.asarray(canvas), iterations=12))


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """To a few significant digits."""
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values])


def summary(arrays: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """What the components explain, in words."""
    return [
        f"{kind}: " + ", ".join(f"{count} components explain {100 * share[:count].sum():.1f} %" for count in counts)
        for kind, counts in (("shape", (10, 26, SHAPES)), ("texture", (5, 10, TEXTURES)))
        for share in [arrays[f"{kind}_explained"]]
    ]

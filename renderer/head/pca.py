"""A head as a few numbers: principal components of shapes and of skin textures, as in Goepfert et al. 2018. numpy only.

A parameter vector q in [-1, 1]^n holds shape parameters first, then those of the texture. With the standard deviation s
and the unit-length component c of each,

    vertices or texture = mean + sum_k 1.6 s_k q_k c_k

Shapes are metres in head space, without expression; textures are sRGB bytes in the frame of `uv_skin`: sums of display
values stay within what skins look like, where sums of linear ones overshoot in highlights. Built by `blend_assets.pca`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import SpecError
from renderer.head.model import IDENTITIES_KEPT, Floats, HeadModel
from renderer.head.pack import read_npz
from renderer.parameters.params import Identity

PCA_FILE: Final = "pca.npz"
PCA_FACE: Final = "pca"  # the face texture of a surface that an identity's parameters make
COMPONENT_STEP: Final = 2.0**-18  # in which the file holds components, as whole numbers
SPREAD: Final = 1.6  # standard deviations at q = 1


@dataclass(frozen=True)
class Basis:
    """Principal components of one kind.

    mean: any shape S. components: (K, *S), each of length 1, strongest first. deviation: (K,) standard deviations of
    what they were made from. explained: (K,) shares of the variance.
    """

    mean: npt.NDArray[np.float64]
    components: npt.NDArray[np.float32]
    deviation: Floats
    explained: Floats

    def at(self, q: Sequence[float] | npt.NDArray[Any]) -> Floats:
        """The mean moved by parameters of the first len(q) components; summed in order, without BLAS.

        Raises SpecError for more parameters than components, or numbers that are not finite.
        """
        values = np.asarray(q, np.float64)
        if values.ndim != 1 or len(values) > len(self.components) or not np.isfinite(values).all():
            raise SpecError(f"{values.tolist()} must be at most {len(self.components)} finite parameters")
        out = self.mean.copy()
        for value, deviation, component in zip(values, self.deviation, self.components, strict=False):
            out += (SPREAD * deviation * value) * component
        return out


@dataclass(frozen=True)
class HeadPca:
    """The components of a head pack. shape: mean (V, 3) in metres; texture: mean (H, W, 3) in sRGB bytes.

    traits: name -> (mean, (K,) slopes): what a macro parameter (sex, age, ...) is on average at shape parameters q, as
    fitted to the heads that the components were made from. trait_fit: name -> share of its variance that this explains.
    """

    shape: Basis
    texture: Basis
    traits: Mapping[str, tuple[float, Floats]]
    trait_fit: Mapping[str, float]

    def vertices(self, shape_q: Sequence[float] | npt.NDArray[Any]) -> Floats:
        """(V, 3) float64 vertices of the pack in head space, metres, without expression."""
        return self.shape.at(shape_q)

    def picture(self, texture_q: Sequence[float] | npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(H, W, 3) sRGB texture in the frame of `uv_skin`, row 0 at V = 1."""
        return np.rint(np.clip(self.texture.at(texture_q), 0, 255)).astype(np.uint8)

    def trait(self, name: str, shape_q: Sequence[float] | npt.NDArray[Any]) -> float:
        """The macro parameter that heads of this shape have on average, within [0, 1]; raises KeyError if unknown."""
        mean, slopes = self.traits[name]
        q = np.asarray(shape_q, np.float64)
        return float(np.clip(mean + SPREAD * (slopes[: len(q)] * q).sum(), 0.0, 1.0))

    def macros(self, shape_q: Sequence[float] | npt.NDArray[Any]) -> dict[str, float]:
        """Every trait of heads of this shape."""
        return {name: self.trait(name, shape_q) for name in self.traits}


@lru_cache(maxsize=2)
def load_pca(pack: Path) -> HeadPca:
    """The components of a head pack. Raises AssetError where it has none."""
    data = read_npz(pack / PCA_FILE)

    def basis(kind: str) -> Basis:
        mean, deviation = data[f"{kind}_mean"].astype(np.float64), data[f"{kind}_deviation"].astype(np.float64)
        components = data[f"{kind}_components"] * np.float32(COMPONENT_STEP)
        return Basis(mean, components, deviation, data[f"{kind}_explained"].astype(np.float64))

    names = [str(name) for name in data["trait_names"]]
    slopes = dict(zip(names, data["trait_slopes"].astype(np.float64), strict=True))
    means = dict(zip(names, data["trait_means"].tolist(), strict=True))
    fit = dict(zip(names, data["trait_fit"].tolist(), strict=True))
    return HeadPca(basis("shape"), basis("texture"), {n: (means[n], slopes[n]) for n in names}, fit)


def rest_vertices(model: HeadModel, identity: Identity) -> Floats:
    """(V, 3) vertices of an identity without expression, whatever kind it is; read-only."""
    if identity.pca is None:
        return model.identity_vertices(identity.macros, identity.sliders)
    return _made_of(model.folder, identity.pca.shape_q)


@lru_cache(maxsize=IDENTITIES_KEPT)
def _made_of(pack: Path, shape_q: tuple[float, ...]) -> Floats:
    vertices = load_pca(pack).vertices(shape_q)
    vertices.flags.writeable = False
    return vertices

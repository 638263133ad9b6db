"""The label `vertices`: the skin of a head as the points that move it, in head space. numpy only.

Its points are the vertices of the part `skin` of the head pack, ascending: face, neck, mouth and sockets of the mesh
that identity and expression units are defined on, before it is subdivided. Deformations of the spec are in them; the
head's rigid pose and the bend of the neck towards a body are not. `head_to_world` of the record puts them back.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.head.model import HeadModel
from renderer.head.parts import PartBuilder
from renderer.parameters.params import Head

TOLERANCE_M: Final = 1e-6  # between the stored points and those of the record: single precision, and other CPUs

Ints = npt.NDArray[np.int32]


def skin_mesh(model: HeadModel) -> tuple[Ints, Ints]:
    """The mesh of the label: (V,) vertices of the pack that its points are, and (F, 4) corners among these points."""
    corners = model.faces[model.part_faces("skin")]
    used, renumbered = np.unique(corners, return_inverse=True)
    return used.astype(np.int32), renumbered.reshape(corners.shape).astype(np.int32)


def skin_vertices(builder: PartBuilder, head: Head) -> npt.NDArray[np.float64]:
    """(V, 3) metres in head space: +X to the subject's left, +Y up, +Z out of the face."""
    return np.asarray(builder.shape(head).deformed[builder.skin_vertices])


def vertices_label(builder: PartBuilder, heads: tuple[Head, ...]) -> npt.NDArray[np.float32]:
    """(1, V, 3) of the first head; zeros where there is none."""
    if not heads:
        return np.zeros((1, len(builder.skin_vertices), 3), np.float32)
    return skin_vertices(builder, heads[0]).astype(np.float32)[None]


def vertices_problem(label: npt.NDArray[Any], builder: PartBuilder, heads: tuple[Head, ...]) -> str:
    """In words, where a stored label is not what the heads of its record give; empty where it is."""
    wanted = vertices_label(builder, heads)
    if label.shape != wanted.shape:
        return f"vertices is {label.shape}; the skin of the head has {wanted.shape}"
    off = float(np.abs(label - wanted).max())
    return "" if off <= TOLERANCE_M else f"vertices differ from the record's head by {1e3 * off:.3f} mm"

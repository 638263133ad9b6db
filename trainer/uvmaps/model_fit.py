"""The head model fitted to a UV map: who it is, which face it makes, and from where it is seen.

Every pixel of a UV map names a point of the head's surface, so it is a correspondence between the picture and the head
model. The fit looks for the pose and the model's own coefficients (macros, identity sliders, expression units) that
bring those points to their pixels: Gauss-Newton, each step a linear least-squares problem with bounds

    minimise  sum_k weight_k |pixel_k - projection_k|^2 / noise^2  +  sum_j ((c_j - mean_j) / spread_j)^2
    subject to  low <= c <= high,

in which the second sum (a ridge) keeps the coefficients near those of the average head wherever the picture does not
tell, and the weights take outliers out. One picture tells neither size nor distance: size is the model's best guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from renderer.head.model import HeadModel
from trainer.uvmaps import head_pose

Floats = npt.NDArray[np.float64]
POINTS: Final = 600  # correspondences used
STEPS: Final = 10
# Standard deviations of the coefficients, roughly as `renderer.sampling.draw` draws them
MACRO_SPREAD: Final = 0.3
SLIDER_SPREAD: Final = 0.2
UNIT_SPREAD: Final = 0.2
TRUE_NOISE_PX: Final = 0.1  # of a true UV map stored as half floats
NETWORK_NOISE: Final = 0.05  # of a network's UV map, as a part of the face's size; see `fit_head`
OUTLIER: Final = 3.0  # errors larger than this many medians lose weight
NEAREST_M: Final = 0.25  # no camera is nearer to the middle of the head
USUAL_M: Final = 0.8  # distance to expect where the focal length is not known
KNOWN: Final = 1e-4  # standard deviation of the nearness where the focal length is known
POSE: Final = 6  # unknowns of the view without a ridge: rotation, origin, scale
MACRO_STEP: Final = 1e-3  # of the finite differences


@dataclass(frozen=True)
class Coefficients:
    """What makes a shape of the head model, as `HeadModel.evaluate` takes it."""

    macros: Mapping[str, float]
    sliders: Mapping[str, float]
    units: Mapping[str, float]


@dataclass(frozen=True)
class View:
    """From where a head is seen. p_camera = rotation @ p_head + position: x right, y up, z to the viewer.

    pixels_per_m: at the depth of the head's origin, which is seen at origin_px (x, y). nearness: 1 / distance of the
    camera from there in metres; 0 is a camera far away (scaled orthography).
    """

    rotation: Floats
    origin_px: Floats
    pixels_per_m: float
    nearness: float

    def project(self, points: Floats) -> Floats:
        """(K, 2) pixels of (K, 3) points in head space."""
        turned = points @ self.rotation.T
        scale = self.pixels_per_m / (1 - self.nearness * turned[:, 2:])
        return np.asarray(self.origin_px + scale * turned[:, :2] * [1, -1])

    def slopes(self, points: Floats, moves: Floats) -> Floats:
        """(7 + n, K, 2) derivatives of the pixels: by the view (see `moved`), and where points move by (n, K, 3)."""
        turned = points @ self.rotation.T
        near = 1 / (1 - self.nearness * turned[:, 2:])
        flat = self.pixels_per_m * near * turned[:, :2] * [1, -1]

        def seen(moves: Floats) -> Floats:
            across = self.pixels_per_m * near * (moves[..., :2] * [1, -1])
            return np.asarray(across + self.nearness * near * moves[..., 2:] * flat)

        turns = seen(np.cross(np.eye(3)[:, None], turned))
        shifts = np.broadcast_to(np.eye(2)[:, None], (2, *flat.shape))
        return np.concatenate([turns, shifts, [flat, near * turned[:, 2:] * flat], seen(moves @ self.rotation.T)])

    def moved(self, step: Floats) -> View:
        """The view after a step (7,): rotation vector, origin in pixels, logarithm of the scale, nearness."""
        return View(
            Rotation.from_rotvec(step[:3]).as_matrix() @ self.rotation,
            self.origin_px + step[3:5],
            self.pixels_per_m * math.exp(min(max(float(step[5]), -0.5), 0.5)),
            self.nearness + float(step[6]),
        )


@dataclass(frozen=True)
class Fit:
    """A fitted head, seen. error_px: median distance of the correspondences from where the fit puts them."""

    coefficients: Coefficients
    view: View
    error_px: float

    def vertices(self, head: HeadModel) -> Floats:
        """(V, 3) vertices of the fitted head in head space, metres."""
        c = self.coefficients
        return head.evaluate(c.macros, c.sliders, c.units)


class Basis:
    """Given points of the skin as a function of the coefficients: piecewise linear, but for the macros."""

    def __init__(self, head: HeadModel, corners: npt.NDArray[np.intp], weights: Floats) -> None:
        """corners, weights: (K, 3) skin points and barycentric weights, as `head_pose.Chart.locate` returns them."""
        self.head = head
        self.macros, self.sliders, self.units = tuple(head.macro_defaults), head.sliders, head.units
        skin = head.subdivided("skin").operator
        rows = np.repeat(np.arange(len(corners)), 3)
        on_skin = sp.csr_matrix((weights.ravel(), (rows, corners.ravel())), shape=(len(corners), skin.shape[0]))
        ears = list(head.info["origin_vertices"])
        on_base = on_skin @ skin
        self._base = on_base @ head.vertices - head.vertices[ears].mean(0)
        targets = (on_base @ head.target_matrix).toarray().reshape(len(corners), -1, 3)
        origin = np.asarray(head.target_matrix[ears].mean(0)).reshape(-1, 3)
        expression = np.array([t["kind"] == "expression" for t in head.info["targets"]])
        origin[expression] = 0  # the origin is that of the identity
        self._targets = (targets - origin).transpose(1, 0, 2).reshape(len(origin), -1)  # (T, 3 K)
        self._number = {t["name"]: i for i, t in enumerate(head.info["targets"])}

    @property
    def mean(self) -> Floats:
        """(n,) coefficients of the average neutral head."""
        return np.concatenate([list(self.head.macro_defaults.values()), np.zeros(len(self.sliders) + len(self.units))])

    @property
    def spread(self) -> Floats:
        """(n,) standard deviations that the ridge assumes."""
        counts = (len(self.macros), len(self.sliders), len(self.units))
        return np.repeat([MACRO_SPREAD, SLIDER_SPREAD, UNIT_SPREAD], counts)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """(n,) lowest and highest coefficients that the model takes."""
        table, info = self.head.info["macros"]["parameters"], self.head.slider_info
        low = [table[m]["low"] for m in self.macros]
        high = [table[m]["high"] for m in self.macros]
        low += [0.0 if info[s]["neg"] is None else -1.0 for s in self.sliders]
        high += [0.0 if info[s]["pos"] is None else 1.0 for s in self.sliders]
        return np.array(low + [0.0] * len(self.units)), np.array(high + [1.0] * len(self.units))

    def split(self, values: Floats) -> Coefficients:
        """(n,) coefficients by name."""
        parts = np.split(values, np.cumsum([len(self.macros), len(self.sliders)]))
        names = (self.macros, self.sliders, self.units)
        return Coefficients(*(dict(zip(n, p.tolist(), strict=True)) for n, p in zip(names, parts, strict=True)))

    def points(self, values: Floats) -> Floats:
        """(K, 3) points in head space."""
        c = self.split(values)
        weights = self.head.macro_weights(c.macros)
        weights |= self.head.slider_weights(c.sliders) | self.head.unit_weights(c.units)
        moved = np.array(list(weights.values())) @ self._targets[list(weights)]
        return np.asarray(self._base + moved.reshape(-1, 3))

    def slopes(self, values: Floats) -> Floats:
        """(n, K, 3) derivatives of `points`. A slider at 0 gets the mean of its two sides."""
        jacobian = sp.lil_matrix((len(values), len(self._targets)))
        self._macro_slopes(jacobian, values)
        first = len(self.macros)
        for row, slider in enumerate(self.sliders, first):
            info = self.head.slider_info[slider]
            for side, target, away in ((1.0, info["pos"], values[row] < 0), (-1.0, info["neg"], values[row] > 0)):
                if target is not None and not away:
                    both = values[row] == 0 and None not in (info["pos"], info["neg"])
                    jacobian[row, self._number[target]] = side * (0.5 if both else 1.0)
        for row, unit in enumerate(self.units, first + len(self.sliders)):
            jacobian[row, self._number[unit]] = 1.0
        return np.asarray(jacobian.tocsr() @ self._targets).reshape(len(values), -1, 3)

    def _macro_slopes(self, jacobian: Any, values: Floats) -> None:
        now = dict(zip(self.macros, values.tolist(), strict=False))
        before = self.head.macro_weights(now)
        for row, name in enumerate(self.macros):
            step = MACRO_STEP if now[name] < 0.5 else -MACRO_STEP  # away from the nearer bound
            after = self.head.macro_weights(now | {name: now[name] + step})
            for target in before.keys() | after.keys():
                jacobian[row, target] = (after.get(target, 0.0) - before.get(target, 0.0)) / step


def fit_head(
    head: HeadModel,
    uv: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    focal_px: float | None = None,
    noise_px: float | None = None,
) -> Fit | None:
    """The head that best explains a UV map. None where too little is seen.

    uv: (H, W, 2). mask: (H, W), above one half is visible face. focal_px: if not given, how strong the perspective is
    is fitted, too. noise_px: errors of the map that the ridge is weighed against, as if they were independent. A
    network errs alike over large patches, so that its maps count as noisier than they are pixel by pixel: by default
    NETWORK_NOISE of the face's size. For true maps give TRUE_NOISE_PX.
    """
    start = head_pose.head_pose(head, uv, mask, focal_px)
    if start is None:
        return None
    rows, columns = np.nonzero(mask > 0.5)
    chosen = np.unique(np.linspace(0, len(rows) - 1, POINTS).astype(int))
    rows, columns = rows[chosen], columns[chosen]
    pixels = np.stack([columns, rows], 1) + 0.5
    corners, weights = head_pose.chart(head).locate(uv[rows, columns])
    known = corners[:, 0] >= 0
    basis = Basis(head, corners[known], weights[known])
    noise_px = noise_px or NETWORK_NOISE * math.sqrt(float((mask > 0.5).sum()))
    return fit_points(Correspondences(basis, pixels[known], noise_px, focal_px), _view(start, mask.shape))


def _view(pose: head_pose.Pose, shape: tuple[int, ...]) -> View:
    """The view of a pose found in a UV map of (H, W)."""
    x, y, z = pose.position_m
    scale = pose.focal_px / -z
    origin = np.array([shape[1] / 2 + x * scale, shape[0] / 2 - y * scale])
    return View(pose.rotation, origin, scale, -1 / z)


@dataclass(frozen=True)
class Correspondences:
    """The points of `basis` and the (K, 2) pixels that show them; noise_px and focal_px as in `fit_head`."""

    basis: Basis
    pixels: Floats
    noise_px: float
    focal_px: float | None = None

    def root_weights(self, error: Floats) -> Floats:
        """(K, 1) square roots of the weights of (K, 2) errors: 1 / noise, less for outliers."""
        size = np.linalg.norm(error, axis=1, keepdims=True)
        noise = max(self.noise_px, float(np.median(size)))
        return np.asarray(np.minimum(1.0, OUTLIER * noise / np.maximum(size, 1e-9)) / noise)

    def nearness(self, view: View) -> tuple[float, float]:
        """Mean and spread that the ridge assumes for the nearness of the camera."""
        return (view.pixels_per_m / self.focal_px, KNOWN) if self.focal_px else (1 / USUAL_M, 1 / USUAL_M)


def fit_points(given: Correspondences, start: View) -> Fit:
    """The fit to correspondences, from the average head in the view `start`."""
    view, values = replace(start, nearness=1 / USUAL_M), given.basis.mean
    for _ in range(STEPS):
        view, values = _step(given, view, values)
    error = np.linalg.norm(given.pixels - view.project(given.basis.points(values)), axis=1)
    return Fit(given.basis.split(values), view, float(np.median(error)))


def _step(given: Correspondences, view: View, values: Floats) -> tuple[View, Floats]:
    """One step of Gauss-Newton. Unknowns: what `View.moved` takes, then the coefficients."""
    basis, points = given.basis, given.basis.points(values)
    error = given.pixels - view.project(points)
    root = given.root_weights(error)
    jacobian = view.slopes(points, basis.slopes(values)) * root
    usual, width = given.nearness(view)
    mean, spread = np.append(usual, basis.mean), np.append(width, basis.spread)
    low, high = (np.append(a, b) for a, b in zip((0.0, 1 / NEAREST_M), basis.bounds, strict=True))
    now, free = np.append(view.nearness, values), np.full(POSE, np.inf)
    ridge = np.hstack([np.zeros((len(now), POSE)), np.diag(1 / spread)])
    matrix = np.vstack([jacobian.reshape(POSE + len(now), -1).T, ridge])
    right = np.concatenate([(error * root).ravel(), (mean - now) / spread])
    q, r = np.linalg.qr(matrix)  # the same problem with as many rows as unknowns
    bounds = (np.append(-free, low - now), np.append(free, high - now))
    step = lsq_linear(r, q.T @ right, bounds).x  # type: ignore[operator]  # the stubs take it for a module
    return view.moved(step[: POSE + 1]), np.clip(values + step[POSE + 1 :], low[1:], high[1:])

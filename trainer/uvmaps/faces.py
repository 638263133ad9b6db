"""UV-net on photos and video: faces found by the network itself, UV and masks in the picture's own pixels, views.

A picture is searched on an image pyramid: the network is run, in tiles, on ever smaller copies, and every patch of mask
whose size is one the network knows is a candidate. Around each face a square window is cut and scaled to the size the
network was trained on; UV and masks are scaled back. In video a face is followed from frame to frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from renderer.errors import AssetError, DatasetError, FormatError
from renderer.format.sample_format import UV_FRAME
from renderer.head.model import HeadModel
from trainer.augmentation.mirror import Network, agreement, seen_in_mirror
from trainer.data.pictures import PHOTO_SUFFIXES, Bytes, read_picture, to_bytes, to_tensor
from trainer.uvmaps import head_pose, mesh, model_fit, projections

if TYPE_CHECKING:
    import trimesh

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
NETWORK_PX: Final = 128  # side of the pictures a network was trained on, where its weights do not say
SEARCH_PX: Final = 1024  # longest side of the pyramid's largest level
TILE_PX: Final = 512  # the network never sees more than this at once
OVERLAP_PX: Final = 128
MIN_AREA_PX: Final = 300  # of a face on its pyramid level
USUAL_AREA_PX: Final = 3300.0  # mean face area in the training data, 20 % of 128 x 128
WINDOW: Final = 1.7  # side of a window in units of the larger side of the face in it
REDETECT: Final = 30  # frames between searches of the whole picture
SAME_FACE: Final = 0.5  # shared part of the smaller box from which two windows of a video follow one face


@dataclass(frozen=True)
class Window:
    """A square of the picture, which may reach over its border. Pixels; x, y: top left corner."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Face:
    """One face. uv (1, 2, s, s), mask and visible (1, 1, s, s) cover its window, in the picture's pixels."""

    window: Window
    uv: Tensor
    mask: Tensor
    visible: Tensor
    score: float  # mean of the mask where it is above one half

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the mask in the picture's pixels."""
        top, bottom, left, right = projections.box_of((self.mask > 0.5).float(), 0)
        return self.window.x + left, self.window.y + top, self.window.x + right, self.window.y + bottom


@dataclass(frozen=True)
class Options:
    """How faces are looked for. min_agreement: 0 keeps all that look like one, see `mirrored.agreement`.

    mirrored: read each face as the mean of what is seen in it and in its mirror image.
    """

    max_faces: int = 8
    min_agreement: float = 0.5
    mirrored: bool = False
    search_px: int = SEARCH_PX
    network_px: int = NETWORK_PX


# ---------------------------------------------------------------- the network


class OnDevice(nn.Module):
    """A network that computes on a device, while the pictures it takes and gives stay on the CPU.

    input_px: side of the pictures it was trained on.
    """

    def __init__(self, network: nn.Module, device: torch.device, input_px: int = NETWORK_PX) -> None:
        super().__init__()
        self.network, self.device, self.input_px = network.to(device), device, input_px

    def forward(self, picture: Tensor) -> Tensor:
        result: Tensor = self.network(picture.to(self.device)).cpu()
        return result


def load(run_or_weights: Path, device: str = "cpu") -> nn.Module:
    """A trained network that takes pictures on the CPU, wherever it computes itself.

    Raises MachineError for a device that this machine lacks, FormatError for weights of another UV frame or format
    version.
    """
    from trainer.data.device import device_named
    from trainer.training.checkpoint import load_network

    place = device_named(device)
    network, header = load_network(run_or_weights)
    if header.get("uv_frame") != UV_FRAME:
        raise FormatError(
            f"{run_or_weights} was trained on UV frame {header.get('uv_frame')!r}; this headforge draws {UV_FRAME!r}"
        )
    return OnDevice(network, place, _input_px(header, run_or_weights))


def _input_px(header: Mapping[str, str], source: Path) -> int:
    text = header.get("input_px", str(NETWORK_PX))
    if not text.isdecimal() or not 8 <= int(text) <= 8192:
        raise FormatError(f"{source} says it was trained on pictures of {text!r} pixels; that is no size of a picture")
    return int(text)


def trained_px(network: Network) -> int:
    """Side of the pictures that a network was trained on, at which it sees faces best."""
    return int(getattr(network, "input_px", NETWORK_PX))


def run_tiled(network: Network, picture: Tensor, tile: int = TILE_PX, overlap: int = OVERLAP_PX) -> Tensor:
    """The network on a picture of any size, (1, 4, H, W), tile by tile; tiles overlap and blend into each other."""
    height, width = picture.shape[2:]
    if max(height, width) <= tile:
        return network(picture).float()
    total = torch.zeros(1, 5, height, width)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            part = picture[:, :, top : top + tile, left : left + tile]
            out = network(part).float().cpu()
            ramps = [_ramp(length, overlap) for length in out.shape[2:]]
            weight = (ramps[0][:, None] * ramps[1])[None, None]
            where = (slice(None), slice(None), slice(top, top + tile), slice(left, left + tile))
            total[where] += torch.cat([out[:, :4] * weight, weight], 1)
    return total[:, :4] / total[:, 4:]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _ramp(length: int, overlap: int) -> Tensor:
    edge = (torch.arange(length) + 0.5) / overlap
    return torch.minimum(edge, edge.flip(0)).clamp(0.01, 1)


# ---------------------------------------------------------------- finding faces


def find_windows(network: Network, picture: Tensor, options: Options) -> list[Window]:
    """Windows around the faces of a picture (1, 3, H, W), the surest first."""
    height, width = picture.shape[2:]
    candidates: list[tuple[float, tuple[float, float, float, float]]] = []
    longest = min(max(height, width), options.search_px)
    side = float(longest)
    while side >= 0.6 * options.network_px or side == longest:
        scale = side / max(height, width)
        size = (max(8, round(height * scale)), max(8, round(width * scale)))
        level = picture if size == (height, width) else F.interpolate(picture, size=size, mode="area")
        mask = run_tiled(network, level)[0, 2].clamp(0, 1).cpu().numpy()
        for area, score, (left, top, right, bottom) in _patches(mask):
            known = math.exp(-((math.log(area / (USUAL_AREA_PX * (options.network_px / 128) ** 2)) / 1.6) ** 2))
            sx, sy = width / size[1], height / size[0]
            candidates.append((score * known, (left * sx, top * sy, right * sx, bottom * sy)))
        side /= 1.6
    kept: list[tuple[float, float, float, float]] = []
    for _, box in sorted(candidates, reverse=True):
        if all(shared_part(box, other) < 0.3 for other in kept):
            kept.append(box)
    return [window_around(box) for box in kept[: options.max_faces]]


def _patches(mask: npt.NDArray[Any]) -> Iterator[tuple[int, float, tuple[int, int, int, int]]]:
    """Connected patches of a mask: area, mean mask, box (left, top, right, bottom)."""
    from scipy import ndimage

    both: Any = ndimage.label(mask > 0.5)
    labels, count = both
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels)[:count], 1):
        inside = labels[rows, columns] == number
        area = int(inside.sum())
        if area >= MIN_AREA_PX:
            box = (columns.start, rows.start, columns.stop, rows.stop)
            yield area, float(mask[rows, columns][inside].mean()), box


def shared_part(a: Sequence[float], b: Sequence[float]) -> float:
    """Shared area as a part of the smaller box."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def window_around(box: Sequence[float]) -> Window:
    """A window in which the face has about the size it has in the training data."""
    left, top, right, bottom = box
    side = max(16, round(WINDOW * max(right - left, bottom - top)))
    return Window(round((left + right - side) / 2), round((top + bottom - side) / 2), side)


def cut(picture: Tensor, window: Window) -> Tensor:
    """The window's content, (1, 3, side, side); the border is repeated where it reaches over it."""
    height, width = picture.shape[2:]
    if min(window.x, window.y) >= 0 and window.y + window.side <= height and window.x + window.side <= width:
        return picture[:, :, window.y : window.y + window.side, window.x : window.x + window.side]
    rows = torch.arange(window.y, window.y + window.side).clamp(0, height - 1)
    columns = torch.arange(window.x, window.x + window.side).clamp(0, width - 1)
    return picture[:, :, rows][:, :, :, columns]


def read_faces(
    network: Network, picture: Tensor, windows: Sequence[Window], options: Options, check: bool = False
) -> list[Face]:
    """The faces inside windows: of each the largest patch of mask; windows without one are dropped.

    check: drop what `agreement` says is none, too.
    """
    if not windows:
        return []
    size = options.network_px
    parts = torch.cat([F.interpolate(cut(picture, w), size=(size, size), mode="area") for w in windows])
    outputs = network(parts).float().cpu()
    least = options.min_agreement if check else 0.0
    if options.mirrored or least > 0:
        back = seen_in_mirror(network, parts).float().cpu()
        sure = agreement(outputs, back) >= least
        outputs = (outputs + back)[sure] / 2 if options.mirrored else outputs[sure]
        windows = [w for w, kept in zip(windows, sure.tolist(), strict=True) if kept]
    faces = []
    for window, output in zip(windows, outputs, strict=True):
        mask = output[2:3].clamp(0, 1)
        largest = _largest(mask[0].numpy())
        if largest is None:
            continue
        mask = mask * torch.from_numpy(largest)
        visible = torch.minimum(output[3:4].clamp(0, 1), mask)
        score = float(mask[mask > 0.5].mean())
        weighted = torch.cat([output[:2].clamp(0, 1) * mask, mask, visible])[None]
        large = F.interpolate(weighted, size=(window.side, window.side), mode="bilinear", align_corners=False)
        uv = large[:, :2] / large[:, 2:3].clamp(min=projections.EPSILON)
        faces.append(Face(window, uv, large[:, 2:3], large[:, 3:4], score))
    return faces


def _largest(mask: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
    """1 on the largest patch of the mask and a pixel around it, else 0."""
    from scipy import ndimage

    both: Any = ndimage.label(mask > 0.5)
    labels, count = both
    if not count:
        return None
    areas = np.bincount(labels.ravel())[1:]
    if areas.max() < MIN_AREA_PX / 4:
        return None
    return np.asarray(ndimage.binary_dilation(labels == int(areas.argmax()) + 1, iterations=1), np.float32)


@torch.no_grad()
def find_faces(network: Network, picture: Tensor, options: Options = Options()) -> list[Face]:
    """All faces of a picture (1, 3, H, W) in [0, 1], the surest first."""
    return read_faces(network, picture, find_windows(network, picture, options), options, check=True)


@dataclass
class Tracker:
    """Faces of a video, frame by frame: followed where they were, searched for anew now and then."""

    network: Network
    options: Options = Options()
    _windows: list[Window] = field(default_factory=list)
    _age: int = 0

    @torch.no_grad()
    def step(self, picture: Tensor) -> list[Face]:
        """The faces of the next frame."""
        faces: list[Face] = []
        if self._windows and self._age < REDETECT:
            self._age += 1
            faces = read_faces(self.network, picture, self._windows, self.options)
        if not faces:
            self._age = 0
            faces = find_faces(self.network, picture, self.options)
        faces = distinct(faces)
        self._windows = [window_around(face.box) for face in faces]
        return faces


def distinct(faces: Sequence[Face]) -> list[Face]:
    """The faces without those that another, surer one covers: two windows that met would follow one face for ever."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(shared_part(face.box, other.box) < SAME_FACE for other in kept):
            kept.append(face)
    return [face for face in faces if any(face is other for other in kept)]


# ---------------------------------------------------------------- what is drawn


def _lines(image: Tensor, face: Face, _: Mapping[str, Any]) -> Tensor:
    return projections.grid_lines(image, face.uv, face.mask, 20, max(1.0, face.window.side / 220))


def _points(image: Tensor, face: Face, _: Mapping[str, Any]) -> Tensor:
    return projections.grid_points(image, face.uv, face.mask, 20, max(1.0, face.window.side / 200))


def _texture(image: Tensor, face: Face, extra: Mapping[str, Any]) -> Tensor:
    return projections.texture_projection(
        image, face.uv, face.mask, extra["texture"], 2 if face.window.side < 700 else 1
    )


def _uv(image: Tensor, face: Face, _: Mapping[str, Any]) -> Tensor:
    colours = torch.cat([face.uv, torch.zeros_like(face.mask)], 1)
    return torch.lerp(image, colours, face.mask.expand_as(image))


def _mask(image: Tensor, face: Face, _: Mapping[str, Any]) -> Tensor:
    hidden = torch.tensor([1.0, 0.5, 0.1])[None, :, None, None] * (face.mask - face.visible).clamp(0, 1)
    return torch.lerp(image * 0.35, face.visible.expand_as(image) + hidden, face.mask.expand_as(image))


def _landmarks(image: Tensor, face: Face, extra: Mapping[str, Any]) -> Tensor:
    found = projections.find_landmarks(face.uv, face.mask, extra["landmark_uv"])
    return projections.draw_points(image, found, max(1.5, face.window.side / 130), (1.0, 0.9, 0.1))


def _axes(image: Tensor, face: Face, extra: Mapping[str, Any]) -> Tensor:
    """Where the head's axes point: red to the subject's left, green up, blue out of the face."""
    pose = pose_of(face, extra["head"], extra.get("focal_px"))
    if pose is None:
        return image
    cy, sy = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    cp, sp = math.cos(-pose.pitch_rad), math.sin(-pose.pitch_rad)
    cr, sr = math.cos(pose.roll_rad), math.sin(pose.roll_rad)
    turn = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn = turn @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    left, top, right, bottom = (a - b for a, b in zip(face.box, (face.window.x, face.window.y) * 2, strict=True))
    start = np.array([(left + right) / 2, (top + bottom) / 2])
    along = np.linspace(0, 0.45 * face.window.side, 160)[:, None]
    for axis, colour in enumerate(((1.0, 0.25, 0.2), (0.25, 0.9, 0.3), (0.3, 0.5, 1.0))):
        points = torch.from_numpy(start + along * (turn[:2, axis] * [1, -1])).float()[None]
        image = projections.draw_points(image, points, max(1.0, face.window.side / 200), colour)
    return image


def _swap(image: Tensor, face: Face, extra: Mapping[str, Any]) -> Tensor:
    other, theirs = extra["other"]
    return projections.face_swap(image, face.uv, face.visible, other, theirs.uv, theirs.visible)


VIEWS: Final[Mapping[str, Callable[[Tensor, Face, Mapping[str, Any]], Tensor]]] = {
    "lines": _lines,
    "points": _points,
    "texture": _texture,
    "uv": _uv,
    "mask": _mask,
    "landmarks": _landmarks,
    "axes": _axes,
    "swap": _swap,
}
"""Views drawn over the picture; besides, `inverse` shows the texture read out of the surest face."""


def draw(view: str, picture: Tensor, faces: Sequence[Face], extra: Mapping[str, Any]) -> Tensor:
    """One view of a picture (1, 3, H, W); with `inverse` a texture (1, 3, 256, 256).

    extra: texture (1, 3, S, S), landmark_uv (68, 2), head (HeadModel), focal_px, other (a window's content and its
    face, for `swap`), as the view needs them.
    """
    if view == "inverse":
        if not faces:
            return torch.zeros(1, 3, 256, 256)
        face = faces[0]
        seen = cut(picture, face.window)
        size = projections.fitting_size(face.visible, 256)
        texture = projections.closed_texture(*projections.inverse_texture_projection(seen, face.uv, face.visible, size))
        return F.interpolate(texture, size=(256, 256), mode="bilinear", align_corners=False)
    out = picture.clone()
    for face in reversed(faces):
        drawn = VIEWS[view](cut(out, face.window), face, extra)
        put_back(out, drawn, face.window)
    return out


def put_back(picture: Tensor, part: Tensor, window: Window) -> None:
    """Write a window's content into the picture, without what reaches over the border."""
    height, width = picture.shape[2:]
    top, left = max(window.y, 0), max(window.x, 0)
    bottom, right = min(window.y + window.side, height), min(window.x + window.side, width)
    if top < bottom and left < right:
        inside = part[:, :, top - window.y : bottom - window.y, left - window.x : right - window.x]
        picture[:, :, top:bottom, left:right] = inside


def maps(faces: Sequence[Face], height: int, width: int) -> dict[str, npt.NDArray[np.float32]]:
    """uv (H, W, 2), mask and visible (H, W) of the whole picture; where faces overlap, the higher mask counts."""
    total = torch.zeros(1, 4, height, width)
    for face in faces:
        mine = torch.cat([face.uv, face.mask, face.visible], 1)
        there = cut(total, face.window)
        put_back(total, torch.where(face.mask > there[:, 2:3], mine, there), face.window)
    array = total[0].permute(1, 2, 0).numpy()
    return {"uv": array[..., :2] * (array[..., 2:3] > 0), "mask": array[..., 2], "visible": array[..., 3]}


def pose_of(face: Face, head: Any, focal_px: float | None = None) -> head_pose.Pose | None:
    """The pose of the head that a face shows."""
    return head_pose.head_pose(head, face.uv[0].permute(1, 2, 0).numpy(), face.visible[0, 0].numpy(), focal_px)


def describe(face: Face, landmark_uv: Tensor | None, head: Any = None, focal_px: float | None = None) -> dict[str, Any]:
    """A face as plain values: box, score, 68 landmarks in the picture's pixels (None where not seen), pose."""
    result: dict[str, Any] = {"box": list(face.box), "score": round(face.score, 4)}
    if landmark_uv is not None:
        found = projections.find_landmarks(face.uv, face.mask, landmark_uv)[0]
        found = found + torch.tensor([face.window.x, face.window.y])
        result["landmarks_px"] = [None if math.isnan(x) else [round(x, 2), round(y, 2)] for x, y in found.tolist()]
    if head is not None and (pose := pose_of(face, head, focal_px)) is not None:
        x, y, z = pose.position_m
        centre_x, centre_y = face.window.x + face.window.side / 2, face.window.y + face.window.side / 2
        result["pose"] = {
            "yaw_deg": round(math.degrees(pose.yaw_rad), 2),
            "pitch_deg": round(math.degrees(pose.pitch_rad), 2),
            "roll_deg": round(math.degrees(pose.roll_rad), 2),
            "origin_px": [round(centre_x + x / -z * pose.focal_px, 2), round(centre_y - y / -z * pose.focal_px, 2)],
            "distance_over_focal_m_per_px": round(-z / pose.focal_px, 7),
        }
    return result


def fitted(face: Face, head: HeadModel, focal_px: float | None = None) -> model_fit.Fit | None:
    """The head model fitted to a face; None where too little of it is seen. Pixels are those of its window."""
    return model_fit.fit_head(head, face.uv[0].permute(1, 2, 0).numpy(), face.visible[0, 0].numpy(), focal_px)


def face_mesh(picture: Tensor, face: Face, head: HeadModel, fit: model_fit.Fit, part: str) -> trimesh.Trimesh:
    """A fitted face as a mesh with the texture that the picture shows of it. part: see `mesh.PARTS`."""
    size = projections.fitting_size(face.visible)
    texture, weight = projections.inverse_texture_projection(cut(picture, face.window), face.uv, face.visible, size)
    seen = projections.well_covered(weight)[0, 0].numpy() > 0
    filled = to_bytes(projections.fill_holes(texture, weight))
    return mesh.textured_mesh(head, fit.vertices(head), filled, part, seen)


def describe_fit(fit: model_fit.Fit, face: Face) -> dict[str, Any]:
    """A fit as plain values: the head model's coefficients that are not those of the average head, and the view."""
    c, view = fit.coefficients, fit.view
    return {
        "macros": {name: round(value, 4) for name, value in c.macros.items()},
        "sliders": {name: round(value, 4) for name, value in c.sliders.items() if abs(value) >= 5e-4},
        "units": {name: round(value, 4) for name, value in c.units.items() if value >= 5e-4},
        "rotation": view.rotation.round(6).tolist(),
        "origin_px": (view.origin_px + np.array([face.window.x, face.window.y])).round(2).tolist(),
        "pixels_per_m": round(view.pixels_per_m, 2),
        "nearness_per_m": round(view.nearness, 4),
        "error_px": round(fit.error_px, 3),
    }


def expand(inputs: Sequence[str]) -> list[str]:
    """Folders become their files; files and webcam indices stay. Raises DatasetError if one is missing."""
    found: list[str] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in PHOTO_SUFFIXES + VIDEO_SUFFIXES]
            if not inside:
                raise DatasetError(f"{path} holds no picture or video")
            found += [str(p) for p in inside]
        elif path.is_file() or text.isdecimal():
            found.append(text)
        else:
            raise DatasetError(f"there is no file or folder {text}")
    return found


def is_moving(text: str) -> bool:
    """Is this input a video or a webcam?"""
    return text.isdecimal() or Path(text).suffix.lower() in VIDEO_SUFFIXES


@dataclass
class Frames:
    """The frames of a video file or a webcam, (H, W, 3) bytes. `problem` says why they ended early, if so."""

    source: str
    max_side: int
    limit: int | None = None
    rate: float = 25.0
    count: int | None = None
    problem: str = ""

    def __iter__(self) -> Iterator[Bytes]:
        frames = self._webcam() if self.source.isdecimal() and not Path(self.source).exists() else self._file()
        for number, frame in enumerate(frames):
            if self.limit is not None and number >= self.limit:
                return
            height, width = frame.shape[:2]
            if max(height, width) > self.max_side:
                scale = self.max_side / max(height, width)
                size = (round(width * scale), round(height * scale))
                frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
            yield frame

    def _file(self) -> Iterator[Bytes]:
        import av

        try:
            container = av.open(self.source)
        except Exception as error:
            raise FormatError(f"{self.source} cannot be read as a video: {error}") from error
        with container:
            if not container.streams.video:
                raise FormatError(f"{self.source} holds no video")
            stream = container.streams.video[0]
            self.rate, self.count = float(stream.average_rate or 25), stream.frames or None
            read = 0
            try:
                for frame in container.decode(stream):
                    read += 1
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            except Exception as error:
                self.problem = f"{self.source} is damaged after {read} frames: {error}"
            else:
                if self.count and read < self.count:
                    self.problem = f"{self.source} is cut short: {read} of {self.count} frames"
            if not read:
                raise FormatError(self.problem or f"{self.source} holds no frame")

    def _webcam(self) -> Iterator[Bytes]:
        import cv2

        camera = cv2.VideoCapture(int(self.source))
        if not camera.isOpened():
            raise DatasetError(f"webcam {self.source} cannot be opened")
        try:
            while True:
                there, frame = camera.read()
                if not there:
                    return
                yield np.ascontiguousarray(frame[..., ::-1])
        finally:
            camera.release()


def write_maps(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """UV and masks as .npz (uv, mask, visible) or .exr (channels U, V, mask, visible; float)."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **{k: v.astype(np.float32) for k, v in arrays.items()})
        return
    import OpenEXR

    planes = {
        "U": arrays["uv"][..., 0],
        "V": arrays["uv"][..., 1],
        "mask": arrays["mask"],
        "visible": arrays["visible"],
    }
    data = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, data).write(str(path))


def landmark_uv() -> Tensor:
    """UVs of the 68 landmarks from the head pack. Raises AssetError where there is none."""
    return torch.from_numpy(np.asarray(head_pose.pack_head().landmarks_uv, np.float32))


def load_texture(path: Path | None) -> Tensor:
    """A picture as texture (1, 3, S, T), V = 1 on top; without a path a coloured checker."""
    from trainer.viewer.extras import checker

    if path is None:
        return checker(1024, 20)
    try:
        return to_tensor(read_picture(path, 4096))
    except FormatError as error:
        raise AssetError(str(error)) from error

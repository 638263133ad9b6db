"""Photos to frontal faces: what `gen frontalise` does.

UV-net finds faces and the 68 landmarks of each; those it does not see are where the pose that it shows puts them on the
average head. The square around all of them is what the encoder is given, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from renderer.errors import FormatError
from trainer.data import video
from trainer.data.device import device_named
from trainer.data.pictures import Bytes, read_picture, to_bytes, to_tensor
from trainer.networks.face_encoder import FaceEncoder
from trainer.systems.frontal import frame
from trainer.systems.frontal.network import FrontalNetwork, Made
from trainer.systems.frontal.system import open_encoder
from trainer.systems.runs import load_trained
from trainer.systems.uvnet import trained
from trainer.systems.uvnet.trained import OnDevice
from trainer.uvmaps import head_pose
from trainer.uvmaps.faces import Face
from trainer.uvmaps.finding import find_faces
from trainer.uvmaps.points import find_landmarks
from trainer.uvmaps.results import pose_of
from trainer.uvmaps.sheet import Sheet

AT_ONCE: Final = 16  # faces that are encoded and decoded together
MAX_SIDE: Final = 2048  # larger photos are scaled down
CAPTIONS: Final = ("face", "mask", "frontal")


@dataclass(frozen=True)
class Job:
    """One call of the command. finder: a UV-net, None where photos are crops already. encoder: in place of the
    network's own; empty: that. one: exactly one face is asked for in each photo."""

    weights: Path
    out: Path
    finder: Path | None
    encoder: str = ""
    one: bool = False
    sheet: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Found:
    """A face in a photo: the name of its files, and its crop (1, 3, S, S)."""

    name: str
    crop: Tensor


def frontalise(job: Job, inputs: Sequence[str], say: Callable[[str], object]) -> int:
    """NAME.face.png, NAME.mask.png and NAME.frontal.png of each face; NAME-1, NAME-2 where a photo shows several.

    Returns how many photos gave nothing. Raises SpecError, AssetError or FormatError where networks do not fit.
    """
    place = device_named(job.device)
    made_by = load_trained(job.weights, only="frontal")
    network = made_by.module.to(place)
    assert isinstance(network, FrontalNetwork)
    settings = network.config if not job.encoder else replace(network.config, encoder=job.encoder)
    encoder = open_encoder(settings).to(place)
    finder = None if job.finder is None else trained.load(job.finder, job.device)
    files = video.expand(inputs)
    job.out.mkdir(parents=True, exist_ok=True)
    side, failed, waiting = settings.output_px, 0, list[Found]()
    sheet = Sheet()
    for number, source in enumerate(files, 1):
        try:
            waiting += faces_of(source, finder, side, job.one)
        except FormatError as error:
            say(f"skipped: {error}")
            failed += 1
        while len(waiting) >= AT_ONCE or (waiting and number == len(files)):
            _write(waiting[:AT_ONCE], network, encoder, job.out, sheet)
            say(f"{number} of {len(files)} photos: {', '.join(found.name for found in waiting[:AT_ONCE])}")
            waiting = waiting[AT_ONCE:]
    if job.sheet and sheet.rows:
        sheet.write(job.out / "sheet.png")
    return failed


def faces_of(source: str, finder: OnDevice | None, side_px: int, one: bool) -> list[Found]:
    """The faces of a photo, the surest first.

    Raises FormatError where there is none, or where there are several and one is asked for.
    """
    if video.is_moving(source):
        raise FormatError(f"{source} is no photo; frontal faces are made of photos alone")
    picture, name = to_tensor(read_picture(Path(source), MAX_SIDE)), Path(source).stem
    if finder is None:
        height, width = picture.shape[2:]
        short = min(height, width)
        left, top = (width - short) / 2, (height - short) / 2
        window = torch.tensor([[left, top, left + short, top + short]])
        return [Found(name, frame.crop(picture, window, side_px))]
    faces = find_faces(finder, picture, finder.finder)
    if not faces:
        raise FormatError(f"{source}: no face was found; crop it around the face and give --cropped, or try --finder")
    if one and len(faces) > 1:
        raise FormatError(
            f"{source}: {len(faces)} faces were found, and --one asks for one: crop it, or leave --one out"
        )
    boxes = torch.stack([landmark_box(face) for face in faces])
    crops = frame.crop(picture.expand(len(faces), -1, -1, -1), frame.windows_about(boxes), side_px)
    names = [name] if len(faces) == 1 else [f"{name}-{number}" for number in range(1, len(faces) + 1)]
    return [Found(name, crop[None]) for name, crop in zip(names, crops, strict=True)]


def landmark_box(face: Face) -> Tensor:
    """Left, top, right, bottom of the 68 landmarks in the picture's pixels, (4,)."""
    head = head_pose.pack_head()
    found = find_landmarks(face.uv, face.mask, head_pose.landmark_uv())[0]
    hidden = found.isnan().any(1)
    if bool(hidden.any()) and (pose := pose_of(face, head)) is not None:
        vertices = np.asarray(head.identity_vertices())
        resting = np.einsum("kij,ki->kj", vertices[np.asarray(head.landmarks_tri)], np.asarray(head.landmarks_bary))
        seen = resting @ pose.rotation.T + np.asarray(pose.position_m)
        across = np.stack([seen[:, 0], -seen[:, 1]], 1) / -seen[:, 2:] * pose.focal_px + face.window.side / 2
        found[hidden] = torch.from_numpy(across).float()[hidden]
    found = found[~found.isnan().any(1)] + torch.tensor([face.window.x, face.window.y])
    if not len(found):
        return torch.tensor(face.box, dtype=torch.float32)
    return frame.boxes_of(found[None])[0]


@torch.no_grad()
def _write(faces: Sequence[Found], network: FrontalNetwork, encoder: FaceEncoder, out: Path, sheet: Sheet) -> None:
    """The files of some faces, and a row of the sheet for each."""
    crops = torch.cat([found.crop for found in faces]).to(network.mean_face.device)
    made: Made = network(encoder.features(crops))
    shown = (made.face, made.mask.expand(-1, 3, -1, -1), made.picture)
    for number, found in enumerate(faces):
        tiles = [to_bytes(part[number : number + 1].float().cpu()) for part in shown]
        for caption, tile in zip(CAPTIONS, tiles, strict=True):
            Image.fromarray(tile if caption != "mask" else tile[..., 0]).save(out / f"{found.name}.{caption}.png")
        _add_row(sheet, found, tiles)


def _add_row(sheet: Sheet, found: Found, tiles: Sequence[Bytes]) -> None:
    crop = to_bytes(found.crop.cpu())
    whole = slice(0, crop.shape[0]), slice(0, crop.shape[1])
    sheet.add(f"{found.name}: photo, face, mask, frontal", [crop, *tiles], whole)

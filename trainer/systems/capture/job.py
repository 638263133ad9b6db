"""`gen capture`: shots through a trained network into point caches, glTF, curves, a video and a page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from renderer.errors import DatasetError, SpecError
from renderer.files import write_atomic
from renderer.format.point_cache import write_mdd, write_pc2
from renderer.progress import Progress
from renderer.report.video import Movie
from trainer.data.device import device_named
from trainer.systems.capture import page
from trainer.systems.capture.losses import stabilised
from trainer.systems.capture.mesh import Mesh
from trainer.systems.capture.metrics import frame_errors
from trainer.systems.capture.morphs import animated_glb
from trainer.systems.capture.network import CaptureNet
from trainer.systems.capture.shading import View
from trainer.systems.capture.shots import Shot, dataset_shots, is_dataset, video_shot
from trainer.systems.capture.system import mesh_tiles
from trainer.systems.registry import run_config
from trainer.systems.runs import Trained, load_trained
from trainer.training.run_dir import RunDir, finite, read_json

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]
VIDEO_PX: Final = 320  # least height of a video


@dataclass(frozen=True)
class Options:
    """second, truth: videos of a second camera and true point caches, in the order of the videos; or none."""

    second: tuple[Path, ...] = ()
    truth: tuple[Path, ...] = ()
    shots: tuple[int, ...] = ()
    stabilise: bool = False
    video: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class Captured:
    """A shot and what was made of it. points: (F, V, 3) metres."""

    shot: Shot
    points: Floats
    errors: dict[str, npt.NDArray[np.float64]]  # of each frame, in mm; none without a truth
    frames_per_second: float


def capture(weights: Path, inputs: Sequence[Path], out: Path, options: Options, say: Say) -> list[Captured]:
    """Write everything that `gen capture` says, shot by shot.

    Raises FormatError, SpecError or DatasetError before anything is written of a shot that does not fit.
    """
    trained = load_trained(weights, only="capture")
    module = trained.module.to(device_named(options.device))
    assert isinstance(module, CaptureNet)
    mesh = mesh_of_network(module)
    done = []
    for shot in opened(trained, weights, inputs, options):
        out.mkdir(parents=True, exist_ok=True)
        captured = through(module, shot, mesh, options)
        write(captured, mesh, out, options)
        done.append(captured)
        say(described(captured))
    if not done:
        raise DatasetError("there is no shot to capture")
    write_atomic(out / "mesh.obj", obj(module.average.double().cpu().numpy(), mesh))
    page.write(out / "page", done, mesh, say)
    return done


def mesh_of_network(module: CaptureNet) -> Mesh:
    """The mesh that travels with weights; its regions do not."""
    animated = np.flatnonzero(module.animated.cpu().numpy())
    return Mesh(module.vertices, module.triangles.cpu().numpy().astype(np.int64), animated)


def opened(trained: Trained, weights: Path, inputs: Sequence[Path], options: Options) -> Iterable[Shot]:
    """Shots of the inputs, each when its turn comes. Options and files are checked before the first."""
    folders = [path for path in inputs if is_dataset(path)]
    if (folders and len(folders) < len(inputs)) or len(folders) > 1:
        raise SpecError("name videos, or one data set")
    for name, given in (("--second", options.second), ("--truth", options.truth)):
        if given and (folders or len(given) != len(inputs)):
            raise SpecError(f"{name} is given {len(given)} times for {len(inputs) - len(folders)} videos: one for each")
    if missing := [path for path in (*inputs, *options.second, *options.truth) if not path.exists()]:
        raise DatasetError(f"there is no file {missing[0]}")
    if folders:
        return dataset_shots(trained, folders[0], options.shots, held_out_of(weights, folders[0]))
    if options.shots:
        raise SpecError("--shot chooses among the shots of a data set, not among videos")
    seconds, truths = options.second or (None,) * len(inputs), options.truth or (None,) * len(inputs)
    return (video_shot(trained, *files) for files in zip(inputs, seconds, truths, strict=True))


def held_out_of(weights: Path, folder: Path) -> float | None:
    """The share of a data set that the run was not trained on; None where it was trained on none of it."""
    meta = read_json(RunDir(weights).meta) if weights.is_dir() else None
    info = read_json(folder / "dataset.json") or {}
    if not meta or meta.get("data", {}).get("tag") != info.get("tag"):
        return None
    return run_config(weights).data.test_share


@torch.no_grad()
def through(module: CaptureNet, shot: Shot, mesh: Mesh, options: Options) -> Captured:
    """A shot through the network. frames per second: of the network alone."""
    device, found, began = module.mean.device, [], time.perf_counter()
    for batch in shot.batches():
        found.append(module(batch.to(device)).float().cpu())
    seconds = time.perf_counter() - began
    points = torch.cat(found).double().numpy()
    points = stabilised(points) if options.stabilise else points
    errors: dict[str, Floats] = {}
    if shot.truth is not None:
        measured = frame_errors(torch.from_numpy(points), torch.from_numpy(shot.truth).double(), mesh)
        errors = {name: value.double().numpy() for name, value in measured.items()}
    return Captured(shot, points, errors, len(points) / max(seconds, 1e-9))


def described(captured: Captured) -> str:
    """One line."""
    shot = captured.shot
    error = f", RMSE {overall(captured.errors['rmse_mm']):.3f} mm" if captured.errors else ""
    return f"{shot.name}: {len(captured.points)} frames, {captured.frames_per_second:.0f} per second{error}"


def overall(frames: Floats) -> float:
    """Root mean square of values that are root mean squares of frames."""
    return float(np.sqrt((frames**2).mean()))


# ---------------------------------------------------------------- files


def write(captured: Captured, mesh: Mesh, out: Path, options: Options) -> None:
    """NAME.pc2, .mdd, .glb, .json; .svg where there is a truth; .mp4 unless it is not wanted."""
    shot, points = captured.shot, captured.points
    write_pc2(out / f"{shot.name}.pc2", points)
    write_mdd(out / f"{shot.name}.mdd", points, shot.fps)
    write_atomic(out / f"{shot.name}.glb", animated_glb(points, mesh.triangles, shot.fps))
    about: dict[str, Any] = {
        "shot": shot.name, "kind": shot.kind, "frames": len(points), "fps": shot.fps,
        "network_frames_per_second": round(captured.frames_per_second, 1), "stabilised": options.stabilise,
        "overall": {name: round(overall(values), 4) for name, values in captured.errors.items()},
        "per_frame": {name: values.round(4).tolist() for name, values in captured.errors.items()},
    }  # fmt: skip
    write_atomic(out / f"{shot.name}.json", json.dumps(finite(about), allow_nan=False).encode())
    if captured.errors:
        draw_curves([captured], out / f"{shot.name}.svg")
    if options.video:
        write_video(captured, mesh, out / f"{shot.name}.mp4")


def write_video(captured: Captured, mesh: Mesh, path: Path) -> None:
    """Side by side: frame, true mesh and error where the truth is known, mesh."""
    shot = captured.shot
    scale = -(-VIDEO_PX // shot.frames.shape[2])
    height, width = (scale * side for side in shot.frames.shape[2:])
    view = View.of(captured.points[0][mesh.animated], height, width)
    movie = Movie(path, shot.fps)
    with Progress(len(captured.points), "frame", f"drawing {shot.name}") as bar:
        for number, points in enumerate(captured.points):
            frame = Image.fromarray(shot.frames[number, 0]).resize((width, height), Image.Resampling.BILINEAR)
            seen = torch.from_numpy(np.asarray(frame, np.float32) / 255)[None]
            truth = None if shot.truth is None else torch.from_numpy(shot.truth[number])
            tiles = mesh_tiles(seen, torch.from_numpy(points), mesh, truth, view)
            movie.add(np.concatenate(list(tiles), 1))
            bar.update(1)
    movie.close()


def draw_curves(shots: Sequence[Captured], path: Path) -> None:
    """RMSE of every frame; a panel for each shot."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.2 * len(shots)), layout="constrained")
    FigureCanvasSVG(figure)
    for axis, captured in zip(figure.subplots(len(shots), 1, squeeze=False)[:, 0], shots, strict=True):
        seconds = np.arange(len(captured.points)) / captured.shot.fps
        for name, label in (("rmse_mm", "all"), ("depth_mm", "depth"), ("plane_mm", "image plane")):
            axis.plot(seconds, captured.errors[name], label=label, lw=1.6 if name == "rmse_mm" else 0.9)
        axis.set(title=f"{captured.shot.name}, {captured.shot.kind}", xlabel="s", ylabel="RMSE, mm", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, ncols=3)
    figure.savefig(path)


def obj(points: Floats, mesh: Mesh) -> bytes:
    """The mesh that the caches move: their vertices, in their order."""
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in points]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.triangles + 1).tolist()]
    return ("# headforge: metres, Y up, +Z out of the face\n" + "\n".join(lines) + "\n").encode()

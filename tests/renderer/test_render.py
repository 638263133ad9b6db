"""Real Blender: labels are exact, samples repeat bit for bit, and nothing is lost or half-written."""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from renderer.cli import main
from renderer.files import file_sha256
from renderer.format.dataset import Dataset, open_dataset
from renderer.format.sample_format import HALF_STEP, PURE
from renderer.format.shard import write_shard
from renderer.format.staging import encode_sample, load_staged
from renderer.head.deform import deformed
from renderer.head.parts import PartBuilder, triangles
from renderer.head.pose import posed
from renderer.labels import maps, reference
from renderer.labels.camera import project, unproject
from renderer.labels.vertices import skin_mesh
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.params import Camera, Pose
from renderer.parameters.spec import HeadsSpec, SequenceSpec
from renderer.report import proof
from renderer.run.claim import STAGING, claim, locked
from renderer.run.context import RenderContext, prepare
from renderer.run.local import render_shards
from renderer.run.plan import make_plan
from renderer.run.pool import Done, PoolOptions, WorkerPool
from renderer.run.process import start_worker

pytestmark = pytest.mark.blender


def gen(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "renderer.cli", *words], capture_output=True, text=True)


@pytest.fixture(scope="session")
def smoke(head_pack: Path) -> RenderContext:
    """The `smoke` spec with seed 3, ready to render."""
    return prepare(load_spec("smoke"), 3, log=lambda text: None)


def render_to(
    out: Path, context: RenderContext, count: int, shard_size: int = 8, workers: int = 1, threads: int = 1
) -> Dataset:
    """A data set of `count` samples, rendered by the library as `gen render` does."""
    claim(out, context)
    plan = make_plan(out, context, count, shard_size)
    report = render_shards(context, list(plan.ranges), out, out / STAGING, PoolOptions(workers, threads))
    assert not report.stopped and not report.skipped
    return open_dataset(out)


def pixels(dataset: Dataset) -> dict[int, dict[str, str]]:
    """Index -> hash of the decoded pixels of every image."""
    return {entry.index: entry.pixels for _, entry in dataset.entries()}


def with_render(context: RenderContext, **changes: object) -> RenderContext:
    """The same data set with other render settings."""
    spec = replace(context.spec, render=replace(context.spec.render, **changes))
    return replace(context, spec=spec)


@pytest.fixture(scope="session")
def rendered(smoke: RenderContext, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 samples of the smoke spec."""
    return render_to(tmp_path_factory.mktemp("rendered") / "smoke", smoke, 24, workers=2)


# ---------------------------------------------------------------- labels


def test_a_rendered_data_set_is_sound(rendered: Dataset) -> None:
    verdict = proof.verify(rendered.path, 2)
    assert verdict.problems == [] and verdict.samples == 24
    assert verdict.uv_error_px is not None and verdict.uv_error_px < 0.15


def test_uv_is_the_ray_casts_within_a_half_float_step(smoke: RenderContext, tmp_path: Path) -> None:
    """An independent ray caster on the mesh, at every pixel centre inside the mask."""
    trimesh = pytest.importorskip("trimesh")
    context = with_render(smoke, uv_precision="float", resolution=128)
    data = render_to(tmp_path / "d", context, 8)
    builder, errors = PartBuilder(context.model, context.catalog), []
    area = maps.load_face_area(context.model.mask_path)
    for shard, entry in data.entries():
        record = shard.params(entry)
        if len(record["heads"]) != 1:
            continue
        parts = builder.build(reference.head_from_record(record["heads"][0]), bare=True)
        vertices, faces, uvs, first = [], [], [], 0
        for part in (p for p in parts if p.kind not in ("brows", "lashes")):
            tri, corner = triangles(part.topology)
            uv = part.topology.uvs["uv"].reshape(-1, 2) if part.kind == "skin" else np.full((corner.max() + 1, 2), -1.0)
            vertices.append(part.vertices)
            faces.append(tri + first)
            uvs.append(uv[corner])
            first += len(part.vertices)
        mesh = trimesh.Trimesh(np.concatenate(vertices).astype(np.float64), np.concatenate(faces), process=False)
        corner_uv = np.concatenate(uvs).astype(np.float64)
        camera, side = Camera(**record["camera"]), 128
        uv, mask = shard.image(entry, "uv").astype(np.float64), shard.image(entry, "mask")[..., 0]
        row, column = np.nonzero(mask >= PURE)
        scale = camera.sensor_mm / camera.focal_mm
        x = ((column + 0.5) / side - 0.5 - camera.shift_x) * scale
        y = (0.5 - (row + 0.5) / side - camera.shift_y) * scale
        rays = np.stack([x, y, -np.ones(len(x))], axis=1)
        origins = np.tile([0.0, 0.0, camera.distance_m], (len(x), 1))
        hit = mesh.ray.intersects_first(origins, rays)
        assert (hit >= 0).all()
        n = mesh.face_normals[hit]
        t = ((mesh.triangles[hit][:, 0] - origins) * n).sum(1) / (rays * n).sum(1)
        bary = trimesh.triangles.points_to_barycentric(mesh.triangles[hit], origins + rays * t[:, None])
        exact = np.einsum("nk,nkc->nc", bary, corner_uv[hit])
        errors.append(np.abs(exact - uv[row, column]).max(axis=1))
        inside = (exact >= 0).all(1) & (exact < 1).all(1)
        table = area[((1 - exact[inside, 1]) * maps.LOOKUP).astype(int), (exact[inside, 0] * maps.LOOKUP).astype(int)]
        assert inside.mean() > 0.999 and table.mean() > 0.999  # the threshold leaves face pixels alone
    every = np.concatenate(errors)
    assert len(every) > 3000
    assert np.quantile(every, 0.99) <= HALF_STEP
    assert np.median(every) < 1e-5


def test_landmarks_lie_where_the_uv_map_shows_them(rendered: Dataset) -> None:
    """68 landmarks found in the UV map against those projected from geometry: half a pixel in the median."""
    wanted, off = np.array(rendered.info["landmark_uv"]), []
    for shard, entry in rendered.entries():
        record = shard.params(entry)
        if len(record["heads"]) != 1:
            continue
        uv, mask = shard.image(entry, "uv").astype(np.float64), shard.image(entry, "mask")
        known = np.array(record["landmarks_px"][0])
        row, column = np.nonzero(mask[..., 0] >= PURE)
        if len(row) < 100:
            continue
        for mark, pixel in zip(wanted, known, strict=True):
            distance = np.hypot(*(uv[row, column] - mark).T)
            near = distance.argmin()
            if distance[near] < 0.02:
                off.append(np.hypot(column[near] + 0.5 - pixel[0], row[near] + 0.5 - pixel[1]))
    assert len(off) > 200
    assert np.median(off) < 0.7  # the nearest pixel centre is up to 0.7 away


def test_every_optional_label_agrees_with_the_others(smoke: RenderContext, tmp_path: Path) -> None:
    labels = ("depth", "normal", "albedo", "position", "camera_position", "neutral", "view2", "vertices")
    context = with_render(smoke, labels=labels)
    data = render_to(tmp_path / "d", context, 6, shard_size=3)
    used, _ = skin_mesh(context.model)
    smooth = context.model.subdivided("skin")
    seen = 0
    for shard, entry in data.entries():
        record = shard.params(entry)
        visible = shard.image(entry, "mask")[..., 1]
        assert shard.image(entry, "view2_uv").shape == (64, 64, 2)
        if len(record["heads"]) != 1:
            continue
        seen += 1
        clear = visible >= PURE
        row, column = np.nonzero(clear)
        position = shard.image(entry, "position")[clear].astype(np.float64)
        depth = shard.image(entry, "depth")[clear][:, 0]
        pose = reference.head_from_record(record["heads"][0]).pose
        pixel = project(posed(position, pose), Camera(**record["camera"]), 64)
        assert np.abs(pixel[:, 0] - column - 0.5).max() < 0.01  # the position map projects onto its own pixels
        assert np.abs(pixel[:, 1] - row - 0.5).max() < 0.01
        seen_from_camera = shard.image(entry, "camera_position")[clear]
        assert np.abs(seen_from_camera[:, 2] + pixel[:, 2]).max() < 1e-4
        whole = unproject(shard.image(entry, "depth")[..., 0], Camera(**record["camera"]))[clear] * [1, -1, -1]
        assert np.quantile(np.abs(whole - seen_from_camera), 0.95) < 1e-4
        # and lies at the depth of the depth map, but where brows or lashes stand out from the skin
        assert np.quantile(np.abs(pixel[:, 2] - depth), 0.95) < 1e-4
        normal = shard.image(entry, "normal")[clear].astype(np.float32)
        assert np.linalg.norm(normal, axis=1) == pytest.approx(np.ones(len(normal)), abs=2e-3)
        towards = -np.stack([pixel[:, 0] * 0, pixel[:, 1] * 0, -np.ones(len(pixel))], axis=1)
        assert (np.sum(normal * towards, axis=1) > -0.5).mean() > 0.99
        whole_head = np.zeros(context.model.vertices.shape)
        whole_head[used] = shard.image(entry, "vertices")[0]
        to_world = np.array(record["head_to_world"][0])
        world = smooth.points(whole_head) @ to_world[:3, :3].T + to_world[:3, 3]
        marks = project(context.model.landmarks_smooth(world), Camera(**record["camera"]), 64)[:, :2]
        assert np.abs(marks - record["landmarks_px"][0]).max() < 0.01
        assert shard.image(entry, "neutral").max() > 0
        albedo = shard.image(entry, "albedo")
        assert albedo.max() <= 1 and albedo[clear].any()
    assert seen >= 3
    assert proof.verify(data.path, 1).problems == []


def test_a_picture_of_any_sides_shows_what_a_square_of_its_width_does_in_its_middle(
    smoke: RenderContext, tmp_path: Path
) -> None:
    labels = ("depth", "position", "foreground", "view2", "vertices")
    spec = replace(smoke.spec, heads=HeadsSpec(0, 0, 1))
    context = with_render(replace(smoke, spec=spec), labels=labels, samples_per_pixel=1)
    size = {"square": 48, "high": (48, 64), "wide": (48, 32)}
    data = {name: render_to(tmp_path / name, with_render(context, resolution=of), 2) for name, of in size.items()}
    square, high, wide = (list(data[name].entries()) for name in size)
    seen = 0
    for (a, one), (b, other), (c, third) in zip(square, high, wide, strict=True):
        for name in ("uv", "view2_uv", "mask", "view2_mask", "depth"):
            whole, middle = a.image(one, name).astype(float), b.image(other, name)[8:56].astype(float)
            assert np.quantile(np.abs(whole - middle).max(axis=2), 0.99) < 2e-3, name
            band = c.image(third, name).astype(float)
            assert np.quantile(np.abs(whole[8:40] - band).max(axis=2), 0.99) < 2e-3, name
        assert np.array_equal(a.image(one, "vertices"), b.image(other, "vertices"))
        record = b.params(other)
        assert record["resolution"] == [48, 64] and a.params(one)["resolution"] == 48
        clear = b.image(other, "mask")[..., 1] >= PURE
        row, column = np.nonzero(clear)
        seen += len(row)
        world = posed(b.image(other, "position")[clear].astype(float), Pose(**record["heads"][0]["pose"]))
        seen_from = np.c_[world, np.ones(len(world))] @ np.array(record["world_to_camera"]).T
        pixel = seen_from[:, :3] @ np.array(record["camera_matrix"]).T
        assert np.abs(pixel[:, :2] / pixel[:, 2:] - np.c_[column, row] - 0.5).max() < 0.01
    assert seen > 200
    for name in ("high", "wide"):
        assert proof.verify(data[name].path, 1).problems == []


def test_small_pixels_bring_the_input_nearer_to_the_truth(smoke: RenderContext, tmp_path: Path) -> None:
    """With as many samples; the truth has many, on pixels so small that the filter is all but exact."""

    def images(name: str, **changes: object) -> np.ndarray:
        data = render_to(tmp_path / name, with_render(smoke, resolution=32, **changes), 4)
        found = [shard.image(entry, "input").astype(np.float32) for shard, entry in data.entries()]
        return np.clip(np.stack(found), 0, 1)

    truth = images("truth", oversample=8, samples_per_pixel=256, denoise=False)
    whole, small = (images(f"by-{k}", oversample=k, samples_per_pixel=8) for k in (1, 2))
    errors = [np.sqrt(np.mean((image - truth) ** 2)) for image in (whole, small)]
    assert errors[1] < 0.95 * errors[0] < 0.1


def test_excluded_policy_leaves_hidden_face_out(rendered: Dataset, smoke: RenderContext, tmp_path: Path) -> None:
    excluded = render_to(tmp_path, with_render(smoke, hidden_face="excluded"), 12, 12)
    hidden = 0
    for (sa, a), (sb, b) in zip(islice(rendered.entries(), 12), excluded.entries(), strict=True):
        face, visible = np.moveaxis(sa.image(a, "mask"), 2, 0)
        hidden += int((face.astype(np.float32) - visible > 0.5).sum())
        assert (sb.image(b, "mask")[..., 0] == visible).all()
        assert a.pixels["input"] == b.pixels["input"]
    assert hidden > 50


def test_simple_deform_is_blenders(tmp_path: Path) -> None:
    """Twist, bend, taper and stretch against Blender's own modifier, on a random cloud with known extent."""
    script = Path(__file__).with_name("blender_simple_deform.py")
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3)) * [0.1, 0.2, 0.1]
    points[0], points[1] = [0, -0.2, 0], [0, 0.2, 0]
    np.save(tmp_path / "points.npy", points)
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    from renderer.parameters.params import Deform

    for name, values in {"twist": (0.7, 0, 0, 0), "bend": (0, 0.5, 0, 0), "taper": (0, 0, 0.3, 0)}.items():
        ours = deformed(points, Deform((1, 1, 1), *values, 0, 1, (0, 0, 0), 0), -0.2, 0.2)
        theirs = np.load(tmp_path / f"{name}.npy")
        assert np.abs(ours - theirs).max() < 2e-6, name
    ours = deformed(points, Deform((1, 1, 1), 0, 0, 0, 0.2, 0, 1, (0, 0, 0), 0), -0.2, 0.2)
    assert np.abs(ours - np.load(tmp_path / "stretch.npy")).max() < 2e-6


def test_backdrops_are_cycles(smoke: RenderContext, tmp_path: Path) -> None:
    """Panoramas and plain colours, scaled, turned and mirrored, from two cameras, in pictures higher than wide."""
    environment = replace(smoke.spec.environment, kinds={"hdri": 3.0, "gray": 1.0})
    context = with_render(replace(smoke, spec=replace(smoke.spec, environment=environment)), resolution=(48, 72))
    (tmp_path / "job.json").write_text(json.dumps(context.job().to_plain()))
    script = [sys.executable, str(Path(__file__).with_name("blender_backdrop.py"))]
    subprocess.run([*script, str(tmp_path / "job.json"), str(tmp_path / "out.npz")], check=True, capture_output=True)
    images = np.load(tmp_path / "out.npz")
    ours, cycles = images["ours"], images["cycles"]
    assert len({round(float(image.mean()), 6) for image in ours}) > 8  # different ones
    largest = cycles.max(axis=(1, 2, 3))
    off = np.abs(ours - cycles).max(axis=(1, 2, 3)) / largest
    # Cycles works in half the digits: a light of two pixels may be off by a thousandth
    assert off.max() < 5e-3 and np.median(off) < 2e-4


# ---------------------------------------------------------------- the same pixels


def test_meshes_of_earlier_samples_are_removed_and_no_pixel_tells(smoke: RenderContext, tmp_path: Path) -> None:
    occluders = replace(smoke.spec.occluders, headwear_share=1.0, mask_share=1.0)
    context = replace(smoke, spec=replace(smoke.spec, occluders=occluders))
    (tmp_path / "job.json").write_text(json.dumps(context.job().to_plain()))
    script = [sys.executable, str(Path(__file__).with_name("blender_objects.py"))]
    subprocess.run([*script, str(tmp_path / "job.json"), str(tmp_path / "out.npz")], check=True, capture_output=True)
    out = dict(np.load(tmp_path / "out.npz"))
    assert np.array_equal(out["pictures_kept"], out["pictures_removed"])
    assert out["meshes_kept"][-1] > out["meshes_removed"].max()  # everything is cut to its head, and would stay


def test_pixels_do_not_depend_on_company_shards_threads_or_workers(
    rendered: Dataset, smoke: RenderContext, tmp_path: Path
) -> None:
    expected = pixels(rendered)
    one_worker_other_shards = render_to(tmp_path / "a", smoke, 12, shard_size=3, workers=1, threads=2)
    assert pixels(one_worker_other_shards) == {index: expected[index] for index in range(12)}
    fresh_each_time = PoolOptions(2, 1, recycle_after=1)
    staging = tmp_path / "alone"
    staging.mkdir()
    pool = WorkerPool(smoke.job(), staging, fresh_each_time)
    for outcome in pool.render([17, 3, 11]):
        assert isinstance(outcome, Done)
        assert load_staged(staging / f"{outcome.index:010d}.tar").pixels == expected[outcome.index]
    assert pool.recycled >= 2  # a worker finishes the sample in its pipe before it leaves
    tars = [sorted((p / "shards").glob("*.tar")) for p in (tmp_path / "a", rendered.path)]
    assert len(tars[0]) == 4 and len(tars[1]) == 3


def test_top_up_keeps_what_is_there(smoke: RenderContext, tmp_path: Path) -> None:
    first = render_to(tmp_path / "d", smoke, 3, shard_size=2)
    before = {s.tar.name: (s.tar.stat().st_mtime_ns, file_sha256(s.tar)) for s in first.shards}
    more = render_to(tmp_path / "d", smoke, 5, shard_size=2)
    after = {s.tar.name: (s.tar.stat().st_mtime_ns, file_sha256(s.tar)) for s in more.shards}
    assert len(before) == 2 and before.items() <= after.items()
    assert [e.index for _, e in more.entries()] == list(range(5))


# ---------------------------------------------------------------- clips


@pytest.fixture(scope="session")
def clips(smoke: RenderContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[RenderContext, Dataset]:
    """Two clips of three frames, one head each."""
    context = replace(smoke, spec=replace(smoke.spec, sequence=SequenceSpec(3, 60), heads=HeadsSpec(0, 0, 1)))
    return context, render_to(tmp_path_factory.mktemp("clips") / "clips", context, 6)


def test_neighbouring_frames_differ_a_little_and_what_is_constant_is_equal(
    clips: tuple[RenderContext, Dataset],
) -> None:
    _, data = clips
    assert proof.verify(data.path, 1).problems == []
    frames = [(shard.params(entry), shard.image(entry, "input").astype(np.float32)) for shard, entry in data.entries()]
    for i in (1, 2, 4, 5):  # 0 and 3 begin a clip
        (a, before), (b, now) = frames[i - 1], frames[i]
        assert a["environment"] == b["environment"] and a["props"] == b["props"]
        for part in ("identity", "deform", "surface", "interior", "wear"):
            assert a["heads"][0][part] == b["heads"][0][part]
        assert a["extra"]["clip"] == b["extra"]["clip"] and a["extra"]["frame"] + 1 == b["extra"]["frame"]
        moved = np.linalg.norm(np.subtract(a["landmarks_px"][0], b["landmarks_px"][0]), axis=1)
        assert 0 < moved.mean() < 4  # pixels
        other_clip = np.abs(frames[(i + 3) % 6][1] - now).mean()
        assert 0 < np.abs(now - before).mean() < 0.5 * other_clip


def test_a_frame_of_a_clip_is_the_same_alone(clips: tuple[RenderContext, Dataset], tmp_path: Path) -> None:
    context, data = clips
    outcome = next(iter(WorkerPool(context.job(), tmp_path, PoolOptions(1, 1)).render([4])))
    assert isinstance(outcome, Done)
    assert load_staged(tmp_path / "0000000004.tar").pixels == pixels(data)[4]


def test_a_clip_becomes_a_video(clips: tuple[RenderContext, Dataset], rendered: Dataset, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    words = ["collage", "--dataset", str(clips[1].path), "--clip", "1", "--fps", "24"]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "clip.mp4")])
    assert result.exit_code == 0, result.output
    with av.open(str(tmp_path / "clip.mp4")) as video:
        assert video.streams.video[0].average_rate == 24
        assert [f.to_ndarray(format="rgb24").shape for f in video.decode(video=0)] == [(64, 64, 3)] * 3
    for bad, expected in (
        (["--clip", "2"], "no sample of clip 2"),
        (["--clip", "-1"], "--clip is -1"),
        (["--out", "clip.gif"], ".mp4 file"),
        (["--dataset", str(rendered.path)], "holds no clips"),
    ):
        refused = CliRunner().invoke(main, [*words, *bad])
        assert refused.exit_code == 2 and expected in refused.stderr


# ---------------------------------------------------------------- trouble


def test_a_killed_worker_costs_no_sample(smoke: RenderContext, tmp_path: Path) -> None:
    pool = WorkerPool(smoke.job(), tmp_path, PoolOptions(2, 1))
    done, killed = set(), 0
    for outcome in pool.render(range(10)):
        assert isinstance(outcome, Done)
        done.add(outcome.index)
        if len(done) in (2, 5):
            os.kill(pool.pids[0], signal.SIGKILL)
            killed += 1
    assert done == set(range(10)) and killed == 2


def test_a_worker_whose_parent_was_killed_ends_with_its_sample(smoke: RenderContext, tmp_path: Path) -> None:
    job = {**smoke.job().to_plain(), "staging": str(tmp_path), "threads": 1}
    worker = start_worker(job, 1 << 20)
    try:
        process = worker.process
        assert process.stdin and process.stdout and select.select([process.stdout], [], [], 120)[0]
        process.stdout.close()  # as if nobody were there any more to read its answers
        worker.send({"index": 0})
        assert process.wait(timeout=120) == 0
    finally:
        worker.end()


def test_a_stuck_worker_is_replaced(smoke: RenderContext, tmp_path: Path) -> None:
    pool = WorkerPool(smoke.job(), tmp_path, PoolOptions(1, 1, stall_s=8))
    done = set()
    for outcome in pool.render(range(5)):
        done.add(outcome.index)
        if len(done) == 2:
            os.kill(pool.pids[0], signal.SIGSTOP)
    assert done == set(range(5)) and pool.killed == 1


def test_a_sample_that_fails_twice_is_skipped_and_named(
    smoke: RenderContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panorama that vanishes after the checks: its samples fail, the others do not."""
    pack = tmp_path / smoke.pack.name
    shutil.copytree(smoke.pack, pack)
    from renderer.head.catalog import build_catalog
    from renderer.sampling.draw import draw

    context = replace(smoke, pack=pack, catalog=build_catalog(pack, smoke.spec))
    drawn = [draw(smoke.spec, 3, i, context.catalog, context.model, context.tag) for i in range(6)]
    victim = next(p.environment.name for p in drawn if p.environment.name)
    bad = [i for i, p in enumerate(drawn) if p.environment.name == victim]
    file = context.catalog.hdris[victim]
    file.write_bytes(file.read_bytes()[:4] + b"\0" * 100)
    claim(tmp_path / "out", context)
    report = render_shards(context, [(0, 6)], tmp_path / "out", tmp_path / "staging", PoolOptions(2, 1))
    assert report.skipped == bad and 0 < len(bad) < 6
    manifest = open_dataset(tmp_path / "out").shards[0].manifest
    assert [s.index for s in manifest.skipped] == bad and victim in manifest.skipped[0].reason
    assert {s.index for s in manifest.samples} == set(range(6)) - set(bad)


def test_kill_dash_nine_at_random_instants_loses_nothing(
    rendered: Dataset, smoke: RenderContext, tmp_path: Path
) -> None:
    """The parent is killed again and again; the same command then completes the work, and finished shards stay."""
    out, rng, kills = tmp_path / "out", random.Random(5), 0
    command = [sys.executable, "-m", "renderer.cli", "render", "--spec", "smoke", "--seed", "3", "--count", "24"]
    command += ["--out", str(out), "--shard-size", "4", "--threads", "1"]
    finished: dict[str, tuple[int, str]] = {}
    while kills < 20:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(rng.uniform(0.3, 3.5))
        if process.poll() is None:
            # every second time the workers die with it, every other time they are orphaned
            (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
            kills += 1
        elif process.returncode == 0:  # it got through: checked, and begun anew
            assert pixels(open_dataset(out)) == pixels(rendered)
            shutil.rmtree(out)
            finished.clear()
        process.wait()
        for tar in sorted((out / "shards").glob("[0-9]*.tar")):
            if tar.with_suffix(".json").exists():
                state = (tar.stat().st_mtime_ns, file_sha256(tar))
                assert finished.setdefault(tar.name, state) == state
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name, state in finished.items():
        tar = out / "shards" / name
        assert (tar.stat().st_mtime_ns, file_sha256(tar)) == state
    assert proof.verify(out, 2).problems == []
    assert pixels(open_dataset(out)) == pixels(rendered)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_after_the_sample_in_hand_and_the_next_run_goes_on(
    smoke: RenderContext, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "renderer.cli", "render", "--spec", "smoke", "--seed", "3", "--count", "16"]
    command += ["--out", str(out), "--shard-size", "16"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list((out / ".staging").glob("*.tar"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command again" in words
    said = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert re.search(rf"^gen: {said}: finishing the [1-9]\d? samples in hand", words, re.MULTILINE), words
    kept = {p.name: p.stat().st_mtime_ns for p in (out / ".staging").glob("*.tar")}
    assert 2 <= len(kept) < 16
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(open_dataset(out)) == 16


def test_a_second_ctrl_c_gives_up_the_samples_in_hand(smoke: RenderContext, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "renderer.cli", "render", "--spec", "smoke", "--seed", "3", "--count", "4"]
    command += ["--workers", "1", "--set", "render.samples_per_pixel=4000", "--set", "render.resolution=1024"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    deadline = time.monotonic() + 180
    while _worker_cpu_s(process.pid) < 15 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)  # starting takes less, a sample of this size minutes
    process.send_signal(signal.SIGINT)
    while not (line := process.stderr.readline()).startswith("gen: Ctrl-C"):
        assert line, "it ended without a word"
    assert re.search("finishing the [12] samples in hand; press Ctrl-C again to stop at once", line), line
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130 and words.strip().endswith("gen: stopped")
    assert not list((tmp_path / "out" / ".staging").glob("*.tar"))


def _worker_cpu_s(pid: int) -> float:
    """CPU seconds of the busiest process that `pid` started."""
    children = psutil.Process(pid).children() if psutil.pid_exists(pid) else []
    times = [child.cpu_times() for child in children if child.is_running()]
    return max((t.user + t.system for t in times), default=0.0)


def test_a_full_disk_stops_with_a_clear_error_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=230m", "tmpfs", str(disk)]).returncode:
        pytest.skip("this container may not mount")
    try:
        filler = disk / "filler"
        filler.write_bytes(b"\0" * (60 << 20))
        words = ["render", "--spec", "smoke", "--seed", "3", "--count", "8", "--out", str(disk / "out")]
        result = gen(*words)
        assert result.returncode == 2 and "make room and run the same command again" in result.stderr
        filler.unlink()
        assert gen(*words).returncode == 0
        assert proof.verify(disk / "out", 1).problems == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_two_runs_in_one_folder_are_refused(smoke: RenderContext, tmp_path: Path) -> None:
    claim(tmp_path, smoke)
    with locked(tmp_path):
        result = gen("render", "--spec", "smoke", "--seed", "3", "--count", "4", "--out", str(tmp_path))
    assert result.returncode == 2 and "another `gen render` is at work" in result.stderr


# ---------------------------------------------------------------- commands


def test_verify_finds_what_is_wrong(rendered: Dataset, tmp_path: Path) -> None:
    """A check that cannot fail is none: swapped UVs, a shifted mask and a flipped byte are each found."""
    copy = tmp_path / "copy"
    shutil.copytree(rendered.path, copy)
    tar = sorted((copy / "shards").glob("*.tar"))[0]
    content = bytearray(tar.read_bytes())
    content[5000] ^= 0xFF
    tar.write_bytes(content)
    assert any("not the one its manifest" in p for p in proof.verify(copy, 1).problems)
    shutil.rmtree(copy)
    forged = tmp_path / "forged"
    forged.mkdir()
    shutil.copy(rendered.path / "dataset.json", forged)
    samples = []
    for shard, entry in list(rendered.entries())[:8]:
        images = {name: shard.image(entry, name) for name in ("input", "uv", "mask")}
        images["uv"] = np.roll(images["uv"], 1, axis=1)  # one pixel to the side
        samples.append(encode_sample(entry.index, entry.key, images, shard.params(entry)))
    write_shard(forged, 0, 8, rendered.info["tag"], samples)
    problems = proof.verify(forged, 1).problems
    assert any("UV disagrees with the geometry" in p for p in problems)
    assert any("UV outside the mask" in p or "pure face without UV" in p for p in problems)


def test_only_gives_the_pixels_of_the_data_set(rendered: Dataset, tmp_path: Path) -> None:
    words = ["render", "--spec", "smoke", "--seed", "3", "--only", "5", "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    entry = next(e for _, e in rendered.entries() if e.index == 5)
    files = {p.name: p for p in (tmp_path / "x-only").iterdir()}
    import hashlib

    assert f"{entry.key}.png" in files
    for extension, member in entry.members.items():
        assert hashlib.sha256(files[f"{entry.key}.{extension}"].read_bytes()).hexdigest() == member.sha256


def test_collage_stats_card_and_gather_are_made(rendered: Dataset, tmp_path: Path) -> None:
    from PIL import Image

    runner = CliRunner()
    for words in (
        ["collage", "--dataset", str(rendered.path), "--triplets", "--captions", "--out", str(tmp_path / "t.png")],
        ["collage", "--spec", "smoke", "--count", "4", "--out", str(tmp_path / "c.png")],
        ["stats", str(rendered.path), "--out", str(tmp_path / "s.png")],
        ["gather", str(rendered.path), str(tmp_path / "all.tar")],
    ):
        result = runner.invoke(main, words)
        assert result.exit_code == 0, result.output
    for name in ("t", "c", "s"):
        assert np.asarray(Image.open(tmp_path / f"{name}.png")).std() > 5
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert len(tar.getnames()) == 24 * 4
    from renderer.report.card import write_card

    write_card(rendered.path)
    text = (rendered.path / "README.md").read_text()
    assert "CC0" in text and "webdataset" in text and rendered.info["tag"] in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", "-3"], "--count is -3"),
        (["--count", "0"], "--count is 0"),
        (["--count", "8", "--sequence", "-4"], "--sequence is -4"),
        (["--count", "8", "--sequence", "1"], "at least 2 frames"),
        (["--count", "8", "--set", "sequence.frame=4"], "did you mean 'frames'"),
        ([], "--count is missing"),
        (["--count", "4", "--seed", "-1"], "seed is -1"),
        (["--count", "4", "--set", "pose.yaw_deg=.nan"], "pose.yaw_deg"),
        (["--count", "4", "--set", "pose.yow_deg=3"], "did you mean 'yaw_deg'"),
        (["--count", "4", "--workers", "0"], "--workers is 0"),
        (["--count", "4", "--shard-size", "0"], "--shard-size is 0"),
        (["--count", "4", "--out", "/proc/nowhere"], "cannot write to"),
        (["--spec", "nothing-like-it", "--count", "4"], "no spec"),
        (["--spec", "smoke", "--count", "4", "--set", "render.device=HIP"], "finds no HIP device"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(words: list[str], expected: str, tmp_path: Path) -> None:
    base = ["render", "--out", str(tmp_path / "out")] if "--out" not in words else ["render"]
    result = CliRunner().invoke(main, [*base, *words])
    assert result.exit_code == 2
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("gen: ") and expected in line
    assert not list(tmp_path.glob("out/shards/*"))


def test_a_folder_with_another_seed_spec_or_content_is_refused(rendered: Dataset, tmp_path: Path) -> None:
    other_seed = gen("render", "--spec", "smoke", "--seed", "4", "--count", "4", "--out", str(rendered.path))
    assert other_seed.returncode == 2 and "its seed is 3, this run's 4" in other_seed.stderr
    words = ["render", "--spec", "smoke", "--seed", "3", "--count", "4", "--set", "pose.yaw_deg=5"]
    other_spec = gen(*words, "--out", str(rendered.path))
    assert other_spec.returncode == 2 and "its spec is 'smoke' and differs in pose.yaw_deg;" in other_spec.stderr
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    for more in ([], ["--dry-run"]):
        foreign = gen("render", "--count", "4", "--out", str(tmp_path), *more)
        assert foreign.returncode == 2 and "not empty and no data set" in foreign.stderr


def test_a_corrupt_head_pack_is_refused_before_rendering(smoke: RenderContext, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(smoke.pack, pack)
    file = pack / "head.npz"
    file.write_bytes(file.read_bytes()[:-100])
    result = gen("render", "--count", "4", "--out", str(tmp_path / "out"), "--set", f"assets.head={pack}")
    assert result.returncode == 2 and "head.npz has been changed" in result.stderr
    assert not (tmp_path / "out").exists()


def test_doctor_finds_this_machine_well(smoke: RenderContext) -> None:
    result = gen("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(result.stdout)}
    assert findings["Blender starts"]["ok"] and findings["Python"]["ok"] and findings["head pack"]["ok"]


def test_an_own_head_without_panoramas_is_rendered_and_verified(smoke: RenderContext, tmp_path: Path) -> None:
    from blend_assets.build import seal_pack

    pack = tmp_path / "my-head"
    shutil.copytree(smoke.pack, pack, ignore=shutil.ignore_patterns("hdris", "textures"))
    seal_pack(pack)
    spec = replace(smoke.spec, assets=replace(smoke.spec.assets, head=str(pack)))
    own = prepare(spec, 3, log=lambda text: None)
    assert own.tag != smoke.tag
    data = render_to(tmp_path / "out", own, 2)
    verdict = proof.verify(data.path, 1)
    assert verdict.problems == [] and verdict.unchecked == "" and verdict.samples == 2

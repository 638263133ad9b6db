"""`gen live`: the page, its server, and what headless Chromium finds with it, beside what Python finds."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from renderer.errors import DatasetError, MachineError
from renderer.format.sample_format import UV_FRAME
from trainer.augmentation.mirror import agreement, mirrored_maps
from trainer.commands.live import live as live_command
from trainer.data import pictures
from trainer.live import page, serve
from trainer.systems.registry import parse_config
from trainer.systems.uvnet.network import make_network
from trainer.training.checkpoint import save_weights
from trainer.uvmaps.faces import Window, cut
from trainer.uvmaps.finding import Options, find_faces, scaled
from trainer.uvmaps.points import find_landmarks
from trainer.uvmaps.textures import EPSILON

UV = np.random.default_rng(0).uniform(0.25, 0.75, (68, 2)).round(6)
OPTIONS = Options(min_agreement=0)  # an `Oracle` gives mirrored faces the U of those they mirror


class Oracle(torch.nn.Module):
    """U is red, V is green, face is blue."""

    def forward(self, picture: Tensor) -> Tensor:
        mask = (picture[:, 2:3] - 0.3).clamp(0, 0.5) * 2
        return torch.cat([picture[:, :2], mask, mask], 1)


def face_picture(size: tuple[int, int], *faces: tuple[float, float, float]) -> np.ndarray:
    """Discs that an `Oracle` reads: (x, y, radius) each, symmetric about the centre of U. (H, W, 3) bytes."""
    canvas = np.zeros((size[1], size[0], 3))
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    for x, y, radius in faces:
        u, v = (columns - x) / (2 * radius) + 0.5, 0.5 - (rows - y) / (2 * radius)
        inside = np.hypot(u - 0.5, v - 0.5) < 0.5
        canvas[inside] = np.stack([u, v, np.ones_like(u)], -1)[inside]
    return np.asarray(canvas * 255, np.uint8)


def weights_of(path: Path) -> Path:
    config = parse_config({"network": {"levels": 2, "initial_features": 4, "filter_sizes": [3, 3, 1]}}, "test")
    about = {"run_id": "tiny", "uv_frame": UV_FRAME}
    save_weights(path, make_network(config.network, 0).state_dict(), config, about)
    return path


@pytest.fixture
def example(tmp_path: Path) -> Path:
    Image.fromarray(face_picture((64, 64), (32, 32, 20))).save(tmp_path / "me.png")
    return tmp_path / "me.png"


# ---------------------------------------------------------------- the folder and its server


def test_a_page_is_a_folder_of_plain_files_that_is_replaced_and_replaces_nothing_else(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "landmark_uv", lambda: torch.from_numpy(UV))
    arguments = [
        "--run",
        str(weights_of(tmp_path / "w.safetensors")),
        "--out",
        str(tmp_path / "page"),
        "--example",
        str(example),
    ]
    out = tmp_path / "page"
    for name in ("tiny", "w"):
        result = CliRunner().invoke(live_command, arguments)
        assert result.exit_code == 0, result.output
        about = json.loads((out / "network.json").read_text())
        assert about["name"] == name
        (tmp_path / "w.onnx").write_bytes(b"lies beside the weights")
    assert (out / "network.onnx").read_bytes() == b"lies beside the weights"
    assert about["examples"] == [{"file": "example-0.jpg", "title": "me"}]
    assert about["landmark_uv"] == UV.tolist() and about["finder"]["network_px"] == 128
    for name in (
        "index.html",
        "live.js",
        "worker.js",
        "viewer.css",
        "network.onnx",
        "example-0.jpg",
        "ort/CREDITS.txt",
    ):
        assert (out / name).stat().st_size > 0
    assert (out / "ort" / "ort-wasm-simd-threaded.wasm").read_bytes()[:4] == b"\0asm"
    script = "".join(file.read_text() for file in out.glob("*.js"))
    assert "http://" not in script.replace("http://www.w3.org", "") and "https://" not in script
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DatasetError, match="--out"):
        page.build(tmp_path / "w.safetensors", tmp_path / "mine", [example])
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not list(tmp_path.glob(".*partial"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""
    root = tmp_path / "www"
    root.mkdir()
    with serve.server(root, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield root, serve.address(serving)
        serving.shutdown()
        thread.join()


def test_the_server_answers_this_machine_alone_and_isolates_its_pages(served: tuple[Path, str]) -> None:
    root, address = served
    (root / "a.mjs").write_text("1")
    with urllib.request.urlopen(address + "a.mjs") as answer:
        assert answer.headers["Content-Type"] == "text/javascript"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(MachineError, match="--port"):
        serve.server(root, port)
    assert address.startswith("http://127.0.0.1:")


# ---------------------------------------------------------------- in the browser


def oracle_onnx() -> bytes:
    """`Oracle` as ONNX."""
    from onnx import TensorProto, checker, helper

    def constant(name: str, values: list[float], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor(name, kind, [len(values)], values)

    constants = [constant("least", [0.3]), constant("two", [2.0])]
    constants += [constant(f"{n}", [n], TensorProto.INT64) for n in (0, 1, 2, 3)]
    zero, half = (helper.make_tensor(name, TensorProto.FLOAT, [], [v]) for name, v in (("low", 0.0), ("high", 0.5)))
    nodes = [
        helper.make_node("Slice", ["image", "0", "2", "1"], ["uv"]),
        helper.make_node("Slice", ["image", "2", "3", "1"], ["blue"]),
        helper.make_node("Sub", ["blue", "least"], ["above"]),
        helper.make_node("Clip", ["above", "low", "high"], ["clipped"]),
        helper.make_node("Mul", ["clipped", "two"], ["mask"]),
        helper.make_node("Concat", ["uv", "mask", "mask"], ["uv_masks"], axis=1),
    ]
    shapes = [("image", ["n", 3, "h", "w"]), ("uv_masks", ["n", 4, "h", "w"])]
    image, maps = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    graph = helper.make_graph(nodes, "oracle", [image], [maps], [*constants, zero, half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def write_oracle(folder: Path, examples: list[np.ndarray]) -> None:
    """A page whose network is an `Oracle`."""
    folder.mkdir()
    (folder / "network.onnx").write_bytes(oracle_onnx())
    listed = []
    for number, picture in enumerate(examples):
        Image.fromarray(picture).save(folder / f"example-{number}.png")
        listed.append({"file": f"example-{number}.png", "title": f"picture {number}"})
    about = {"name": "oracle", "finder": page.finder(OPTIONS), "landmark_uv": UV.tolist(), "examples": listed}
    page.write(folder, about)


def wait(driver: Any, script: str, seconds: float = 60) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds, 0.05).until(lambda d: d.execute_script(script))


def found_by_python(picture: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """Boxes and landmarks in the picture's pixels."""
    tensor, found = pictures.to_tensor(picture), []
    options = Options(**{**OPTIONS.__dict__, "search_px": page.finder(OPTIONS)["search_px"]})
    for face in find_faces(Oracle(), tensor, options):
        points = find_landmarks(face.uv, face.mask, torch.from_numpy(UV).float())[0].numpy()
        found.append((face.box, points + np.array([face.window.x, face.window.y])))
    return sorted(found, key=lambda f: f[0])


SCRIPTS = """
const done = arguments[arguments.length - 1], [picture, parts, maps, back, options, side, uvs, face] = arguments;
(async () => {
  const [{ resampled }, { agreement, meanOfBoth }, { enlarged, findPoints }] =
    await Promise.all(["picture", "finder", "maps"].map((name) => import(`./${name}.js`)));
  const planes = parts.map(([part, size]) => [...resampled(picture, part, size, size)]);
  const large = enlarged(face);
  const mean = meanOfBoth(new Float32Array(maps), new Float32Array(back), side, options.centre_u);
  const agreed = agreement(maps, back, side, options), points = findPoints(large, uvs);
  return [planes, agreed, [...mean], [...large.uv], [...large.mask], points];
})().then(done, (error) => done(String(error)));
"""


@pytest.mark.browser
def test_the_scripts_compute_what_python_computes(served: tuple[Path, str], chromium: Any) -> None:
    root, address = served
    for script in page.STATIC.glob("*.js"):
        (root / script.name).write_bytes(script.read_bytes())
    (root / "index.html").write_text("<!doctype html><title>x</title>")
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (50, 60, 3), np.uint8)
    rgba = np.dstack([picture, np.full((50, 60), 255, np.uint8)])
    windows = [
        (Window(5, 4, 40), 16),
        (Window(-7, 30, 33), 32),
        (Window(10, 10, 20), 48),
    ]  # smaller, over a border, larger
    maps, back = (torch.from_numpy(rng.uniform(0.2, 1, (1, 4, 24, 24)).astype(np.float32)) for _ in range(2))
    maps[:, 2], back[:, 2] = maps[:, 2] - 0.05, back[:, 2] - 0.05
    smooth = F.interpolate(
        torch.rand(1, 4, 4, 4, generator=torch.Generator().manual_seed(1)), size=(24, 24), mode="bicubic"
    )
    smooth = smooth.clamp(0, 1)
    mask = (smooth[:, 2:3] + 0.4).clamp(0, 1)
    face = {"size": 24, "window": {"x": 0, "y": 0, "side": 61}, "uv": smooth[0, :2].flatten().tolist(),
            "mask": mask.flatten().tolist(), "visible": mask.flatten().tolist()}  # fmt: skip
    uvs = rng.uniform(0.2, 0.8, (40, 2)).astype(np.float32)
    given = [
        {"width": 60, "height": 50, "data": rgba.flatten().tolist()},
        [[{"x": w.x, "y": w.y, "width": w.side, "height": w.side}, size] for w, size in windows],
        maps.flatten().tolist(),
        mirrored_maps(back).flatten().tolist(),  # what the network sees in the mirrored window itself
        page.finder(OPTIONS),
        24,
        uvs.tolist(),
        face,
    ]
    with chromium() as driver:
        driver.get(address)
        found = driver.execute_async_script(SCRIPTS, *given)
    assert not isinstance(found, str), found
    planes, agreed, mean, uv, large_mask, points = found
    tensor = pictures.to_tensor(picture)
    for values, (window, size) in zip(planes, windows, strict=True):
        wanted = scaled(cut(tensor, window), size)
        assert np.abs(np.array(values) - wanted.flatten().numpy()).max() < 2e-6
    assert agreed == pytest.approx(float(agreement(maps, back)), abs=1e-6)
    assert np.abs(np.array(mean) - ((maps + back) / 2).flatten().numpy()).max() < 1e-6
    weighted = F.interpolate(torch.cat([smooth[:, :2] * mask, mask], 1), size=(61, 61), mode="bilinear")
    wanted_uv = weighted[:, :2] / weighted[:, 2:3].clamp(min=EPSILON)
    assert np.abs(np.array(large_mask) - weighted[:, 2].flatten().numpy()).max() < 2e-6
    assert np.abs(np.array(uv) - wanted_uv.flatten().numpy())[np.tile(large_mask, 2) > np.float64(0.1)].max() < 1e-5
    there = find_landmarks(wanted_uv, weighted[:, 2:3], torch.from_numpy(uvs))[0].numpy()
    got = np.array([[np.nan, np.nan] if p is None else p for p in points])
    assert np.isfinite(got).all(1).sum() > 10 and (np.isfinite(got) == np.isfinite(there)).all()
    assert np.nanmax(np.abs(got - there)) < 0.02


@pytest.mark.browser
def test_the_page_finds_what_python_finds_in_photos_and_follows_it_on_the_webcam(
    served: tuple[Path, str], tmp_path: Path, chromium: Any
) -> None:
    two = face_picture((500, 360), (150, 170, 80), (380, 200, 60))
    write_oracle(served[0] / "page", [two, np.zeros((100, 120, 3), np.uint8)])
    camera = tmp_path / "camera.mjpeg"
    with camera.open("wb") as file:
        for frame in range(20):  # a face that moves to the right and back
            moved = face_picture((640, 480), (250 + 8 * min(frame, 20 - frame), 240, 120))
            Image.fromarray(moved).save(file, "JPEG", quality=95)
    flags = ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream",
             f"use-file-for-fake-video-capture={camera}")  # fmt: skip
    with chromium(*flags) as driver:
        driver.get("about:blank")
        for log in ("browser", "performance"):
            driver.get_log(log)
        driver.get(served[1] + "page/")
        wait(driver, "return document.documentElement.dataset.ready === 'yes'")
        assert driver.execute_script("return self.crossOriginIsolated")
        faces = sorted(driver.execute_script("return window.headforge.faces.map(f => [f.box, f.points])"))
        expected = found_by_python(two)
        assert len(faces) == len(expected) == 2
        for (box, points), (wanted_box, wanted_points) in zip(faces, expected, strict=True):
            assert np.abs(np.array(box) - wanted_box).max() < 2.5  # from pixels of the network and of the picture
            assert np.isfinite(wanted_points).all() and np.abs(np.array(points, float) - wanted_points).max() < 0.6
        colour = "return [...document.getElementById('picture').getContext('2d').getImageData(150, 170, 1, 1).data]"
        before = driver.execute_script(colour)
        driver.find_element("css selector", "[data-view=mask]").click()
        assert driver.execute_script(colour) != before

        driver.find_element("css selector", "[data-source='example-1.png']").click()
        wait(driver, "return document.getElementById('message').textContent.includes('no face found')")
        assert driver.execute_script("return window.headforge.faces.length") == 0

        driver.find_element("css selector", "[data-source=webcam]").click()
        start = driver.execute_script("return window.headforge.frames")
        wait(driver, f"return window.headforge.frames > {start} + 12")
        # what is shown is never the bare frame: a line of the grid crosses the middle of the face
        shown = "const b = window.headforge.faces[0].box, c = document.getElementById('picture').getContext('2d');"
        shown += "return [...c.getImageData(b[0], (b[1] + b[3]) / 2, b[2] - b[0], 1).data]"
        for _ in range(5):
            row = np.array(driver.execute_script(shown)).reshape(-1, 4)
            assert (np.abs(np.diff(row[:, 2].astype(int))) > 40).sum() > 10
        seen = driver.execute_script("return window.headforge.faces.map(f => f.box)")
        assert len(seen) == 1 and 220 < seen[0][2] - seen[0][0] < 260 and 120 < seen[0][0] < 220
        rate = driver.execute_script("return document.querySelector('[data-name=\"frames/s\"] .value').textContent")
        assert float(rate) > 0
        assert [e["message"] for e in driver.get_log("browser")] == []
        sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        assert urls and [url for url in urls if not url.startswith((served[1], "data:", "blob:"))] == []

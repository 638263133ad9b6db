"""Submitting, with stand-ins for submitit and the scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import submitit

from slurm import scheduler, submit
from slurm.profile import load_profile

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Parameters of every attempt; the first times out."""
    attempts: list[dict[str, Any]] = []

    class Executor:
        def __init__(self, **_: Any) -> None:
            pass

        def update_parameters(self, **parameters: Any) -> None:
            self.parameters = parameters

        @contextmanager
        def batch(self) -> Iterator[None]:
            yield
            attempts.append(self.parameters)
            if len(attempts) == 1:
                raise submitit.core.utils.FailedJobError(TIMED_OUT)

        def submit(self, function: Any, *arguments: Any) -> Any:
            return SimpleNamespace(job_id="18_0")

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    monkeypatch.setattr(submit, "RETRY_S", (0.0,))
    return attempts


@pytest.mark.parametrize("accepted", [True, False])
def test_a_submission_that_timed_out_is_not_queued_twice(
    sent: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*command: str) -> str:
        asked.append(command)
        comment = sent[0]["additional_parameters"]["comment"]
        return f"16|someone else's\n17|{comment if accepted else ''}\n17|{comment if accepted else ''}\n"

    monkeypatch.setattr(scheduler, "ask", ask)
    said: list[str] = []
    folder = tmp_path / "data" / ".slurm" / "submissions" / "s"
    code = folder.parents[1] / "code" / "c"
    job = submit._send(folder, code, load_profile("local")[0], "name", [(print, ())], 0, (), said.append)
    assert job == "18" and len(sent) == 2
    assert [c for c in asked if c[0] == "scancel"] == ([("scancel", "17")] if accepted else [])
    assert "trying again" in said[0] and ("accepted as job 17" in said[-1]) == accepted


def test_own_assets_must_be_where_the_nodes_see_them() -> None:
    own = SimpleNamespace(hdris=("/home/me/skies",), textures=(), faces=())
    catalog = SimpleNamespace(packs=(Path("/cache/pack-1"),))
    setup: Any = SimpleNamespace(spec=SimpleNamespace(assets=own), catalog=catalog)
    assert set(submit._asset_paths(setup).values()) == {Path("/home/me/skies"), Path("/cache/pack-1")}

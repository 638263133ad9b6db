"""Memory that is granted: the least of host, container and job."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderer.machine import memory_free_bytes, memory_limit_bytes

GIB = 2**30
MIB = 2**20


def machine(root: Path, files: dict[str, str], cgroup: str = "0::/") -> Path:
    """A host of 64 GiB, 48 of which are available, with further files."""
    host = {
        "proc/meminfo": f"MemTotal: {64 * MIB} kB\nMemFree: 1 kB\nMemAvailable: {48 * MIB} kB\n",
        "proc/self/cgroup": f"{cgroup}\n",
        "proc/self/statm": "9999 0 0 0 0 0 0\n",
    }
    for name, text in (host | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_the_host_counts(tmp_path):
    root = machine(tmp_path, {"sys/fs/cgroup/memory.max": "max\n"})
    assert memory_limit_bytes(root, {}) == 64 * GIB and memory_free_bytes(root, {}) == 48 * GIB


def test_a_container_of_cgroup_v2_bounds_it_and_its_page_cache_counts_as_free(tmp_path):
    files = {
        "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/memory.current": f"{6 * GIB}\n",
        "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {GIB}\n",
    }
    root = machine(tmp_path, files)
    assert memory_limit_bytes(root, {}) == 8 * GIB and memory_free_bytes(root, {}) == 3 * GIB


def test_the_limit_of_an_outer_group_holds_for_the_groups_inside(tmp_path):
    job = "sys/fs/cgroup/system.slice/job_7"
    files = {
        f"{job}/memory.max": f"{4 * GIB}\n",
        f"{job}/memory.current": f"{GIB}\n",
        f"{job}/step_0/memory.max": "max\n",
    }
    root = machine(tmp_path, files, "0::/system.slice/job_7/step_0")
    assert memory_limit_bytes(root, {}) == 4 * GIB and memory_free_bytes(root, {}) == 3 * GIB


def test_cgroup_v1_is_read_also_where_a_container_sees_its_own_group_as_the_top(tmp_path):
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
    }
    root = machine(tmp_path, files, "4:cpu,memory:/docker/abc\n0::/docker/abc")
    assert memory_limit_bytes(root, {}) == 2 * GIB and memory_free_bytes(root, {}) == 3 * GIB // 2
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit_bytes(root, {}) == 64 * GIB


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        ({"SLURM_MEM_PER_NODE": "2048"}, 2 * GIB),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "4"}, 4 * GIB),
        ({"SLURM_MEM_PER_NODE": "0"}, 64 * GIB),  # --mem=0: the whole node
        ({"SLURM_MEM_PER_CPU": "1024"}, 64 * GIB),
    ],
)
def test_a_slurm_job_is_granted_what_its_variables_say(tmp_path, environment, limit):
    root = machine(tmp_path, {})
    assert memory_limit_bytes(root, environment) == limit
    assert memory_free_bytes(root, environment) == min(limit, 48 * GIB)


def test_memory_in_use_is_taken_off_what_a_job_was_granted(tmp_path):
    root = machine(tmp_path, {"proc/self/statm": "9999 1024 0 0 0 0 0\n"})
    used = memory_limit_bytes(root, {"SLURM_MEM_PER_NODE": "64"}) - memory_free_bytes(
        root, {"SLURM_MEM_PER_NODE": "64"}
    )
    assert used >= 1024 * 4096


def test_this_machine_grants_something():
    assert 0 < memory_free_bytes() <= memory_limit_bytes()

"""How benchmarks time: rows of calls, the share of the time in which a GPU is busy; each figure is a JSON line."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

from renderer.commit import commit


def line(name: str, value: float, unit: str, **more: Any) -> str:
    """One figure, with the machine and commit that it belongs to."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    return json.dumps(
        {"name": name, "value": round(value, 2), "unit": unit, **more, "machine": machine, "commit": commit()}
    )


def seconds_per_call(work: Callable[[], Any], device: torch.device, least_s: float = 1.0) -> float:
    """Mean time of a call in a row of calls that takes at least `least_s` seconds, after some to warm up.

    A GPU is waited for before the clock starts and at the end of the row only: waiting for each call would time the
    CPU's detour to it, too.
    """
    for _ in range(3 if device.type == "cuda" else 1):
        work()
    calls = 3
    while True:
        _wait_for(device)
        started = time.perf_counter()
        for _ in range(calls):
            work()
        _wait_for(device)
        seconds = time.perf_counter() - started
        if seconds >= least_s:
            return seconds / calls
        calls *= 2


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gpu_busy_share(work: Callable[[], object], device: torch.device, calls: int = 30) -> float:
    """Share of the time in which the GPU computes or copies, over a row of calls, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    _wait_for(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        for _ in range(calls):
            work()
        _wait_for(device)
        seconds = time.perf_counter() - started
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False)
    ]
    return covered(spans) / 1e6 / seconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: kernels of several streams overlap."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def matrix_flop_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """Rate of a large matrix product: what the device can do at best."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds_per_call(lambda: a @ b, device)

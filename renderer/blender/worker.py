"""A render worker: one process, one Blender. Started by `renderer.run.pool` as `python -m renderer.blender.worker`.

It reads one JSON line with the job from standard input, then one line per request: {"index": N}. It answers on standard
output, one JSON line each: {"ready": ...}, {"done": N, ...} or {"failed": N, "error": ...}. A sample is handed over as
a file in the staging folder, written whole. At the end of its input it exits; it never outlives its parent by more than
one sample.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import psutil

LEAST_BYTES: Final = 16 << 20  # a disk with less is full


def main() -> None:
    answers = _private_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):  # a scheduler signals every process of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    try:
        render = _prepare(job)
        gc.collect()
        gc.freeze()  # what is loaded stays: no need to walk over it again and again
        _answer(answers, {"ready": os.getpid(), **versions()})
        process = psutil.Process()
        for line in sys.stdin:
            index = json.loads(line)["index"]
            try:
                answer = {"done": index, **render(index)}
            except Exception as error:
                answer = {"failed": index, "error": traceback.format_exc(limit=-4)}
                answer |= {"fatal": out_of_room(error, Path(job["scratch"]), Path(job["staging"]))}
            answer |= {"rss": process.memory_info().rss, "descriptors": process.num_fds()}
            _answer(answers, answer)
    except Exception:
        with suppress(BrokenPipeError):  # the parent was killed
            _answer(answers, {"broken": traceback.format_exc(limit=-6)})
    finally:
        os._exit(0)  # Blender may crash or hang while the interpreter shuts down; everything is on disk already


def out_of_room(error: Exception, *folders: Path) -> str:
    """In words, if the machine rather than the sample is to blame: memory, or one of the folders, is full."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "memory ran out"
    for folder in folders:
        if shutil.disk_usage(folder).free < LEAST_BYTES:
            return f"the disk of {folder} is full"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
    return f"there is no room: {error}" if full else ""


def versions() -> dict[str, Any]:
    import bpy
    import numpy

    return {"bpy": bpy.app.version_string, "numpy": numpy.__version__, "python": sys.version.split()[0]}


def _prepare(job: dict[str, Any]) -> Any:
    """Open Blender and return the function that renders one index and stages it."""
    with _narrowed(job["threads"]):
        import bpy  # noqa: F401
    from blend_assets.standard import find_pack
    from renderer.blender.passes import PassRenderer
    from renderer.blender.scene import SceneBuilder
    from renderer.format.staging import encode_sample, stage_sample
    from renderer.head.catalog import build_catalog
    from renderer.head.pack import load_head
    from renderer.head.parts import PartBuilder
    from renderer.labels.record import sample_record
    from renderer.parameters.spec import parse_spec
    from renderer.sampling.draw import draw

    spec = parse_spec(job["spec"], "the job")
    pack, staging = Path(job["pack"]), Path(job["staging"])
    model, catalog = load_head(pack), build_catalog(pack, spec, find_pack())
    builder = PartBuilder(model, catalog)
    scene = SceneBuilder(Path(job["blend"]), builder, catalog)
    scratch = Path(job["scratch"])
    renderer = PassRenderer(scene, spec.render, job["threads"], scratch)

    def render(index: int) -> dict[str, Any]:
        start = time.perf_counter()
        params = draw(spec, job["seed"], index, catalog, model, job["tag"])
        drawn = time.perf_counter()
        images, measured = renderer.render(params, spec.render.labels)
        shot = time.perf_counter()
        record = sample_record(params, spec, builder, measured, images)
        seconds = dict(renderer.seconds)
        work = {"seconds": seconds, "pid": os.getpid()}
        sample = encode_sample(index, params.key, images, record, work)
        encoded = time.perf_counter()
        seconds |= {"draw": drawn - start, "encode": encoded - shot, "sample": encoded - start}
        seconds.update({name: round(value, 5) for name, value in seconds.items()})
        stage_sample(staging, sample)
        return {"seconds": seconds}

    return render


@contextmanager
def _narrowed(cores: int) -> Iterator[None]:
    """As if this process had been granted so many cores only, and no longer than the block.

    Blender starts a helper for each core that it finds when it is imported, whatever the threads it is told to render
    with, and helpers without work spin for as long as it renders: a third of the time where workers have one thread.
    """
    granted = sorted(os.sched_getaffinity(0))
    first = os.getpid() % len(granted)  # workers start side by side: not all of them on one core
    os.sched_setaffinity(0, (granted * 2)[first : first + min(cores, len(granted))])
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), granted)


def _private_stdout() -> IO[str]:
    """Our answers' channel. Blender prints to descriptor 1, so that goes where errors go."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", buffering=1)


def _answer(channel: IO[str], answer: dict[str, Any]) -> None:
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()

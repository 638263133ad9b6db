"""A study at work: its steps in order, each in what is made for it, and what is done already is left alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from renderer.errors import DatasetError
from renderer.stopper import Stopper
from trainer.study.plan import Layout, Step, check_test_sets
from trainer.study.process import command

Say = Callable[[str], object]


def run_study(layout: Layout, say: Say, only: Step | None = None) -> bool:
    """Do what is missing; returns whether all of it is done, which it is not after a signal.

    only: this step alone. Raises a HeadforgeError where a step fails, or where something of another study lies there.
    """
    layout.out.mkdir(parents=True, exist_ok=True)
    layout.write_specs()
    steps = [only] if only else layout.steps()
    done, started = 0, time.monotonic()
    with Stopper(lambda: "the step in hand saves what it has") as stop:
        for number, step in enumerate(steps, 1):
            if layout.done(step):
                done += 1
                continue
            if missing := [need.name for need in layout.needs(step) if not layout.done(need)]:
                raise DatasetError(f"{step.name} needs {', '.join(missing)}, not done yet: leave --only out")
            if step.kind == "train":
                check_test_sets(layout)
            say(progress_line(layout.study.spec.name, step, number, len(steps), time.monotonic() - started))
            if not do(layout, step, stop) or (stop() and step != steps[-1]):
                return False
            check_done(layout, step)
    say(f"study {layout.study.spec.name}: all {len(steps)} steps are done, {done} of them before")
    return True


def progress_line(name: str, step: Step, number: int, total: int, seconds: float) -> str:
    """For example "study variability: step 3 of 26 (8 %), train:none:0, 12 min so far"."""
    done, minutes = (number - 1) / total, seconds / 60
    return f"study {name}: step {number} of {total} ({done:.0%}), {step.name}, {minutes:.0f} min so far"


def do(layout: Layout, step: Step, stop: Callable[[], bool]) -> bool:
    """One step; whether it came to its end."""
    if step.kind in ("render", "train"):
        return command(layout.command(step), step.name, stop)
    from trainer.study import measure, page, shown

    if step.kind == "measure":
        measure.run_measurement(layout, step)
    elif step.kind == "show":
        return shown.show_samples(layout, stop)
    else:
        page.write_page(layout)
    return True


def check_done(layout: Layout, step: Step) -> None:
    """A command that came to its end may still have left something out, such as samples that failed."""
    if step.kind != "page" and not layout.done(step):
        raise DatasetError(f"{step.name} came to its end, but what it makes in {layout.out} is not complete")


def describe(layout: Layout) -> Iterator[str]:
    """The dry run: every step, whether it is done, and what it runs."""
    steps = layout.steps()
    done = {step.name: step.kind != "page" and layout.done(step) for step in steps}
    yield f"study {layout.study.spec.name} in {layout.out}: {len(steps)} steps, {sum(done.values())} done"
    for step in steps:
        how = " ".join(layout.command(step)[2:]) if step.kind in ("render", "train") else ""
        yield f"  {'done' if done[step.name] else '    '}  {step.name}{'  ' + how if how else ''}"

"""The page of a study: one HTML file beside its figures, which opens from disk."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from renderer.files import write_atomic
from trainer.study.figures import write_figures
from trainer.study.outcome import Outcome, gather
from trainer.study.plan import Layout
from trainer.study.shown import FILE
from trainer.study.statistics import RESAMPLES, Interval, by_trait
from trainer.training.run_dir import RunDir, read_json

NAME: Final = "index.html"
TILE_PX: Final = 96  # smallest side of a shown sample
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2em auto; padding: 0 1em }
body { max-width: 64em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
figure { margin: 1em 0 } figure img { max-width: 100% } figcaption, .note { color: #555; font-size: .9em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .2em .9em .2em 0; text-align: left }
th { border-bottom: 1px solid #999 } .scroll { overflow-x: auto } .sheet img { image-rendering: auto; max-width: none }
.sheet th { font-weight: normal; font-size: .8em; padding: 0; border: 0; overflow-wrap: anywhere }
.sheet table { table-layout: fixed }
"""


def write_page(layout: Layout) -> Path:
    """index.html, its figures, and summary.json with every figure of it."""
    outcome = gather(layout)
    figures = write_figures(outcome, layout.out)
    write_atomic(layout.out / "summary.json", json.dumps(summary(outcome), indent=1).encode())
    spec = layout.study.spec
    parts = [
        f"<h1>Study {html.escape(spec.name)}</h1>",
        f"<p>{html.escape(spec.about)}</p>" if spec.about else "",
        f'<p class="note">{html.escape(conditions(layout))}</p>',
        "<h2>Which training data do best</h2>",
        ranking(outcome),
    ]
    for file, caption in figures:
        parts.append(f'<figure><img src="{file}" alt=""><figcaption>{html.escape(caption)}</figcaption></figure>')
    parts += ["<h2>Every network on every test set</h2>", whole_matrix(outcome), *samples(layout), *bias(outcome)]
    title = html.escape(f"Study {spec.name}")
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    write_atomic(layout.out / NAME, (page + "\n".join(part for part in parts if part) + "</html>").encode())
    return layout.out / NAME


def conditions(layout: Layout) -> str:
    """What was rendered and trained, in a sentence."""
    spec, study = layout.study.spec, layout.study
    first = next(step for step in layout.steps() if step.kind == "train")
    meta = read_json(RunDir(layout.run(first) or layout.out).meta)
    others = f", {spec.test.other_count} of each other scenario" if len(study.scenarios) > 1 else ""
    samples = meta.get("data", {}).get("training_samples", spec.count)
    return (
        f"System {study.config.system}, training {spec.training} ({meta.get('parameters', 0):,} parameters):"
        f" {samples:,} samples to train on for each scenario, {study.config.schedule.max_samples:,} seen,"
        f" {len(spec.seeds)} training(s) each. Tested on"
        f" {spec.test.count:,} held-out samples of {spec.main}{others}, with other heads. Intervals: 95 % of"
        f" {RESAMPLES} bootstrap resamples of test samples and trainings."
    )


def ranking(outcome: Outcome) -> str:
    """Scenarios on the main test set, best first."""
    share = "median error / naive" if outcome.metric.naive else f"median {outcome.metric.title.lower()}"
    head = ["trained on", share, f"more than {outcome.main}", "vertices, mm"]
    rows = [
        [s, found.text(), "" if s == outcome.main else apart.text(), _text(outcome.millimetres(s), 2)]
        for s, found, apart in outcome.ranking
    ]
    if outcome.metric.naive:
        rows.append(["naive", "1", "", _text(outcome.naive_millimetres(), 2)])
    return table(head, rows)


def whole_matrix(outcome: Outcome) -> str:
    """All intervals."""
    names = outcome.scenarios
    return table(["trained on", *names], [[s, *(outcome.matrix[s, t].text(2) for t in names)] for s in names])


def samples(layout: Layout) -> Iterator[str]:
    """The sheet of samples, where there is one."""
    shown = read_json(layout.shown / "shown.json")
    if not shown.get("rows"):
        return
    yield f"<h2>Samples of {html.escape(layout.study.spec.main)}</h2>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in shown["columns"])
    width = max(shown["side"], TILE_PX) * len(shown["columns"])
    yield (
        f'<div class="scroll sheet"><table style="width:{width}px"><tr>{head}</tr></table>'
        f'<img src="shown/{FILE}" alt="" width="{width}"></div>'
        '<p class="note">Saliency: largest derivative over the colours of the first parameter by each pixel. Heads:'
        " rebuilt from each network's estimate, and from the truth, rendered in one scenario.</p>"
    )


def bias(outcome: Outcome) -> Iterator[str]:
    """Errors by sex, age and ancestry, where something is known of them."""
    traits = outcome.of(outcome.scenarios[0], outcome.main)[0].traits
    if not traits:
        return
    yield "<h2>Who is estimated worse</h2>"
    found = {
        s: by_trait(outcome.errors(s, outcome.main), outcome.naive(outcome.main), traits) for s in outcome.scenarios
    }
    rows = [
        [row["trait"], row["part"], str(row["count"]), *(found[s][i]["interval"].text(2) for s in found)]
        for i, row in enumerate(found[outcome.scenarios[0]])
    ]
    yield table(["", "", "samples", *found], rows)
    yield (
        f'<p class="note">Test set of {html.escape(outcome.main)}. Heads of principal components have no sex, age or'
        " ancestry of their own: each is what random heads with the same shape parameters have on average.</p>"
    )


def summary(outcome: Outcome) -> dict[str, Any]:
    """The page's figures as plain values."""

    def plain(found: Interval | None) -> list[float] | None:
        return None if found is None else [found.value, found.low, found.high]

    return {
        "metric": outcome.metric.name,
        "naive": outcome.metric.naive,
        "main": outcome.main,
        "matrix": {f"{s} on {t}": plain(found) for (s, t), found in outcome.matrix.items()},
        "ranking": [[s, plain(found), plain(apart)] for s, found, apart in outcome.ranking],
        "vertex_mm": {s: plain(outcome.millimetres(s)) for s in outcome.scenarios},
        "naive_mm": plain(outcome.naive_millimetres()),
        "by_parameter": {
            s: None if (found := outcome.by_parameter(s)) is None else found.round(4).tolist()
            for s in outcome.scenarios
        },
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of texts."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return (
        '<div class="scroll"><table>' + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table></div>"
    )


def _text(found: Interval | None, digits: int) -> str:
    return "" if found is None else found.text(digits)

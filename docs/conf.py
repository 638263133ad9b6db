"""How Sphinx builds these pages into a site that opens from disk: `make docs`.

The pages are Markdown that reads well without the site, too. Some are filled in here: three show other files, the
help of every command and the tables of knobs come from code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from importlib import metadata
from itertools import groupby
from pathlib import Path

import click
from sphinx.application import Sphinx

from renderer.cli import main
from renderer.parameters.spec import Spec
from renderer.strict import knobs
from slurm.profile import Profile
from trainer.systems.uvnet.config import UVNetConfig

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ("out/", "runs/")  # what commands write lies there: examples, not files of the project to be linked
FILLED = {  # page of the site: the file that it shows
    "index": "README.md",
    "reference/head-pack": "blend_assets/README.md",
    "reference/changelog": "CHANGELOG.md",
}

project, copyright, release = "headforge", "headforge's authors, MIT", metadata.version("headforge")
extensions = ["myst_parser"]
myst_heading_anchors = 3  # a link to page.md#heading works as it does where the source is read
html_theme = "furo"  # brings its own fonts, styles and scripts: pages ask no other machine for anything
_code = {"code-font-size": "var(--font-size--small--3)"}  # blocks have 100 columns
html_theme_options = {"light_css_variables": _code, "dark_css_variables": _code}
html_title = f"headforge {release}"
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # a page that is opened from disk may not fetch others
exclude_patterns = ["images"]


def setup(app: Sphinx) -> None:
    app.connect("source-read", _fill)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    """What `page` shows: the file that it stands for, and links that work from its place in the site."""
    text = source[0]
    if add := {"reference/options": _helps, "reference/knobs": _knobs}.get(page):
        text += "".join(add())
    place = Path("docs", page).parent
    if file := FILLED.get(page):
        text = _linked((ROOT / file).read_text(), Path(file).parent, place) + text
    source[0] = _linked(text, place, place)


def _linked(text: str, here: Path, place: Path) -> str:
    """`text` of the folder `here`, shown in the folder `place` (both relative to the root).

    Its links lead to the same files from there, or to the pages that show them; names of files become links.
    """
    pages = {file: f"docs/{page}.md" for page, file in FILLED.items()}

    def moved(link: re.Match[str]) -> str:
        target, hash_mark, anchor = link[1].partition("#")
        if not target or ":" in target:
            return link[0]
        target = os.path.normpath(here / target)
        return f"]({os.path.relpath(pages.get(target, target), place)}{hash_mark}{anchor})"

    def link(name: re.Match[str]) -> str:
        is_file = (ROOT / name[1]).is_file() and not name[1].startswith(OUTPUTS)
        return f"[`{name[1]}`]({os.path.relpath(pages.get(name[1], name[1]), place)})" if is_file else name[0]

    text = re.sub(r"\]\(([^)\s]+)\)", moved, text)
    return re.sub(r"(?<!\[)`([\w./-]+\.\w+)`(?!\])", link, text)


def _helps() -> Iterator[str]:
    for name, command, context in _commands(main, "gen"):
        yield f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n"


def _knobs() -> Iterator[str]:
    """A table for each section of everything that is read from YAML."""
    for title, kind in (("Specs", Spec), ("Trainings of UV-net", UVNetConfig), ("Cluster profiles", Profile)):
        yield f"\n## {title}\n"
        for section, found in groupby(knobs(kind), lambda knob: knob.key.rpartition(".")[0].partition(".")[0]):
            yield f"\n### {title}: {section or 'outermost keys'}\n\n"
            yield "| key | default | accepted | meaning |\n|---|---|---|---|\n"
            for knob in found:
                key, accepted = knob.key.removeprefix(f"{section}."), f"{knob.accepted} {knob.unit}".strip()
                yield f"| `{key}` | `{json.dumps(knob.default)}` | {accepted} | {knob.about} |\n"


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command, click.Context]]:
    """`command` and all those below it, each with a context of 96 columns."""
    context = click.Context(command, info_name=name, max_content_width=96, terminal_width=96)
    yield name, command, context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            if found := command.get_command(context, child):
                yield from _commands(found, f"{name} {child}")

"""Commands that the documents and the helps show can be given: they exist, with these options and settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from renderer.cli import main
from renderer.errors import SpecError
from renderer.parameters.jobspecs import load_spec
from trainer.systems.registry import configs_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "blend_assets" / "README.md", *(ROOT / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def shown(text: str) -> list[str]:
    """Every `gen ...` and `make ...` of a page: lines of its code blocks, and words in backticks."""
    block = re.compile(r"^```(?:sh|text)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    lines = "\n".join(block.findall(text)).replace("\\\n", " ")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    in_blocks = re.findall(r"^((?:gen|make) .*)$", lines, re.MULTILINE)
    return in_blocks + [" ".join(words.split()) for words in re.findall(r"`((?:gen|make) [^`]+)`", prose)]


def examples(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Name of a command below `gen`, and an example from its help; what an example does stands two spaces after it."""
    context = click.Context(command, info_name=path, max_content_width=200, terminal_width=200)
    for line in command.get_help(context).splitlines():
        if line.strip().startswith("gen "):
            yield path, re.split(r"\s{2,}", line.strip())[0]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from examples(found, f"{path} {name}")


def problem(line: str) -> str:
    """What is wrong with a command line; nothing if it can be given. `...` stands for anything."""
    program, *words = [word for word in shlex.split(line, comments=True) if word not in ("...", "COMMAND", "--help")]
    if program == "make":
        return "" if words[0] in TARGETS else f"no target {words[0]}"
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), name := words.pop(0))
        if found is None:
            return f"no command {name}"
        command = found
    try:
        check_words(command, words)
    except (click.UsageError, SpecError) as error:
        return str(error)
    return ""


def check_words(command: click.Command, words: list[str]) -> None:
    """Raises UsageError for unknown options and choices, SpecError for settings that a spec or a training refuses."""
    context = click.Context(command)
    given, _, _ = command.make_parser(context).parse_args(words)
    values = {}
    for parameter in command.params:
        value = given.get(str(parameter.name))
        if isinstance(parameter, click.Option) and value is not None:
            values[parameter.opts[0]] = value
            if isinstance(parameter.type, click.Choice):
                parameter.type_cast_value(context, value)
    ours = not str(values.get("--spec", "")).endswith(".yaml")
    training = given.get("spec")
    if command.name == "train" and isinstance(training, str) and not training.endswith(".yaml"):
        configs_of(Path(training), None, None, tuple(values.get("--set", ())))
    elif command.name in ("render", "collage") and ours:
        load_spec(values.get("--spec", "mixed"), tuple(values.get("--set", ())))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_the_documents_can_be_given(page: Path) -> None:
    wrong = {line: words for line in shown(page.read_text()) if (words := problem(line))}
    assert wrong == {}


def test_examples_of_the_helps_can_be_given() -> None:
    found = list(examples(main, "gen"))
    assert len(found) > 40
    assert {line: words for _, line in found if (words := problem(line))} == {}


def test_commands_are_found_in_blocks_and_in_backticks() -> None:
    assert sum(len(shown(page.read_text())) for page in PAGES) > 100
    text = "As `gen view\nruns/A` shows:\n\n```sh\ngen render \\\n  --count 3  # three\n```\n"
    assert shown(text) == ["gen render    --count 3  # three", "gen view runs/A"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("gen rendr --count 3", "no command rendr"),
        ("gen render --cuont 3", "--cuont"),
        ("gen render --count 3 --spec nowhere", "nowhere"),
        ("gen render --count 3 --set render.resolutoin=256", "resolutoin"),
        ("gen bench render --what nothing", "nothing"),
        ("gen train train_uvnet --set schedule.rl=1", "rl"),
        ("make tea", "no target tea"),
    ],
)
def test_a_command_that_is_wrong_is_found(line: str, what: str) -> None:
    assert what in problem(line)

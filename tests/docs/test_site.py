"""The documents build into a site without a broken link, and the site needs no network."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "blend_assets").glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(docs), str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs", out)
    assert built.returncode == 0, built.stderr
    return out


class Fetched(HTMLParser):
    """What a browser fetches to show a page, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.needs: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.needs.append(values["href"])
        elif "src" in values:
            self.needs.append(values["src"])


def test_every_page_is_built_and_found_from_the_front_page(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    linked = {link.partition("#")[0] for link in Fetched(site / "index.html").links} | {"index.html"}
    notes = {page for page in pages if page.startswith("design/0")}
    assert len(notes) > 10 and pages - linked - notes == set()
    from_index = {link.partition("#")[0] for link in Fetched(site / "design" / "index.html").links}
    assert {note.removeprefix("design/") for note in notes} <= from_index


def test_the_site_asks_no_other_machine_for_anything(site: Path) -> None:
    needed = {(page, need.partition("?")[0]) for page in site.rglob("*.html") for need in Fetched(page).needs}
    assert len(needed) > 100
    absent = [(page.name, need) for page, need in needed if not (page.parent / need).is_file()]
    assert absent == []
    fetching = re.compile(r"@import|url\([\"']?https?:")
    assert [style.name for style in site.rglob("*.css") if fetching.search(style.read_text())] == []


def test_links_lead_to_files_of_the_site(site: Path) -> None:
    links = {(page, link.partition("#")[0]) for page in site.rglob("*.html") for link in Fetched(page).links}
    local = {(page, link) for page, link in links if link and not link.startswith(("http:", "https:"))}
    assert len(local) > 500
    assert [(page.name, link) for page, link in local if not (page.parent / link).exists()] == []


def test_help_and_knobs_come_from_the_code(site: Path) -> None:
    assert "--retry-failed" in (site / "reference" / "options.html").read_text()
    assert "displacement" in (site / "reference" / "knobs.html").read_text()


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    docs, links = tmp_path / "docs", ["[a](gone.md)", "[b](scaling.md#no-such-heading)", "[c](../renderer/gone.py)"]
    docs.mkdir()
    conf = (ROOT / "docs" / "conf.py").read_text()
    (docs / "conf.py").write_text(conf.replace("Path(__file__).resolve().parents[1]", f"Path({str(ROOT)!r})"))
    (docs / "index.md").write_text("```{toctree}\nscaling\n```\n")
    (docs / "scaling.md").write_text("# Scaling\n\n" + "\n\n".join(links))
    built = build(docs, tmp_path / "site")
    assert built.returncode != 0
    for line in (3, 5, 7):
        assert f"scaling.md:{line}: WARNING" in built.stderr


# ---------------------------------------------------------------- as the repository shows them


def anchors(text: str) -> set[str]:
    """Names of a page's headings, as links give them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_where_the_source_is_read(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_of_the_source_is_found() -> None:
    text = "[a](docs/gone.md) [b](docs/scaling.md#gone) [c](docs/scaling.md#measured) [d](https://example.org)"
    assert broken_links(ROOT / "README.md", text) == ["docs/gone.md", "docs/scaling.md#gone"]

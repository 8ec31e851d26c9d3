"""README and docs/: every link leads somewhere, the README names every page, and no page grows past its limit."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from demo_picture import part_to_show, screen
from room_left import PAGE_WORDS, pages, words

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(DOCS.rglob("*.md"))
README_LINES = 130
LIMITS_WORDS, LIMITS_ENTRIES = 1_200, 40


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_or_a_heading(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_readme_is_short_and_names_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    assert [page.name for page in DOCS.glob("*.md") if f"(docs/{page.name})" not in text] == []


def test_the_places_of_an_addition_exist() -> None:
    text = (DOCS / "internals/adding.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([\w./-]+(?:\.\w+|/))`", text) if "NAME" not in name and "/" in name}
    assert len(named) > 50
    assert sorted(name for name in named if not ((ROOT / name).exists() or (ROOT / "tests" / name).exists())) == []


def test_every_page_keeps_to_its_limit() -> None:
    assert PAGE_WORDS.keys() == pages().keys(), "PAGE_WORDS in tests/support/room_left.py lists every page"
    too_long = {name: size for name, page in pages().items() if (size := words(page)) > PAGE_WORDS[name]}
    assert too_long == {}, "CONTRIBUTING.md says when and how a limit may be raised"


def test_known_limits_are_few_and_brief() -> None:
    text = (DOCS / "known-limits.md").read_text(encoding="utf-8")
    assert len(text.split()) <= LIMITS_WORDS and text.count("\n- ") <= LIMITS_ENTRIES


@pytest.mark.parametrize("name", ["demo.svg", "run.svg"])
def test_the_picture_of_a_terminal_needs_no_network(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert ET.fromstring(text).tag.endswith("svg") and "url(http" not in text


def test_the_picture_shows_what_stays_on_a_terminal() -> None:
    sent = "$ a\r\nrow 1\r\nrow 2\r\n\x1b[?25h\r\x1b[1A\x1b[2K\x1b[1A\x1b[2Kdone\r\nledger head: " + "0" * 64 + "\r\n"
    assert screen(sent)[:3] == ["$ a", "done", "ledger head: " + "0" * 64]
    assert part_to_show(screen(sent)) == ["$ a", "done", "ledger head: " + "0" * 16 + "..."]

"""Every link of the documentation leads somewhere, and every page is found from its index."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def without_code(page: Path) -> str:
    return CODE.sub("", page.read_text(encoding="utf-8"))


def links_of(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Tell every link into the repository: as it is written, its file, its heading."""
    for target in LINK.findall(without_code(page)):
        if ":" not in target:
            name, _, heading = target.partition("#")
            yield target, (page.parent / name).resolve() if name else page, heading


def headings_of(page: Path) -> set[str]:
    """Give the headings of a page the names that a browser of the repository gives them."""
    found = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in found)
    return {heading.replace(" ", "-") for heading in plain}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page):
    broken = [
        target
        for target, path, heading in links_of(page)
        if not path.exists() or (heading and heading not in headings_of(path))
    ]

    assert broken == []


def test_every_page_is_in_the_index():
    listed = {path for _, path, _ in links_of(INDEX)}
    indexes = [path for path in listed if path.name == "README.md" and path != ROOT / "README.md"]
    listed |= {path for index in indexes for _, path, _ in links_of(index)}
    folders = {path for path in listed if path.is_dir()}

    missing = [
        name_of(page)
        for page in (ROOT / "docs").rglob("*.md")
        if page != INDEX and page not in listed and page.parent not in folders
    ]

    assert missing == []


def test_no_page_is_in_the_index_twice():
    index = without_code(INDEX).partition("## All pages")[2]

    targets = LINK.findall(index)

    assert len(targets) > 40
    assert len(targets) == len(set(targets))


def test_the_front_page_leads_to_the_index():
    assert INDEX in {path for _, path, _ in links_of(ROOT / "README.md")}

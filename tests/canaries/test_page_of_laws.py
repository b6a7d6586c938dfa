"""The page on HIPAA and GDPR says what the tables say."""

import re
from pathlib import Path

import pytest

from app.deid.options import Option
from app.deid.standard import ROWS

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "hipaa-and-gdpr.md"
LINKS = {
    "retain-institution-identity": Option.INSTITUTION_IDENTITY,
    "retain-full-dates": Option.FULL_DATES,
    "retain-modified-dates": Option.MODIFIED_DATES,
    "retain-patient-characteristics": Option.PATIENT_CHARACTERISTICS,
    "retain-device-identity": Option.DEVICE_IDENTITY,
    "retain-uids": Option.UIDS,
    "clean-descriptors": Option.CLEAN_DESCRIPTORS,
}
BY_KEYWORD = {row.keyword: row for row in ROWS.values()}


def rows() -> dict[str, tuple[list[str], set[str]]]:
    """Kind of identifier -> keywords and options of its row."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        keywords = re.findall(r"`([A-Z]\w+)`", cells[2]) if len(cells) == 4 else []
        if keywords:
            options = {LINKS[name] for name in re.findall(r"options/([a-z-]+)\.md", cells[3])}
            found[cells[1]] = (keywords, options)
    return found


@pytest.mark.parametrize(("keywords", "options"), rows().values(), ids=rows())
def test_an_identifier_is_left_only_by_the_options_that_the_page_names(
    keywords: list[str], options: set[str]
) -> None:
    assert set(keywords) <= BY_KEYWORD.keys()
    for keyword in keywords:
        assert set(BY_KEYWORD[keyword].options) == options, keyword


def test_the_page_has_all_letters() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = [line.split("|")[1].split() for line in text.splitlines() if line.startswith("| ")]

    letters = {letter for words in table for letter in words if re.fullmatch("[A-R]", letter)}

    assert letters == set("ABCDEFGHIJKLMNOPQR")
    assert len(rows()) >= 15

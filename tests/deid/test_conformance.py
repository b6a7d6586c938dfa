"""A conformance statement says what the engine does: every row, every option, every rule."""

from dataclasses import fields
from html.parser import HTMLParser

import pytest

from app.cli.profile_statement import html, markdown
from app.deid.conformance import Statement, Table, statement
from app.deid.conformance_pixels import pixel_rows
from app.deid.conformance_rows import attribute_rows, unlisted_rows
from app.deid.options import Option
from app.deid.pixel_policy import PixelPolicy
from app.deid.profile import BUILT_IN, Profile, profile_from_text, with_version
from app.deid.standard import ROWS
from app.dicom.elements import tag_text

OURS = """
name: ours
description: "<script>alert(1)</script> | `x`"
options: [basic, retain_safe_private]
burned_in: accept-uncleaned-pixels
safe_private:
  - {creator: "ACME <b>", group: "0099", elements: {"01": DS}}
overrides:
  - {keyword: StationName, action: replace-with, value: SCANNER}
  - {keyword: StudyDescription, action: C, when: {modality: CT}}
  - {keyword: CodeMeaning, action: X, at: root}
"""


def actions(profile: Profile) -> dict[str, tuple[str, str]]:
    return {row[1]: (row[4], row[6]) for row in attribute_rows(profile)}


def tables(made: Statement) -> dict[str, Table]:
    return {table.caption: table for section in made.sections for table in section.tables}


def texts(made: Statement) -> str:
    return "\n".join(text for section in made.sections for text in section.paragraphs)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_row_of_the_table_is_stated_once(name: str) -> None:
    places = [row[1] for row in attribute_rows(BUILT_IN[name])]

    assert places[: len(ROWS)] == [tag_text(tag) for tag in ROWS]
    assert places[len(ROWS) :] == [
        *("(50XX,XXXX)", "(60XX,3000)", "(60XX,4000)", "(gggg,eeee), gggg odd"),
    ]


def test_basic_states_the_codes_of_the_table() -> None:
    stated = {row[1]: row for row in attribute_rows(BUILT_IN["basic"])}

    assert stated["(0008,0012)"][3:5] == ("X/D", "X/D")
    assert stated["(0008,0014)"][3:5] == ("U", "U")
    assert stated["(0010,0020)"][3:5] == ("Z/D", "D")
    assert all(row[3] == row[4] for row in stated.values() if row[6].startswith("by the Type"))


def test_options_state_their_own_letter_and_name() -> None:
    stated = actions(BUILT_IN["teleradiology"])

    assert stated["(0008,1030)"] == ("C", "Clean Descriptors: text without what identifies")
    assert stated["(0008,0020)"][0] == "C"
    assert "moved" in stated["(0008,0020)"][1]
    assert stated["(0010,1010)"][0] == "K"
    assert stated["(0008,0081)"] == ("X", "")


def test_rules_of_a_site_are_stated_where_they_differ() -> None:
    profile = profile_from_text(OURS)
    stated = actions(profile)
    made = statement(profile, gateway="0.0")

    assert stated["(0008,1010)"][0] == "D"
    assert "text of the rule" in stated["(0008,1010)"][1]
    assert stated["(0008,1030)"][0] == "X"
    assert stated["(0008,1030)"][1].endswith("C by rule 2 where it holds")
    assert tables(made)["Rules that a site added to the tables"].rows == (
        ("1", "(0008,1010) StationName", "replace-with “SCANNER”", "any depth", "always"),
        ("2", "(0008,1030) StudyDescription", "C", "any depth", "modality: CT"),
        ("3", "(0008,0104) CodeMeaning", "X", "root", "always"),
    )
    assert "no code of CID 7050 is claimed" in texts(made)
    assert "passed on with uncleaned pixels" in texts(made)


def test_private_elements_that_stay_are_listed_with_their_source() -> None:
    rows = tables(statement(profile_from_text(OURS), gateway="0.0"))[
        "Private elements that are retained"
    ].rows

    assert ("ACME <b>", "0099", "xx01", "DS", "the profile") in rows
    assert len(rows) == 480


def test_options_and_codes_are_those_of_the_profile() -> None:
    made = statement(BUILT_IN["research"], gateway="0.0")
    rows = tables(made)["Attribute Confidentiality Profiles and options (PS3.2, Table N.8-7)"].rows

    used = {row[2] for row in rows if row[3] == "Y"}
    assert used == {code for code, _ in BUILT_IN["research"].method_codes}
    assert len(rows) == len(Option)


def test_dates_and_uids_are_stated_as_the_options_say() -> None:
    full = with_version(Profile("x", (Option.BASIC, Option.FULL_DATES, Option.UIDS)))

    assert "no interval can be told" in texts(statement(BUILT_IN["strict"], gateway="0.0"))
    assert "intervals stay exact" in texts(statement(BUILT_IN["research"], gateway="0.0"))
    assert "UIDs are kept as they were" in texts(statement(full, gateway="0.0"))


def test_an_allow_list_is_stated_attribute_by_attribute() -> None:
    stated = {row[1]: row[3] for row in unlisted_rows(BUILT_IN["strict"])}

    assert stated["(0028,0010)"] == "K"
    assert stated["(0008,0070)"] == "D"
    assert stated["(0008,0104)"] == "C"
    assert stated["(0008,0016)"] == "U"
    assert "(0018,1400)" not in {row[1] for row in unlisted_rows(BUILT_IN["basic"])}


class Page(HTMLParser):
    """Counts what makes a page readable without eyes, and fails on what stays open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("profile", [*BUILT_IN.values(), profile_from_text(OURS)])
def test_the_page_is_whole_needs_nothing_else_and_can_be_read_aloud(profile: Profile) -> None:
    made = statement(profile, gateway="0.0")
    page = Page()
    page.feed(html(made))

    names = {name for name, _ in page.attributes}
    assert page.open == []
    assert ("lang", "en") in page.attributes
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert page.tags.count("caption") == page.tags.count("table") == len(tables(made))
    assert page.attributes.count(("scope", "row")) == sum(
        len(table.rows) for table in tables(made).values()
    )
    assert not {"script", "img", "link", "b"} & set(page.tags)
    assert not {"src", "onclick", "style"} & names


def test_markdown_shows_every_character_and_keeps_every_cell() -> None:
    made = statement(profile_from_text(OURS), gateway="0.0")
    lines = markdown(made).splitlines()
    description = next(line for line in lines if "script" in line)

    assert description == r"| Description | \<script\>alert(1)\</script\> \| \`x\` |"
    assert sum(line.startswith("## ") for line in lines) == len(made.sections)
    assert r"| ACME \<b\> | 0099 | xx01 | DS | the profile |" in lines


PIXELS = """
name: pixels
options: [basic, clean_pixel_data, clean_graphics]
pixels: {found: mask, documents: clean}
"""


def test_a_profile_that_cleans_pixels_states_what_it_decides_and_what_is_claimed() -> None:
    made = statement(profile_from_text(PIXELS), gateway="1.0")

    rows = dict(tables(made)["What this profile decides about pixels"].rows)
    assert rows["Identifying text beside what rules mask"].startswith("the text is masked")
    assert rows["Video"] == "held back"
    assert "(0028,0301) is NO in every object that passes with pixels" in texts(made)
    assert "held back for a review" in texts(made)
    assert "Clean Pixel Data is not among the options" not in texts(made)


def test_a_profile_that_does_not_says_that_text_leaves_with_the_image() -> None:
    made = statement(BUILT_IN["basic"], gateway="1.0")

    assert "Clean Pixel Data is not among the options" in texts(made)
    assert "What this profile decides about pixels" not in tables(made)


@pytest.mark.parametrize("field", [field.name for field in fields(PixelPolicy)])
def test_every_decision_about_pixels_is_stated_in_words(field: str) -> None:
    stated = dict(pixel_rows(PixelPolicy()))

    assert len(stated) == len(fields(PixelPolicy))
    terms = type(getattr(PixelPolicy(), field))
    said = {tuple(pixel_rows(PixelPolicy(**{field: term}))) for term in terms}
    assert len(said) == len(terms)

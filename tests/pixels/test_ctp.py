"""Scripts of the CTP DicomPixelAnonymizer become rules that match and mask the same."""

import pytest

from app.errors import InvalidRules
from app.pixels.ctp import read_script
from app.pixels.model import Box
from app.pixels.rules import RuleSet, marks_for
from app.pixels.rules_text import read_rules, write_rules
from tests.pixels.pictures import US, picture

SCRIPT = """\
Ultrasound of our house

 Echo 9
 { Modality.equals("US") * [0008,1090].containsIgnoreCase("echo") *
   // the small screen
   Rows.equals("600") }
 (0,0,800,60) (10,100,20,30)

 { ImageType.contains("SECONDARY") + !(Manufacturer.startsWith("ACME") * true.) }
 (0,0,5,5)
"""


def matched(signature: str, given=US) -> bool:
    imported = read_script(f"{{ {signature} }} (0,0,10,10)")
    assert imported.problems == ()
    return bool(marks_for(given, RuleSet(imported.rules)).rules)


def problems(text: str) -> list[tuple[int, str]]:
    imported = read_script(text)
    assert imported.rules == ()
    return [(one.line, one.message) for one in imported.problems]


def test_sections_become_rules_with_line_and_comment() -> None:
    imported = read_script(SCRIPT, prefix="house")

    assert imported.problems == ()
    assert [rule.id for rule in imported.rules] == ["house-4", "house-9"]
    assert imported.rules[0].comment == "Echo 9"
    found = marks_for(US, RuleSet(imported.rules))
    assert found.rules == ("house-4",)
    assert [mark.box for mark in found.marks] == [Box(0, 0, 800, 60), Box(10, 100, 30, 130)]
    assert not found.complete


def test_what_was_imported_is_written_and_read_alike() -> None:
    rules = read_script(SCRIPT).rules

    assert read_rules(write_rules(rules)) == rules


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ('Modality.equals("US")', True),
        ('Modality.equals("us")', False),
        ('Modality.equalsIgnoreCase("us")', True),
        ('[0008,1090].contains("Echo")', True),
        ('[0008,1090].contains("echo")', False),
        ('ManufacturerModelName.startsWithIgnoreCase("ECHO")', True),
        ('ManufacturerModelName.endsWith("9")', True),
        ('ManufacturerModelName.matches("Echo \\d")', True),
        ('ManufacturerModelName.matches("Echo")', False),
        ('BurnedInAnnotation.equals("")', True),
        ('Rows.isGreaterThan("599")', True),
        ('Rows.isGreaterThan("600")', False),
        ('Rows.isLessThan("601 px")', True),
        ('Rows.isLessThan("600")', False),
        ('ImageType.equals("PRIMARY")', False),
        ('ImageType.contains("ORIGINAL\\PRIMARY")', True),
        ('Rows.equals("1") + Columns.equals("800") * Modality.equals("US")', True),
        ('(Rows.equals("1") + Columns.equals("800")) * Modality.equals("CT")', False),
        ('!Modality.equals("CT") * !!Rows.equals("600")', True),
        ('false. + Rows.equals("600")', True),
        ('true. * Rows.equals("1")', False),
    ],
)
def test_signatures_mean_what_they_mean_in_ctp(signature: str, expected: bool) -> None:
    assert matched(signature) is expected


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ('\n{ PatientName.equals("X") } (0,0,1,1)', 2, "no rule can look"),
        ('{ [0010,0010].equals("X") } (0,0,1,1)', 1, "no rule can look"),
        ('{ Rows.equals("1") }\n', 1, "without regions"),
        ('{ Rows.equals("1") }\n\n(1,2,3)', 3, "no region"),
        ('{ Rows.equals("1") } (0,0,0,5)', 1, "without area"),
        ('{\n Rows.isOdd("1") } (0,0,1,1)', 2, "no such method"),
        ('{ Rows.equals("1") Columns.equals("1") } (0,0,1,1)', 1, "operator is missing"),
        ('{ (Rows.equals("1") } (0,0,1,1)', 1, "parenthesis is missing"),
        ('{ Rows.equals("1") * } (0,0,1,1)', 1, "term is missing"),
        ("{ } (0,0,1,1)", 1, "term is missing"),
        ("{ true. } (0,0,1,1)", 1, "holds for all"),
        ('{ Rows.equals("1") * SequenceX::Rows.equals("1") } (0,0,1,1)', 1, "no term"),
        ('{ Rows.isLessThan("few") } (0,0,1,1)', 1, "no number"),
        ('{ StationName.matches("\\p{Lu}+") } (0,0,1,1)', 1, "no term"),
        ('{ StationName.matches("(a+)+") } (0,0,1,1)', 1, "not taken"),
        ('{ StationName.matches("[") } (0,0,1,1)', 1, "no pattern"),
        ('{ Rows.equals("1") ', 1, "brace"),
        ("{ " + "(" * 50 + " } (0,0,1,1)", 1, "too deeply"),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_line(text: str, line: int, part: str) -> None:
    found = problems(text)

    assert found[0][0] == line
    assert part in " ".join(message for _, message in found)


def test_one_section_that_cannot_be_imported_leaves_the_others() -> None:
    imported = read_script(SCRIPT + '{ PatientID.equals("1") } (0,0,1,1)')

    assert len(imported.rules) == 2
    assert len(imported.problems) == 1


def test_sections_without_a_counterpart_of_attributes_hold_for_empty_ones() -> None:
    assert matched('SeriesDescription.equals("")')
    assert not matched('SeriesDescription.equals("")', given_series("Leber"))


def given_series(text: str):
    return picture(US, attributes=(("series_description", text),))


def test_a_text_longer_than_any_script_is_refused() -> None:
    with pytest.raises(InvalidRules):
        read_script(" " * 2_000_001)


@pytest.mark.parametrize("sign", ["{", "}", "{ true } (", "(", "{ true } (0,0,1,1) ("])
def test_a_script_of_open_brackets_is_read_in_linear_time(sign: str) -> None:
    imported = read_script(sign + sign[-1] * 300_000)

    assert (imported.rules, len(imported.problems) <= 101) == ((), True)

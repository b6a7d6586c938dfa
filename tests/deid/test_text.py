"""Kept text is cleaned of what identifies somebody in this very instance, and of nothing else."""

import pytest

from app.deid.rules.dates import day_of
from app.deid.rules.identifiers import Identifier, Kind
from app.deid.rules.text import TextCleaner
from app.deid.searching import compile_search

ORIGINAL_UID = "1.2.840.99999.4.17.23"
CLEANER = TextCleaner(
    [
        Identifier(Kind.NAME, "Müller-Lüdenscheid^Hans Jörg^^Dr"),
        Identifier(Kind.NAME, "Lee^Ann"),
        Identifier(Kind.NAME, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        Identifier(Kind.NAME, "Ng^Vy"),
        Identifier(Kind.ID, "MRN-884211"),
        Identifier(Kind.ID, "4711"),
        Identifier(Kind.ID, "1"),
        Identifier(Kind.BIRTH_DATE, "19310417"),
        Identifier(Kind.PHRASE, "St. Mary's Hospital, Springfield"),
    ],
    frozenset({ORIGINAL_UID}),
)


@pytest.mark.parametrize(
    "text",
    [
        "scan of Hans Jörg",
        "MÜLLER-LÜDENSCHEID",
        "muller ludenscheid",
        "Lüdenscheid, Hans",
        "for Lee",
        "Ann^Lee",
        "山田太郎",
        "Ng Vy",
        "VyNg",
        "id 884211? no: MRN 884211",
        "M.R.N. 884-211",
        "no 884-211",
        "8842 11",
        "no 4711.",
        "born 17.04.1931",
        "DOB 4/17/31",
        "17 April 1931",
        "19310417",
        "at st mary's hospital springfield",
        f"uid {ORIGINAL_UID}",
        f"uid {ORIGINAL_UID}.5",
    ],
)
def test_identifying_values_are_taken_out_in_any_spelling(text: str) -> None:
    cleaned = CLEANER.clean(text, vr="LO")

    assert cleaned != text
    for part in ("ller", "scheid", "Hans", "Lee", "山", "884", "4711", "1931", "mary", "99999"):
        assert part.casefold() not in cleaned.casefold()


@pytest.mark.parametrize(
    "text",
    [
        "CT THORAX with contrast 1.25 mm",
        "sleeve annotation",
        "B30f kernel 1",
        "14711 counts",
        "1.2.840.10008.5.1.4.1.1.2",
        "Dr. requested left knee",
        "",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert CLEANER.clean(text, vr="LO") == text


def test_clinical_words_around_a_name_stay_readable() -> None:
    assert CLEANER.clean("Skull Lee lateral", vr="LO") == "Skull lateral"


def test_a_code_string_component_is_replaced_whole_and_the_others_keep_their_places() -> None:
    assert CLEANER.clean("ORIGINAL\\PRIMARY\\LEE", vr="CS") == "ORIGINAL\\PRIMARY\\REMOVED"


def test_a_term_of_the_standard_stays_even_if_somebody_is_called_so() -> None:
    cleaner = TextCleaner([Identifier(Kind.NAME, "Head^Chest")], frozenset())

    assert cleaner.clean("HEAD", vr="CS") == "HEAD"
    assert cleaner.clean("scan of Head", vr="LO") == "scan of"


def test_a_number_loses_an_identifier_only_where_it_is_the_whole_number() -> None:
    cleaner = TextCleaner([Identifier(Kind.ID, "884211")], frozenset())

    assert cleaner.clean("884211\\0.884211", vr="DS") == "0\\0.884211"


def test_text_in_a_numeric_attribute_is_cleaned_like_text() -> None:
    assert CLEANER.clean("about Lee", vr="DS") == "0"


def test_dummy_dates_are_no_identifiers() -> None:
    assert day_of("19000101") is None
    assert day_of("not a date") is None


@pytest.mark.parametrize(
    "text",
    ["17-APR-31", "Apr-17-31", "17th April 1931", "17th of April 1931", "April 17th, 1931"],
)
def test_a_birth_date_in_words_is_found_by_the_quick_search_too(text: str) -> None:
    search = compile_search(((Kind.BIRTH_DATE, b"19310417", b""),))

    assert search.suspects(text.encode())
    assert CLEANER.clean(text, vr="LO") == ""


def test_a_value_that_stands_alone_only_when_another_is_gone_goes_too() -> None:
    assert CLEANER.clean("1_Ludenscheid4711_BREAST", vr="LO") == "1_ _BREAST"

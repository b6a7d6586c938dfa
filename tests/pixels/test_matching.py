"""What a line that was read is: a kind of identifying text, or harmless."""

import pytest

from app.pixels.matching import Matcher
from app.pixels.matching_model import Known, Reading
from app.pixels.matching_words import is_fragment, is_harmless

KNOWN = (
    Known("patient-name", "MÜLLER-LÜDENSCHEIDT^KATHARINA^^DR"),
    Known("id", "S612.89-7"),
    Known("date", "19510829"),
    Known("institution", "Klinikum Oberreichental"),
    Known("person", "LONG^WEI"),
)


def kind(text: str, *, known: tuple[Known, ...] = KNOWN, score: float = 0.97) -> str | None:
    match = Matcher(known).match(Reading(text, score, 0.8, 11.0 * len(text), 20.0))
    return match.kind if match else None


@pytest.mark.parametrize(
    "text",
    [
        "R", "L", "AP", "50 mm", "MI 1.2", "MI:1.4", "TIs 0.4", "kVp 120", "120 kV", "85 mAs",
        "HEAD FIRST", "HEADFIRST", "W 400 L 40", "W400L40", "1/24", "+40", "x 2.0", "Frame 3",
        "SUPINE", "C5-2", "L12-5", "TIS0.0 MI 0.6", "Adv Breast", "20dB/DR60", "DR 60 dB",
        "19fps", "H4.00 MHz", "Sag Liver L-M", "Store in progress", "Storeinprogress", "THI",
        "GeneraI", "4.0cm", "-1000", "2017", "DOB:", "Patient Name", "LAO 30", "RCC", "SID 110 cm",
        "Dist 1.43 cm", "HR 72 bpm", "ABDOMEN", "MapE/ST2", "", "—", "0000", "日", "3.2.1",
    ],
)  # fmt: skip
def test_what_devices_write_stays(text: str) -> None:
    assert kind(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Müller-Lüdenscheidt, Katharina", "MULLER LUDENSCHEIDT", "MUELLERLUEDENSCHEIDT",
        "MULLER-LUDENSCHE1DT", "MVLLER-LUDENSCHEIDT", "Ludensch...", "KATHARlNA", "KATHAR1NA M",
        "xxKATHARINAxx",
    ],
)  # fmt: skip
def test_the_patients_name_is_found_however_it_is_read(text: str) -> None:
    assert kind(text) == "patient-name"


@pytest.mark.parametrize("text", ["S612.89-7", "S6I2897", "S61289-7 R", "5612897", "ID S612897"])
def test_the_instances_ids_are_found_with_signs_taken_for_others(text: str) -> None:
    assert kind(text) == "id"


def test_a_name_that_is_a_word_too_is_a_name_where_the_instance_has_it() -> None:
    assert kind("Long axis", known=()) is None
    assert kind("LONG") == "person"
    assert kind("LONG", known=()) == "free-text"


def test_an_institution_that_was_cut_off_is_found() -> None:
    assert kind("KLINIKUM OBERR..") == "institution"


@pytest.mark.parametrize(
    "text",
    [
        "08/29/1951", "29.08.51", "O8/29/195l", "2016-10-17", "17 Oct 16", "20161017", "17. Mai",
        "Sep 3 2011", "8:48:26 AM", "10:32", "08.01.71", "f.08.01.71", "DOB: 1.2.1950",
        "10-Ju1-2004", "3 0ct 2011", "21 5ept 98",
    ],
)  # fmt: skip
def test_dates_and_times_of_day_are_found_by_their_form(text: str) -> None:
    assert kind(text, known=()) == "date"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00047431395", "id"),
        ("120907058", "id"),
        ("l2O9O7O58", "id"),
        ("MRN 1234", "id"),
        ("AB123456", "id"),
        ("US12-34567", "id"),
        ("Dr. Gray", "person"),
        ("Prof. Ngô", "person"),
        ("Tel. 08721 55123", "phone"),
        ("MON GENERAL HOSPITAL SURGICAL CARE", "institution"),
        ("P.O. Box 4410", "address"),
        ("Name: Long Field", "patient-name"),
        ("Zvonimirka", "free-text"),
        ("Teo", "free-text"),
        ("00B 10 Jw 03", "date"),
        ("王伟", "free-text"),
        ("Gray", "free-text"),
    ],
)
def test_what_is_not_known_to_be_harmless_never_stays(text: str, expected: str) -> None:
    assert kind(text, known=()) == expected


def test_texture_that_was_taken_for_letters_is_nothing() -> None:
    assert Matcher(()).match(Reading("WANNANUN", 0.23, 0.35, 94, 16)) is None
    assert Matcher(()).match(Reading("C", 0.88, 0.68, 500, 450)) is None
    assert Matcher(()).match(Reading("", 0.0, 0.8, 300, 80)) is None
    assert Matcher(()).match(Reading("", 0.9, 0.68, 300, 80)) is None


def test_a_line_that_cannot_be_read_is_doubtful() -> None:
    match = Matcher(()).match(Reading("Wl|~kx r", 0.3, 0.8, 120, 14))
    assert match is not None
    assert (match.kind, match.confidence) == ("doubtful", 0.8)


def test_a_long_line_of_which_one_sign_was_read_is_doubtful() -> None:
    match = Matcher(()).match(Reading("R", 0.4, 0.8, 160, 14))
    assert match is not None
    assert match.kind == "doubtful"


@pytest.mark.parametrize("text", ["--  ", ""])
def test_a_long_line_of_which_nothing_could_be_read_is_doubtful_however_sure_that_is(
    text: str,
) -> None:
    match = Matcher(()).match(Reading(text, 0.84, 0.8, 262, 18))
    assert match is not None
    assert match.kind == "doubtful"


@pytest.mark.parametrize(
    ("text", "score", "width", "height"),
    [
        ("B", 0.88, 84, 36),
        ("Ba", 0.82, 59, 26),
        ("Ka a", 0.72, 230, 41),
        ("A", 0.99, 42, 18),
        (" ", 0.98, 313, 71),
        (": ", 0.92, 434, 67),
        ("Ka B", 0.78, 383, 63),
    ],
)  # fmt: skip
def test_a_few_letters_in_a_line_that_has_room_for_more_are_doubtful(
    text: str, score: float, width: float, height: float
) -> None:
    match = Matcher(()).match(Reading(text, score, 0.75, width, height))
    assert match is not None
    assert match.kind == "doubtful"


@pytest.mark.parametrize(
    ("text", "score", "width", "height"),
    [
        ("R", 1.0, 36, 36),
        ("AP", 1.0, 26, 16),
        ("R CC", 0.89, 86, 40),
        ("X2", 0.77, 48, 23),
        ("L   CC", 1.0, 200, 30),
    ],
)
def test_a_few_letters_in_a_line_of_their_size_stay(
    text: str, score: float, width: float, height: float
) -> None:
    assert Matcher(()).match(Reading(text, score, 0.8, width, height)) is None


def test_dashes_and_tick_marks_are_no_text() -> None:
    assert Matcher(()).match(Reading("-------------", 0.84, 0.8, 262, 18)) is None
    assert Matcher(()).match(Reading("--", 0.84, 0.8, 262, 6)) is None


def test_a_text_of_which_the_reader_is_not_sure_is_still_matched() -> None:
    assert kind("KATHARINA", score=0.4) == "patient-name"


def test_kinds_of_the_engine_are_taken() -> None:
    assert Known.from_json({"kind": "birth-date", "text": "19510829"}).kind == "date"
    assert Known.from_json({"kind": "name", "text": "A^B"}).kind == "person"
    assert Known.from_json({"kind": "id", "text": "1"}).kind == "id"


def test_no_value_is_in_a_repr() -> None:
    assert "MÜLLER" not in repr(KNOWN[0])
    assert "MÜLLER" not in repr(Reading("MÜLLER", 1, 1, 1, 1))


def test_initials_and_lone_figures_are_fragments_and_words_of_devices_are_none() -> None:
    assert is_fragment("V.")
    assert is_fragment("(212)")
    assert not is_fragment("Gain")
    assert is_harmless("V.")


def test_a_hostile_line_is_matched_in_linear_time() -> None:
    assert kind("1" * 20_000 + "A" * 20_000) is not None


def test_a_word_of_a_device_that_a_mask_cut_off_stays_and_others_do_not() -> None:
    def cut(text: str) -> bool:
        return Matcher(KNOWN).match(Reading(text, 0.97, 0.8, 90, 20, is_cut=True)) is None

    assert cut("SIEMEN")
    assert cut("eneral")
    assert not cut("Zvoni")
    assert not cut("KATHAR")
    assert kind("SIEMEN") == "free-text"

"""A known name, date or number is found in kept text although somebody disguised it."""

import sys
import unicodedata

import pytest

from app.deid.rules.identifiers import Identifier as Value
from app.deid.rules.identifiers import Kind, composed
from app.deid.rules.text import DescriptorCleaner, TextCleaner
from app.deid.searching import SEPARATOR, compile_search
from app.deid.verifying import joined
from tests.builders import Identity, part10, raw_element
from tests.canaries.test_canaries import deidentified, read_back
from tests.canaries.test_descriptors import CLEANED, result
from tests.canaries.test_spellings import with_text

WHO = Identity()
NAME = "Quillonbury"


def left_of(text: str, **attributes: str) -> list[str]:
    """Return what is left of a text, as it is kept and as it is cleaned by an option."""
    data = with_text(f"for {text} here", **attributes)
    source = read_back(data)
    source.StudyComments = source.InterventionDescription
    kept = read_back(deidentified(data)).InterventionDescription
    return [kept, result(source, CLEANED).StudyComments]


UNSEEN = {
    "start of heading": "\x01",
    "no character": "\0",
    "record separator": "\x1e",
    "delete": "\x7f",
    "control of the second set": "\x85",
    "soft hyphen": "\xad",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "right-to-left mark": "\u200f",
    "grapheme joiner": "\u034f",
    "variation selector": "\ufe0f",
    "filler": "\u3164",
    "empty Braille": "\u2800",
    "line below": "\u0332",
    "strike through": "\u0336",
}


@pytest.mark.parametrize("sign", UNSEEN)
def test_a_name_with_a_sign_in_it_that_nobody_sees_goes(sign: str) -> None:
    written = f"Quillon{UNSEEN[sign]}bury"

    assert left_of(written, PatientName=f"{NAME}^Zed") == ["for here", "for here"]


def test_no_sign_that_only_lays_out_a_text_is_left_in_it() -> None:
    signs = [chr(n) for n in range(sys.maxunicode) if unicodedata.category(chr(n)) == "Cf"]

    assert [sign for sign in signs if composed(f"a{sign}\u00fc") != "a\u00fc"] == []


BROKEN = {
    "end of a line": "Quillon\nbury",
    "hyphen at the end of a line": "Quillon-\r\nbury",
    "space that does not break": "Quillon\u00a0bury",
    "full stop": "Quillon.bury",
    "underscore": "QUILLON_BURY",
    "spaces": "Q u i l l o n b u r y",
    "full stops": "Q.U.I.L.L.O.N.B.U.R.Y",
    "three signs": "Q - U - I - L - L - O - N - B - U - R - Y",
    "small capitals": "\ua7af\u1d1c\u026a\u029f\u029f\u1d0f\u0274\u0299\u1d1c\u0280\u028f",
    "mathematical letters": "".join(chr(0x1D41A + ord(c) - 97) for c in NAME.lower()),
    "full width": "".join(chr(ord(c) + 0xFEE0) for c in NAME),
    "backwards": NAME[::-1],
    "backwards with an override": f"\u202e{NAME[::-1]}\u202c",
    "Cyrillic in it": "Qu\u0456ll\u043enbury",
    "Greek in it": "QUILL\u039fNBURY",
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_name_that_is_spaced_out_or_made_of_other_letters_goes(way: str) -> None:
    assert left_of(BROKEN[way], PatientName=f"{NAME}^Zed") == ["for here", "for here"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Griffith^Zed", "Gri\ufb03th"),
        ("McDonald^Zed", "Mc Donald"),
        ("Vandenberg^Zed", "van den Berg"),
        ("Deluca^Zed", "de Luca"),
        ("OBrien^Zed", "O'Brien"),
        ("DAngelo^Zed", "d\u2019Angelo"),
        ("Jane^Zed", "J A N E"),
        ("Mueller^Zed", "Muller"),
        ("Muller^Zed", "Mueller"),
        ("Muller^Zed", "M\u00fcller"),
        ("Schroeder^Zed", "Schroder"),
        ("Boehm^Zed", "B\u00f6hm"),
        ("\u5c71\u7530^\u592a\u90ce", "\u5c71 \u7530"),
    ],
    ids=[
        "ligature",
        "mc",
        "van-den",
        "de",
        "o",
        "d",
        "spaced",
        "ue",
        "u",
        "u-umlaut",
        "oe",
        "o-umlaut",
        "ideographs",
    ],
)
def test_a_name_in_two_words_or_of_another_spelling_goes(name: str, written: str) -> None:
    assert left_of(written, PatientName=name) == ["for here", "for here"]


@pytest.mark.parametrize(
    "written",
    [
        "M%C3%BCllers",
        "M%FCllers",
        "M&uuml;llers",
        "M&#252;llers",
        "M&#xFC;llers",
        "M&amp;uuml;llers",
        "M\\u00fcllers",
        "M=C3=BCllers",
        "M=FCllers",
        "Mu=\r\nellers",
        "%4D%FCllers",
    ],
    ids=[
        "web",
        "web-latin",
        "entity",
        "decimal",
        "hexadecimal",
        "twice",
        "json",
        "mail",
        "mail-latin",
        "mail-line",
        "all",
    ],
)
@pytest.mark.parametrize("name", ["M\u00fcllers^Zed", "Mullers^Zed"], ids=["umlaut", "none"])
def test_a_name_with_escapes_in_it_goes(name: str, written: str) -> None:
    assert left_of(written, PatientName=name)[0] == "for here"
    assert DescriptorCleaner([Value(Kind.NAME, name)]).clean(f"x {written} y", vr="LO") == "x y"


@pytest.mark.parametrize(
    "written",
    [
        "Quillon<b>bury</b>",
        "Quill<span class='x'>onbury</span>",
        "Qu&#8203;illonbury",
        "Q<br/>uillonbury",
    ],
    ids=["bold", "span", "zero-width", "break"],
)
def test_a_name_with_markup_in_it_goes(written: str) -> None:
    left = left_of(written, PatientName=f"{NAME}^Zed")

    assert [text for text in left if "Qu" in text or "bury" in text] == []


def test_a_name_as_a_program_prints_it_goes() -> None:
    written = "M\\xfcllers \\ud835\\udc0cullers M\\'fcllers"
    left = left_of(written, PatientName="M\u00fcllers^Zed")

    assert left == ["for here", "for here"]


@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
def test_a_name_that_was_read_in_the_wrong_character_set_goes(codec: str) -> None:
    for name in ("M\u00fc\u00dfigk", "\u00d6stlund", "Dvo\u0159\u00e1k"):
        written = name.encode().decode(codec)

        assert left_of(written, PatientName=f"{name}^Zed") == ["for here", "for here"]


def test_a_text_in_another_character_set_than_declared_is_cleaned_and_not_refused() -> None:
    source = read_back(with_text("x", PatientName="M\u00fc\u00dfigk^Zed"))
    source.SpecificCharacterSet = "ISO_IR 100"
    source.PatientName = "M\u00fc\u00dfigk^Zed"
    raw = "for M\u00fc\u00dfigk here".encode()
    del source.InterventionDescription
    data = part10(source, extra={_KEPT: raw_element(_KEPT, "LO", raw)})

    assert read_back(deidentified(data))[_KEPT].value == "for here"


_KEPT = 0x0018003A  # Intervention Description


def test_a_short_name_behind_an_escape_goes() -> None:
    for written in ("x%20Doe", "Jane%20Doe", "name=3DDoe", "\\u0044oe"):
        left = left_of(written, PatientName="Doe^Jane")
        assert [text for text in left if "oe" in text or "Jane" in text] == []


FIGURES = {
    "thai": "\u0e51\u0e57/\u0e50\u0e54/\u0e52\u0e54\u0e57\u0e54",
    "arabic": "\u0661\u0667.\u0660\u0664.\u0661\u0669\u0663\u0661",
    "persian": "\u06f1\u06f9\u06f3\u06f1/\u06f0\u06f4/\u06f1\u06f7",
    "devanagari": "\u0967\u096d-\u0966\u096a-\u0967\u096f\u0969\u0967",
    "bengali": "\u09e7\u09ed\u09e6\u09ea\u09e7\u09ef\u09e9\u09e7",
    "full width": "\uff11\uff17\uff0f\uff10\uff14\uff0f\uff11\uff19\uff13\uff11",
    "roman, one sign": "17.\u2163.1931",
    "six figures": "170431",
    "six figures, year first": "310417",
    "six figures, month first": "041731",
    "six figures, arabic": "\u0661\u0667\u0660\u0664\u0663\u0661",
    "with a time": "193104171011",
    "with seconds": "19310417101112",
    "one by one": "1 9 3 1 0 4 1 7",
    "colons": "1931:04:17",
    "colons, year last": "17:04:1931",
}


@pytest.mark.parametrize("way", FIGURES)
def test_a_birth_date_in_other_figures_goes(way: str) -> None:
    left = left_of(FIGURES[way], PatientBirthDate="19310417")

    assert left == ["for here", "for here"]


@pytest.mark.parametrize("written", ["240229", "290224", "022924", "scan_240229"])
def test_the_date_of_a_study_in_six_figures_goes(written: str) -> None:
    left = left_of(written, StudyDate="20240229")

    assert [text for text in left if "2402" in text or "2902" in text or "0229" in text] == []


@pytest.mark.parametrize("zero", [0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50, 0xFF10])
def test_a_number_in_other_figures_goes(zero: int) -> None:
    written = "".join(chr(zero + int(c)) if c.isdigit() else c for c in "PZ-7741-0093")

    assert left_of(written, PatientID="PZ-7741-0093") == ["for here", "for here"]
    assert left_of("PZ-7741-0093", PatientID=written) == ["for here", "for here"]


def test_a_date_half_of_which_looks_like_another_goes_as_a_whole() -> None:
    cleaner = DescriptorCleaner([Value(Kind.BIRTH_DATE, "19310417")])

    assert cleaner.clean("born 17/04/2474 here", vr="LO") == "born here"


def test_a_separator_in_a_text_does_not_hide_a_value_from_the_quick_search() -> None:
    search = compile_search(((Kind.NAME, b"Quillonbury^Zed", b""),))

    assert search.suspects(joined([b"CT", b"Quillon\x1ebury"]))
    assert not search.suspects(joined([b"Quillon", b"bury"]))
    assert joined([]) == b""
    assert joined([b"CT", b"MR"]) == b"CT" + SEPARATOR + b"MR"


@pytest.mark.parametrize(
    "text",
    [
        "%41" * 20000,
        "&uuml;" * 10000,
        "\\u0041" * 10000,
        "a b " * 15000,
        "ab\n" * 20000,
        "ab_" * 20000,
        "a.b." * 15000,
        "O'Ab" * 15000,
        "van " * 15000,
    ],
    ids=[
        "web",
        "entities",
        "json",
        "letters",
        "lines",
        "underscores",
        "stops",
        "apostrophes",
        "van",
    ],
)
def test_endless_disguises_are_read_in_bounded_time(text: str) -> None:
    cleaner = TextCleaner([Value(Kind.NAME, "Quillonbury^Zebedee")], frozenset())

    assert cleaner.clean(text, vr="LT") == text

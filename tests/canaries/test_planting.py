"""The builders plant what they say, and the search finds it; else silence would prove nothing."""

import base64
import io

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.uid import JPEGBaseline8Bit

from app.deid.standard import ROWS
from tests.builders import INSTANCES, NATIVE_SYNTAXES, SCRIPTS, Identity, ct, everything, part10
from tests.canaries.search import found, searchable

CASES = [
    pytest.param(kind, syntax, id=f"{kind}-{syntax.name}")
    for kind in INSTANCES
    for syntax in ([JPEGBaseline8Bit] if kind == "us-jpeg" else NATIVE_SYNTAXES)
]


@pytest.mark.parametrize(("kind", "syntax"), CASES)
def test_every_canary_is_found_in_the_input(kind: str, syntax: str) -> None:
    data, canaries = everything(kind, syntax)
    texts = [canary.text for canary in canaries]

    assert set(found(texts, searchable(data))) == set(texts)
    assert len(set(texts)) == len(texts)


def test_every_attribute_of_the_table_with_a_recognisable_value_is_planted_three_times() -> None:
    _, canaries = everything("ct", NATIVE_SYNTAXES[1])
    places = {canary.place for canary in canaries}
    rows = [
        row
        for tag, row in ROWS.items()
        if 8 <= tag >> 16 < 0xFFFA and row.vr not in {"AS", "SQ", "US"}
    ]

    missing = [
        row.keyword for row in rows if not {f"depth {n} {row.keyword}" for n in (1, 3)} <= places
    ]

    assert missing == []


def test_an_input_full_of_canaries_reads_back() -> None:
    for syntax in NATIVE_SYNTAXES:
        data, _ = everything("enhanced-mr", syntax)

        assert dcmread(io.BytesIO(data)).pixel_array.shape == (3, 16, 16)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be", "iso8859-2"])
@pytest.mark.parametrize("name", ["Quillonbury", "Wałęsiński"])
def test_the_search_finds_a_name_however_it_is_written(name: str, codec: str) -> None:
    capitals = name.upper().encode(codec).lower()

    assert found([name], b"x" + name.encode(codec).lower() + b"y", codec) == [name]
    assert found([name], capitals, codec) == [name]
    assert found([name], b"quillon", codec) == []


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
def test_the_search_finds_base64_at_every_alignment(before: str) -> None:
    coded = base64.b64encode(f"{before}Quillonbury rest".encode()).lower()

    assert found(["Quillonbury"], coded) == ["Quillonbury"]
    assert found(["Zebedee"], coded) == []


@pytest.mark.parametrize("charset", SCRIPTS)
def test_names_in_every_script_are_found_in_the_input(charset: str) -> None:
    name, codec = SCRIPTS[charset]
    dataset = ct(Identity())
    dataset.SpecificCharacterSet = charset.split("\\")
    dataset.PatientName = name
    parts = [part for group in name.split("=") for part in group.split("^")]

    assert found(parts, searchable(part10(dataset)), codec) == parts

"""An identifying value is found in kept text however somebody wrote it, and in odd places."""

import base64
import struct
import unicodedata

import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit

from tests.builders import Identity, ct, part10, raw_element, us_jpeg
from tests.canaries.search import found, searchable
from tests.canaries.test_canaries import deidentified, nothing_or

WHO = Identity()
TOKEN = "ZQTOKENXYZ"


def survivors(data: bytes, texts: tuple[str, ...] = WHO.texts) -> list[str]:
    return found(texts, searchable(nothing_or(lambda: deidentified(data))))


def with_text(text: str, **attributes: str) -> bytes:
    dataset = ct(WHO)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.InterventionDescription = text
    return part10(dataset)


def one_frame(**elements: bytes) -> bytes:
    dataset = us_jpeg(WHO)
    frame = list(generate_frames(dataset.PixelData, number_of_frames=3))[1]
    dataset.NumberOfFrames = 1
    table = elements.get("table")
    dataset.PixelData = encapsulate([frame], has_bot=False)
    if table is not None:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table
        dataset.PixelData = item + dataset.PixelData[8:]
    if "extended" in elements:
        dataset.add_new(0x7FE00001, "OV", elements["extended"])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return part10(dataset, JPEGBaseline8Bit)


@pytest.mark.parametrize("tag", [0x0008010C, 0x00080117, 0x00080118, 0x3010001F])
@pytest.mark.parametrize("value", ["Quillonbury", "PZ-7741-0093", "1.2.3.77410093"])
def test_identity_in_a_kept_uid_attribute_does_not_leave(tag: int, value: str) -> None:
    data = part10(ct(WHO), extra={tag: raw_element(tag, "UI", value.encode())})

    assert survivors(data, (value,)) == []


@pytest.mark.parametrize("text", [b"QuillonburyZebed", b"ZQTOKENXYZZZ"])
def test_text_in_the_place_of_an_offset_table_does_not_leave(text: bytes) -> None:
    assert survivors(one_frame(table=text), (text.decode(),)) == []
    assert survivors(one_frame(extended=text[:8]), (text[:8].decode(),)) == []


def test_nothing_behind_the_last_native_pixel_leaves() -> None:
    dataset = ct(WHO)
    dataset.PixelData += TOKEN.encode()

    assert survivors(part10(dataset), (TOKEN,)) == []


@pytest.mark.parametrize("number", range(len(WHO.texts)))
def test_base64_of_an_identifying_value_does_not_leave(number: int) -> None:
    text = WHO.texts[number]
    coded = base64.b64encode(f"id={text};".encode()).decode()

    assert survivors(with_text(f"ref {coded}", TrackingID=coded), (text,)) == []


@pytest.mark.parametrize("written", ["Ng Vi", "Ng, Vi", "Ng^Vi", "NG VI", "Vi Ng", "ng_vi", "NgVi"])
def test_a_short_name_is_found_by_its_parts_together(written: str) -> None:
    assert survivors(with_text(f"for {written} here", PatientName="Ng^Vi"), (written,)) == []


@pytest.mark.parametrize(
    "written", ["Annalena", "Anna-Lena", "OBrienne", "O Brienne", "O\u2019Brienne"]
)
def test_a_compound_name_is_found_in_one_word_and_in_two(written: str) -> None:
    data = with_text(f"for {written} here", PatientName="O'Brienne^Anna Lena")

    assert survivors(data, (written,)) == []


@pytest.mark.parametrize(
    "written",
    [
        *("17. April 1931", "April 17th, 1931", "17th of April 1931", "17 avril 1931", "31-04-17"),
        *("1931.04.17", "17/4/31", "4/17/31", "APR-17-1931", "17APR1931", "17. 4. 1931"),
    ],
)
def test_a_birth_date_is_found_in_its_usual_written_forms(written: str) -> None:
    assert survivors(with_text(f"geb. {written} here"), (written,)) == []


@pytest.mark.parametrize(
    "written",
    [
        unicodedata.normalize("NFD", "M\u00fcllersd\u00f6rf"),
        "Muellersdoerf",
        "M\u00dcLLERSD\u00d6RF",
        "Mullersdorf",
        "\uff2d\u00fcllersd\u00f6rf",
        "M\u00fcllers\u00add\u00f6rf",
        "M\u00fcllers\u200bd\u00f6rf",
    ],
    ids=["decomposed", "ue-oe", "capitals", "plain", "full-width", "soft-hyphen", "zero-width"],
)
def test_a_name_with_umlauts_is_found_in_every_spelling(written: str) -> None:
    data = with_text(f"for {written} x", PatientName="M\u00fcllersd\u00f6rf^Q")

    assert survivors(data, (written,)) == []


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        *((0x0040E001, "ST"), (0x00400032, "UT"), (0x00100214, "LO")),
        *((0x00420010, "ST"), (0x00140100, "LO")),
    ],
)
def test_identifiers_that_the_table_does_not_list_do_not_leave(tag: int, vr: str) -> None:
    dataset = ct(WHO)
    dataset.add_new(tag, vr, TOKEN)

    assert survivors(part10(dataset), (TOKEN,)) == []

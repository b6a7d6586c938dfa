"""An identifying value is found in kept text however somebody wrote it, and in odd places."""

import base64
import struct
import unicodedata
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit

from tests.builders import Identity, ct, part10, raw_element, us_jpeg
from tests.canaries.search import found, searchable
from tests.canaries.test_canaries import deidentified, nothing_or, read_back

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


@pytest.mark.parametrize("tag", [0x7FE00001, 0x7FE00002])
@pytest.mark.parametrize("nested", [True, False])
def test_an_offset_table_without_compressed_frames_goes(tag: int, nested: bool) -> None:
    dataset = ct(WHO)
    holder = dataset
    if nested:
        holder = Dataset()
        dataset.ViewCodeSequence = [holder]
    holder.add_new(tag, "OV", f"{TOKEN}  ".encode()[:8])

    output = deidentified(part10(dataset))

    assert found([TOKEN[:8]], searchable(output)) == []
    assert read_back(output).PixelData == dataset.PixelData


def test_nothing_behind_the_last_native_pixel_leaves() -> None:
    dataset = ct(WHO)
    dataset.PixelData += TOKEN.encode()

    assert survivors(part10(dataset), (TOKEN,)) == []


@pytest.mark.parametrize("case", [str.upper, str.lower])
@pytest.mark.parametrize("text", ["Zebedee Quillonbury", "QUILLONBURY", "PZ-7741-0093"])
def test_hexadecimal_of_an_identifying_value_does_not_leave(
    text: str, case: Callable[[str], str]
) -> None:
    assert survivors(with_text(f"x {case(text.encode().hex())}")) == []


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
        *("17 de abril de 1931", "17.IV.1931", "17 IV 1931", "17/04/2474", "17-4-2474"),
        *(
            "17 kwietnia 1931",
            "17. dubna 1931",
            "17 Nisan 1931",
            "17 \u0430\u043f\u0440\u0435\u043b\u044f 1931",
        ),
        *("1931\u5e744\u670817\u65e5", "1931 \u5e74 04 \u6708 17 \u65e5"),
        *("\u662d\u548c6\u5e744\u670817\u65e5", "1931\ub144 4\uc6d4 17\uc77c"),
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


_ALPHABETS = {
    "polish": ("\u0141ukaszewicz^Pawe\u0142", "\u0141UKASZEWICZ Lukaszewicz Pawel"),
    "danish": ("S\u00f8rensen^\u00c5se", "Soerensen Sorensen S\u00f6rensen Aase Ase"),
    "icelandic": (
        "\u00de\u00f3rsd\u00f3ttir^Gu\u00f0r\u00fan",
        "Thorsdottir Gudrun GU\u00d0R\u00daN",
    ),
    "serbian": ("\u0110or\u0111evi\u0107^\u017divko", "Djordjevic Dordevic Zivko"),
    "turkish": ("Y\u0131lmazer^I\u015f\u0131l", "Yilmazer YILMAZER Isil I\u015eIL"),
    "plain": ("Sorensen^Gudrun", "S\u00f8rensen Gu\u00f0run"),
    "greek": (
        "\u03a0\u03b1\u03c0\u03b1\u03b4\u03cc\u03c0\u03bf\u03c5\u03bb\u03bf\u03c2"
        "^\u0393\u03b9\u03ce\u03c1\u03b3\u03bf\u03c2",
        "\u03a0\u0391\u03a0\u0391\u0394\u039f\u03a0\u039f\u03a5\u039b\u039f\u03a3"
        " Papadopoulos Giorgos",
    ),
    "russian": (
        "\u0418\u0432\u0430\u043d\u043e\u0432^\u041f\u0451\u0442\u0440",
        "Ivanov Iwanow Pyotr Petr",
    ),
    "kana": (
        "Yamada^Tarou==\u3084\u307e\u3060^\u305f\u308d\u3046",
        "\u30e4\u30de\u30c0 \uff94\uff8f\uff80\uff9e \u30bf\u30ed\u30a6 \uff80\uff9b\uff73",
    ),
    "arabic": (
        "\u0645\u062d\u0645\u062f^\u0639\u0644\u064a",
        "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f",
    ),
    "hyphens": ("Thistlewick^Gildong", "THISTLE-WICK Gil-dong Thistle\u2010wick"),
    "together": ("Doe^Jane", "janedoe DoeJane"),
}


@pytest.mark.parametrize("alphabet", _ALPHABETS)
def test_a_name_is_found_in_the_letters_of_others(alphabet: str) -> None:
    name, written = _ALPHABETS[alphabet]

    for each in written.split():
        assert survivors(with_text(f"for {each} here", PatientName=name), (each,)) == []


def test_a_study_is_not_refused_for_a_name_in_the_letters_of_others() -> None:
    data = with_text("YILMAZER", PatientName="Y\u0131lmazer^I\u015f\u0131l")

    assert deidentified(data)


def test_a_number_is_found_without_the_zeros_before_it() -> None:
    data = with_text("no. 7741993 here", PatientID="0007741993")

    assert survivors(data, ("7741993",)) == []


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        *((0x00402016, "LO", "QX884421"), (0x00402017, "LO", "QX884421")),
        *((0x22000005, "LT", "QX884421"), (0x00100012, "LT", "Zedekiah Plumtree")),
        *((0x0016004D, "UT", "Plumtree, Zedekiah"), (0x00401102, "ST", "Plumtree Lane 5")),
        *((0x00080055, "AE", "PLUMTREE_AE"), (0x0040A027, "LO", "Plumtree Hospital")),
    ],
)
def test_what_identifies_by_its_attribute_is_taken_out_of_kept_texts(
    tag: int, vr: str, value: str
) -> None:
    dataset = ct(WHO)
    dataset.add_new(tag, vr, value)
    dataset.InterventionDescription = f"at {value} today"

    assert "today" in read_back(deidentified(part10(dataset))).InterventionDescription
    assert survivors(part10(dataset), (value, value.split(maxsplit=1)[0])) == []


@pytest.mark.parametrize("written", ["88421177", "X88421177", "no. 88421177/1"])
@pytest.mark.parametrize("name", ["88421177", "Trauma^88421177", "88421177^Unknown"])
def test_a_number_in_the_place_of_a_name_is_found(name: str, written: str) -> None:
    assert survivors(with_text(f"for {written} x", PatientName=name), ("88421177",)) == []


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        *((0x0040E001, "ST"), (0x00400032, "UT"), (0x00100214, "LO")),
        *((0x00420010, "ST"), (0x00140100, "LO"), (0x30020020, "SH"), (0x00181801, "SH")),
        *((0x0040A992, "ST"), (0x00440012, "LO"), (0x00880130, "SH")),
    ],
)
def test_identifiers_that_the_table_does_not_list_do_not_leave(tag: int, vr: str) -> None:
    dataset = ct(WHO)
    dataset.add_new(tag, vr, TOKEN)

    assert survivors(part10(dataset), (TOKEN,)) == []

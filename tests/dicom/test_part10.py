"""Recognising a stream: preamble, File Meta, transfer syntax, and what is no DICOM."""

import pytest

from app.dicom import part10
from app.dicom.tokens import Limits
from app.errors import LimitExceeded, MalformedDicom, NotDicom, Truncated, UnsupportedTransferSyntax
from tests.dicom.building import (
    CT_IMAGE,
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    PIXEL_DATA,
    Element,
    Form,
    Stream,
    encode,
    padded,
    sequence,
)
from tests.dicom.reading import FIRST, file_source, places, read, read_elements, value

ROWS = Element(0x00280010, "US", b"\1\0")
NAME = Element(0x00100010, "PN", b"Quillonbury^Zebedee ")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(bytes(128), id="a preamble alone"),
        pytest.param(bytes(4096), id="zeros"),
        pytest.param(b"Dear colleague, thank you for sending this patient.\n" * 9, id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200), id="a PNG"),
        pytest.param(b"%PDF-1.7\n" * 30, id="a PDF"),
        pytest.param(b"PK\3\4\x14\0\0\0\x08\0" * 20, id="a ZIP"),
        pytest.param(b'{"00080016": {"vr": "UI"}}' * 10, id="DICOM JSON"),
    ],
)
def test_what_is_no_dicom_is_called_so(data):
    with pytest.raises(NotDicom):
        read(data)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_prefix_with_next_to_nothing_behind_it_is_refused(size):
    with pytest.raises((NotDicom, Truncated)):
        read(bytes(128) + b"DICM" + bytes(size))


def test_file_meta_with_no_data_set_behind_it_is_incomplete():
    with pytest.raises(Truncated):
        read(Stream(()).encode())


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_a_data_set_alone_is_read_and_its_encoding_guessed(syntax):
    tokens = read_elements(NAME, ROWS, syntax=syntax, preamble=None, meta=False)

    assert places(tokens) == ["00080016", "00100010", "00280010"]
    assert tokens.transfer_syntax == syntax
    assert set(tokens.anomalies) == {
        "preamble-missing",
        "file-meta-missing",
        "transfer-syntax-guessed",
    }


def test_a_data_set_that_begins_with_a_group_length_is_recognised_alone():
    stream = Stream(
        (Element(0x00080000, "UL", b"\x22\0\0\0"), FIRST, ROWS),
        syntax=IMPLICIT_LE,
        preamble=None,
        meta=False,
    )

    assert places(read(stream.encode())) == ["00080000", "00080016", "00280010"]


def test_the_prefix_without_the_preamble_is_taken():
    tokens = read(b"DICM" + Stream((FIRST, ROWS), preamble=None).encode())

    assert places(tokens) == ["00080016", "00280010"]
    assert tokens.anomalies == ["preamble-missing"]


def test_the_prefix_without_file_meta_is_taken():
    tokens = read_elements(ROWS, meta=False)

    assert places(tokens) == ["00080016", "00280010"]
    assert tokens.anomalies == ["file-meta-missing", "transfer-syntax-guessed"]


@pytest.mark.parametrize("meta", [False, True])
def test_the_letters_of_the_prefix_inside_a_value_are_not_taken_for_it(meta):
    before = len(Stream((FIRST, Element(0x00081030, "LO", b"")), preamble=None, meta=meta).encode())
    text = Element(0x00081030, "LO", b"DICM".rjust(132 - before, b"x"))

    tokens = read_elements(text, ROWS, preamble=None, meta=meta)

    assert tokens.buffer[128:132] == b"DICM"
    assert places(tokens) == ["00080016", "00081030", "00280010"]


@pytest.mark.parametrize("group_length", [None, 2, -12, 100_000])
def test_a_missing_or_wrong_group_length_of_file_meta_does_not_matter(group_length):
    tokens = read_elements(ROWS, group_length=group_length)

    assert places(tokens) == ["00080016", "00280010"]
    assert tokens.meta[0x00020010] == padded(EXPLICIT_LE)


def test_file_meta_values_are_given_as_they_stand():
    tokens = read_elements(more_meta=(Element(0x00020016, "AE", b"SENDER  "),))

    assert tokens.meta[0x00020016] == b"SENDER  "


def test_file_meta_in_implicit_vr_is_refused():
    meta = encode([Element(0x00020010, "UI", padded(IMPLICIT_LE))], Form(explicit=False))

    with pytest.raises(MalformedDicom):
        read(bytes(128) + b"DICM" + meta + encode([FIRST], Form(explicit=False)))


def test_file_meta_of_undefined_length_is_refused():
    meta = b"\x02\0\x01\0OB\0\0" + b"\xff" * 4

    with pytest.raises(MalformedDicom):
        read(bytes(128) + b"DICM" + meta + encode([FIRST], Form()))


def test_a_file_meta_group_of_countless_elements_is_refused():
    meta = b"\x02\0\x16\0AE\0\0" * 1000

    with pytest.raises(LimitExceeded):
        read(bytes(128) + b"DICM" + meta + encode([FIRST], Form()), Limits(max_elements=999))


@pytest.mark.parametrize("cut", [-8, -7, -1, 0, 1, 2, 4, 8])
def test_file_meta_that_ends_where_the_first_window_ends_is_read_whole(cut):
    # The next element of the group, or the data set, begins at the window's edge.
    bare = Stream((FIRST, ROWS), more_meta=(Element(0x00020102, "OB", b""),)).encode()
    edge = bare.index(CT_IMAGE) - 8
    filling = Element(0x00020102, "OB", bytes(64 * 1024 - edge + cut))
    data = Stream((FIRST, ROWS), more_meta=(filling,)).encode()

    with file_source(data) as source:
        tokens = part10.read(source, Limits())

    assert places(tokens) == ["00080016", "00280010"]
    assert tokens.meta[0x00020102] == filling.value


@pytest.mark.parametrize("cut", [0, 1, 8])
def test_a_transfer_syntax_behind_the_first_window_is_seen(cut):
    filling = Element(0x00020001, "OB", bytes(64 * 1024 - 144 + cut))
    meta = encode([filling, Element(0x00020010, "UI", padded(IMPLICIT_LE))], Form())
    data = bytes(128) + b"DICM" + meta + encode([FIRST, ROWS], Form(explicit=False))

    with file_source(data) as source:
        tokens = part10.read(source, Limits())

    assert tokens.transfer_syntax == IMPLICIT_LE
    assert places(tokens) == ["00080016", "00280010"]


@pytest.mark.parametrize(
    ("syntax", "form"),
    [
        pytest.param(EXPLICIT_LE, Form(explicit=False), id="says explicit, is implicit"),
        pytest.param(IMPLICIT_LE, Form(), id="says implicit, is explicit"),
        pytest.param(JPEG_BASELINE, Form(explicit=False), id="says JPEG, is implicit"),
    ],
)
def test_a_transfer_syntax_that_contradicts_the_data_set_is_overruled_and_said(syntax, form):
    tokens = read_elements(NAME, ROWS, syntax=syntax, form=form)

    assert places(tokens) == ["00080016", "00100010", "00280010"]
    assert tokens.root.explicit == form.explicit
    assert tokens.anomalies == ["transfer-syntax-contradicted"]


@pytest.mark.parametrize("syntax", ["1.2.3.4", "1.2.840.113619.5.2", "not a uid", "1.2.840.10008"])
def test_an_encoding_that_the_standard_does_not_name_is_not_supported(syntax):
    with pytest.raises(UnsupportedTransferSyntax):
        read_elements(ROWS, syntax=syntax)


@pytest.mark.parametrize("syntax", [DEFLATED_LE, EXPLICIT_BE])
def test_what_was_converted_is_read_from_the_converted_bytes(syntax):
    tokens = read_elements(
        NAME, sequence(0x00081140, [ROWS]), Element(PIXEL_DATA, "OW", b"\1\2\3\4"), syntax=syntax
    )

    assert tokens.anomalies == ["transfer-syntax-converted"]
    assert tokens.transfer_syntax == EXPLICIT_LE
    assert value(tokens, 0x00280010, (0x00081140, 0)) == b"\1\0"
    assert tokens.source.read(tokens.pixels.value, tokens.pixels.length) == b"\1\2\3\4"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_a_pixel_value_of_few_bytes_at_the_end_is_found(syntax, size):
    tokens = read_elements(Element(PIXEL_DATA, "OW", bytes(size)), syntax=syntax)

    assert tokens.pixels.length == size
    assert tokens.pixels.stop == tokens.source.size


@pytest.mark.parametrize("surplus", range(13, 50))
def test_a_deflated_data_set_whose_end_waits_inside_the_inflater_is_read_whole(surplus):
    # 4 MiB leave the inflater at a time: the last input may be gone while output still waits.
    first = encode([FIRST], Form())
    zeros = bytes((4 << 20) + surplus - len(first) - 12)

    tokens = read_elements(Element(PIXEL_DATA, "OB", zeros), syntax=DEFLATED_LE)

    assert tokens.pixels.length == len(zeros)

"""Lengths, nesting, pixel data and what stands behind it."""

import pytest

from app.errors import GatewayError, MalformedDicom, Truncated
from tests.dicom.building import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    PIXEL_DATA,
    SEQUENCE_END,
    Element,
    Form,
    Item,
    Stream,
    encode,
    header,
    sequence,
)
from tests.dicom.oracle import tokens_outline
from tests.dicom.reading import FIRST, places, read, read_elements, value, values

PLAIN = (EXPLICIT_LE, IMPLICIT_LE)
CODE = Element(0x00080100, "SH", b"T-1 ")
MEANING = Element(0x00080104, "LO", b"Left")
ROWS = Element(0x00280010, "US", b"\2\0")
SOURCE = 0x00082112
PURPOSE = 0x0040A170
NATIVE = Element(PIXEL_DATA, "OW", b"\1\2\3\4")
ENCAPSULATED = Element(PIXEL_DATA, "OB", fragments=(b"", b"\1\2", b"\3\4\5\6"))


# --- Sequences ---------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [*PLAIN, EXPLICIT_BE, DEFLATED_LE])
@pytest.mark.parametrize("item_undefined", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_items_are_found_whatever_the_style_of_lengths(syntax, undefined, item_undefined):
    inner = Element(PURPOSE, "SQ", items=(Item((CODE,), item_undefined),), undefined=undefined)
    items = (Item((CODE, inner), item_undefined), Item((), item_undefined))
    outer = Element(SOURCE, "SQ", items=items, undefined=undefined)

    tokens = read_elements(outer, ROWS, syntax=syntax)

    assert places(tokens) == ["00080016", "00082112", "00280010"]
    assert tokens_outline(tokens)[(), SOURCE].items == 2
    assert value(tokens, 0x00080100, (SOURCE, 0), (PURPOSE, 0)) == b"T-1 "


@pytest.mark.parametrize("undefined", [False, True])
def test_a_sequence_without_items_holds_none(undefined):
    tokens = read_elements(sequence(SOURCE, undefined=undefined), ROWS)

    assert tokens_outline(tokens)[(), SOURCE].items == 0
    assert value(tokens, 0x00280010) == b"\2\0"


@pytest.mark.parametrize("tag", [SOURCE, 0x00091002, 0x0018FFF0])
@pytest.mark.parametrize("syntax", PLAIN)
def test_an_un_of_undefined_length_is_a_sequence_implicit_inside(syntax, tag):
    wrapped = sequence(tag, [CODE, sequence(PURPOSE, [MEANING], undefined=True)], vr="UN")
    wrapped = Element(tag, "UN", items=wrapped.items, undefined=True)

    tokens = read_elements(wrapped, ROWS, syntax=syntax)

    assert value(tokens, 0x00080100, (tag, 0)) == b"T-1 "
    assert value(tokens, 0x00080104, (tag, 0), (PURPOSE, 0)) == b"Left"
    assert value(tokens, 0x00280010) == b"\2\0"


def test_a_public_sequence_written_as_un_of_defined_length_is_entered():
    tokens = read_elements(sequence(SOURCE, [CODE], vr="UN"))

    assert value(tokens, 0x00080100, (SOURCE, 0)) == b"T-1 "


def test_a_private_un_of_defined_length_stays_closed():
    content = encode([sequence(0x00091002, [CODE])], Form(explicit=False))[8:]

    tokens = read_elements(Element(0x00091002, "UN", content))

    assert value(tokens, 0x00091002) == content
    assert not tokens.root.sequences


def test_a_private_sequence_in_explicit_vr_is_entered():
    tokens = read_elements(sequence(0x00091002, [CODE]))

    assert value(tokens, 0x00080100, (0x00091002, 0)) == b"T-1 "


def test_encapsulated_pixel_data_inside_an_icon_is_one_value():
    icon = sequence(0x00880200, [ROWS, ENCAPSULATED], undefined=True)

    tokens = read_elements(icon, NATIVE)

    fragments = value(tokens, PIXEL_DATA, (0x00880200, 0))
    assert fragments.endswith(b"\3\4\5\6")
    assert tokens.pixels.length == 4


@pytest.mark.parametrize("syntax", PLAIN)
def test_pixel_data_inside_an_item_is_not_the_pixel_value(syntax):
    tokens = read_elements(sequence(0x00880200, [NATIVE]), ROWS, syntax=syntax)

    assert tokens.pixels is None
    assert value(tokens, PIXEL_DATA, (0x00880200, 0)) == b"\1\2\3\4"


@pytest.mark.parametrize("syntax", PLAIN)
def test_a_delimiter_inside_a_value_is_not_taken_for_one(syntax):
    trap = header(SEQUENCE_END, 0, Form()) + header(0xFFFEE00D, 0, Form())
    item = Item((Element(0x00091001, "UN", trap), CODE), undefined=True)

    tokens = read_elements(Element(SOURCE, "SQ", items=(item,), undefined=True), syntax=syntax)

    assert value(tokens, 0x00080100, (SOURCE, 0)) == b"T-1 "


# --- Single elements ---------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", PLAIN)
def test_group_lengths_are_elements_like_others(syntax):
    lengths = Element(0x00280000, "UL", b"\x0a\0\0\0")
    private = Element(0x00290000, "UL", b"\0\0\0\0")

    tokens = read_elements(lengths, ROWS, private, syntax=syntax)

    assert places(tokens) == ["00080016", "00280000", "00280010", "00290000"]


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_odd_lengths_are_taken_as_they_are(syntax, size):
    text = Element(0x00204000, "LT", b"a" * size)

    tokens = read_elements(text, ROWS, syntax=syntax)

    assert values(tokens, 0x00204000, 0x00280010) == [b"a" * size, b"\2\0"]


def test_an_element_that_comes_twice_is_found_twice():
    tokens = read_elements(ROWS, ROWS)

    assert tokens.root.keys[1] == tokens.root.keys[2]


def test_elements_out_of_order_are_taken_in_their_order():
    tokens = read_elements(ROWS, CODE)

    assert places(tokens) == ["00080016", "00280010", "00080100"]


# --- Pixel data and what follows ---------------------------------------------------------------


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(
    ("tag", "vr"), [(0x7FE00008, "OF"), (0x7FE00009, "OD"), (PIXEL_DATA, "OW")]
)
def test_every_kind_of_pixel_value_is_found_in_its_place(syntax, tag, vr):
    content = bytes(range(16))

    tokens = read_elements(ROWS, Element(tag, vr, content), syntax=syntax)

    pixels = tokens.pixels
    assert tokens.source.read(pixels.value, pixels.length) == content
    assert tokens.root.stop == pixels.start
    assert pixels.stop == tokens.source.size


def test_fragments_are_found_without_their_headers():
    tokens = read_elements(ENCAPSULATED, syntax=JPEG_BASELINE)

    found = [tokens.source.read(*fragment) for fragment in tokens.pixels.fragments]
    assert found == [b"", b"\1\2", b"\3\4\5\6"]
    assert tokens.pixels.stop == tokens.source.size


@pytest.mark.parametrize("pixels", [NATIVE, ENCAPSULATED])
def test_elements_behind_the_pixel_value_are_read(pixels):
    private = Element(0x7FE11001, "OB", b"\1\2\3\4")
    padding = Element(0xFFFCFFFC, "OB", bytes(6))

    tokens = read_elements(pixels, private, padding)

    assert places(tokens) == ["00080016", "7FE00010", "7FE11001", "FFFCFFFC"]
    assert values(tokens, 0x7FE11001, 0xFFFCFFFC) == [b"\1\2\3\4", bytes(6)]


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(
    "trailing",
    [
        pytest.param(b"\0", id="one zero"),
        pytest.param(b"\0" * 1000, id="zeros"),
        pytest.param(b"\r\n", id="a line end"),
        pytest.param(b"Quillonbury^Zebedee", id="text"),
        pytest.param(b"\xd9\xff" * 64, id="ends of JPEG images"),
    ],
)
def test_what_is_no_element_behind_the_pixel_value_is_dropped_and_said(syntax, trailing):
    tokens = read_elements(NATIVE, syntax=syntax, trailing=trailing)

    assert tokens.tail is None or not tokens.tail.keys
    assert tokens.anomalies == ["trailing-bytes-removed"]


@pytest.mark.parametrize("syntax", [*PLAIN, EXPLICIT_BE])
@pytest.mark.parametrize("trailing", [b"\0\0", b"\r\n", bytes(500)])
def test_padding_behind_the_last_element_is_dropped_and_said(syntax, trailing):
    tokens = read_elements(ROWS, syntax=syntax, trailing=trailing)

    assert places(tokens) == ["00080016", "00280010"]
    assert ("trailing-bytes-removed" in tokens.anomalies) == (syntax != EXPLICIT_BE)


def test_elements_of_lower_tags_behind_the_pixel_value_are_dropped_and_said():
    tokens = read_elements(NATIVE, CODE)

    assert places(tokens) == ["00080016", "7FE00010"]
    assert tokens.anomalies == ["trailing-bytes-removed"]


def test_a_second_pixel_value_is_refused():
    behind = Element(0x7FE00010, "OW", b"\1\2")
    private = Element(0x7FE11001, "OB", b"")

    with pytest.raises(MalformedDicom):
        read_elements(NATIVE, private, behind)


# --- Damage ------------------------------------------------------------------------------------

WHOLE = Stream((FIRST, sequence(SOURCE, [CODE], undefined=True), ROWS, NATIVE))
FRAMES = Stream((FIRST, ROWS, ENCAPSULATED), syntax=JPEG_BASELINE)


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(b"T-1", id="inside a value in an item"),
        pytest.param(b"\x08\0\x12\x21SQ", id="inside the header of a sequence"),
        pytest.param(b"\x28\0\x10\0U", id="inside a header"),
        pytest.param(b"\x28\0\x10\0US\2\0\2", id="inside a value"),
        pytest.param(b"\xe0\x7f\x10\0OW", id="inside the header of the pixel value"),
        pytest.param(b"\xe0\x7f\x10\0OW\0\0\4\0\0\0\1", id="inside the pixel value"),
    ],
)
def test_a_stream_that_was_cut_off_is_incomplete(kept):
    data = WHOLE.encode()

    with pytest.raises(Truncated):
        read(data[: data.index(kept) + len(kept)])


@pytest.mark.parametrize("missing", range(1, 33))
def test_encapsulated_pixel_data_that_was_cut_off_is_incomplete(missing):
    with pytest.raises(Truncated):
        read(FRAMES.encode()[:-missing])


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_deflated_stream_that_was_cut_off_is_incomplete(kept):
    whole = Stream((FIRST, ROWS, NATIVE), syntax=DEFLATED_LE).encode()
    begin = whole.index(b"1.2.840.10008.1.2.1.99") + 22

    with pytest.raises(Truncated):
        read(whole[: begin + kept] if kept >= 0 else whole[:kept])


def test_a_deflated_stream_of_garbage_is_malformed():
    whole = Stream((FIRST,), syntax=DEFLATED_LE).encode()
    begin = whole.index(b"1.2.840.10008.1.2.1.99") + 22

    with pytest.raises(MalformedDicom):
        read(whole[:begin] + b"\xff" * 100)


def broken(tag: int, vr: str, length: int, content: bytes) -> bytes:
    """A stream with one element whose length is what the test says."""
    size = length.to_bytes(4, "little")
    element = tag.to_bytes(4, "big")
    number = element[1::-1] + element[:1:-1]
    return Stream((FIRST,), trailing=number + vr.encode() + b"\0\0" + size + content).encode()


ITEM_OF_4 = header(0xFFFEE000, 4, Form()) + b"abcd"
ITEM = header(0xFFFEE000, 12, Form()) + encode([CODE], Form())


@pytest.mark.parametrize(
    ("data", "path"),
    [
        pytest.param(
            broken(SOURCE, "SQ", 20, CODE.value * 5),
            "(0008,2112)[0].(0008,2112)",
            id="no item in a sequence",
        ),
        pytest.param(
            broken(SOURCE, "SQ", 12, ITEM),
            "(0008,2112)[0].(0008,2112)",
            id="an item longer than its sequence",
        ),
        pytest.param(
            broken(SOURCE, "SQ", 20, ITEM.replace(b"SH\4", b"SH\x44")),
            "(0008,2112)[0].(0008,0100)",
            id="an element longer than its item",
        ),
        pytest.param(
            broken(SOURCE, "SQ", 20, ITEM.replace(b"SH", b"Zz")),
            "(0008,2112)[0].(0008,0100)",
            id="no VR",
        ),
        pytest.param(
            broken(0x00420011, "OB", 0xFFFFFFFF, b"abcdefgh"),
            "(0042,0011)",
            id="an undefined length on a value",
        ),
        pytest.param(
            broken(PIXEL_DATA, "OB", 0xFFFFFFFF, b"abcdefgh"),
            "(7FE0,0010)",
            id="encapsulated pixel data without items",
        ),
    ],
)
def test_what_contradicts_itself_is_malformed_and_its_place_named_without_its_value(data, path):
    with pytest.raises(MalformedDicom) as refusal:
        read(data)

    assert refusal.value.path == path
    assert "abcd" not in str(refusal.value)
    assert "T-1" not in str(refusal.value)


def test_zeros_in_the_middle_are_no_padding():
    data = Stream((FIRST,), trailing=bytes(16) + encode([ROWS], Form())).encode()

    with pytest.raises(MalformedDicom):
        read(data)


def test_an_item_longer_than_its_sequence_is_malformed_in_big_endian():
    form = Form(big_endian=True)
    inner = b"\x00\x08\x21\x12SQ\0\0" + (12).to_bytes(4, "big")
    content = header(0xFFFEE000, 12, form) + encode([CODE], form)
    outer = Element(0x00081140, "SQ", items=(Item((), undefined=True),))
    whole = encode([outer], form).replace(
        header(0xFFFEE00D, 0, form), inner + content + header(0xFFFEE00D, 0, form)
    )
    undefined = whole[:8] + b"\xff" * 4 + whole[12:] + header(SEQUENCE_END, 0, form)

    with pytest.raises(MalformedDicom):
        read(Stream((FIRST,), syntax=EXPLICIT_BE, trailing=undefined).encode())


NESTED = Element(0x00081140, "UN", items=(Item((Element(0x00081155, "UI", b"1.2.3\0"),)),))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("tag", [0x00081140, 0x00091040])
def test_an_unknown_sequence_of_undefined_length_is_little_endian_in_big_endian(tag, inside):
    # PS3.5, 6.2.2: whatever the transfer syntax, what is inside is implicit VR little endian.
    inner = (Element(0x00080050, "SH", b"ACC7"), NESTED)
    unknown = Element(tag, "UN", items=(Item(inner, undefined=inside), Item()), undefined=True)
    last = Element(0x00200013, "IS", b"7 ")
    creator = Element(0x00090010, "LO", b"MAKER ")
    elements = (FIRST, creator, unknown, last) if tag >> 16 & 1 else (FIRST, unknown, last)

    little, big = (read(Stream(elements, syntax=s).encode()) for s in (EXPLICIT_LE, EXPLICIT_BE))

    assert big.root.keys == little.root.keys
    index = len(big.root.keys) - 2
    held = [tokens.buffer[slice(*tokens.root.value_span(index))] for tokens in (big, little)]
    assert held[0] == held[1]
    items = big.root.sequences[index].datasets
    assert [len(item.keys) for item in items] == [2, 0]
    assert len(items[0].sequences[1].datasets) == 1


@pytest.mark.parametrize("cut", range(1, 30))
def test_an_unknown_sequence_in_big_endian_that_is_cut_off_is_refused(cut):
    unknown = Element(0x00091040, "UN", items=(Item((NESTED,)),), undefined=True)

    with pytest.raises(GatewayError):
        read(Stream((FIRST, unknown), syntax=EXPLICIT_BE).encode()[:-cut])


def test_an_unknown_value_of_undefined_length_that_is_big_endian_is_refused():
    form = Form(big_endian=True)
    inside = header(0xFFFEE000, 0, form) + header(SEQUENCE_END, 0, form)
    begin = encode((Element(0x00091040, "UN", b""),), form)[:-4] + b"\xff" * 4

    with pytest.raises(MalformedDicom):
        read(Stream((FIRST,), syntax=EXPLICIT_BE, trailing=begin + inside).encode())

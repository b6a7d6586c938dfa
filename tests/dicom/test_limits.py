"""Bounds: what passes one is refused, before it costs time or memory."""

import resource

import pytest

from app.dicom import part10
from app.dicom.elements import key_tag
from app.dicom.source import MemorySource, Source
from app.dicom.tokens import Limits, Tokens
from app.errors import LimitExceeded, MalformedDicom, Truncated
from tests.dicom.building import (
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
    header,
    sequence,
)
from tests.dicom.reading import FIRST, file_source, places, read_elements, value

ALL = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE)
ROWS = Element(0x00280010, "US", b"\2\0")
COMMENT = 0x00204000
PIXELS = Element(PIXEL_DATA, "OW", b"\1\2\3\4")
SOURCE = 0x00082112


def nested(depth: int, *, undefined: bool = False, vr: str = "SQ") -> Element:
    """A sequence in a sequence, ``depth`` of them."""
    element = sequence(SOURCE, [ROWS], undefined=undefined, vr=vr)
    for _ in range(depth - 1):
        element = sequence(SOURCE, [element], undefined=undefined, vr=vr)
    return element


@pytest.mark.parametrize("syntax", ALL)
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_down_to_the_bound_are_read(syntax, undefined):
    tokens = read_elements(
        nested(4, undefined=undefined), syntax=syntax, limits=Limits(max_depth=4)
    )

    assert value(tokens, 0x00280010, *[(SOURCE, 0)] * 4) == b"\2\0"


@pytest.mark.parametrize("syntax", ALL)
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_below_the_bound_are_refused(syntax, undefined):
    with pytest.raises(LimitExceeded):
        read_elements(nested(5, undefined=undefined), syntax=syntax, limits=Limits(max_depth=4))


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
def test_a_bomb_of_nested_sequences_is_refused_not_run_into(syntax):
    vr = b"" if syntax == IMPLICIT_LE else b"SQ\0\0"
    order = "big" if syntax == EXPLICIT_BE else "little"
    form = Form(big_endian=syntax == EXPLICIT_BE)
    tag = (0x0008).to_bytes(2, order) + (0x2112).to_bytes(2, order)
    step = tag + vr + b"\xff" * 4 + header(0xFFFEE000, 0xFFFFFFFF, form)

    with pytest.raises(LimitExceeded):
        read_elements(syntax=syntax, trailing=step * 100_000)


def test_the_deepest_nesting_that_settings_allow_does_not_exhaust_the_stack():
    with pytest.raises(LimitExceeded):
        read_elements(nested(101), limits=Limits(max_depth=100))


@pytest.mark.parametrize("syntax", ALL)
def test_more_elements_than_the_bound_are_refused(syntax):
    with pytest.raises(LimitExceeded):
        read_elements(*[ROWS] * 100, syntax=syntax, limits=Limits(max_elements=100))


@pytest.mark.parametrize("syntax", ALL)
def test_elements_in_items_count_as_well(syntax):
    items = sequence(SOURCE, *[[ROWS, ROWS]] * 20)

    with pytest.raises(LimitExceeded):
        read_elements(items, ROWS, syntax=syntax, limits=Limits(max_elements=50))


@pytest.mark.parametrize("syntax", ALL)
@pytest.mark.parametrize("undefined", [False, True])
def test_empty_items_count_as_well(syntax, undefined):
    items = sequence(SOURCE, *[[]] * 1000, undefined=undefined)

    with pytest.raises(LimitExceeded):
        read_elements(items, syntax=syntax, limits=Limits(max_elements=900))


def test_fragments_count_as_well():
    frames = Element(PIXEL_DATA, "OB", fragments=(b"",) * 1000)

    with pytest.raises(LimitExceeded):
        read_elements(frames, syntax=JPEG_BASELINE, limits=Limits(max_elements=900))


def test_fragments_of_an_icon_count_as_well():
    frames = Element(PIXEL_DATA, "OB", fragments=(b"",) * 1000)

    with pytest.raises((LimitExceeded, MalformedDicom)):
        read_elements(sequence(0x00880200, [frames]), limits=Limits(max_elements=900))


def test_elements_behind_the_pixel_value_count_as_well():
    private = [Element(0x7FE11000 + number, "LO", b"") for number in range(100)]

    with pytest.raises(LimitExceeded):
        read_elements(PIXELS, *private, limits=Limits(max_elements=90))


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("pixels", [(), (PIXELS,)])
def test_a_header_above_the_bound_is_refused(in_file, pixels):
    data = Stream((FIRST, Element(COMMENT, "UT", bytes(200_000)), *pixels)).encode()
    limits = Limits(max_header_bytes=150_000)

    with file_source(data) as source, pytest.raises(LimitExceeded):
        part10.read(source if in_file else MemorySource(data), limits)


def test_pixel_data_does_not_count_as_header():
    tokens = read_elements(
        Element(PIXEL_DATA, "OW", bytes(200_000)), limits=Limits(max_header_bytes=1000)
    )

    assert tokens.pixels.length == 200_000


def test_what_follows_the_pixel_value_has_the_same_bound():
    private = Element(0x7FE11001, "OB", bytes(2000))

    with pytest.raises(LimitExceeded):
        read_elements(PIXELS, private, limits=Limits(max_header_bytes=1000))


def test_an_inflation_bomb_is_stopped_at_the_bound():
    bomb = Stream((FIRST, Element(PIXEL_DATA, "OB", bytes(64 << 20))), syntax=DEFLATED_LE).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(LimitExceeded):
        part10.read(MemorySource(bomb), Limits(max_converted_bytes=1 << 20))

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024, "kilobytes"


def test_a_data_set_too_large_to_convert_is_refused():
    with pytest.raises(LimitExceeded):
        read_elements(
            Element(PIXEL_DATA, "OW", bytes(2000)),
            syntax=EXPLICIT_BE,
            limits=Limits(max_converted_bytes=1000),
        )


# --- A file's growing window -------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("size", [60_000, 64 * 1024, 70_000, 600_000, 5_000_000])
def test_a_header_longer_than_the_window_is_read_with_right_places(syntax, size):
    items = sequence(SOURCE, [Element(COMMENT, "UT", bytes(size)), ROWS])
    private = Element(0x7FE11001, "OB" if syntax == EXPLICIT_LE else "UN", b"\5\6")
    data = Stream((FIRST, items, ROWS, PIXELS, private), syntax=syntax).encode()

    with file_source(data) as source:
        tokens = part10.read(source, Limits())
        pixels = tokens.source.read(tokens.pixels.value, tokens.pixels.length)

    assert value_at(tokens, 0x00280010) == b"\2\0"
    assert pixels == b"\1\2\3\4"
    assert tokens.tail_buffer.endswith(b"\5\6")


def value_at(tokens: Tokens, tag: int) -> bytes:
    """The bytes of an element of the root, without reading the pixel value."""
    index = [key_tag(key) for key in tokens.root.keys].index(tag)
    start, stop = tokens.root.value_span(index)
    return tokens.buffer[start:stop]


@pytest.mark.parametrize("behind", [bytes(100_000), bytes(100_000) + b"x" * 100_000])
def test_zeros_at_the_end_of_the_window_are_judged_with_what_follows(behind):
    data = Stream((FIRST,), trailing=behind).encode()

    with file_source(data) as source:
        assert outcome(source) == outcome(MemorySource(data))


@pytest.mark.parametrize("surplus", range(-8, 9))
def test_a_few_bytes_behind_the_last_element_are_seen_though_the_window_ends_there(surplus):
    begin = len(Stream((FIRST,)).encode()) + 12
    last = Element(COMMENT, "UT", bytes(64 * 1024 - begin + surplus))
    data = Stream((FIRST, last), trailing=b"\0\0abc").encode()
    with file_source(data) as source, pytest.raises(Truncated):
        part10.read(source, Limits())


def outcome(source: Source) -> str | list[str]:
    """What becomes of a source: its elements, or the code of its refusal."""
    try:
        return places(part10.read(source, Limits()))
    except (MalformedDicom, Truncated, LimitExceeded) as error:
        return error.code


def test_a_value_that_ends_behind_the_file_is_incomplete_in_memory_and_in_a_file():
    data = Stream((FIRST, Element(COMMENT, "UT", bytes(100_000)))).encode()[:-1]

    with file_source(data) as source, pytest.raises(Truncated):
        part10.read(source, Limits())
    with pytest.raises(Truncated):
        part10.read(MemorySource(data), Limits())


def test_a_deflated_file_that_holds_a_cut_off_data_set_is_inflated_once_and_incomplete():
    inside = encode([Element(COMMENT, "UT", bytes(1000))], Form())[:-1]
    data = Stream((FIRST,), syntax=DEFLATED_LE, trailing=inside).encode()

    with file_source(data) as source, pytest.raises(Truncated):
        part10.read(source, Limits(max_header_bytes=128))

"""Where frames lie, what is beside their values, and pictures as JSON."""

import json
import struct
from dataclasses import replace

import pytest

from app.dicom.elements import make_key
from app.dicom.frames import Lent, Range, lent_frames
from app.dicom.source import MemorySource
from app.dicom.tokens import PixelValue
from app.errors import MalformedDicom, UndecidableElement
from app.pipeline.output import ResultSource
from app.pixels.model import Box, Palette, Picture
from app.pixels.placing import frames_of, has_unused_bits
from app.pixels.wire import picture_from_json, picture_to_json

_EXPLICIT = "1.2.840.10008.1.2.1"
_RLE, _J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
_PIXELS = 0x7FE00010
_WORDS = Picture("", _EXPLICIT, rows=2, columns=2, bits_allocated=16, bits_stored=12, high_bit=11)


def _native(length, start=0, tag=_PIXELS):
    return PixelValue(key=make_key(tag, "OW"), start=start, value=start, length=length)


def _encapsulated(fragments):
    """Return a source of a Basic Offset Table and fragments behind it, and where they lie."""
    data, places = b"", []
    for fragment in fragments:
        data += struct.pack("<II", 0xE000FFFE, len(fragment))
        places.append((len(data), len(fragment)))
        data += fragment
    pixels = PixelValue(
        key=make_key(_PIXELS, "OB"), start=0, value=0, length=None, fragments=places
    )
    return MemorySource(data), pixels


def _words(*values):
    data = struct.pack(f"<{len(values)}H", *values)
    return MemorySource(data), [[(0, len(data))]]


def test_a_picture_survives_json():
    palette = Palette(entries=2, first=0, bits=16, red=b"\0\1", green=b"\2\3", blue=b"\xff\xfe")
    picture = replace(
        _WORDS,
        image_type=("DERIVED", "SECONDARY"),
        software=("a",),
        regions=(Box(1, 2, 3, 4),),
        has_regions=True,
        window=(40.0, 400.0),
        rescale=(2.0, -1024.0),
        attributes=(("StationName", "a"),),
        palette=palette,
    )

    assert picture_from_json(json.loads(json.dumps(picture_to_json(picture)))) == picture
    assert picture_from_json(json.loads(json.dumps(picture_to_json(_WORDS)))) == _WORDS


def test_native_frames_are_one_piece_each():
    pieces = frames_of(MemorySource(bytes(20)), _native(16, 4), replace(_WORDS, frames=2))

    assert pieces == [[(4, 8)], [(12, 8)]]


def test_subsampled_native_colour_has_two_bytes_a_pixel():
    colour = Picture("", _EXPLICIT, rows=2, columns=4, frames=2, samples=3)
    colour = replace(colour, photometric="YBR_FULL_422")

    assert frames_of(MemorySource(b""), _native(32), colour) == [[(0, 16)], [(16, 16)]]
    assert frames_of(MemorySource(b""), _native(48), colour) == [[(0, 24)], [(24, 24)]]


def test_frames_of_single_bits_share_bytes():
    bits = Picture("", _EXPLICIT, rows=3, columns=3, frames=3, bits_allocated=1, bits_stored=1)

    assert frames_of(MemorySource(b""), _native(4), bits) == [[(0, 2)], [(1, 2)], [(2, 2)]]


def test_a_value_shorter_than_its_frames_is_refused():
    with pytest.raises(MalformedDicom):
        frames_of(MemorySource(b""), _native(7), _WORDS)
    with pytest.raises(MalformedDicom):
        frames_of(MemorySource(b""), _native(8), replace(_WORDS, rows=0))


def test_floating_point_pixels_are_refused():
    with pytest.raises(UndecidableElement):
        frames_of(MemorySource(b""), _native(8, tag=0x7FE00008), _WORDS)


def test_a_basic_offset_table_joins_fragments_to_frames():
    table = struct.pack("<2I", 0, 20)
    source, pixels = _encapsulated([table, b"ab", b"cd", b"ef"])

    frames = frames_of(source, pixels, replace(_WORDS, transfer_syntax=_RLE, frames=2))

    assert [b"".join(source.read(*piece) for piece in frame) for frame in frames] == [
        b"abcd",
        b"ef",
    ]


def test_a_fragment_a_frame_needs_no_offset_table():
    source, pixels = _encapsulated([b"", b"ab", b"cd"])

    frames = frames_of(source, pixels, replace(_WORDS, transfer_syntax=_RLE, frames=2))

    assert [source.read(*piece) for (piece,) in frames] == [b"ab", b"cd"]


@pytest.mark.parametrize(
    ("start", "inside"),
    [
        (b"\xff\x4f\xff\x51", b"\xff\x0a"),
        (b"\xff\x0a", b"\xff\xd8"),
        (b"\xed\xc1", b"\xff\xd8"),
        (b"\xed\xc1", b"\xff\x0a"),
    ],
)
def test_a_fragment_that_looks_like_another_format_begins_no_frame(start, inside):
    source, pixels = _encapsulated([b"", start + b"ab", inside + b"cd", inside + b"ef"])

    frames = frames_of(source, pixels, replace(_WORDS, transfer_syntax=_J2K))

    assert [len(frame) for frame in frames] == [3]


def test_fragments_that_look_like_the_first_begin_frames():
    source, pixels = _encapsulated([b"", b"\xff\xd8ab", b"cd", b"\xff\xd8ef"])

    frames = frames_of(source, pixels, replace(_WORDS, transfer_syntax=_J2K))

    assert [len(frame) for frame in frames] == [2, 1]


def test_encapsulated_pixels_without_fragments_are_refused():
    source, pixels = _encapsulated([b""])

    with pytest.raises(MalformedDicom):
        frames_of(source, pixels, replace(_WORDS, transfer_syntax=_RLE))


@pytest.mark.parametrize(
    ("values", "change", "is_unused"),
    [
        ((0x0FFF, 0, 1, 2), {}, False),
        ((0x0FFF, 0, 0x1000, 2), {}, True),
        ((0x8000, 0, 0, 2), {}, True),
        ((0xFFFF, 0xF800, 0x07FF, 0), {"signed": True}, False),
        ((0x0FFF, 0x0800, 0x07FF, 0), {"signed": True}, False),
        ((0xFFFF, 0x0800, 0x07FF, 0), {"signed": True}, True),
        ((0xFFFF, 0xF800, 0x17FF, 0), {"signed": True}, True),
        ((0xFFF0, 0x0010), {"high_bit": 15}, False),
        ((0xFFF0, 0x0011), {"high_bit": 15}, True),
        ((0xFFF0, 0x0011), {"high_bit": 15, "signed": True}, True),
        ((0x00FF, 0), {"high_bit": 7, "bits_stored": 8}, False),
        ((0x01FF, 0), {"high_bit": 7, "bits_stored": 8}, True),
        ((0xFFFF, 0), {"high_bit": 15, "bits_stored": 16}, False),
    ],
)
def test_unused_bits_that_carry_something_are_seen(values, change, is_unused):
    source, frames = _words(*values)

    assert has_unused_bits(source, frames, replace(_WORDS, **change)) is is_unused


def test_unused_bits_are_seen_in_every_frame_and_width():
    data = bytes(200_000) + b"\x80" + bytes(3)
    narrow = replace(_WORDS, bits_allocated=8, bits_stored=7, high_bit=6)
    wide = replace(_WORDS, bits_allocated=32, bits_stored=7, high_bit=6)
    frames = [[(0, 100_000)], [(100_000, len(data) - 100_000)]]

    assert has_unused_bits(MemorySource(data), frames, narrow)
    assert not has_unused_bits(MemorySource(data), frames[:1], narrow)
    assert has_unused_bits(MemorySource(data), frames, wide)


def test_lent_pieces_are_read_where_they_lie():
    source, lender = MemorySource(b"0123456789"), MemorySource(b"abcdefgh")

    result = ResultSource(source, [b"xy", Range(2, 3), Lent(lender, 1, 4), b"z"])

    assert result.size == 10
    assert result.read(0, 10) == b"xy234bcdez"
    assert result.read(4, 3) == b"4bc"
    assert not result.passes(1, 3)


def test_lent_frames_are_laid_out_as_items():
    lender = MemorySource(b"aabbbb")

    frames = lent_frames(lender, [2, 4])

    result = ResultSource(MemorySource(b""), frames.segments)
    items = [struct.pack("<2I", 0, 10), b"aa", b"bbbb"]
    encoded = b"".join(struct.pack("<II", 0xE000FFFE, len(item)) + item for item in items)
    assert result.read(0, result.size) == encoded + struct.pack("<II", 0xE0DDFFFE, 0)

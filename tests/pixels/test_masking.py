"""Marked pixels become black in every transfer syntax, and all others stay as they are."""

import struct
import zlib
from dataclasses import replace

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg
import pytest
from pydicom.pixels.encoders.native import _encode_segment

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs import cleaned, decode
from app.pixels.codecs_headers import header_of
from app.pixels.model import Box, Palette
from tests.pixels.framing import (
    JPEG,
    NATIVE,
    RLE,
    inside,
    mark,
    mask_one,
    masked,
    noise,
    outside,
    picture,
    seen,
)

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def _rle(values, image):
    """Encode with pydicom's parts, without its checks of which images have RLE."""
    size = image.bits_allocated // 8
    planes = values.reshape(image.rows, image.columns, image.samples, 1).view("u1")
    segments = [
        bytes(_encode_segment(planes[:, :, sample, byte].tobytes(), image.columns))
        for sample in range(image.samples)
        for byte in reversed(range(size))
    ]
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def _lossless(values, image):
    space = "RGB" if image.samples > 1 else None
    data = imagecodecs.jpeg8_encode(
        _codes(values, image),
        lossless=True,
        predictor=1 if image.transfer_syntax.endswith("70") else 6,
        bitspersample=image.bits_stored,
        colorspace=space,
        outcolorspace=space,
    )
    return _numbered(data) if image.photometric == "YBR_FULL" else data


def _numbered(data):
    """Call the components 1, 2 and 3 and drop what says that they are red, green and blue."""
    start = data.index(b"\xff\xee")
    data = bytearray(data[:start] + data[start + 16 :])
    for marker, first, step in ((b"\xff\xc3", 10, 3), (b"\xff\xda", 5, 2)):
        place = data.index(marker) + first
        data[place], data[place + step], data[place + 2 * step] = 1, 2, 3
    return bytes(data)


def _ls(values, image, near=0):
    codes = _codes(values, image).tobytes()
    size = (image.rows, image.columns, image.samples, image.bits_stored)
    mode = 2 if image.samples > 1 else 0
    return bytes(jpeg_ls.encode_buffer(codes, *size, near, mode))


def _near(values, image):
    return _ls(values, image, 3)


def _codes(values, image):
    """Return unsigned codes as wide as the values are stored."""
    codes = values.astype(np.int64) & ((1 << image.bits_stored) - 1)
    return codes.astype("u1" if image.bits_stored <= 8 else "<u2")


def _j2k(values, image, **more):
    space = 1 if image.photometric in {"YBR_RCT", "YBR_ICT"} else 0
    return openjpeg.utils.encode_array(values, image.bits_stored, space, **more)


def _j2k_lossy(values, image):
    return _j2k(values, image, compression_ratios=[8])


def _ht(values, image):
    return imagecodecs.htj2k_encode(values, reversible=True, rgb=image.photometric == "YBR_RCT")


def _ht_lossy(values, _image):
    return imagecodecs.htj2k_encode(values, level=0.002, reversible=False)


def _xl(values, image):
    return imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=image.bits_stored)


def _xl_lossy(values, image):
    return imagecodecs.jpegxl_encode(values, level=90, bitspersample=image.bits_stored)


def _case(name, syntax, encoder, photometric, values, plugin, **more):
    image = picture(syntax, values, photometric, **more)
    return pytest.param(image, values, encoder, plugin, id=name)


CASES = [
    _case("rle-8", RLE, _rle, "MONOCHROME2", noise(8), "pydicom"),
    _case("rle-16-signed", RLE, _rle, "MONOCHROME2", noise(16, signed=True), "pydicom"),
    _case("rle-12-inverted", RLE, _rle, "MONOCHROME1", noise(12), "pydicom", bits=12),
    _case("rle-32", RLE, _rle, "MONOCHROME2", noise(32), "pydicom"),
    _case("rle-rgb", RLE, _rle, "RGB", noise(8, 3), "pydicom"),
    _case("rle-rgb-16", RLE, _rle, "RGB", noise(16, 3), "pydicom"),
    _case("rle-ybr", RLE, _rle, "YBR_FULL", noise(8, 3), "pydicom"),
    _case("jpeg-57-16", JPEG + "57", _lossless, "MONOCHROME2", noise(16), "gdcm"),
    _case("jpeg-57-12", JPEG + "57", _lossless, "MONOCHROME2", noise(12), "gdcm", bits=12),
    _case("jpeg-70-8", JPEG + "70", _lossless, "MONOCHROME2", noise(8), "gdcm"),
    _case(
        "jpeg-70-16-signed", JPEG + "70", _lossless, "MONOCHROME2", noise(16, signed=True), "gdcm"
    ),
    _case("jpeg-70-rgb", JPEG + "70", _lossless, "RGB", noise(8, 3), "gdcm"),
    _case("jpeg-70-ybr", JPEG + "70", _lossless, "YBR_FULL", noise(8, 3), "gdcm"),
    _case("jpeg-ls-8", JPEG + "80", _ls, "MONOCHROME2", noise(8), "pyjpegls"),
    _case("jpeg-ls-12", JPEG + "80", _ls, "MONOCHROME1", noise(12), "pyjpegls", bits=12),
    _case("jpeg-ls-16-signed", JPEG + "80", _ls, "MONOCHROME2", noise(16, signed=True), "gdcm"),
    _case("jpeg-ls-rgb", JPEG + "80", _ls, "RGB", noise(8, 3), "gdcm"),
    _case("jpeg-ls-near-8", JPEG + "81", _near, "MONOCHROME2", noise(8), "pyjpegls"),
    _case("jpeg-ls-near-rgb", JPEG + "81", _near, "RGB", noise(8, 3), "gdcm"),
    _case("jpeg-2000-8", JPEG + "90", _j2k, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("jpeg-2000-12", JPEG + "90", _j2k, "MONOCHROME2", noise(12), "pylibjpeg", bits=12),
    _case(
        "jpeg-2000-16-signed", JPEG + "90", _j2k, "MONOCHROME2", noise(16, signed=True), "pylibjpeg"
    ),
    _case("jpeg-2000-rct", JPEG + "90", _j2k, "YBR_RCT", noise(8, 3), "pylibjpeg"),
    _case("jpeg-2000-rgb", JPEG + "90", _j2k, "RGB", noise(8, 3), "pylibjpeg"),
    _case("jpeg-2000-ybr", JPEG + "90", _j2k, "YBR_FULL", noise(8, 3), "gdcm"),
    _case("jpeg-2000-lossy", JPEG + "91", _j2k_lossy, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("jpeg-2000-ict", JPEG + "91", _j2k_lossy, "YBR_ICT", noise(8, 3), "pylibjpeg"),
    _case("jpeg-2000-part-2", JPEG + "92", _j2k, "MONOCHROME2", noise(8), ""),
    _case("jpeg-2000-part-2-lossy", JPEG + "93", _j2k_lossy, "MONOCHROME2", noise(8), ""),
    _case("htj2k-8", JPEG + "201", _ht, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("htj2k-16-signed", JPEG + "201", _ht, "MONOCHROME2", noise(16, signed=True), "pylibjpeg"),
    _case("htj2k-rct", JPEG + "201", _ht, "YBR_RCT", noise(8, 3), "pylibjpeg"),
    _case("htj2k-rpcl", JPEG + "202", _ht, "MONOCHROME2", noise(16), "pylibjpeg"),
    _case("htj2k-lossy", JPEG + "203", _ht_lossy, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("jpeg-xl-8", JPEG + "110", _xl, "MONOCHROME2", noise(8), ""),
    _case("jpeg-xl-12", JPEG + "110", _xl, "MONOCHROME2", noise(12), "", bits=12),
    _case("jpeg-xl-rgb", JPEG + "110", _xl, "RGB", noise(8, 3), ""),
    _case("jpeg-xl-lossy", JPEG + "112", _xl_lossy, "RGB", noise(8, 3), ""),
    _case(
        "deflated-frames",
        DEFLATED_FRAMES,
        lambda values, _: _deflated(values.tobytes()),
        "MONOCHROME2",
        noise(16),
        "",
    ),
]


def _deflated(data):
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


def _even(data):
    return bytes(data) + b"\0" * (len(data) % 2)


def _shown(frames, image, plugin):
    """Decode with another library where there is one."""
    if plugin:
        return seen(frames, image, plugin)
    return decode(cleaned(frames[0], image), image).values


def _black(image):
    if image.samples == 3:
        return [0, 128, 128] if image.photometric == "YBR_FULL" else [0, 0, 0]
    if image.photometric == "MONOCHROME1":
        return [(1 << image.bits_stored) - 1]
    return [-(1 << (image.bits_stored - 1)) if image.signed else 0]


@pytest.mark.parametrize(("image", "values", "encoder", "plugin"), CASES)
def test_marked_pixels_are_black_and_all_others_as_they_were(image, values, encoder, plugin):
    before = _even(encoder(values, image))

    after = mask_one(before, image)

    old, new = _shown([before], image, plugin), _shown([after], image, plugin)
    assert len(after) % 2 == 0
    assert new.dtype == old.dtype
    assert np.unique(inside(new).astype(np.int64), axis=0).tolist() in _as_codes(image, new)
    np.testing.assert_array_equal(outside(old), outside(new))
    assert np.unique(outside(new)).size > 20


def _as_codes(image, values):
    """Return black as numbers or, where a decoder gives codes, as codes."""
    black = _black(image)
    width = values.dtype.itemsize * 8
    return [[black], [[value & ((1 << width) - 1) for value in black]]]


@pytest.mark.parametrize(
    ("syntax", "encoder", "bits"),
    [
        (JPEG + "57", _lossless, 10),
        (JPEG + "80", _ls, 10),
        (JPEG + "90", _j2k, 10),
        (JPEG + "110", _xl, 10),
    ],
)
def test_a_codestream_keeps_its_precision_and_colours(syntax, encoder, bits):
    values = noise(bits)
    image = picture(syntax, values, "MONOCHROME2", bits=bits)
    before = cleaned(_even(encoder(values, image)), image)

    after = mask_one(before, image)

    assert header_of(after) == replace(header_of(before), has_jfif=False)


@pytest.mark.parametrize("bits", [5, 11, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_high_throughput_frames_keep_a_precision_that_the_encoder_does_not_know(bits, signed):
    values = noise(bits, signed=signed)
    image = picture(JPEG + "201", values, "MONOCHROME2", bits=bits)
    whole = _ht(values, image)
    sign = 0x80 if signed else 0
    shifted = values if signed else values.astype(f"i{values.dtype.itemsize}") - (1 << (bits - 1))
    whole = bytearray(_ht(shifted, image))
    whole[42] = (bits - 1) | sign

    after = mask_one(_even(whole), image)

    assert header_of(after).bits == bits
    for decoded in (seen([after], image, "pylibjpeg"), imagecodecs.htj2k_decode(after)):
        np.testing.assert_array_equal(outside(decoded), outside(values))
        assert set(inside(decoded).ravel().tolist()) == set(_black(image))


def test_random_access_syntax_keeps_its_progression_and_lengths():
    values = noise(16)
    image = picture(JPEG + "202", values, "MONOCHROME2")

    after = mask_one(_even(_ht(values, image)), image)

    assert after[after.index(b"\xff\x52") + 5] == 2
    assert b"\xff\x55" in after[: after.index(b"\xff\x90")]


def test_jpeg_ls_keeps_the_order_of_its_samples():
    values = noise(8, 3)
    image = picture(JPEG + "80", values, "RGB")
    sources = {0: np.moveaxis(values, 2, 0), 1: values, 2: values}

    for mode, source in sources.items():
        data = jpeg_ls.encode_buffer(source.tobytes(), *values.shape, 8, 0, mode)
        after = mask_one(_even(data), image)
        assert header_of(after).interleave == mode
        np.testing.assert_array_equal(outside(imagecodecs.jpegls_decode(after)), outside(values))


def test_a_lossy_colour_transform_becomes_the_reversible_one():
    values = noise(8, 3)
    image = picture(JPEG + "91", values, "YBR_ICT")

    done = masked([_even(_j2k_lossy(values, image))], image, [mark()])

    assert done.answer["photometric"] == "YBR_RCT"
    assert header_of(done.frames[0]).has_transform
    assert done.frames[0][done.frames[0].index(b"\xff\x52") + 13] == 1  # the 5/3 wavelet


def test_a_meaning_that_holds_for_some_frames_only_is_not_told():
    values = noise(8, 3)
    image = picture(JPEG + "91", values, "YBR_ICT", frames=2)
    data = _even(_j2k_lossy(values, image))

    done = masked([data, data], image, [mark(frames=(1, 1))])

    assert "photometric" not in done.answer
    assert done.frames[0] == cleaned(data, image)


# --- Native pixels ------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 12, 16, 32])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_native_grey_of_every_width(bits, signed, photometric):
    values = noise(bits, signed=signed)
    image = picture(NATIVE, values, photometric, bits=bits)

    after = np.frombuffer(mask_one(values.tobytes(), image), values.dtype).reshape(values.shape)

    lowest = -(1 << (bits - 1)) if signed else 0
    highest = lowest + (1 << bits) - 1
    black = highest if photometric == "MONOCHROME1" else lowest
    np.testing.assert_array_equal(outside(after), outside(values))
    assert set(inside(after).ravel().tolist()) == {black}


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_native_colour_by_pixel_and_by_plane(photometric, planar, bits):
    values = noise(bits, 3)
    image = picture(NATIVE, values, photometric, planar=planar)
    order = np.moveaxis(values, 2, 0) if planar else values

    after = np.frombuffer(mask_one(order.tobytes(), image), values.dtype).reshape(order.shape)

    after = np.moveaxis(after, 0, 2) if planar else after
    middle = 1 << (bits - 1)
    black = [0, 0, 0] if photometric == "RGB" else [0, middle, middle]
    np.testing.assert_array_equal(outside(after), outside(values))
    assert np.unique(inside(after), axis=0).tolist() == [black]


def test_subsampled_native_colour_is_overwritten_by_pairs():
    pairs = np.random.default_rng(0).integers(0, 256, (45, 35, 4)).astype("u1")
    image = replace(picture(NATIVE, noise(8, 3), "YBR_FULL_422"), columns=70)
    box = Box(13, 9, 41, 21)

    after = np.frombuffer(mask_one(pairs.tobytes(), image, box), "u1").reshape(pairs.shape)

    halves = Box(6, 9, 21, 21)
    np.testing.assert_array_equal(outside(after, halves), outside(pairs, halves))
    assert np.unique(inside(after, halves), axis=0).tolist() == [[0, 0, 128, 128]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_frames_of_single_bits_that_share_bytes(photometric):
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, (3, 5, 9)).astype("u1")
    data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    image = replace(
        picture(NATIVE, bits[0], photometric, frames=3), bits_allocated=1, bits_stored=1, high_bit=0
    )
    box = Box(2, 1, 7, 4)

    done = masked([data], image, [mark(box, frames=(1, 2))], places=[[(0, 6)], [(5, 7)], [(11, 6)]])

    after = np.unpackbits(np.frombuffer(b"".join(done.frames), "u1"), bitorder="little")[:135]
    after = after.reshape(bits.shape)
    np.testing.assert_array_equal(after[0], bits[0])
    for number in (1, 2):
        np.testing.assert_array_equal(outside(after[number], box), outside(bits[number], box))
        assert set(inside(after[number], box).ravel().tolist()) == {
            1 if photometric == "MONOCHROME1" else 0
        }


def test_encapsulated_native_frames_are_padded_one_by_one():
    values = noise(8)[:5, :9]
    image = picture(NATIVE + ".98", values, "MONOCHROME2", frames=2)
    box = Box(2, 1, 7, 4)

    done = masked([_even(values.tobytes())] * 2, image, [mark(box)])

    for frame in done.frames:
        after = np.frombuffer(frame[:45], "u1").reshape(5, 9)
        assert len(frame) == 46
        np.testing.assert_array_equal(outside(after, box), outside(values, box))
        assert not inside(after, box).any()


def test_encapsulated_frames_of_single_bits_do_not_share_bytes():
    bits = np.random.default_rng(1).integers(0, 2, (5, 9)).astype("u1")
    data = _even(np.packbits(bits.reshape(-1), bitorder="little").tobytes())
    image = replace(
        picture(NATIVE + ".98", bits, "MONOCHROME2", frames=2),
        bits_allocated=1,
        bits_stored=1,
        high_bit=0,
    )

    done = masked([data, data], image, [mark(Box(2, 1, 7, 4), frames=(1, 1))])

    assert done.frames[0] == data
    after = np.unpackbits(np.frombuffer(done.frames[1], "u1"), bitorder="little")[:45]
    assert not inside(after.reshape(5, 9), Box(2, 1, 7, 4)).any()


def test_a_mark_is_for_its_frames_only():
    values = noise(12)
    image = picture(RLE, values, "MONOCHROME2", bits=12, frames=4)
    frame = _even(_rle(values, image))

    done = masked([frame] * 4, image, [mark(frames=(1, 2))])

    assert [part == cleaned(frame, image) for part in done.frames] == [True, False, False, True]
    assert done.answer["frames_changed"] == 2
    assert done.answer["changed_outside"] == 0
    assert not done.answer["is_lossy_again"]


def test_fragments_of_a_frame_are_joined():
    values = noise(8)
    image = picture(RLE, values, "MONOCHROME2")
    frame = _even(_rle(values, image))
    cut = len(frame) // 2 & ~1

    done = masked([frame], image, [mark()], places=[[(0, cut), (cut, len(frame) - cut)]])

    np.testing.assert_array_equal(outside(seen(done.frames, image)), outside(values))


@pytest.mark.parametrize("tail", [b"\0\0", b"Quillon\0", b"\x05a"])
def test_what_follows_the_segments_of_a_frame_does_not_disturb_and_goes(tail):
    values = noise(8)
    image = picture(RLE, values, "MONOCHROME2")

    done = masked([_rle(values, image) + tail], image, [mark()])

    np.testing.assert_array_equal(outside(seen(done.frames, image)), outside(values))
    assert b"Quillon" not in done.frames[0]


def test_a_mark_beyond_the_edge_is_clipped():
    values = noise(8)
    image = picture(NATIVE, values, "MONOCHROME2")

    after = mask_one(values.tobytes(), image, Box(-5, -5, 500, 3))

    after = np.frombuffer(after, "u1").reshape(values.shape)
    assert not after[:3].any()
    np.testing.assert_array_equal(after[3:], values[3:])


# --- Palettes and unused bits -------------------------------------------------------------------


def _palette(first=10):
    red = np.array([255, 30, 2, 200] * 50, "<u2") * 257
    return Palette(200, first, 16, red.tobytes(), red.tobytes(), red.tobytes())


def test_a_palette_gives_its_darkest_entry_and_says_which_are_used():
    values = noise(8) % 50 + 12
    image = picture(NATIVE, values, "PALETTE COLOR", palette=_palette())

    done = masked([values.tobytes()], image, [mark()])

    after = np.frombuffer(done.frames[0], "u1").reshape(values.shape)
    np.testing.assert_array_equal(outside(after), outside(values))
    assert set(inside(after).ravel().tolist()) == {12}
    entries = {n for low, high in done.answer["used_entries"] for n in range(low, high + 1)}
    assert entries == {int(value) - 10 for value in np.unique(after)}


def test_values_below_a_palette_use_its_first_entry():
    values = np.zeros((45, 70), "u1")
    image = picture(NATIVE, values, "PALETTE COLOR", palette=_palette(first=100))

    done = masked([values.tobytes()], image, [])

    assert done.answer["used_entries"] == [[0, 0]]


def test_an_image_whose_palette_is_not_there_is_refused():
    values = noise(8)

    with pytest.raises(UndecidableElement):
        mask_one(values.tobytes(), picture(NATIVE, values, "PALETTE COLOR"))


@pytest.mark.parametrize("syntax", [NATIVE, RLE, JPEG + "57", JPEG + "80", JPEG + "90"])
def test_bits_above_the_highest_are_cleared_without_any_mark(syntax):
    values = noise(12)
    dirty = values | ((noise(4, seed=3) & 0xF).astype("<u2") << 12)
    image = picture(syntax, dirty, "MONOCHROME2", bits=12)
    wide = replace(image, bits_stored=16, high_bit=15)
    encoders = {RLE: _rle, JPEG + "57": _lossless, JPEG + "80": _ls, JPEG + "90": _j2k}
    before = _even(encoders[syntax](dirty, wide)) if syntax != NATIVE else dirty.tobytes()

    done = masked([before], image, [])

    np.testing.assert_array_equal(decode(done.frames[0], image).values, values)
    assert done.answer["frames_changed"] == 1


def test_bits_beside_values_in_the_upper_part_are_cleared():
    values = noise(12) << 4
    image = picture(NATIVE, values, "MONOCHROME2", bits=12, high_bit=15)

    after = np.frombuffer(mask_one((values | 7).tobytes(), image), "<u2").reshape(values.shape)

    np.testing.assert_array_equal(outside(after), outside(values))
    assert not inside(after).any()


@pytest.mark.parametrize("is_repeated", [True, False])
def test_signs_stay_as_they_were_written(is_repeated):
    values = noise(12, signed=True)
    codes = values.view("<u2") if is_repeated else values.view("<u2") & 0xFFF
    image = replace(picture(NATIVE, codes, "MONOCHROME2", bits=12), signed=True)

    done = masked([codes.tobytes()], image, [mark()])

    after = np.frombuffer(done.frames[0], "<u2").reshape(values.shape)
    np.testing.assert_array_equal(outside(after), outside(codes))
    assert set(inside(after).ravel().tolist()) == {0xF800 if is_repeated else 0x800}


def test_signs_that_carry_something_are_repeated_everywhere():
    values = noise(12, signed=True)
    codes = values.view("<u2").copy()
    codes[::2] &= 0xFFF
    image = replace(picture(NATIVE, codes, "MONOCHROME2", bits=12), signed=True)

    done = masked([codes.tobytes()], image, [])

    np.testing.assert_array_equal(
        np.frombuffer(done.frames[0], "<i2").reshape(values.shape), values
    )


def test_nothing_to_do_leaves_every_byte():
    values = noise(12)
    for syntax, encoder in ((RLE, _rle), (JPEG + "90", _j2k), (JPEG + "80", _ls)):
        image = picture(syntax, values, "MONOCHROME2", bits=12)
        before = cleaned(_even(encoder(values, image)), image)
        assert masked([before], image, []).frames == [before]


# --- Hostile and strange ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "encoder"),
    [(RLE, _rle), (JPEG + "57", _lossless), (JPEG + "80", _ls), (JPEG + "90", _j2k)],
)
def test_frames_of_another_size_are_refused(syntax, encoder):
    values = noise(8)
    image = picture(syntax, values, "MONOCHROME2")
    data = _even(encoder(values, image))

    for change in ({"rows": 46}, {"columns": 71}, {"samples": 3, "photometric": "RGB"}):
        with pytest.raises((MalformedDicom, UndecidableElement)):
            mask_one(data, replace(image, **change))


def test_lossless_frames_on_which_two_decoders_disagree_are_refused():
    values = noise(8, 3)
    image = picture(JPEG + "70", values, "YBR_FULL")
    # The second and third component are said to use a table that they were not coded with.
    data = imagecodecs.jpeg8_encode(
        values, lossless=True, predictor=1, colorspace="YCBCR", outcolorspace="YCBCR"
    )

    with pytest.raises(MalformedDicom):
        mask_one(_even(data), image)


def test_jpeg_xl_frames_of_another_size_are_refused():
    values = noise(8)
    image = replace(picture(JPEG + "110", values, "MONOCHROME2"), rows=44)

    with pytest.raises(MalformedDicom):
        mask_one(_even(_xl(values, image)), image)


@pytest.mark.parametrize(("image", "values", "encoder", "plugin"), CASES)
def test_damaged_frames_are_refused_or_masked(image, values, encoder, plugin):  # noqa: ARG001
    data = _even(encoder(values, image))
    rng = np.random.default_rng(5)

    for _ in range(6):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] ^= 1 << rng.integers(0, 8)
        broken = broken[: len(data) - 2 * rng.integers(0, 2) * rng.integers(1, len(data) // 3)]
        try:
            after = mask_one(bytes(broken), image)
        except (MalformedDicom, UndecidableElement):
            continue
        shown = decode(after, image).values
        assert np.unique(inside(shown).astype(np.int64), axis=0).shape[0] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"bits_stored": 0},
        {"bits_stored": 17},
        {"high_bit": 40},
        {"high_bit": 3},
        {"rows": 0},
        {"bits_allocated": 12},
        {"photometric": "HSV"},
        {"photometric": ""},
    ],
)
def test_headers_that_contradict_themselves_are_refused(change):
    values = noise(16)
    image = replace(picture(NATIVE, values, "MONOCHROME2"), **change)

    with pytest.raises((MalformedDicom, UndecidableElement)):
        masked([values.tobytes()], image, [mark(Box(0, 0, 5, 5))])

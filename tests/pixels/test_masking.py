"""Marked pixels become black in every transfer syntax, and all others stay as they are."""

import zlib
from dataclasses import replace

import imagecodecs
import jpeg_ls
import numpy as np
import pytest

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs import cleaned, decode
from app.pixels.codecs_headers import header_of
from app.pixels.model import Box
from tests.pixels.encoding import (
    encode_ht,
    encode_ht_lossy,
    encode_j2k,
    encode_j2k_lossy,
    encode_lossless,
    encode_ls,
    encode_near,
    encode_rle,
    encode_xl,
    encode_xl_lossy,
    even,
)
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


def _case(name, syntax, encoder, photometric, values, plugin, **more):
    image = picture(syntax, values, photometric, **more)
    return pytest.param(image, values, encoder, plugin, id=name)


CASES = [
    _case("rle-8", RLE, encode_rle, "MONOCHROME2", noise(8), "pydicom"),
    _case("rle-16-signed", RLE, encode_rle, "MONOCHROME2", noise(16, signed=True), "pydicom"),
    _case("rle-12-inverted", RLE, encode_rle, "MONOCHROME1", noise(12), "pydicom", bits=12),
    _case("rle-32", RLE, encode_rle, "MONOCHROME2", noise(32), "pydicom"),
    _case("rle-rgb", RLE, encode_rle, "RGB", noise(8, 3), "pydicom"),
    _case("rle-rgb-16", RLE, encode_rle, "RGB", noise(16, 3), "pydicom"),
    _case("rle-ybr", RLE, encode_rle, "YBR_FULL", noise(8, 3), "pydicom"),
    _case("jpeg-57-16", JPEG + "57", encode_lossless, "MONOCHROME2", noise(16), "gdcm"),
    _case("jpeg-57-12", JPEG + "57", encode_lossless, "MONOCHROME2", noise(12), "gdcm", bits=12),
    _case("jpeg-70-8", JPEG + "70", encode_lossless, "MONOCHROME2", noise(8), "gdcm"),
    _case(
        "jpeg-70-16-signed",
        JPEG + "70",
        encode_lossless,
        "MONOCHROME2",
        noise(16, signed=True),
        "gdcm",
    ),
    _case("jpeg-70-rgb", JPEG + "70", encode_lossless, "RGB", noise(8, 3), "gdcm"),
    _case("jpeg-70-ybr", JPEG + "70", encode_lossless, "YBR_FULL", noise(8, 3), "gdcm"),
    _case("jpeg-ls-8", JPEG + "80", encode_ls, "MONOCHROME2", noise(8), "pyjpegls"),
    _case("jpeg-ls-12", JPEG + "80", encode_ls, "MONOCHROME1", noise(12), "pyjpegls", bits=12),
    _case(
        "jpeg-ls-16-signed", JPEG + "80", encode_ls, "MONOCHROME2", noise(16, signed=True), "gdcm"
    ),
    _case("jpeg-ls-rgb", JPEG + "80", encode_ls, "RGB", noise(8, 3), "gdcm"),
    _case("jpeg-ls-near-8", JPEG + "81", encode_near, "MONOCHROME2", noise(8), "pyjpegls"),
    _case("jpeg-ls-near-rgb", JPEG + "81", encode_near, "RGB", noise(8, 3), "gdcm"),
    _case("jpeg-2000-8", JPEG + "90", encode_j2k, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("jpeg-2000-12", JPEG + "90", encode_j2k, "MONOCHROME2", noise(12), "pylibjpeg", bits=12),
    _case(
        "jpeg-2000-16-signed",
        JPEG + "90",
        encode_j2k,
        "MONOCHROME2",
        noise(16, signed=True),
        "pylibjpeg",
    ),
    _case("jpeg-2000-rct", JPEG + "90", encode_j2k, "YBR_RCT", noise(8, 3), "pylibjpeg"),
    _case("jpeg-2000-rgb", JPEG + "90", encode_j2k, "RGB", noise(8, 3), "pylibjpeg"),
    _case("jpeg-2000-ybr", JPEG + "90", encode_j2k, "YBR_FULL", noise(8, 3), "gdcm"),
    _case("jpeg-2000-lossy", JPEG + "91", encode_j2k_lossy, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("jpeg-2000-ict", JPEG + "91", encode_j2k_lossy, "YBR_ICT", noise(8, 3), "pylibjpeg"),
    _case("jpeg-2000-part-2", JPEG + "92", encode_j2k, "MONOCHROME2", noise(8), ""),
    _case("jpeg-2000-part-2-lossy", JPEG + "93", encode_j2k_lossy, "MONOCHROME2", noise(8), ""),
    _case("htj2k-8", JPEG + "201", encode_ht, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case(
        "htj2k-16-signed",
        JPEG + "201",
        encode_ht,
        "MONOCHROME2",
        noise(16, signed=True),
        "pylibjpeg",
    ),
    _case("htj2k-rct", JPEG + "201", encode_ht, "YBR_RCT", noise(8, 3), "pylibjpeg"),
    _case("htj2k-rpcl", JPEG + "202", encode_ht, "MONOCHROME2", noise(16), "pylibjpeg"),
    _case("htj2k-lossy", JPEG + "203", encode_ht_lossy, "MONOCHROME2", noise(8), "pylibjpeg"),
    _case("jpeg-xl-8", JPEG + "110", encode_xl, "MONOCHROME2", noise(8), ""),
    _case("jpeg-xl-12", JPEG + "110", encode_xl, "MONOCHROME2", noise(12), "", bits=12),
    _case("jpeg-xl-rgb", JPEG + "110", encode_xl, "RGB", noise(8, 3), ""),
    _case("jpeg-xl-lossy", JPEG + "112", encode_xl_lossy, "RGB", noise(8, 3), ""),
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
    before = even(encoder(values, image))

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
        (JPEG + "57", encode_lossless, 10),
        (JPEG + "80", encode_ls, 10),
        (JPEG + "90", encode_j2k, 10),
        (JPEG + "110", encode_xl, 10),
    ],
)
def test_a_codestream_keeps_its_precision_and_colours(syntax, encoder, bits):
    values = noise(bits)
    image = picture(syntax, values, "MONOCHROME2", bits=bits)
    before = cleaned(even(encoder(values, image)), image)

    after = mask_one(before, image)

    assert header_of(after) == replace(header_of(before), has_jfif=False)


@pytest.mark.parametrize("bits", [5, 11, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_high_throughput_frames_keep_a_precision_that_the_encoder_does_not_know(bits, signed):
    values = noise(bits, signed=signed)
    image = picture(JPEG + "201", values, "MONOCHROME2", bits=bits)
    whole = encode_ht(values, image)
    sign = 0x80 if signed else 0
    shifted = values if signed else values.astype(f"i{values.dtype.itemsize}") - (1 << (bits - 1))
    whole = bytearray(encode_ht(shifted, image))
    whole[42] = (bits - 1) | sign

    after = mask_one(even(whole), image)

    assert header_of(after).bits == bits
    for decoded in (seen([after], image, "pylibjpeg"), imagecodecs.htj2k_decode(after)):
        np.testing.assert_array_equal(outside(decoded), outside(values))
        assert set(inside(decoded).ravel().tolist()) == set(_black(image))


def test_random_access_syntax_keeps_its_progression_and_lengths():
    values = noise(16)
    image = picture(JPEG + "202", values, "MONOCHROME2")

    after = mask_one(even(encode_ht(values, image)), image)

    assert after[after.index(b"\xff\x52") + 5] == 2
    assert b"\xff\x55" in after[: after.index(b"\xff\x90")]


def test_jpeg_ls_keeps_the_order_of_its_samples():
    values = noise(8, 3)
    image = picture(JPEG + "80", values, "RGB")
    sources = {0: np.moveaxis(values, 2, 0), 1: values, 2: values}

    for mode, source in sources.items():
        data = jpeg_ls.encode_buffer(source.tobytes(), *values.shape, 8, 0, mode)
        after = mask_one(even(data), image)
        assert header_of(after).interleave == mode
        np.testing.assert_array_equal(outside(imagecodecs.jpegls_decode(after)), outside(values))


def test_a_lossy_colour_transform_becomes_the_reversible_one():
    values = noise(8, 3)
    image = picture(JPEG + "91", values, "YBR_ICT")

    done = masked([even(encode_j2k_lossy(values, image))], image, [mark()])

    assert done.answer["photometric"] == "YBR_RCT"
    assert header_of(done.frames[0]).has_transform
    assert done.frames[0][done.frames[0].index(b"\xff\x52") + 13] == 1  # the 5/3 wavelet


def test_a_meaning_that_holds_for_some_frames_only_is_not_told():
    values = noise(8, 3)
    image = picture(JPEG + "91", values, "YBR_ICT", frames=2)
    data = even(encode_j2k_lossy(values, image))

    done = masked([data, data], image, [mark(frames=(1, 1))])

    assert "photometric" not in done.answer
    assert done.frames[0] == cleaned(data, image)


def test_a_mark_is_for_its_frames_only():
    values = noise(12)
    image = picture(RLE, values, "MONOCHROME2", bits=12, frames=4)
    frame = even(encode_rle(values, image))

    done = masked([frame] * 4, image, [mark(frames=(1, 2))])

    assert [part == cleaned(frame, image) for part in done.frames] == [True, False, False, True]
    assert done.answer["frames_changed"] == 2
    assert done.answer["changed_outside"] == 0
    assert not done.answer["is_lossy_again"]


def test_fragments_of_a_frame_are_joined():
    values = noise(8)
    image = picture(RLE, values, "MONOCHROME2")
    frame = even(encode_rle(values, image))
    cut = len(frame) // 2 & ~1

    done = masked([frame], image, [mark()], places=[[(0, cut), (cut, len(frame) - cut)]])

    np.testing.assert_array_equal(outside(seen(done.frames, image)), outside(values))


@pytest.mark.parametrize("tail", [b"\0\0", b"Quillon\0", b"\x05a"])
def test_what_follows_the_segments_of_a_frame_does_not_disturb_and_goes(tail):
    values = noise(8)
    image = picture(RLE, values, "MONOCHROME2")

    done = masked([encode_rle(values, image) + tail], image, [mark()])

    np.testing.assert_array_equal(outside(seen(done.frames, image)), outside(values))
    assert b"Quillon" not in done.frames[0]


def test_a_mark_beyond_the_edge_is_clipped():
    values = noise(8)
    image = picture(NATIVE, values, "MONOCHROME2")

    after = mask_one(values.tobytes(), image, Box(-5, -5, 500, 3))

    after = np.frombuffer(after, "u1").reshape(values.shape)
    assert not after[:3].any()
    np.testing.assert_array_equal(after[3:], values[3:])


# --- Hostile and strange ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "encoder"),
    [
        (RLE, encode_rle),
        (JPEG + "57", encode_lossless),
        (JPEG + "80", encode_ls),
        (JPEG + "90", encode_j2k),
    ],
)
def test_frames_of_another_size_are_refused(syntax, encoder):
    values = noise(8)
    image = picture(syntax, values, "MONOCHROME2")
    data = even(encoder(values, image))

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
        mask_one(even(data), image)


def test_jpeg_xl_frames_of_another_size_are_refused():
    values = noise(8)
    image = replace(picture(JPEG + "110", values, "MONOCHROME2"), rows=44)

    with pytest.raises(MalformedDicom):
        mask_one(even(encode_xl(values, image)), image)


@pytest.mark.parametrize(("image", "values", "encoder", "plugin"), CASES)
def test_damaged_frames_are_refused_or_masked(image, values, encoder, plugin):  # noqa: ARG001
    data = even(encoder(values, image))
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

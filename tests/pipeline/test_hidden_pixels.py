"""What compressed frames can hold beside their pixels: high bits, more rows, more components."""

import io
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from app.errors import PixelsNeedReview, Quarantined
from app.pipeline.pixel_work import Sender
from app.pixels.children import Children
from app.pixels.model import Box
from tests.builders import ct
from tests.pipeline.echo import WHO, Reader, Ward, cleaned, echo, encoded, parts, read

Codes = NDArray[np.uint16]
RLE, J2K, JPEG, JPEG_LS = "5", "4.90", "4.70", "4.80"
EDGE = 16


def values(rows: int = EDGE, *, signed: bool = False) -> Codes:
    found = np.arange(rows * EDGE, dtype=np.int16).reshape(rows, EDGE) * 7 % 2048
    return (found - 1024 if signed else found).astype(np.uint16)


def rle(codes: Codes) -> bytes:
    segments = [imagecodecs.packbits_encode((codes >> shift).astype("u1")) for shift in (8, 0)]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = (64, 64 + len(segments[0]), *([0] * 13))
    return struct.pack("<16I", 2, *offsets) + b"".join(segments)


def unpacked(frame: bytes) -> Codes:
    high, low = struct.unpack_from("<2I", frame, 4)
    sections = (frame[high:low], frame[low:])
    planes = [imagecodecs.packbits_decode(one)[: EDGE * EDGE] for one in sections]
    found = np.array([np.frombuffer(plane, "u1") for plane in planes], np.uint16)
    codes: Codes = (found[0] << 8 | found[1]).reshape(EDGE, EDGE)
    return codes


def j2k(codes: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(codes, codecformat="j2k", reversible=True, mct=False))


CODECS: dict[str, tuple[Callable[[Codes], Any], Callable[[bytes], Any]]] = {
    RLE: (rle, unpacked),
    J2K: (j2k, imagecodecs.jpeg2k_decode),
    JPEG: (imagecodecs.ljpeg_encode, imagecodecs.ljpeg_decode),
    JPEG_LS: (imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
}


def compressed(frame: bytes, *, signed: bool = False) -> Dataset:
    source = ct(WHO)
    source.Rows = source.Columns = EDGE
    source.BitsAllocated, source.BitsStored, source.HighBit = 16, 12, 11
    source.PixelRepresentation = int(signed)
    source.PixelData = encapsulate([frame + bytes(len(frame) % 2)])
    source["PixelData"].VR, source["PixelData"].is_undefined_length = "OB", True
    return source


async def frame_out(source: Dataset, syntax: str, children: Children) -> bytes:
    done = await cleaned(encoded(source, f"1.2.840.10008.1.2.{syntax}"), parts(children))
    made = dcmread(io.BytesIO(b"".join(done.chunks())))
    return next(generate_frames(made.PixelData, number_of_frames=1))


@pytest.mark.parametrize("syntax", CODECS)
async def test_bits_above_the_values_of_compressed_pixels_are_cleared(
    syntax: str, children: Children
) -> None:
    encode, decode = CODECS[syntax]
    with_overlay = values()
    with_overlay[4:9, 3:12] |= 0x8000

    frame = await frame_out(compressed(encode(with_overlay)), syntax, children)

    assert np.array_equal(decode(frame), values())


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
async def test_a_frame_without_such_bits_stays_byte_for_byte(
    signed: bool, children: Children
) -> None:
    frame = rle(values(signed=signed))

    made = await frame_out(compressed(frame, signed=signed), RLE, children)

    assert made.rstrip(b"\0") == frame.rstrip(b"\0")


async def test_a_sign_that_is_repeated_for_some_pixels_only_hides_nothing(
    children: Children,
) -> None:
    codes = values(signed=True)
    codes[4:9, :8] &= 0x0FFF

    made = await frame_out(compressed(rle(codes), signed=True), RLE, children)

    assert np.array_equal(unpacked(made), values(signed=True))


@pytest.mark.parametrize(
    ("encode", "syntax"),
    [
        (lambda: j2k(values(rows=2 * EDGE)), J2K),
        (lambda: j2k(np.stack([values()] * 3, axis=-1)), J2K),
        (lambda: imagecodecs.jpegls_encode(values(rows=2 * EDGE)), JPEG_LS),
        (lambda: imagecodecs.jpeg8_encode(values(rows=2 * EDGE).astype("u1")), "4.50"),
    ],
    ids=["rows", "components", "rows-jpeg-ls", "rows-jpeg"],
)
async def test_a_codestream_larger_than_the_header_says_waits(
    encode: Callable[[], bytes], syntax: str, children: Children
) -> None:
    with pytest.raises(PixelsNeedReview):
        await frame_out(compressed(encode()), syntax, children)


async def test_samples_that_no_reader_looks_at_wait(children: Children) -> None:
    source = echo(samples=4, BurnedInAnnotation="NO")

    with pytest.raises(PixelsNeedReview, match="contradictory-values"):
        await cleaned(encoded(source), parts(children))


async def test_frames_that_the_header_does_not_count_are_read_like_others(
    children: Children,
) -> None:
    source, ward = compressed(j2k(values())), Ward()
    frame = j2k(values())
    source.PixelData = encapsulate([frame + bytes(len(frame) % 2)] * 2)
    data = encoded(source, f"1.2.840.10008.1.2.{J2K}")
    reader = Reader([read(frames=2), read(Box(0, 0, 8, 8), frames=2)])

    await cleaned(data, parts(children, reader=reader, ward=ward), sender=Sender("viewer"))
    with pytest.raises(Quarantined):
        await cleaned(data, parts(children, reader=reader, ward=ward), sender=Sender("viewer"))

    assert [len(task["frames"]) for task in reader.tasks] == [2, 2]
    assert "contradictory-values" in {one.code for one in ward.held[0].decision.reasons}

"""Nothing stays behind the pixels of a frame that is not compressed, or packed only."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames

from app.deid.profile import BUILT_IN
from app.dicom.source import MemorySource
from app.errors import GatewayError, MalformedDicom, UndecidableElement
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10

WHO = Identity()
TEXT = b"ZQWXYTRBNM"
UNCOMPRESSED, DEFLATED, RLE = (
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.8.1",
    "1.2.840.10008.1.2.5",
)
EDGE = 4
FRAMES = [np.arange(first, first + EDGE * EDGE, dtype="<u2").tobytes() for first in (0, 500)]


def output(data: bytes) -> bytes:
    context = Context("wobble", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "wobble"))
    return b"".join(deidentify(MemorySource(data), context).chunks())


def items(fragments: list[bytes], table: bytes = b"") -> bytes:
    return b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in (table, *fragments)
    )


def encapsulated(fragments: list[bytes], *, frames: int = 1, table: bytes = b"") -> Dataset:
    dataset = ct(WHO)
    dataset.Rows = dataset.Columns = EDGE
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.NumberOfFrames = 15, frames
    dataset.PixelData = items(fragments, table)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def frames_out(dataset: Dataset, syntax: str, *, frames: int = 1) -> list[bytes]:
    written = dcmread(io.BytesIO(output(part10(dataset, syntax))))
    return list(generate_frames(written.PixelData, number_of_frames=frames))


def test_text_behind_the_pixels_of_an_encapsulated_frame_goes() -> None:
    dataset = encapsulated([frame + TEXT for frame in FRAMES], frames=2)

    assert frames_out(dataset, UNCOMPRESSED, frames=2) == FRAMES


def test_a_fragment_behind_the_pixels_of_an_encapsulated_frame_goes() -> None:
    assert frames_out(encapsulated([FRAMES[0], TEXT]), UNCOMPRESSED) == FRAMES[:1]


def test_encapsulated_frames_stay_as_they_were() -> None:
    dataset = encapsulated(FRAMES, frames=2)

    assert items(FRAMES) in output(part10(dataset, UNCOMPRESSED))


def test_a_frame_that_begins_like_a_compressed_one_is_not_taken_for_two() -> None:
    frame = b"\xff\xd8" + FRAMES[0][2:]

    assert frames_out(encapsulated([frame[:16], b"\xff\xd8" + frame[18:]]), UNCOMPRESSED) == [
        frame[:16] + b"\xff\xd8" + frame[18:]
    ]


def test_the_padding_of_an_odd_frame_is_nothing_else() -> None:
    dataset = encapsulated([bytes(9) + b"Z"])
    dataset.Rows = dataset.Columns = 3
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7

    assert frames_out(dataset, UNCOMPRESSED) == [bytes(10)]


def test_subsampled_encapsulated_frames_are_shorter() -> None:
    dataset = encapsulated([bytes(range(32)) + TEXT])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7

    assert frames_out(dataset, UNCOMPRESSED) == [bytes(range(32))]


def test_an_encapsulated_frame_that_is_too_short_is_refused() -> None:
    with pytest.raises(MalformedDicom):
        output(part10(encapsulated([FRAMES[0][:-2]]), UNCOMPRESSED))


@pytest.mark.parametrize("syntax", [UNCOMPRESSED, RLE, DEFLATED])
def test_encapsulated_frames_of_no_size_are_refused(syntax: str) -> None:
    dataset = encapsulated([rle(2)])
    dataset.Rows = 0

    with pytest.raises(GatewayError):
        output(part10(dataset, syntax))


def test_an_offset_table_without_frames_is_refused() -> None:
    with pytest.raises(MalformedDicom):
        output(part10(encapsulated([], table=TEXT), UNCOMPRESSED))


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(0, wbits=-15)
    packed = packer.compress(content) + packer.flush()
    return packed + bytes(len(packed) % 2)


def test_a_deflated_frame_that_holds_more_than_its_pixels_is_refused() -> None:
    with pytest.raises(MalformedDicom):
        output(part10(encapsulated([deflated(FRAMES[0] + TEXT)]), DEFLATED))


def test_a_deflated_frame_that_holds_less_than_its_pixels_is_refused() -> None:
    with pytest.raises(MalformedDicom):
        output(part10(encapsulated([deflated(FRAMES[0][:-2])]), DEFLATED))


def test_a_deflated_frame_stays() -> None:
    frame = deflated(FRAMES[0])

    assert frames_out(encapsulated([frame]), DEFLATED) == [frame]


def rle(count: int, segment: bytes = b"\xf1\x07") -> bytes:
    """Make a frame of so many segments; the usual one repeats a byte 16 times."""
    starts = [64 + number * len(segment) for number in range(count)]
    return struct.pack("<16I", count, *starts, *[0] * (15 - count)) + segment * count


def test_an_rle_frame_with_a_segment_too_many_is_refused() -> None:
    spare = rle(2) + b"\x0f" + TEXT.ljust(16)
    spare = struct.pack("<4I", 3, 64, 66, 68) + spare[16:]

    with pytest.raises(MalformedDicom):
        output(part10(encapsulated([spare + b"\0"]), RLE))


@pytest.mark.parametrize(
    "run",
    [b"\x1f" + bytes(range(16)) + TEXT.ljust(16), b"\x91\x07", b"\x0e" + bytes(15) + b"\xf1Z"],
)
def test_an_rle_run_ends_with_the_last_pixel(run: bytes) -> None:
    unpacked = {0x1F: bytes(range(16)), 0x91: b"\x07" * 16, 0x0E: bytes(15) + b"Z"}[run[0]]
    frame = rle(2, run + bytes(len(run) % 2))

    (made,) = frames_out(encapsulated([frame]), RLE)

    assert TEXT not in made
    read = dcmread(io.BytesIO(output(part10(encapsulated([frame]), RLE))))
    pixels = np.frombuffer(unpacked, "u1").astype("<u2") * 257
    assert np.array_equal(read.pixel_array.reshape(-1), pixels)
    assert output(part10(encapsulated([made]), RLE)) == output(part10(encapsulated([frame]), RLE))


def test_text_behind_an_rle_frame_of_single_bits_goes() -> None:
    dataset = encapsulated([rle(1, b"\xff\x07") + TEXT])
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0

    assert frames_out(dataset, RLE) == [rle(1, b"\xff\x07")]


def test_rle_of_bits_that_are_no_bytes_is_refused() -> None:
    dataset = encapsulated([rle(1) + TEXT])
    dataset.BitsAllocated = dataset.BitsStored = 12
    dataset.HighBit = 11

    with pytest.raises(UndecidableElement):
        output(part10(dataset, RLE))


def test_nothing_stands_between_the_items() -> None:
    dataset = encapsulated([rle(2)], table=bytes(4))

    assert list(generate_fragments(dataset.PixelData)) == [bytes(4), rle(2)]
    assert frames_out(dataset, RLE) == [rle(2)]


FLOATS: list[tuple[int, str, Callable[[int], bytes]]] = [
    (0x7FE00008, "OF", lambda count: np.arange(count, dtype="<f4").tobytes()),
    (0x7FE00009, "OD", lambda count: np.arange(count, dtype="<f8").tobytes()),
]


@pytest.mark.parametrize(("tag", "vr", "make"), FLOATS)
def test_text_behind_floating_point_pixels_goes(
    tag: int, vr: str, make: Callable[[int], bytes]
) -> None:
    values = make(EDGE * EDGE)
    dataset = ct(WHO)
    del dataset.PixelData
    dataset.Rows = dataset.Columns = EDGE
    dataset.BitsAllocated = len(values) // EDGE // EDGE * 8
    dataset.add_new(tag, vr, values + TEXT)

    read = dcmread(io.BytesIO(output(part10(dataset))))

    assert read[tag].value == values

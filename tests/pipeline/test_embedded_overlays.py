"""Overlays that an image keeps in bits beside its pixel values: without them where nobody looks."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from app.deid.profile import BUILT_IN
from app.dicom.source import MemorySource
from app.errors import UndecidableElement
from app.pipeline import Context, Deidentified, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10
from tests.pipeline.test_hidden_pixels import Codes, j2k, rle

WHO = Identity()
EDGE = 16
VALUES = (np.arange(EDGE * EDGE, dtype="<u2") * 7 % 4096).reshape(EDGE, EDGE)
DRAWN = (np.arange(EDGE * EDGE, dtype="<u2") % 3 == 0).reshape(EDGE, EDGE)
BIT = 13
RLE, J2K, BIG_ENDIAN = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.2"


def with_bits(bit: int) -> Codes:
    drawn: Codes = (VALUES | DRAWN.astype("<u2") << bit).astype("<u2")
    return drawn


def made(dataset: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Deidentified:
    context = Context("wobble", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "wobble"))
    return deidentify(MemorySource(part10(dataset, syntax)), context)


def pixels(result: Deidentified) -> bytes:
    return bytes(dcmread(io.BytesIO(b"".join(result.chunks()))).PixelData)


def image(values: Codes, *, frames: int = 1) -> Dataset:
    dataset = ct(WHO)
    dataset.Rows = dataset.Columns = EDGE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = values.astype("<u2").tobytes() * frames
    if frames > 1:
        dataset.NumberOfFrames = frames
    return dataset


def with_overlay(dataset: Dataset, *, bit: int = BIT, group: int = 0x6000) -> Dataset:
    dataset.add_new(group << 16 | 0x0010, "US", EDGE)
    dataset.add_new(group << 16 | 0x0011, "US", EDGE)
    dataset.add_new(group << 16 | 0x0040, "CS", "G")
    dataset.add_new(group << 16 | 0x0050, "SS", [1, 1])
    dataset.add_new(group << 16 | 0x0100, "US", 16)
    dataset.add_new(group << 16 | 0x0102, "US", bit)
    return dataset


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN])
@pytest.mark.parametrize("frames", [1, 3])
def test_an_overlay_in_bits_above_the_values_goes(syntax: str, frames: int) -> None:
    dataset = with_overlay(image(with_bits(BIT), frames=frames))
    if syntax == BIG_ENDIAN:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()

    result = made(dataset, syntax)

    assert pixels(result) == VALUES.tobytes() * frames
    assert "embedded-overlay-removed (7FE0,0010)" in map(str, result.warnings)


def test_every_overlay_goes_and_other_bits_stay() -> None:
    drawn = with_bits(12) | with_bits(15) | np.uint16(1 << 14)
    dataset = with_overlay(with_overlay(image(drawn), bit=12), bit=15, group=0x601E)

    assert pixels(made(dataset)) == (VALUES | np.uint16(1 << 14)).tobytes()


def test_bytes_behind_pixels_with_an_overlay_go_as_well() -> None:
    dataset = with_overlay(image(with_bits(BIT)))
    dataset.PixelData += b"ZQWXYTRBNM"

    assert pixels(made(dataset)) == VALUES.tobytes()


def test_a_part_of_the_pixels_is_read_without_the_overlay() -> None:
    result = made(with_overlay(image(with_bits(BIT))))
    whole = b"".join(result.chunks())

    source = result.as_source()

    for start in range(len(whole) - 40, len(whole) - 20):
        target = bytearray(15)
        source.read_into(start, memoryview(target))
        assert bytes(target) == source.read(start, 15) == whole[start : start + 15]


def test_an_overlay_of_its_own_is_not_embedded() -> None:
    dataset = with_overlay(image(with_bits(BIT)))
    dataset.add_new(0x60003000, "OW", bytes(32))

    assert pixels(made(dataset)) == with_bits(BIT).tobytes()


@pytest.mark.parametrize("bit", [0, 11, 16, 400])
def test_bits_of_pixel_values_stay_whatever_an_overlay_says(bit: int) -> None:
    assert pixels(made(with_overlay(image(VALUES), bit=bit))) == VALUES.tobytes()


@pytest.mark.parametrize(("syntax", "encode"), [(RLE, rle), (J2K, j2k)])
def test_compressed_frames_with_room_for_their_overlay_are_refused(
    syntax: str, encode: Callable[[Codes], bytes]
) -> None:
    dataset = with_overlay(image(VALUES))
    frame = encode(with_bits(BIT))
    dataset.PixelData = encapsulate([frame + bytes(len(frame) % 2)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    with pytest.raises(UndecidableElement):
        made(dataset, syntax)


def test_compressed_frames_without_room_for_an_overlay_pass() -> None:
    dataset = with_overlay(image(VALUES))
    frame = rle(VALUES)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    assert frame in b"".join(made(dataset, RLE).chunks())

"""Objects made to break the gateway: refused in bounded time, or passed without loss."""

import io

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app.deid.profile import BUILT_IN
from app.deid.rules.identifiers import Identifier as Value
from app.deid.rules.identifiers import Kind
from app.deid.rules.text import TextCleaner
from app.deid.searching import compile_search
from app.dicom.source import MemorySource
from app.errors import LimitExceeded, ResidualIdentifier, UndecidableElement
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, enhanced_mr, part10, raw_element

WHO = Identity()
CONTEXT = Context("DEMO", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "DEMO"))
FRAMES = 0x00280008


def output(data: bytes) -> bytes:
    return b"".join(deidentify(MemorySource(data), CONTEXT).chunks())


def test_uids_that_do_not_fit_once_they_are_replaced_are_refused() -> None:
    dataset = ct(WHO)
    dataset.FailedSOPInstanceUIDList = [f"1.2.3.{n}" for n in range(5000)]

    with pytest.raises(LimitExceeded):
        output(part10(dataset))


def test_terms_that_do_not_fit_once_they_are_replaced_are_refused() -> None:
    dataset = ct(WHO)
    dataset.PatientName = "Lee^Ann"
    del dataset.ImageType
    terms = raw_element(0x00080008, "CS", b"LEE\\" * 16000)

    with pytest.raises(LimitExceeded):
        output(part10(dataset, extra={0x00080008: terms}))


@pytest.mark.parametrize("number", [b"3", b"+3", b" 003 ", b"3.0", b"3\0"])
def test_every_frame_is_kept_however_their_number_is_written(number: bytes) -> None:
    dataset = enhanced_mr(WHO)
    del dataset.NumberOfFrames

    made = output(part10(dataset, extra={FRAMES: raw_element(FRAMES, "IS", number)}))

    assert dcmread(io.BytesIO(made)).PixelData == dataset.PixelData


@pytest.mark.parametrize("number", [b"-3", b"3\\3", b"x", b"0"])
def test_pixels_are_not_cut_off_by_a_number_of_frames_that_is_none(number: bytes) -> None:
    dataset = enhanced_mr(WHO)
    del dataset.NumberOfFrames

    with pytest.raises(UndecidableElement):
        output(part10(dataset, extra={FRAMES: raw_element(FRAMES, "IS", number)}))


def test_pixels_that_are_not_subsampled_as_they_say_are_not_cut_off() -> None:
    dataset = ct(WHO)
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "YBR_FULL_422", 3
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.PixelData = bytes(range(256)) * 3

    made = dcmread(io.BytesIO(output(part10(dataset))))

    assert made.PixelData == dataset.PixelData


def test_an_endless_number_with_an_id_in_it_is_refused_at_once() -> None:
    dataset = ct(WHO)
    dataset.PatientID = "000000"
    number = raw_element(0x00180088, "DS", b"0." + b"0" * 60000)

    with pytest.raises(ResidualIdentifier):
        output(part10(dataset, extra={0x00180088: number}))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.NAME, "a b " * 4000 + "c"),
        (Kind.NAME, "ab" * 8000 + "c"),
        (Kind.ID, "ab" * 8000 + "c"),
        (Kind.PHRASE, "a b " * 4000 + "c"),
    ],
)
def test_endless_values_are_looked_for_in_endless_text_in_linear_time(
    kind: Kind, value: str
) -> None:
    cleaner = TextCleaner([Value(kind, value)], frozenset())

    cleaned = cleaner.clean(f"x {value} x", vr="LT")

    assert len(cleaned) < len(value)


def test_matches_beyond_a_window_are_found_where_they_are() -> None:
    search = compile_search(((Kind.ID, b"PZ774100", b""),))
    places = [10, 65_530, 131_072, 196_607]
    data = bytearray(b" " * 200_100)
    for place in places:
        data[place : place + 8] = b"PZ774100"

    assert {start for start, _ in search.hits(bytes(data))} >= set(places)
    assert search.suspects(bytes(199_900) + b"P-Z7741.00")


def test_a_pixel_value_of_odd_length_gets_its_padding() -> None:
    dataset = ct(WHO)
    dataset.Rows = dataset.Columns = 3
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    pixels = bytes(range(9))
    del dataset.PixelData
    element = raw_element(0x7FE00010, "OB", pixels)
    odd = element[:8] + (9).to_bytes(4, "little") + pixels

    made = dcmread(io.BytesIO(output(part10(dataset, extra={0x7FE00010: odd}))))

    assert made.PixelData == pixels + b"\0"

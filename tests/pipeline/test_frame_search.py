"""Text that no structure tells apart from pixels is looked for in compressed frames."""

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from app.deid.profile import BUILT_IN
from app.dicom.source import MemorySource
from app.errors import ResidualIdentifier
from app.pipeline import Context, Deidentified, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10, us_jpeg
from tests.dicom.compressed import JPEG_2000, JPEG_BASELINE, JPEG_XL, instance

WHO = Identity()
NAME, UID = WHO.family.encode(), b"1.2.826.0.1.3680043.10.998.3"
PLAIN = b"nobody in particular"


def made(dataset: Dataset, syntax: str) -> Deidentified:
    context = Context("wobble", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "wobble"))
    return deidentify(MemorySource(part10(dataset, syntax)), context)


def compressed(frames: list[bytes], like: Dataset) -> Dataset:
    dataset = ct(WHO)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"):
        dataset[keyword] = like[keyword]
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        dataset[keyword] = like[keyword]
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def behind_the_pixels(frame: bytes, text: bytes, end: bytes) -> bytes:
    """Put text between the last bits of pixels and the marker that ends a frame."""
    at = frame.rindex(end)
    grown = frame[:at] + text + frame[at:]
    return grown + bytes(len(grown) % 2)


def jpeg(text: bytes, *, frames: int = 1) -> Dataset:
    shipped = us_jpeg(WHO)
    frame = next(generate_frames(shipped.PixelData, number_of_frames=3))
    whole = frame[: frame.rindex(b"\xff\xd9") + 2]
    planted = [whole + bytes(len(whole) % 2)] * (frames - 1)
    return compressed([*planted, behind_the_pixels(whole, text, b"\xff\xd9")], shipped)


def jpeg_2000(text: bytes) -> Dataset:
    shipped = instance("MR_small_jp2klossless.dcm")
    frame = next(generate_frames(shipped.PixelData, number_of_frames=1))
    part = frame.index(b"\xff\x90\x00\x0a")
    length = int.from_bytes(frame[part + 6 : part + 10], "big") + len(text)
    grown = frame[: part + 6] + length.to_bytes(4, "big") + frame[part + 10 :]
    return compressed([behind_the_pixels(grown, text, b"\xff\xd9")], shipped)


def jpeg_xl(text: bytes) -> Dataset:
    planted = b"\xff\x0a" + bytes(100) + text + bytes(10_000)
    return compressed([planted + bytes(len(planted) % 2)], ct(WHO))


Maker = Callable[[bytes], Dataset]
CASES: list[tuple[Maker, str]] = [(jpeg, JPEG_BASELINE), (jpeg_2000, JPEG_2000), (jpeg_xl, JPEG_XL)]


@pytest.mark.parametrize(("make", "syntax"), CASES, ids=["jpeg", "jpeg-2000", "jpeg-xl"])
@pytest.mark.parametrize("text", [NAME, NAME.upper(), UID], ids=["name", "capitals", "uid"])
def test_an_identifying_value_behind_the_pixels_is_refused(
    make: Maker, syntax: str, text: bytes
) -> None:
    with pytest.raises(ResidualIdentifier) as refused:
        made(make(text), syntax)

    assert text.lower() not in str(refused.value).lower().encode()


@pytest.mark.parametrize(("make", "syntax"), CASES, ids=["jpeg", "jpeg-2000", "jpeg-xl"])
def test_what_identifies_nobody_is_no_reason(make: Maker, syntax: str) -> None:
    assert PLAIN in b"".join(made(make(PLAIN), syntax).chunks())


def test_every_frame_is_looked_at() -> None:
    with pytest.raises(ResidualIdentifier):
        made(jpeg(NAME, frames=3), JPEG_BASELINE)


def test_what_was_taken_out_of_a_frame_is_no_reason() -> None:
    result = made(us_jpeg(WHO), JPEG_BASELINE)

    assert NAME not in b"".join(result.chunks())


def test_short_values_are_in_frames_by_chance() -> None:
    dataset = jpeg(b"ELROY")
    dataset.PatientName = "Elroy"

    assert b"ELROY" in b"".join(made(dataset, JPEG_BASELINE).chunks())

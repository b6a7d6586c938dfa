"""Videos pass only where a profile accepts them, and without what is no picture in them."""

import io
import os
from typing import Any

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from app.deid.profile import BUILT_IN, Profile, profile_from_text
from app.dicom.source import MemorySource
from app.errors import PixelsNeedReview, ResidualIdentifier, UndecidableElement
from app.pipeline import Context, Deidentified, deidentified
from app.pipeline.side_work import PixelParts
from app.pixels.children import Children
from app.pixels.rules_loading import load_rules
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10

WHO = Identity()
ENDOSCOPY, H_264 = "1.2.840.10008.5.1.4.1.1.77.1.1.1", "1.2.840.10008.1.2.4.102"
MARK = b"\0\0\0\1"
SPS, PPS, SLICE = b"\x67\x42\x00\x0a\xf8", b"\x68\xce\x38\x80", b"\x65\x88\x84\x00\x10\xff\x21"
STREAM = MARK + SPS + MARK + PPS + MARK + b"\x06\x05" + WHO.family.encode() + MARK + SLICE


def video(stream: bytes = STREAM) -> Dataset:
    dataset = ct(WHO)
    dataset.SOPClassUID, dataset.Modality = ENDOSCOPY, "ES"
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "YBR_PARTIAL_420"
    dataset.PlanarConfiguration, dataset.NumberOfFrames = 0, 30
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def profile(policy: str) -> Profile:
    text = f"name: site\noptions: [basic, clean-pixel-data]\npixels: {{video: {policy}}}\n"
    return profile_from_text(text)


async def done(using: Profile, stream: bytes = STREAM) -> Deidentified:
    rules = load_rules()

    async def of(_organization: str) -> Any:
        return rules

    with Children(size=1) as workers:
        parts = PixelParts(
            workers=workers,
            readers=None,
            rules=of,
            quarantine=None,
            scratch=lambda _size: os.memfd_create("test", os.MFD_CLOEXEC),
        )
        pseudonyms = Pseudonyms(bytes(range(32)), "DEMO")
        context = Context("DEMO", using, pseudonyms, pixels=parts)
        return await deidentified(MemorySource(part10(video(stream), H_264)), context)


async def test_an_accepted_video_passes_without_what_is_no_picture() -> None:
    written = dcmread(io.BytesIO(b"".join((await done(profile("accept"))).chunks())))

    stream = next(generate_frames(written.PixelData, number_of_frames=1))
    assert WHO.family.encode() not in written.PixelData
    assert SLICE in stream
    assert len(stream) == len(STREAM) + len(STREAM) % 2
    assert written.file_meta.TransferSyntaxUID == H_264


async def test_nobody_claims_that_an_accepted_video_is_clean() -> None:
    written = dcmread(io.BytesIO(b"".join((await done(profile("accept"))).chunks())))

    assert "113101" not in [code.CodeValue for code in written.DeidentificationMethodCodeSequence]


async def test_a_video_that_the_profile_does_not_accept_waits_for_a_person() -> None:
    with pytest.raises(PixelsNeedReview):
        await done(profile("quarantine"))


async def test_without_the_option_a_video_is_refused() -> None:
    with pytest.raises(UndecidableElement):
        await done(BUILT_IN["basic"])


@pytest.mark.parametrize("size", [100, 1_048_560, 1_500_000])
async def test_a_video_with_an_identifying_value_between_its_pictures_is_refused(size: int) -> None:
    inside = SLICE + b"\x55" * size + WHO.family.encode() + b"\x55" * 700

    with pytest.raises(ResidualIdentifier):
        await done(profile("accept"), STREAM + MARK + inside + MARK + SLICE)

"""Nothing stays behind the last sample of a waveform or the last entry of a look-up table."""

import io
import struct

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.deid.profile import BUILT_IN
from app.dicom.source import MemorySource
from app.pipeline import Context, Deidentified, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10, raw_element
from tests.canaries.search import found, searchable

WHO = Identity()
TEXT = "ZQWXYTRBNM"
SAMPLES = struct.pack("<8h", 1, -2, 3, -4, 5, -6, 7, -8)


def made(data: bytes, profile: str = "basic") -> Deidentified:
    context = Context("wobble", BUILT_IN[profile], Pseudonyms(bytes(range(32)), "wobble"))
    return deidentify(MemorySource(data), context)


def with_waveform(samples: bytes) -> Dataset:
    group = Dataset()
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 2, 4
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformOriginality, group.SamplingFrequency = "ORIGINAL", 500
    group.add_new(0x54001010, "OW", samples)
    dataset = ct(WHO)
    dataset.WaveformSequence = [group]
    return dataset


def with_lut(entries: bytes) -> Dataset:
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType = [4, 0, 16], "HU"
    lut.add_new(0x00283006, "OW", entries)
    dataset = ct(WHO)
    dataset.ModalityLUTSequence = [lut]
    return dataset


@pytest.mark.parametrize("profile", BUILT_IN)
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_text_behind_samples_and_entries_goes(syntax: str, profile: str) -> None:
    dataset = with_waveform(SAMPLES + TEXT.encode())
    dataset.update(with_lut(bytes(8) + TEXT.encode()))

    result = made(part10(dataset, syntax), profile)

    written = b"".join(result.chunks())
    assert found([TEXT, "QZXWTYBRMN"], searchable(written)) == []  # big endian swaps the letters
    assert "surplus-removed" in {str(warning).split()[0] for warning in result.warnings}


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES + TEXT.encode(), SAMPLES[:-2]])
def test_samples_stay_as_they_were(samples: bytes) -> None:
    read = dcmread(io.BytesIO(b"".join(made(part10(with_waveform(samples))).chunks())))

    assert read.WaveformSequence[0].WaveformData == samples[: len(SAMPLES)]


@pytest.mark.parametrize(("count", "size"), [(4, 8), (0, 131_072), (256, 512)])
def test_a_palette_stays_as_long_as_its_descriptor_says(count: int, size: int) -> None:
    entries = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    dataset = ct(WHO)
    extra = {
        0x00281101: raw_element(0x00281101, "US", struct.pack("<3H", count, 0, 16)),
        0x00281201: raw_element(0x00281201, "OW", entries + TEXT.encode()),
    }

    read = dcmread(io.BytesIO(b"".join(made(part10(dataset, extra=extra)).chunks())))

    assert read[0x00281201].value == entries


def test_a_table_without_descriptor_stays() -> None:
    dataset = with_lut(bytes(8))
    del dataset.ModalityLUTSequence[0].LUTDescriptor

    read = dcmread(io.BytesIO(b"".join(made(part10(dataset)).chunks())))

    assert read.ModalityLUTSequence[0][0x00283006].value == bytes(8)

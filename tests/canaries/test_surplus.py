"""Nothing stays behind the last sample of a waveform, number of a list or entry of a table."""

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


@pytest.mark.parametrize(("held", "kept"), [(256, 256), (276, 256), (512, 512), (522, 512)])
def test_a_palette_of_bytes_takes_one_or_two_for_an_entry(held: int, kept: int) -> None:
    entries = (bytes(range(256)) * 3)[:held]
    extra = {
        0x00281101: raw_element(0x00281101, "US", struct.pack("<3H", 256, 0, 8)),
        0x00281201: raw_element(0x00281201, "OW", entries),
    }

    read = dcmread(io.BytesIO(b"".join(made(part10(ct(WHO), extra=extra)).chunks())))

    assert read[0x00281201].value == entries[:kept]


FLOATS = struct.pack("<24f", *range(24))


def spectra(kind: str) -> Dataset:
    dataset = ct(WHO)
    dataset.Rows = dataset.Columns = 1
    dataset.NumberOfFrames, dataset.DataRepresentation = 2, kind
    dataset.DataPointRows, dataset.DataPointColumns = 2, 3
    return dataset


def grid() -> Dataset:
    dataset = ct(WHO)
    dataset.GridDimensions = [2, 2, 2]
    return dataset


def points() -> Dataset:
    dataset = ct(WHO)
    dataset.NumberOfSurfacePoints = 8
    return dataset


def vectors() -> Dataset:
    dataset = ct(WHO)
    dataset.NumberOfVectors, dataset.VectorDimensionality = 12, 2
    return dataset


@pytest.mark.parametrize(
    ("dataset", "tag", "values"),
    [
        (spectra("COMPLEX"), 0x56000020, FLOATS),
        (spectra("REAL"), 0x56000020, FLOATS[:48]),
        (grid(), 0x00640009, FLOATS),
        (points(), 0x00660016, FLOATS),
        (vectors(), 0x00660021, FLOATS),
        (ct(WHO), 0x54000110, bytes(8)),
        (ct(WHO), 0x5400100A, bytes(8)),
    ],
    ids=["complex", "real", "grid", "points", "vectors", "minimum", "padding"],
)
def test_text_behind_numbers_goes(dataset: Dataset, tag: int, values: bytes) -> None:
    vr = "OW" if tag >> 16 == 0x5400 else "OF"
    for planted in (values, values + TEXT.encode() * 2):
        dataset.add_new(tag, vr, planted)

        read = dcmread(io.BytesIO(b"".join(made(part10(dataset)).chunks())))

        assert read[tag].value == values


def test_numbers_that_nothing_measures_stay() -> None:
    dataset = spectra("REAL")
    dataset.NumberOfFrames = None
    dataset.add_new(0x56000020, "OF", FLOATS)

    read = dcmread(io.BytesIO(b"".join(made(part10(dataset)).chunks())))

    assert read[0x56000020].value == FLOATS


def test_a_table_without_descriptor_stays() -> None:
    dataset = with_lut(bytes(8))
    del dataset.ModalityLUTSequence[0].LUTDescriptor

    read = dcmread(io.BytesIO(b"".join(made(part10(dataset)).chunks())))

    assert read.ModalityLUTSequence[0][0x00283006].value == bytes(8)

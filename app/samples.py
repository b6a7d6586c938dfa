"""A small synthetic study to try the gateway with. No person, place or picture in it is real.

Two CT series of three slices of one phantom and a structured report that refers to them; always
the same bytes. ``tools/sample_object.py`` writes it to files.
"""

import struct
import uuid
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
)

PATIENT_NAME = "Sample^Alex"
PATIENT_ID = "SAMPLE-0001"
ACCESSION_NUMBER = "SAMPLE-ACC-1"

_NAMESPACE = uuid.UUID("6f3f8d2e-0b59-5d0e-9a59-3a2f6f0c1d11")
_SIDE = 64
_AXIAL = ("1", "0", "0", "0", "1", "0")
_CORONAL = ("1", "0", "0", "0", "0", "-1")


@dataclass(frozen=True, slots=True)
class SampleInstance:
    """One SOP Instance: a file name and the bytes of a Part 10 file."""

    name: str
    data: bytes


def sample_study() -> tuple[SampleInstance, ...]:
    """Make the whole study: six CT slices and one report."""
    slices = [
        *(_slice("axial", 1, number, _AXIAL) for number in (1, 2, 3)),
        *(_slice("coronal", 2, number, _CORONAL) for number in (1, 2, 3)),
    ]
    named = [
        (f"ct-{dataset.SeriesNumber}-{dataset.InstanceNumber}.dcm", dataset) for dataset in slices
    ]
    named.append(("report.dcm", _report(slices)))
    return tuple(SampleInstance(name, _part10(dataset)) for name, dataset in named)


def sample_instance() -> SampleInstance:
    """Make the first slice alone."""
    return SampleInstance("ct-1-1.dcm", _part10(_slice("axial", 1, 1, _AXIAL)))


def sample_study_uid() -> str:
    """Return the Study Instance UID that all of them carry."""
    return _uid("study")


def write_sample_study(directory: Path) -> list[Path]:
    """Write the study into a directory, which is made if it is absent."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for instance in sample_study():
        path = directory / instance.name
        path.write_bytes(instance.data)
        paths.append(path)
    return paths


def _uid(name: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def _part10(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _patient_and_study() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = PATIENT_NAME
    dataset.PatientID = PATIENT_ID
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.PatientAge = "054Y"
    dataset.PatientWeight = "70"
    dataset.PatientAddress = "1 Sample Street, Sampletown"
    dataset.StudyInstanceUID = sample_study_uid()
    dataset.StudyID = "1"
    dataset.StudyDate = "20240301"
    dataset.StudyTime = "101500"
    dataset.StudyDescription = "CT of the phantom of Alex Sample"
    dataset.AccessionNumber = ACCESSION_NUMBER
    dataset.ReferringPhysicianName = "Referrer^Robin"
    dataset.InstitutionName = "Sample Hospital"
    dataset.InstitutionAddress = "2 Sample Street, Sampletown"
    dataset.Manufacturer = "Phantom Devices"
    dataset.StationName = "SAMPLE-CT-1"
    return dataset


def _slice(series: str, series_number: int, number: int, orientation: tuple[str, ...]) -> Dataset:
    dataset = _patient_and_study()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = _uid(f"{series}-{number}")
    dataset.SeriesInstanceUID = _uid(series)
    dataset.SeriesNumber = str(series_number)
    dataset.SeriesDescription = f"phantom, {series}"
    dataset.SeriesDate = "20240301"
    dataset.SeriesTime = f"1016{series_number:02}"
    dataset.ContentDate = "20240301"
    dataset.ContentTime = f"1017{number:02}"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = str(number)
    dataset.AcquisitionNumber = "1"
    dataset.OperatorsName = "Operator^Kim"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.FrameOfReferenceUID = _uid("frame-of-reference")
    dataset.ImageOrientationPatient = list(orientation)
    offset = str(5 * number)
    dataset.ImagePositionPatient = (
        ["-32", "-32", offset] if orientation == _AXIAL else ["-32", offset, "32"]
    )
    dataset.SliceThickness = "5"
    dataset.KVP = "120"
    dataset.ImageComments = "Phantom of Alex Sample, SAMPLE-0001"
    _add_private_block(dataset)
    _add_pixels(dataset, number)
    return dataset


def _add_private_block(dataset: Dataset) -> None:
    block = dataset.private_block(0x0019, "PHANTOM DEVICES 1.0", create=True)
    block.add_new(0x01, "LO", "scanned for Sample, Alex")


def _add_pixels(dataset: Dataset, number: int) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = _SIDE
    dataset.PixelSpacing = ["1", "1"]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = "-1024"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter = "40"
    dataset.WindowWidth = "400"
    dataset.BurnedInAnnotation = "NO"
    dataset.PixelData = _phantom(number)


def _phantom(number: int) -> bytes:
    """Draw a bright disc with a smaller one in it, which moves from slice to slice."""
    middle = _SIDE // 2
    values = []
    for row in range(_SIDE):
        for column in range(_SIDE):
            outer = (row - middle) ** 2 + (column - middle) ** 2 < 28**2
            inner = (row - middle) ** 2 + (column - middle - 6 * (number - 2)) ** 2 < 8**2
            values.append(1224 if inner else 1064 if outer else 24)
    return struct.pack(f"<{len(values)}H", *values)


def _report(slices: list[Dataset]) -> Dataset:
    dataset = _patient_and_study()
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.SOPInstanceUID = _uid("report")
    dataset.SeriesInstanceUID = _uid("reports")
    dataset.SeriesNumber = "3"
    dataset.SeriesDescription = "Report"
    dataset.Modality = "SR"
    dataset.InstanceNumber = "1"
    dataset.ContentDate = "20240301"
    dataset.ContentTime = "113000"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PerformedProcedureCodeSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(slices)]
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic Imaging Report")]
    dataset.ContinuityOfContent = "SEPARATE"
    dataset.ContentSequence = [_observer(), _finding(), _image(slices[1])]
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def _evidence(slices: list[Dataset]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = sample_study_uid()
    study.ReferencedSeriesSequence = []
    for series_uid in dict.fromkeys(str(dataset.SeriesInstanceUID) for dataset in slices):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = [
            _reference(dataset) for dataset in slices if dataset.SeriesInstanceUID == series_uid
        ]
        study.ReferencedSeriesSequence.append(series)
    return study


def _reference(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return item


def _observer() -> Dataset:
    item = Dataset()
    item.RelationshipType = "HAS OBS CONTEXT"
    item.ValueType = "PNAME"
    item.ConceptNameCodeSequence = [_code("121008", "DCM", "Person Observer Name")]
    item.PersonName = "Reader^Sam"
    return item


def _finding() -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "TEXT"
    item.ConceptNameCodeSequence = [_code("121071", "DCM", "Finding")]
    item.TextValue = "The phantom of Alex Sample, born 1970-01-01, shows a disc within a disc."
    return item


def _image(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE"
    item.ReferencedSOPSequence = [_reference(dataset)]
    return item

"""Makes the objects that are measured: synthetic, always the same, and an answer key beside them.

Run as a program (``python -m bench.load --out DIR --what ct,mr``), so that the process that
measures stays small. Sizes and headers follow what scanners write: most elements are private.
"""

import argparse
import copy
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

ANSWER_KEY = "answer_key.json"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
FRAME_BYTES = 512 * 512 * 2
Frame = npt.NDArray[np.uint16]

# Every value that identifies the made-up patient; what is searched for in the results.
PLANTED = {
    "PatientName": "Quartermain^Adalbertina^Q",
    "PatientID": "PF730915284",
    "PatientBirthDate": "19470823",
    "AccessionNumber": "A604182957",
    "ReferringPhysicianName": "Brandvold^Referring^^Dr",
    "InstitutionName": "Zylberstein Bench Hospital",
    "PatientAddress": "417 Oyelaran Street",
    "PatientTelephoneNumbers": "+1-555-0172946",
    "OperatorsName": "Castellanos^Operator",
    "DeviceSerialNumber": "SN8842071",
}
# One private block as scanners write them: VR and value of its elements, over and over.
_PRIVATE: tuple[tuple[str, Any], ...] = (
    ("LO", "PROTOCOL STEP"),
    ("DS", "1.250000"),
    ("SS", -7),
    ("SL", 183_402),
    ("US", 512),
    ("SH", "HSPG-4"),
    ("FL", 0.0625),
    ("UN", b"\x01\x00\x7f\x00" * 6),
    ("OB", bytes(range(64))),
    ("DS", ["0.5", "-12.25", "88"]),
    ("IS", "42"),
    ("CS", "SCANNER"),
)


def uid(*parts: object) -> str:
    """Return the same UID for the same words."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest, 'big') | 1 << 127}"


def ct(out: Path, scale: float) -> None:
    """500 CT slices of 0.5 MB, 190 of their elements private."""
    base = _image("ct", CT_STORAGE, "CT")
    base.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    base.SliceThickness, base.KVP, base.ExposureTime = "1.25", "120", "800"
    base.RescaleIntercept, base.RescaleSlope, base.RescaleType = "-1024", "1", "HU"
    base.WindowCenter, base.WindowWidth = "40", "400"
    base.ConvolutionKernel, base.GantryDetectorTilt = "STANDARD", "0"
    _add_private(base, 190)
    frames = _frames(512)
    for number in range(_count(500, scale)):
        _slice(base, "ct", number)
        base.PixelData = frames[number % len(frames)].tobytes()
        _write(base, out / "ct" / f"IM{number + 1:05d}.dcm")


def mr(out: Path, scale: float) -> None:
    """2,000 MR slices of 64 by 64, the load of many small files."""
    base = _image("mr", MR_STORAGE, "MR")
    base.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    base.Rows = base.Columns = 64
    base.ScanningSequence, base.SequenceVariant, base.ScanOptions = "EP", "SS", "FC"
    base.RepetitionTime, base.EchoTime, base.FlipAngle = "2000", "30", "77"
    _add_private(base, 150)
    frames = _frames(64)
    for number in range(_count(2000, scale)):
        _slice(base, "mr", number)
        base.PixelData = frames[number % len(frames)].tobytes()
        _write(base, out / "mr" / f"MR{number + 1:05d}.dcm")


def multiframe(out: Path, scale: float) -> None:
    """An Enhanced CT of 200 frames: 105 MB."""
    _multiframe(out / "multiframe" / "enhanced.dcm", _count(200, scale))


def multiframe_1g(out: Path, scale: float) -> None:
    """An Enhanced CT of 2,000 frames: 1 GB, written frame by frame."""
    _multiframe(out / "multiframe-1g" / "enhanced.dcm", _count(2000, scale))


def sr(out: Path, scale: float) -> None:
    """20 structured reports of 2,000 content items, four deep."""
    for number in range(_count(20, scale)):
        report = _report(number, max(8, int(2000 * min(1.0, scale))))
        _write(report, out / "sr" / f"SR{number + 1:03d}.dcm")


MAKERS: dict[str, Callable[[Path, float], None]] = {
    "ct": ct,
    "mr": mr,
    "multiframe": multiframe,
    "multiframe-1g": multiframe_1g,
    "sr": sr,
}


def flat_header(elements: int, variant: int) -> Dataset:
    """Return an MR slice whose header has about so many elements, nearly all of them private."""
    dataset = _image("flat", MR_STORAGE, "MR")
    _slice(dataset, "flat", variant)
    _make_tiny(dataset)
    _add_private(dataset, max(0, elements - len(dataset) - 1), first_group=0x0011 + 2 * variant)
    return dataset


def nested_header(elements: int, variant: int) -> Dataset:
    """Return an Enhanced CT with so many frames that there are about so many elements."""
    dataset = _image("nested", ENHANCED_CT_STORAGE, "CT")
    _slice(dataset, "nested", variant)
    _make_tiny(dataset)
    dataset.NumberOfFrames = max(1, (elements - len(dataset)) // ELEMENTS_PER_FRAME)
    dataset.PerFrameFunctionalGroupsSequence = _frame_groups(dataset.NumberOfFrames)
    _add_private(dataset, 1 + variant)
    return dataset


def report_header(elements: int, variant: int) -> Dataset:
    """Return a structured report with about so many elements in its content items."""
    report = _report(variant, max(1, elements // ELEMENTS_PER_CONTENT_ITEM))
    _add_private(report, 1 + variant)
    return report


HEADERS: dict[str, Callable[[int, int], Dataset]] = {
    "flat": flat_header,
    "per-frame": nested_header,
    "report": report_header,
}
ELEMENTS_PER_FRAME = 16
ELEMENTS_PER_CONTENT_ITEM = 9


def headers(out: Path, shape: str, elements: int, variants: int) -> None:
    """Write objects that are nearly nothing but header, each of a shape that no other has."""
    for variant in range(variants):
        dataset = HEADERS[shape](elements, variant)
        _write(dataset, out / shape / f"{elements:06d}-{variant}.dcm")


def _count(whole: int, scale: float) -> int:
    return max(1, round(whole * scale))


def _make_tiny(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 1
    dataset.PixelData = b"\0\0"


def _image(kind: str, sop_class: str, modality: str) -> Dataset:
    """Return the header that all images of a kind share."""
    dataset = Dataset()
    for keyword, value in PLANTED.items():
        setattr(dataset, keyword, value)
    if kind != "mr":  # the small ones stand for those that declare none
        dataset.SpecificCharacterSet = "ISO_IR 100"
    family = PLANTED["PatientName"].partition("^")[0]
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(kind, "study"), uid(kind, "series")
    dataset.FrameOfReferenceUID = uid(kind, "frame of reference")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20240517"
    dataset.ContentDate, dataset.StudyTime, dataset.SeriesTime = "20240517", "101500", "101612"
    dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber = "S402917", "3", "1"
    dataset.Manufacturer, dataset.ManufacturerModelName = "BENCH SYSTEMS", "MODEL 7"
    dataset.SoftwareVersions, dataset.StationName = "12.4", "STN7731"
    dataset.StudyDescription = f"Bench study for {family}"
    dataset.SeriesDescription, dataset.ProtocolName = "Axial thin", "6.1 Routine"
    dataset.PatientComments = f"Seen with {family}, MRN {PLANTED['PatientID']}"
    dataset.PatientSex, dataset.PatientAge, dataset.PatientWeight = "F", "076Y", "71"
    dataset.PatientPosition, dataset.BodyPartExamined = "HFS", "CHEST"
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.PositionReferenceIndicator = "SN"
    dataset.PixelSpacing = ["0.78", "0.78"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 512
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.ProcedureCodeSequence = Sequence([_code("P5-09051", "SRT", "Routine examination")])
    dataset.RequestAttributesSequence = Sequence([_request()])
    dataset.ReferencedImageSequence = Sequence([_reference(kind, n) for n in range(3)])
    return dataset


def _slice(dataset: Dataset, kind: str, number: int) -> None:
    dataset.SOPInstanceUID = uid(kind, "instance", number)
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = ["-200", "-180", f"{100 - 1.25 * number:.3f}"]
    dataset.SliceLocation = f"{100 - 1.25 * number:.3f}"
    dataset.AcquisitionTime = dataset.ContentTime = f"10{number // 60 % 60:02d}{number % 60:02d}"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _request() -> Dataset:
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP5517", "SPS5517"
    request.RequestedProcedureDescription = f"For {PLANTED['PatientName'].partition('^')[0]}"
    return request


def _reference(kind: str, number: int) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = CT_STORAGE
    reference.ReferencedSOPInstanceUID = uid(kind, "referenced", number)
    return reference


def _add_private(dataset: Dataset, count: int, *, first_group: int = 0x0019) -> None:
    """Add so many private elements, creators included, 48 in a block and 16 blocks in a group."""
    left, group, creator = count, first_group, 0x10
    while left > 0:
        dataset.add_new(group << 16 | creator, "LO", f"BENCH_{group:04X}_{creator:02X}")
        left -= 1
        for number in range(min(48, left)):
            vr, value = _PRIVATE[number % len(_PRIVATE)]
            dataset.add_new(group << 16 | creator << 8 | number, vr, value)
        left -= min(48, left)
        creator += 1
        if creator == 0x20:
            group, creator = group + 2, 0x10


def _frame_groups(frames: int) -> Sequence:
    """Return the per-frame functional groups, 16 elements to a frame."""
    return Sequence([_frame_group(number) for number in range(frames)])


def _frame_group(number: int) -> Dataset:
    content, position, orientation, window, group = (Dataset() for _ in range(5))
    content.FrameAcquisitionNumber, content.FrameReferenceDateTime = number + 1, "20240517101500"
    content.FrameAcquisitionDateTime, content.FrameAcquisitionDuration = "20240517101500", 0.5
    content.DimensionIndexValues = [1, number + 1]
    content.StackID, content.InStackPositionNumber = "1", number + 1
    position.ImagePositionPatient = ["-200", "-180", f"{0.625 * number:.3f}"]
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    window.WindowCenter, window.WindowWidth = "40", "400"
    window.WindowCenterWidthExplanation = "SOFT TISSUE"
    group.FrameContentSequence = Sequence([content])
    group.PlanePositionSequence = Sequence([position])
    group.PlaneOrientationSequence = Sequence([orientation])
    group.FrameVOILUTSequence = Sequence([window])
    return group


def _report(number: int, items: int) -> Dataset:
    report = _image("sr", COMPREHENSIVE_SR, "SR")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelSpacing"):
        delattr(report, keyword)
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"):
        delattr(report, keyword)
    report.SOPInstanceUID, report.InstanceNumber = uid("sr", "instance", number), number + 1
    report.ContentTime, report.CompletionFlag = "101500", "COMPLETE"
    report.VerificationFlag, report.ValueType = "UNVERIFIED", "CONTAINER"
    report.ContinuityOfContent = "SEPARATE"
    report.ConceptNameCodeSequence = Sequence([_code("113701", "DCM", "Dose Report")])
    report.ContentSequence = Sequence(list(_content(items)))
    return report


def _content(items: int) -> Iterator[Dataset]:
    """Yield containers of measurements, four items deep at most, so many items in all."""
    for first in range(0, items, 4):
        yield _nested_items(first, min(4, items - first))


def _nested_items(first: int, depth: int) -> Dataset:
    item = _content_item(first)
    if depth > 1:
        item.ContentSequence = Sequence([_nested_items(first + 1, depth - 1)])
    return item


def _content_item(number: int) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = Sequence([_code("121106", "DCM", "Comment")])
    if number % 50 == 0:
        item.ValueType, item.UID = "UIDREF", uid("sr", "referenced", number)
    else:
        item.TextValue = f"Measured value number {number} within the usual range"
    item.ObservationDateTime = "20240517101500"
    return item


def _multiframe(path: Path, frames: int) -> None:
    dataset = _image("multiframe", ENHANCED_CT_STORAGE, "CT")
    _slice(dataset, "multiframe", frames)
    dataset.NumberOfFrames = frames
    dataset.PerFrameFunctionalGroupsSequence = _frame_groups(frames)
    _add_private(dataset, 120)
    _write(dataset, path)
    textures = [frame.tobytes() for frame in _frames(512)]
    with path.open("ab") as file:
        length = frames * FRAME_BYTES
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length))
        for number in range(frames):
            file.write(textures[number % len(textures)])


def _frames(side: int) -> list[Frame]:
    """Return a few different frames: a bright disc under noise."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[0:side, 0:side]
    disc = np.clip(1.2 - 2.4 * np.hypot(y - side / 2, x - side / 2) / side, 0, 1) * 2400
    noise = [rng.normal(0, 48, (side, side)) for _ in range(8)]
    return [np.clip(disc + n, 0, 4095).astype("<u2") for n in noise]


def _write(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    whole = copy.copy(dataset)
    whole.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, whole, enforce_file_format=True)


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--what", default="ct", help=f"of {', '.join(MAKERS)}; or headers")
    parser.add_argument("--scale", default=1.0, type=float)
    parser.add_argument("--shape", default="flat", choices=HEADERS)
    parser.add_argument("--elements", default="1000", help="header sizes, separated by commas")
    parser.add_argument("--variants", default=3, type=int)
    chosen = parser.parse_args()
    if chosen.what == "headers":
        for elements in map(int, chosen.elements.split(",")):
            headers(chosen.out, chosen.shape, elements, chosen.variants)
    else:
        for what in chosen.what.split(","):
            MAKERS[what](chosen.out, chosen.scale)
    key = [{"kind": chosen.what, "planted": PLANTED}]
    (chosen.out / ANSWER_KEY).write_text(json.dumps(key, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

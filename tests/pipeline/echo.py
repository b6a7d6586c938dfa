"""Ultrasound images with something written in them, and what looks at them, for tests."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian

from app.deid.profile import Profile, profile_from_text
from app.dicom.source import MemorySource, Source
from app.errors import PixelWorkFailed
from app.pipeline import Context, Deidentified, deidentified
from app.pipeline.pixel_work import Sender
from app.pipeline.side_work import PixelParts, Workers
from app.pixels.model import Box
from app.pixels.rules import Rule, RuleSet
from app.pixels.rules_text import read_rules
from app.pixels.rulings import Case, Ruling
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, part10

WHO = Identity()
US = "1.2.840.10008.5.1.4.1.1.6.1"
ROWS, COLUMNS = 64, 96
BANNER = Box(0, 0, COLUMNS, 16)
PSEUDONYMS = Pseudonyms(bytes(range(32)), "DEMO")
CLEANING = profile_from_text("{name: cleaning, options: [basic, clean_pixel_data]}")
MASKING = profile_from_text(
    "{name: masking, options: [basic, clean_pixel_data], pixels: {found: mask}}"
)
DESCRIBING = profile_from_text(
    "{name: describing, options: [basic, clean_pixel_data, clean_descriptors]}"
)
SENDER = Sender("viewer")
CLAIM = "113101"
RULES = """
format: 1
rules:
  - id: acme-echo
    match: {modality: US, manufacturer: ACME, model: Echo 9}
    mask: [{top: 0, height: 16}]
    complete: true
"""


def rule(text: str = RULES) -> tuple[Rule, ...]:
    return read_rules(text)


def echo(*, frames: int = 1, samples: int = 1, **attributes: Any) -> Dataset:
    """Make an image of which the first sixteen rows are a banner of a device that rules know."""
    dataset = Dataset()
    dataset.SOPClassUID = US if frames == 1 else "1.2.840.10008.5.1.4.1.1.3.1"
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.10.998.4"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.998.1"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.10.998.2"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    dataset.Modality, dataset.StudyDate, dataset.StudyTime = "US", "20240229", "101112"
    dataset.PatientName, dataset.PatientID = f"{WHO.family}^{WHO.given}", WHO.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = WHO.birth_date, "O"
    dataset.AccessionNumber, dataset.StudyID = WHO.accession, "4711"
    dataset.ReferringPhysicianName = WHO.referring
    dataset.Manufacturer, dataset.ManufacturerModelName = "ACME", "Echo 9"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.SamplesPerPixel, dataset.Rows, dataset.Columns = samples, ROWS, COLUMNS
    dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if frames > 1:
        dataset.NumberOfFrames = frames
        dataset.FrameIncrementPointer = 0x00181063
        dataset.FrameTime = 40
    values = np.random.default_rng(7).integers(1, 250, (frames, ROWS, COLUMNS, samples))
    dataset.PixelData = values.astype(np.uint8).tobytes()
    dataset["PixelData"].VR = "OB"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def with_region(dataset: Dataset, left: int, top: int, right: int, bottom: int) -> Dataset:
    """Say where the image is, as devices do: both corners belong to it."""
    item = Dataset()
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.1
    dataset.SequenceOfUltrasoundRegions = Items([item])
    return dataset


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    return part10(dataset, UID(syntax))


@dataclass
class Reader:
    """Answers what a reader of text would: one answer for each time that it is asked."""

    answers: list[dict[str, Any]]
    tasks: list[dict[str, Any]] = field(default_factory=list)

    async def ask(
        self, task: dict[str, Any], fds: Sequence[int] = (), timeout_s: float = 60.0
    ) -> dict[str, Any]:
        del timeout_s
        assert os.fstat(fds[0]).st_size
        self.tasks.append(task)
        if not self.answers:
            raise PixelWorkFailed("crashed")
        return self.answers.pop(0)


def read(*boxes: Box, frames: int = 1, kind: str = "patient-name") -> dict[str, Any]:
    """Return what a reader answers that found text in some places."""
    findings = [
        {
            "box": {"left": b.left, "top": b.top, "right": b.right, "bottom": b.bottom},
            "rung": "ocr",
            "rule": kind,
            "confidence": 0.9,
            "frames": None,
        }
        for b in boxes
    ]
    return {
        "findings": findings,
        "is_complete": True,
        "frames_read": frames,
        "lines": len(boxes),
        "doubtful": 0,
        "seconds": 0.1,
    }


@dataclass
class Ward:
    """A quarantine that holds in memory, and a person who decides when told to."""

    ruling: Ruling | None = None
    held: list[Case] = field(default_factory=list)
    rules: tuple[Rule, ...] = ()
    named: UUID = field(default_factory=uuid4)

    def digest(self, organization: str, source: Source) -> bytes:
        return f"{organization} {hash(source.read(0, source.size))}".encode()

    async def decided(self, organization: str, profile: str, digest: bytes) -> Ruling | None:
        del organization, profile, digest
        return self.ruling

    async def hold(self, source: Source, case: Case) -> UUID:
        assert source.size
        self.held.append(case)
        return self.named

    async def remembered(self, organization: str) -> tuple[Rule, ...]:
        del organization
        return self.rules


def parts(
    workers: Workers,
    *,
    rules: tuple[Rule, ...] = (),
    reader: Reader | None = None,
    ward: Ward | None = None,
    timeout_s: float = 60.0,
) -> PixelParts:
    """Put together what pixels are worked on with."""
    known = RuleSet(rules)

    async def rules_of(_organization: str) -> RuleSet:
        return known.adding(ward.rules) if ward else known

    return PixelParts(
        workers=workers,
        readers=reader,
        rules=rules_of,
        quarantine=ward,
        scratch=lambda _size: os.memfd_create("test", os.MFD_CLOEXEC),
        timeout_s=timeout_s,
    )


async def cleaned(
    data: bytes,
    pixels: PixelParts,
    profile: Profile = CLEANING,
    sender: Sender | None = None,
) -> Deidentified:
    context = Context("DEMO", profile, PSEUDONYMS, pixels=pixels)
    return await deidentified(MemorySource(data), context, sender=sender)


def result(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def codes(dataset: Dataset) -> set[str]:
    return {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence}


def pixels(dataset: Dataset) -> np.ndarray:
    return dataset.pixel_array.reshape(-1, ROWS, COLUMNS)


def source_of(dataset: Dataset) -> Dataset:
    return result(encoded(dataset))

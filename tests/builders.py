"""Synthetic SOP Instances with a canary in every place where something identifying can stand.

Nothing here comes from a patient. Every canary is unique and remembers its place, so that a test
that finds one in an output can say where it had been planted.
"""

import datetime as dt
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import config
from pydicom.charset import convert_encodings
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.deid.standard import ROWS

JPEG_FILE = "SC_rgb_small_odd_jpeg.dcm"
NATIVE_SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted text or number and the place where it was planted."""

    text: str
    place: str


@dataclass(slots=True)
class Planter:
    """Makes canaries; the same label always makes the same ones.

    Attributes:
        canaries: everything that was planted and must not be in an output.
    """

    label: str
    canaries: list[Canary] = field(default_factory=list)

    def _seed(self) -> int:
        digest = hashlib.sha256(f"{self.label}/{len(self.canaries)}".encode()).digest()
        return int.from_bytes(digest[:8], "big")

    def _plant(self, text: str, place: str) -> str:
        self.canaries.append(Canary(text, place))
        return text

    def text(self, place: str) -> str:
        """Make ten capital letters, valid in every text VR and every character set."""
        seed = self._seed()
        letters = "".join("BCDFGHJKLMNPQRSTVWXZ"[seed // 20**n % 20] for n in range(8))
        return self._plant(f"ZQ{letters}", place)

    def uid(self, place: str) -> str:
        """Make a UID of a made-up root."""
        return self._plant(f"1.2.826.0.1.3680043.10.999.{self._seed() % 10**12 + 10**12}", place)

    def number(self, place: str) -> str:
        """Make nine digits, valid in IS and DS."""
        return self._plant(str(self._seed() % 10**9 + 10**9), place)

    def date(self, place: str) -> str:
        """Make a day of the nineteenth century, each time another."""
        # 37 and 36,000 have no common factor: no day comes twice.
        day = dt.date(1801, 1, 1) + dt.timedelta(days=37 * len(self.canaries) % 36_000)
        return self._plant(f"{day:%Y%m%d}", place)

    def time(self, place: str) -> str:
        """Make a time with a fraction that gives it away."""
        return self._plant(f"112233.{self._seed() % 900_000 + 100_000}", place)

    def date_time(self, place: str) -> str:
        """Make a day of the nineteenth century with such a time."""
        seed = self._seed()
        return self._plant(f"18{seed % 100:02}0203112233.{seed // 100 % 900_000 + 100_000}", place)

    def value(self, vr: str, place: str) -> str | bytes | int | None:
        """Make a value for a VR, or ``None`` where a value is too small to be recognised."""
        makers: dict[str, Callable[[str], str]] = {
            "UI": self.uid,
            "DA": self.date,
            "TM": self.time,
            "DT": self.date_time,
            "IS": self.number,
            "DS": self.number,
        }
        if vr in {"OB", "OW", "UN"}:
            return self.text(place).encode()
        if vr in {"US", "AS", "SQ"}:
            return None
        if vr == "UR":
            return f"http://{self.text(place).lower()}.example"
        return makers.get(vr, self.text)(place)


# --- Identity ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """The made-up patient of an instance; every part of it must vanish."""

    family: str = "Quillonbury"
    given: str = "Zebedee"
    referring: str = "Grizzlewick^Ottoline"
    operator: str = "Umberfold^Casimir"
    patient_id: str = "PZ-7741-0093"
    other_id: str = "OID-88.1203.5"
    accession: str = "ACC7310055"
    birth_date: str = "19310417"
    institution: str = "Saint Wobblethorpe Infirmary"

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that identifies this patient."""
        names = (self.family, self.given, *self.referring.split("^"), *self.operator.split("^"))
        ids = (self.patient_id, self.other_id, self.accession)
        bare_ids = tuple("".join(filter(str.isalnum, text)) for text in ids)
        dates = (self.birth_date, "17.04.1931", "1931-04-17", "17 Apr 1931", "April 17, 1931")
        return (*names, *ids, *bare_ids, *dates, self.institution)


#: What people write into kept descriptions; ``{…}`` are filled from the identity.
SENTENCES = {
    "names in order": "Scan of {given} {family}",
    "names turned round": "{family}, {given}",
    "family name in capitals": "SKULL {FAMILY} LATERAL",
    "given name in a word": "for {given}'s knee",
    "names with carets": "{family}^{given}",
    "names joined": "{given}_{family}_final",
    "other person": "asked by {referring}",
    "operator's family name": "tech {operator}",
    "patient id": "see {patient_id}",
    "patient id without punctuation": "see {bare_id}",
    "other id": "old no {other_id}",
    "accession": "order {accession}",
    "birth date": "born {birth_date}",
    "birth date, German": "geb. 17.04.1931",
    "birth date, ISO": "DOB 1931-04-17",
    "birth date, in words": "DOB 17 Apr 1931",
    "birth date, American": "DOB 04/17/1931",
    "institution": "at {institution}",
    "institution in capitals": "{INSTITUTION}",
}
# Attributes that Table E.1-1 does not list and whose VR says nothing: kept under every profile.
KEPT_TEXTS = {
    "ManufacturerModelName": 64,
    "WindowCenterWidthExplanation": 64,
    "ConvolutionKernel": 16,
    "InterventionDescription": 1024,
    "DetectorDescription": 1024,
    "TrackingID": 1024,
    "LongCodeValue": 1024,
}


def sentence(name: str, who: Identity) -> str:
    """Fill one of the sentences in."""
    return SENTENCES[name].format(
        given=who.given,
        family=who.family,
        FAMILY=who.family.upper(),
        referring=" ".join(reversed(who.referring.split("^"))),
        operator=who.operator.split("^")[0],
        patient_id=who.patient_id,
        bare_id="".join(filter(str.isalnum, who.patient_id)),
        other_id=who.other_id,
        accession=who.accession,
        birth_date=who.birth_date,
        institution=who.institution,
        INSTITUTION=who.institution.upper(),
    )


# --- Instances ---------------------------------------------------------------------------------


@contextmanager
def unchecked_values() -> Iterator[None]:
    """Let pydicom write values that it would warn about."""
    before = config.settings.writing_validation_mode, config.settings.reading_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    config.settings.reading_validation_mode = config.IGNORE
    try:
        yield
    finally:
        config.settings.writing_validation_mode = before[0]
        config.settings.reading_validation_mode = before[1]


def _base(sop_class: str, modality: str, who: Identity) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.10.998.4"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.998.1"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.10.998.2"
    dataset.Modality = modality
    dataset.StudyDate, dataset.StudyTime = "20240229", "101112"
    dataset.StudyID = "4711"
    dataset.AccessionNumber = who.accession
    dataset.PatientName = f"{who.family}^{who.given}"
    dataset.PatientID = who.patient_id
    dataset.PatientBirthDate = who.birth_date
    dataset.PatientSex = "O"
    dataset.ReferringPhysicianName = who.referring
    dataset.OperatorsName = who.operator
    dataset.InstitutionName = who.institution
    dataset.Manufacturer = "Acme"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = who.other_id, "TEXT"
    dataset.OtherPatientIDsSequence = [other]
    return dataset


def _with_pixels(dataset: Dataset, *, frames: int = 1, bits: int = 16) -> Dataset:
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = bytes(range(256)) * (frames * bits // 8)
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _reference(sop_class: str, uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, uid
    return reference


CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
REFERENCED_IMAGE = "1.2.826.0.1.3680043.10.998.77"


def ct(who: Identity) -> Dataset:
    dataset = _with_pixels(_base(CT_CLASS, "CT", who))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.10.998.3"
    dataset.ImagePositionPatient, dataset.KVP = [0, 0, 0], 120
    dataset.ReferencedImageSequence = [_reference(CT_CLASS, REFERENCED_IMAGE)]
    return dataset


def mr(who: Identity) -> Dataset:
    dataset = _with_pixels(_base("1.2.840.10008.5.1.4.1.1.4", "MR", who))
    dataset.ScanningSequence, dataset.SequenceVariant = "SE", "NONE"
    dataset.EchoTime = 12
    return dataset


def enhanced_mr(who: Identity) -> Dataset:
    dataset = _with_pixels(_base("1.2.840.10008.5.1.4.1.1.4.1", "MR", who), frames=3)
    groups = []
    for number in range(3):
        content = Dataset()
        content.FrameAcquisitionDateTime = f"2024022910111{number}"
        content.StackID, content.InStackPositionNumber = "1", number + 1
        group = Dataset()
        group.FrameContentSequence = [content]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    shared = Dataset()
    image = _reference(CT_CLASS, REFERENCED_IMAGE)
    image.PurposeOfReferenceCodeSequence = [_code("121311", "DCM", "Localizer")]
    shared.ReferencedImageSequence = [image]
    dataset.SharedFunctionalGroupsSequence = [shared]
    return dataset


def us_jpeg(who: Identity) -> Dataset:
    """Three JPEG frames with segments full of names, and bytes behind each."""
    path = get_testdata_file(JPEG_FILE, download=False)
    shipped = dcmread(str(path))
    frame = next(generate_frames(shipped.PixelData, number_of_frames=1))
    dataset = _base("1.2.840.10008.5.1.4.1.1.3.1", "US", who)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"):
        setattr(dataset, keyword, shipped[keyword].value)
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(dataset, keyword, shipped[keyword].value)
    dataset.PlanarConfiguration, dataset.NumberOfFrames = 0, 3
    secret = f"{who.family} {who.given}".encode()
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(secret) + 2) + secret for marker in (0xE1, 0xED, 0xFE)
    )
    planted = frame[:2] + segments + frame[2:].rstrip(b"\x00") + secret
    dataset.PixelData = encapsulate([planted, frame, planted])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def sr(who: Identity) -> Dataset:
    dataset = _base("1.2.840.10008.5.1.4.1.1.88.33", "SR", who)
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "VERIFIED"
    dataset.ConceptNameCodeSequence = [_code("126000", "DCM", "Imaging Measurement Report")]
    text = Dataset()
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.ConceptNameCodeSequence = [_code("121106", "DCM", "Comment")]
    text.TextValue = f"{who.given} {who.family} is well"
    person = Dataset()
    person.RelationshipType, person.ValueType = "HAS OBS CONTEXT", "PNAME"
    person.ConceptNameCodeSequence = [_code("121008", "DCM", "Person Observer Name")]
    person.PersonName = who.referring
    person.ContentSequence = [text]
    dataset.ContentSequence = [text, person]
    observer = Dataset()
    observer.VerifyingObserverName = who.referring
    observer.VerifyingOrganization = who.institution
    observer.VerificationDateTime = "20240229101112"
    dataset.VerifyingObserverSequence = [observer]
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence()]
    return dataset


def _evidence() -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = "1.2.826.0.1.3680043.10.998.2"
    series.ReferencedSOPSequence = [_reference(CT_CLASS, REFERENCED_IMAGE)]
    study = Dataset()
    study.StudyInstanceUID = "1.2.826.0.1.3680043.10.998.1"
    study.ReferencedSeriesSequence = [series]
    return study


def pr(who: Identity) -> Dataset:
    dataset = _base("1.2.840.10008.5.1.4.1.1.11.1", "PR", who)
    dataset.ContentLabel, dataset.ContentDescription = "ANNOTATIONS", f"Arrows for {who.given}"
    dataset.ContentCreatorName = who.operator
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = "20240229", "101112"
    text = Dataset()
    text.UnformattedTextValue = f"{who.family} left"
    text.AnchorPoint = [1.0, 1.0]
    text.AnchorPointAnnotationUnits, text.AnchorPointVisibility = "PIXEL", "N"
    annotation = Dataset()
    annotation.GraphicLayer = "LAYER"
    annotation.TextObjectSequence = [text]
    dataset.GraphicAnnotationSequence = [annotation]
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = "LAYER", 1
    layer.GraphicLayerDescription = f"{who.given}'s arrows"
    dataset.GraphicLayerSequence = [layer]
    series = Dataset()
    series.SeriesInstanceUID = "1.2.826.0.1.3680043.10.998.2"
    series.ReferencedImageSequence = [_reference(CT_CLASS, REFERENCED_IMAGE)]
    dataset.ReferencedSeriesSequence = [series]
    return dataset


def seg(who: Identity) -> Dataset:
    dataset = _with_pixels(_base("1.2.840.10008.5.1.4.1.1.66.4", "SEG", who), frames=2, bits=8)
    dataset.ContentLabel, dataset.ContentCreatorName = "SEGMENTATION", who.operator
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, f"{who.family} liver"
    segment.SegmentAlgorithmType = "MANUAL"
    segment.TrackingID, segment.TrackingUID = "T1", "1.2.826.0.1.3680043.10.998.9"
    dataset.SegmentSequence = [segment]
    dataset.ReferencedSeriesSequence = _evidence().ReferencedSeriesSequence
    return dataset


def rtstruct(who: Identity) -> Dataset:
    dataset = _base("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", who)
    dataset.StructureSetLabel, dataset.StructureSetName = "SET", f"{who.family} set"
    dataset.StructureSetDate, dataset.StructureSetTime = "20240229", "101112"
    roi = Dataset()
    roi.ROINumber, roi.ROIName = 1, f"PTV {who.given}"
    roi.ReferencedFrameOfReferenceUID = "1.2.826.0.1.3680043.10.998.3"
    roi.ROIDescription = f"drawn by {who.operator}"
    dataset.StructureSetROISequence = [roi]
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = 1
    observation.ROIInterpreter = who.operator
    dataset.RTROIObservationsSequence = [observation]
    return dataset


def ko(who: Identity) -> Dataset:
    dataset = _base("1.2.840.10008.5.1.4.1.1.88.59", "KO", who)
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [_code("113000", "DCM", "Of Interest")]
    image = Dataset()
    image.RelationshipType, image.ValueType = "CONTAINS", "IMAGE"
    image.ReferencedSOPSequence = [_reference(CT_CLASS, REFERENCED_IMAGE)]
    dataset.ContentSequence = [image]
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence()]
    return dataset


def _document(sop_class: str, mime: str, content: str, who: Identity) -> Dataset:
    dataset = _base(sop_class, "DOC", who)
    dataset.DocumentTitle, dataset.MIMETypeOfEncapsulatedDocument = f"{who.family}, letter", mime
    document = content.format(name=f"{who.given} {who.family}", id=who.patient_id).encode()
    dataset.EncapsulatedDocument = document + b"\x00" * (len(document) % 2)
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.BurnedInAnnotation = "NO"
    return dataset


def encapsulated_pdf(who: Identity) -> Dataset:
    content = "%PDF-1.4\n% letter about {name}, {id}\n%%EOF\n"
    return _document("1.2.840.10008.5.1.4.1.1.104.1", "application/pdf", content, who)


def encapsulated_cda(who: Identity) -> Dataset:
    content = "<ClinicalDocument><id extension='{id}'/><name>{name}</name></ClinicalDocument>"
    return _document("1.2.840.10008.5.1.4.1.1.104.2", "text/XML", content, who)


INSTANCES: dict[str, Callable[[Identity], Dataset]] = {
    "ct": ct,
    "mr": mr,
    "enhanced-mr": enhanced_mr,
    "us-jpeg": us_jpeg,
    "sr": sr,
    "pr": pr,
    "seg": seg,
    "rtstruct": rtstruct,
    "ko": ko,
    "encapsulated-pdf": encapsulated_pdf,
    "encapsulated-cda": encapsulated_cda,
}


# --- Planting ----------------------------------------------------------------------------------

_IDENTITY_KEYWORDS = frozenset(
    {
        "AccessionNumber",
        "EncapsulatedDocument",
        "InstitutionName",
        "PatientBirthDate",
        "PatientID",
        "PatientName",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
    }
)


def plant_table(dataset: Dataset, planter: Planter, place: str, *, at_root: bool) -> None:
    """Add every attribute of Table E.1-1 that is not there yet, each with its own canary."""
    for tag, row in ROWS.items():
        if tag >> 16 < 8 or tag >> 16 >= 0xFFFA or tag in dataset:
            continue
        if at_root and row.keyword in _IDENTITY_KEYWORDS:
            continue
        where = f"{place} {row.keyword}"
        value = planter.value(row.vr, where)
        if value is not None:
            dataset.add(DataElement(tag, row.vr, value))
        elif row.vr == "SQ":
            dataset.add(DataElement(tag, "SQ", Sequence([_named_item(planter, where)])))


def _named_item(planter: Planter, place: str) -> Dataset:
    """Make an item whose content goes whatever becomes of its sequence."""
    item = Dataset()
    item.PatientName = planter.text(f"{place} > PatientName")
    item.PatientComments = planter.text(f"{place} > PatientComments")
    item.add_new(0x00091001, "LO", planter.text(f"{place} > private"))
    return item


#: Sequences that Table E.1-1 does not list: they stay and are entered.
_UNLISTED = (0x00082218, 0x00082220, 0x00400440)


def plant_depths(dataset: Dataset, planter: Planter) -> None:
    """Plant the whole table at the root, one level down and three levels down."""
    third, first = Dataset(), Dataset()
    plant_table(third, planter, "depth 3", at_root=False)
    second = Dataset()
    second.add_new(_UNLISTED[2], "SQ", Sequence([third]))
    first.add_new(_UNLISTED[1], "SQ", Sequence([second]))
    plant_table(first, planter, "depth 1", at_root=False)
    dataset.add_new(_UNLISTED[0], "SQ", Sequence([first]))
    plant_table(dataset, planter, "root", at_root=True)


def plant_private(dataset: Dataset, planter: Planter) -> None:
    """Plant private blocks, private sequences, private creators and odd groups of all kinds."""
    dataset.add_new(0x00090010, "LO", planter.text("private creator"))
    dataset.add_new(0x00091002, "LO", planter.text("private LO"))
    dataset.add_new(0x00091003, "UN", planter.text("private UN").encode())
    dataset.add_new(0x00091004, "SQ", Sequence([_named_item(planter, "private SQ")]))
    dataset.add_new(0x00190010, "LO", "GEMS_ACQU_01")
    dataset.add_new(0x00191023, "DS", planter.number("known safe private"))
    dataset.add_new(0x7FE11001, "OB", planter.text("private behind pixel data").encode())


def plant_repeating(dataset: Dataset, planter: Planter) -> None:
    """Plant curves and overlays, in and beyond the groups that the standard defines."""
    for group in (0x5000, 0x501E, 0x5020):
        dataset.add_new(group << 16 | 0x2500, "LO", planter.text(f"curve {group:04X}"))
        dataset.add_new(group << 16 | 0x3000, "OW", planter.text(f"curve {group:04X}").encode())
    for group in (0x6000, 0x6002, 0x601E, 0x6020):
        place = f"overlay {group:04X}"
        dataset.add_new(group << 16 | 0x0010, "US", 8)
        dataset.add_new(group << 16 | 0x0011, "US", 8)
        dataset.add_new(group << 16 | 0x0022, "LO", planter.text(f"{place} description"))
        dataset.add_new(group << 16 | 0x1500, "LO", planter.text(f"{place} label"))
        dataset.add_new(group << 16 | 0x3000, "OW", planter.text(f"{place} data").encode())
        dataset.add_new(group << 16 | 0x4000, "LT", planter.text(f"{place} comments"))


def plant_oddities(dataset: Dataset, planter: Planter) -> None:
    """Plant unknown tags, an icon, signatures and the originals of earlier changes."""
    dataset.add_new(0x0008FFF0, "LO", planter.text("unknown tag"))
    dataset.add_new(0x00420FF0, "UN", planter.text("unknown tag, UN").encode())
    dataset.add_new(0x0040FFF2, "SQ", Sequence([_named_item(planter, "unknown SQ")]))
    dataset.add_new(0x0010FFF0, "PN", planter.text("unknown tag, PN"))
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.PixelData = planter.text("icon").encode()
    icon["PixelData"].VR = "OB"
    dataset.IconImageSequence = [icon]
    original = Dataset()
    original.ModifiedAttributesSequence = [_named_item(planter, "original attributes")]
    original.ReasonForTheAttributeModification = "COERCE"
    dataset.OriginalAttributesSequence = [original]
    signature = Dataset()
    signature.CertificateOfSigner = planter.text("signature").encode()
    signature.Signature = planter.text("signature value").encode()
    dataset.DigitalSignaturesSequence = [signature]
    dataset.DataSetTrailingPadding = planter.text("trailing padding").encode()


def plant_encrypted(dataset: Dataset, planter: Planter) -> None:
    """Plant what somebody else's key opens: the attributes before an earlier de-identification."""
    encrypted = Dataset()
    encrypted.EncryptedContentTransferSyntaxUID = ExplicitVRLittleEndian
    encrypted.EncryptedContent = planter.text("encrypted attributes").encode()
    dataset.EncryptedAttributesSequence = [encrypted]


def raw_element(tag: int, vr: str, value: bytes, *, reserved: bytes = b"\x00\x00") -> bytes:
    """Encode one element explicitly, whatever its VR and value: pydicom would object to some."""
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in {"OB", "OW", "SQ", "UN", "UT"}:
        return head + reserved + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def plant_kept_text(dataset: Dataset, text: str) -> None:
    """Write a text into attributes of every text VR that are kept, at the root and deeper."""
    for keyword, length in KEPT_TEXTS.items():
        if len(text) <= length:
            setattr(dataset, keyword, text)
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "T-1", "99X"
    item.CodeMeaning = text[:64]
    modifier = Dataset()
    modifier.update(item)
    item.ViewModifierCodeSequence = [modifier]
    dataset.ViewCodeSequence = [item]
    dataset.add_new(0x00181020, "UN", text.encode())


# --- Writing -----------------------------------------------------------------------------------


def un_of_undefined_length(tag: int, planter: Planter, place: str, *, explicit: bool) -> bytes:
    """Encode a sequence as UN of undefined length, implicit inside. Source: PS3.5 2026d, 6.2.2."""
    name = planter.text(f"{place} > PatientName").encode()
    comment = planter.text(f"{place} > PatientComments").encode()
    inner = struct.pack("<HHI", 0x0010, 0x0010, len(name)) + name
    inner += struct.pack("<HHI", 0x0010, 0x4000, len(comment)) + comment
    item_end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + item_end
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"UN\0\0" if explicit else b"")
    return head + b"\xff" * 4 + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def encode(dataset: Dataset, syntax: str, extra: Mapping[int, bytes] | None = None) -> bytes:
    """Encode a data set without preamble and File Meta, not deflated.

    Args:
        extra: elements encoded already, by tag, which are put into their places.
    """
    pieces = []
    rest = Dataset()
    rest.update(dataset)
    for tag in sorted(extra or {}):
        pieces += [_encode(rest[:tag], dataset, syntax), (extra or {})[tag]]
        rest = rest[tag:]
    return b"".join([*pieces, _encode(rest, dataset, syntax)])


def _encode(part: Dataset, whole: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    charsets = whole.get("SpecificCharacterSet") or "ISO_IR 6"
    with unchecked_values():
        write_dataset(buffer, part, convert_encodings(charsets))
    return buffer.getvalue()


def part10(
    dataset: Dataset,
    syntax: str = ExplicitVRLittleEndian,
    planter: Planter | None = None,
    *,
    extra: Mapping[int, bytes] | None = None,
    trailing: bytes = b"",
) -> bytes:
    """Write preamble, File Meta and data set; with a planter, canaries in the first two.

    Args:
        extra: encoded elements by tag, as ``encode`` takes them.
        trailing: what follows the data set.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.10.997"
    meta.FileMetaInformationVersion = b"\x00\x01"
    preamble = bytes(128)
    if planter is not None:
        preamble = planter.text("preamble").encode().ljust(128, b"\x00")
        _plant_meta(meta, planter)
    body = encode(dataset, syntax, extra) + trailing
    if syntax == DeflatedExplicitVRLittleEndian:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    return preamble + b"DICM" + _encode_meta(meta) + body


def _plant_meta(meta: FileMetaDataset, planter: Planter) -> None:
    meta.ImplementationVersionName = planter.text("implementation version")
    meta.SourceApplicationEntityTitle = planter.text("source AE title")
    meta.SendingApplicationEntityTitle = planter.text("sending AE title")
    meta.ReceivingApplicationEntityTitle = planter.text("receiving AE title")
    meta.SourcePresentationAddress = f"dicom://{planter.text('presentation address')}"
    meta.PrivateInformationCreatorUID = planter.uid("private information creator")
    meta.PrivateInformation = planter.text("private information").encode()


def _encode_meta(meta: FileMetaDataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    with unchecked_values():
        write_dataset(buffer, meta)
    content = buffer.getvalue()
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(content)) + content


def everything(kind: str, syntax: str) -> tuple[bytes, list[Canary]]:
    """Build one instance of a kind with a canary in every place, and say what was planted."""
    planter = Planter(f"{kind} {syntax}")
    dataset = INSTANCES[kind](Identity())
    plant_oddities(dataset, planter)
    plant_encrypted(dataset, planter)
    plant_depths(dataset, planter)
    plant_private(dataset, planter)
    plant_repeating(dataset, planter)
    extra: dict[int, bytes] = {}
    if syntax != ExplicitVRBigEndian:
        explicit = syntax != ImplicitVRLittleEndian
        extra[0x00041130] = _media_group(planter, explicit=explicit)
        for tag in (0x00111001, 0x00540220):
            place = f"UN of undefined length {tag:08X}"
            extra[tag] = un_of_undefined_length(tag, planter, place, explicit=explicit)
    return part10(dataset, syntax, planter, extra=extra), planter.canaries


def _media_group(planter: Planter, *, explicit: bool) -> bytes:
    value = planter.text("group 0004").encode()
    length = struct.pack("<2sH", b"CS", len(value)) if explicit else struct.pack("<I", len(value))
    return struct.pack("<HH", 0x0004, 0x1130) + length + value


# --- Character sets ----------------------------------------------------------------------------

#: Specific Character Set → a made-up name written in it, and what Python calls the set.
SCRIPTS = {
    "ISO_IR 100": ("Müllersdörf^Jürgen", "latin-1"),
    "ISO_IR 101": ("Wałęsiński^Żółcisław", "iso8859-2"),
    "ISO_IR 109": ("Ħamruniĝa^Ġorġina", "iso8859-3"),
    "ISO_IR 110": ("Bērziņšoņš^Ģirtiņš", "iso8859-4"),
    "ISO_IR 144": ("Люксембургская^Валентинка", "iso8859-5"),
    "ISO_IR 127": ("قبانيون^لنزارون", "iso8859-6"),
    "ISO_IR 126": ("Διονυσιάδης^Αριστείδης", "iso8859-7"),
    "ISO_IR 138": ("שרוןסקי^דבורהלה", "iso8859-8"),
    "ISO_IR 148": ("Çavuşoğullu^İbrahimşah", "iso8859-9"),
    "ISO_IR 166": ("สมใจนึก^กนกวรรณ", "tis-620"),
    "ISO_IR 192": ("Žižkovský^Θεόφραστος", "utf-8"),
    "GB18030": ("Wangxiao^Dongling=王小明^东玲珑", "gb18030"),
    "\\ISO 2022 IR 87": ("Yamadakko^Tarousan=山田村^太郎丸=やまだむら^たろうまる", "iso2022_jp"),
    "\\ISO 2022 IR 149": ("Hongssi^Gildongi=洪吉洞^吉東伊=홍길동이^길동이네", "euc_kr"),
}

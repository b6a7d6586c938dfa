"""Headers for the images: ordinary SOP classes with the person's data where it belongs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydicom.dataset import Dataset

from tests.pixels.burning.words import Person

_ROOT = "1.2.826.0.1.3680043.10.996"
_SMALL = ((240, 320), (256, 256))
_SCREENS = ((240, 320), (300, 400), (480, 640))


@dataclass(frozen=True, slots=True)
class About:
    """One kind of object.

    Attributes:
        forms: which formats fit: ``byte``, ``word``, ``unsigned``, ``bit`` or ``any``.
        weight: how often it is drawn.
    """

    sop_class: str
    modality: str
    forms: str
    backgrounds: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...] = _SMALL
    frames: bool = False
    weight: int = 1


KINDS: Mapping[str, About] = MappingProxyType(
    {
        "us-cine": About(
            "1.2.840.10008.5.1.4.1.1.3.1",
            "US",
            "byte",
            ("ultrasound", "speckle"),
            _SCREENS,
            frames=True,
            weight=3,
        ),
        "us": About(
            "1.2.840.10008.5.1.4.1.1.6.1",
            "US",
            "byte",
            ("ultrasound", "speckle", "black"),
            _SCREENS,
            weight=6,
        ),
        "sc": About(
            "1.2.840.10008.5.1.4.1.1.7",
            "OT",
            "any",
            ("black", "white", "gradient", "radiograph", "ultrasound"),
            _SCREENS,
            weight=5,
        ),
        "sc-words": About(
            "1.2.840.10008.5.1.4.1.1.7.3",
            "OT",
            "word",
            ("black", "gradient", "section"),
            frames=True,
        ),
        "sc-bits": About(
            "1.2.840.10008.5.1.4.1.1.7.1",
            "OT",
            "bit",
            ("black", "white"),
            frames=True,
        ),
        "sc-any": About(
            "1.2.840.10008.5.1.4.1.1.7.4", "OT", "any", ("gradient",), frames=True, weight=0
        ),
        "cr": About(
            "1.2.840.10008.5.1.4.1.1.1",
            "CR",
            "word",
            ("radiograph", "gradient"),
            _SCREENS,
            weight=2,
        ),
        "dx": About("1.2.840.10008.5.1.4.1.1.1.1", "DX", "unsigned", ("radiograph",), _SCREENS),
        # Slices in which nobody expects text: whoever looks at the header alone lets them pass.
        "ct-original": About(
            "1.2.840.10008.5.1.4.1.1.2",
            "CT",
            "word",
            ("section",),
            ((256, 256), (320, 320)),
            weight=0,
        ),
        "ct": About(
            "1.2.840.10008.5.1.4.1.1.2",
            "CT",
            "word",
            ("section",),
            ((256, 256), (320, 320)),
            weight=2,
        ),
        "xa": About(
            "1.2.840.10008.5.1.4.1.1.12.1",
            "XA",
            "byte",
            ("radiograph", "gradient"),
            ((256, 256),),
            frames=True,
        ),
    }
)


def header(kind: str, seed: int, who: Person, burned_in: str) -> Dataset:
    """Return the data set of an image without its pixels."""
    about = KINDS[kind]
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = about.sop_class, f"{_ROOT}.4.{seed}"
    dataset.StudyInstanceUID = f"{_ROOT}.1.{seed}"
    dataset.SeriesInstanceUID = f"{_ROOT}.2.{seed}"
    dataset.Modality, dataset.StudyID = about.modality, "1"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ""
    _put_person(dataset, who)
    dataset.Manufacturer, dataset.ManufacturerModelName = "Imaginary Devices", "Model 7"
    if burned_in:
        dataset.BurnedInAnnotation = burned_in
    _put_kind(dataset, kind)
    return dataset


def _put_person(dataset: Dataset, who: Person) -> None:
    dataset.PatientName = f"{who.family}^{who.given}"
    dataset.PatientID, dataset.AccessionNumber = who.patient_id, who.accession[:16]
    dataset.PatientBirthDate, dataset.PatientSex = f"{who.birth:%Y%m%d}", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = f"{who.study:%Y%m%d}"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = f"{who.study:%H%M%S}"
    dataset.ReferringPhysicianName = "^".join(who.physician)
    dataset.OperatorsName = "^".join(who.operator)
    dataset.InstitutionName = who.institution
    dataset.InstitutionAddress = f"{who.street}, {who.town}"
    dataset.PatientAddress = f"{who.street}, {who.town}"
    dataset.PatientTelephoneNumbers = who.phone[:16]


def _put_kind(dataset: Dataset, kind: str) -> None:
    if kind.startswith("sc"):
        dataset.ConversionType = "WSD"
        dataset.ImageType = ["DERIVED", "SECONDARY"]
    if kind.startswith("ct"):
        is_original = kind == "ct-original"
        dataset.ImageType = ["ORIGINAL", "PRIMARY"] if is_original else ["DERIVED", "SECONDARY"]
        dataset.ImageType += ["AXIAL"]
        dataset.FrameOfReferenceUID = f"{_ROOT}.3"
        dataset.PositionReferenceIndicator = ""
        dataset.ImagePositionPatient, dataset.PixelSpacing = [0, 0, 0], [1, 1]
        dataset.ImageOrientationPatient, dataset.SliceThickness = [1, 0, 0, 0, 1, 0], "1"
        dataset.KVP, dataset.AcquisitionNumber, dataset.PatientPosition = "120", 1, "HFS"
        dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    if kind not in ("cr", "dx"):
        dataset.Laterality = ""
    adding = {"cr": _put_cr, "dx": _put_dx, "xa": _put_xa, "sc-words": _put_word}
    if kind in adding:
        adding[kind](dataset)


def _put_cr(dataset: Dataset) -> None:
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"


def _put_word(dataset: Dataset) -> None:
    """Say what words of more than eight bits mean."""
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"


def _put_dx(dataset: Dataset) -> None:
    _put_word(dataset)
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator = "43799004", "SCT"
    region.CodeMeaning = "Thoracic cavity structure"
    dataset.AnatomicRegionSequence = [region]
    dataset.BodyPartExamined, dataset.ImageLaterality = "CHEST", "U"
    dataset.PresentationIntentType, dataset.PatientOrientation = "FOR PRESENTATION", ["L", "F"]
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1
    dataset.LossyImageCompression, dataset.ImagerPixelSpacing = "00", [0.2, 0.2]
    dataset.DetectorType, dataset.PositionerType = "DIRECT", ""
    dataset.AcquisitionContextSequence = []


def _put_xa(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.PixelIntensityRelationship, dataset.KVP = "LIN", "80"
    dataset.RadiationSetting, dataset.PositionerMotion = "SC", "STATIC"
    dataset.XRayTubeCurrent = dataset.ExposureTime = dataset.Exposure = None
    dataset.PositionerPrimaryAngle = dataset.PositionerSecondaryAngle = None

"""What is known of how likely images carry burned-in text: plain tables with their sources.

Sources. [M] PS3.3 2026d: C.7.6.1 (General Image: Image Type, Burned In Annotation, Recognizable
Visual Features), C.8.6.1 (SC Equipment: Conversion Type), C.8.12.4 (Whole Slide Microscopy Image),
C.7.6.22 (Specimen: Specimen Label in Image) and the modality's own image module. [D] PS3.15 2026d,
E.3.1 (Clean Pixel Data) names ultrasound, secondary capture and visible light. [C] devices and
Image Types in the pixel and filter scripts that RSNA CTP and Stanford's MIRC-CTP publish. [T] the
TCIA's account of where its curators met text. Where sources say nothing, the stricter row stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.pixels.model import Risk


class Group(StrEnum):
    """SOP Classes that are judged alike."""

    SECTIONS = "sections"  # CT, MR, PET, NM: numbers of a detector, reconstructed
    RADIOGRAPHS = "radiographs"  # markers and, with some devices, names in the corner
    FLUOROSCOPY = "fluoroscopy"
    ULTRASOUND = "ultrasound"  # screens, with the patient's name at the top
    SECONDARY_CAPTURE = "secondary-capture"  # screens, films, papers
    VISIBLE_LIGHT = "visible-light"
    OPHTHALMIC = "ophthalmic"
    SLIDES = "slides"
    COMPUTED = "computed"  # a program wrote every pixel: segments, doses, parameters
    VIDEO = "video"
    NO_IMAGE = "no-image"


@dataclass(frozen=True, slots=True)
class Class:
    """What a SOP Class says.

    Attributes:
        risk: of an instance about which nothing else is known.
        modalities: what Modality holds for this class; anything else is suspicious.
    """

    group: Group
    risk: Risk
    modalities: frozenset[str] = frozenset()


_STORAGE = "1.2.840.10008.5.1.4.1.1."


def _classes(group: Group, risk: Risk, rows: Mapping[str, str]) -> dict[str, Class]:
    """Return rows: ends of SOP Class UIDs → their modalities."""
    return {
        _STORAGE + end: Class(group, risk, frozenset(modalities.split()))
        for ends, modalities in rows.items()
        for end in ends.split()
    }


SOP_CLASSES: Final[Mapping[str, Class]] = {
    **_classes(
        Group.SECTIONS,
        Risk.NONE,
        {
            "2 2.1 2.2 2.3 2.4 2.5": "CT",
            "4 4.1 4.4": "MR",
            "128 128.1 130": "PT",
            "20": "NM",
            "13.1.1": "XA",
            "13.1.2": "DX IO PX CT",
            "13.1.3": "MG",
        },
    ),
    # A detector's image may hold what the console wrote into its corners [C]. The declaration is
    # mandatory in DX, MG and IO (M, C.8.11.3), and many consoles always declare NO.
    **_classes(
        Group.RADIOGRAPHS,
        Risk.SOME,
        {
            "1": "CR DX RG MG PX",
            "1.1 1.1.1": "DX PX CR RG",
            "1.2 1.2.1 13.1.4 13.1.5": "MG",
            "1.3 1.3.1": "IO PX",
            "481.1 481.23 481.24": "RTIMAGE",
        },
    ),
    **_classes(
        Group.FLUOROSCOPY,
        Risk.SOME,
        {"12.1 12.1.1 12.3": "XA DS CF", "12.2 12.2.1": "RF DF XA"},
    ),
    **_classes(Group.SECTIONS, Risk.SOME, {"4.3": "MR"}),  # colour maps have scales
    **_classes(
        Group.ULTRASOUND,
        Risk.HIGH,
        {"3 3.1 6 6.1": "US IVUS", "6.2": "US", "6.3": "PA US", "14.1 14.2": "IVOCT"},
    ),
    **_classes(Group.SECONDARY_CAPTURE, Risk.HIGH, {"7 7.1 7.2 7.3 7.4": ""}),
    # Retired: hard copies are what was to be printed, with the patient's name.
    "1.2.840.10008.5.1.1.29": Class(Group.SECONDARY_CAPTURE, Risk.HIGH),
    "1.2.840.10008.5.1.1.30": Class(Group.SECONDARY_CAPTURE, Risk.HIGH),
    **_classes(
        Group.VISIBLE_LIGHT,
        Risk.HIGH,
        {"77.1 77.2 77.1.1 77.1.2 77.1.3 77.1.4 77.1.7": "ES GM SM XC DMS OP OT", "77.1.8": "CFM"},
    ),
    **_classes(
        Group.OPHTHALMIC,
        Risk.HIGH,
        {
            "77.1.5.1 77.1.5.2 77.1.5.5 77.1.5.6 77.1.5.7": "OP OPT OPTENF",
            "77.1.5.4": "OPT",
            "79.1 81.1": "OPM OPT",
            "80.1": "OPV",
            "82.1": "OPM",
        },
    ),
    **_classes(Group.SLIDES, Risk.NONE, {"77.1.6": "SM", "77.1.9": "CFM SM"}),
    **_classes(
        Group.COMPUTED,
        Risk.NONE,
        {"66.4 66.7 66.8": "SEG", "30": "", "481.2": "RTDOSE", "77.1.5.8": "OPT"},
    ),
    **_classes(Group.VIDEO, Risk.UNKNOWN, {"77.1.1.1 77.1.2.1 77.1.4.1": ""}),
}

#: Beginnings of SOP Classes without pixels: structured reports, states, waveforms, plans, files.
NO_IMAGE_CLASSES: Final[tuple[str, ...]] = (
    _STORAGE + "88.",
    _STORAGE + "11.",
    _STORAGE + "9.",
    _STORAGE + "104.",
    _STORAGE + "66",
    _STORAGE + "67",
    _STORAGE + "68.",
    _STORAGE + "78.",
    _STORAGE + "77.1.5.3",
    _STORAGE + "4.2",
    _STORAGE + "90.1",
    _STORAGE + "91.1",
    _STORAGE + "131",
    _STORAGE + "200.",
    _STORAGE + "201.",
    _STORAGE + "481.",
    "1.2.840.10008.5.1.4.34.",
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
)

#: Transfer syntaxes whose frames cannot be taken apart: MPEG-2, H.264, HEVC, SMPTE ST 2110.
VIDEO_SYNTAXES: Final[frozenset[str]] = frozenset(
    {f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)}
    | {f"1.2.840.10008.1.2.4.{number}.1" for number in range(100, 107)}
    | {f"1.2.840.10008.1.2.7.{number}" for number in range(1, 4)}
)

#: Modalities whose images are screens, films or photographs, whatever the SOP Class says.
MODALITIES: Final[Mapping[str, Risk]] = {
    **dict.fromkeys(("US", "IVUS", "ES", "XC", "GM", "OT", "SC", "HC", "DOC", "RF"), Risk.HIGH),
    **dict.fromkeys(("FILM", "FID", "ECG", "EPS", "HD", "BMD", "SMR", "OP", "OPM"), Risk.HIGH),
}

#: Words in Image Type of what a program drew rather than a detector saw. [C] [T]
IMAGE_TYPE_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "SCREEN SHOT", "SCREEN", "SSAVE", "CAPTURE"),
        "screen-capture",
    ),
    **dict.fromkeys(
        ("DOSE", "DOSE_INFO", "DOSE INFO", "DOSEREPORT", "DOSE REPORT", "DOSE_REPORT", "DOSESHEET"),
        "dose-sheet",
    ),
    **dict.fromkeys(("REPORT", "CSA REPORT", "PATIENT PROTOCOL", "PROTOCOL", "SUMMARY"), "report"),
    **dict.fromkeys(("GRAPH", "CHART", "TABLE", "RESULT", "FILM", "PRINT", "PDF"), "drawing"),
    **dict.fromkeys(("VOLREN", "VRT"), "rendering"),
}
#: Parts of words that mean the same wherever they stand in a value of Image Type.
IMAGE_TYPE_PARTS: Final[Mapping[str, str]] = {
    "SCREEN": "screen-capture",
    "DOSE_": "dose-sheet",
    "DOSE ": "dose-sheet",
    "REPORT": "report",
    " PROT": "report",
}
#: Words in Image Type of sections on which consoles draw lines, names and dates. [C] [T]
LOCALIZERS: Final[frozenset[str]] = frozenset(
    {"LOCALIZER", "LOCALISER", "SCOUT", "SCANOGRAM", "TOPOGRAM", "SURVIEW", "SURVEY"}
)
# Dose distributions and low-dose scans are images like others.
IMAGE_TYPE_HARMLESS: Final[frozenset[str]] = frozenset({"LOW_DOSE", "LOWDOSE", "LOW DOSE"})

#: Conversion Type → what it was, and the risk. Source: [M] C.8.6.1.
CONVERSIONS: Final[Mapping[str, tuple[str, Risk]]] = {
    "DV": ("digitised-video", Risk.HIGH),
    "DI": ("digital-interface", Risk.HIGH),
    "DF": ("digitised-film", Risk.HIGH),
    "WSD": ("workstation", Risk.HIGH),
    "SD": ("scanned-document", Risk.UNKNOWN),  # handwriting is read by nobody but people
    "SI": ("scanned-image", Risk.HIGH),
    "DRW": ("drawing", Risk.HIGH),
    "SYN": ("synthetic", Risk.HIGH),
}

#: Flavours of whole-slide images, third value of Image Type. Source: [M] C.8.12.4.1.1.
SLIDE_LABELS: Final[frozenset[str]] = frozenset({"LABEL", "OVERVIEW", "MACRO"})
SLIDE_VOLUMES: Final[frozenset[str]] = frozenset({"VOLUME"})
SLIDE_SMALL: Final[frozenset[str]] = frozenset({"THUMBNAIL", "LOCALIZER"})

#: (part of Manufacturer, part of Model) → what it is; either may be empty. [C]
DEVICES: Final[tuple[tuple[str, str, str], ...]] = (
    ("VIDAR", "", "film-digitiser"),
    ("", "VIDAR", "film-digitiser"),
    ("LUMISYS", "", "film-digitiser"),
    ("HOWTEK", "", "film-digitiser"),
    ("ICAD", "", "film-digitiser"),
    ("", "THE DICOM BOX", "video-capture"),
    ("MEDRAD", "", "injector-report"),
    ("VITAL IMAGES", "", "workstation"),
    ("TERARECON", "", "workstation"),
    ("ADAC", "", "workstation"),
    ("CANON", "CXDI", "console-writes-corners"),
)

#: (columns, rows) of screens and video standards.
SCREENS: Final[frozenset[tuple[int, int]]] = frozenset(
    {
        *((640, 480), (640, 476), (720, 480), (720, 576), (768, 576), (800, 600), (960, 720)),
        *((1024, 768), (1132, 860), (1152, 864), (1280, 720), (1280, 800), (1280, 960)),
        *((1280, 1024), (1366, 768), (1400, 1050), (1440, 900), (1600, 900), (1600, 1200)),
        *((1680, 1050), (1920, 1080), (1920, 1200), (2048, 1536), (2560, 1440), (2560, 1600)),
        *((3840, 2160), (750, 1077), (1024, 832)),
    }
)

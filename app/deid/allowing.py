"""The allow-list: what a profile with ``unlisted: remove`` leaves of attributes without a row.

What an IOD requires stays possible, and so do numbers; text is left only in codes of public coding
schemes. Everything else goes.
"""

from enum import StrEnum
from functools import lru_cache

from app.deid.attributes import CHARACTER_SET, MANUFACTURER, MARKER_TAGS, OFFSET_TABLES
from app.deid.data import all_types, coded_words
from app.deid.overlays import is_overlay
from app.deid.private import View
from app.deid.standard import ROWS, dictionary_vr
from app.dicom.elements import CHARSET_VRS, key_tag
from app.dicom.tokens import Dataset

#: Raised when something else is left of an attribute, so that versions of profiles tell it.
ALLOW_LIST_VERSION = 2
CODE_VALUES = frozenset({0x00080100, 0x00080119})
CODE_MEANING = 0x00080104
_SCHEME, _SCHEME_VERSION = 0x00080102, 0x00080103
#: What tells which concept is meant; where the coding scheme is not a public one, all of it goes.
CODE_TAGS = CODE_VALUES | {_SCHEME, _SCHEME_VERSION, CODE_MEANING}
# Coding schemes whose codes mean concepts, the same for everybody. Source: PS3.16 2026d, Table 8-1.
_PUBLIC_SCHEMES = frozenset(
    b"99SDM ATC BARI BI DCM FMA I10 I10P I11 I9 I9C IBSI ICDO3 ITIS_TSN LN MA MDC MDNS "
    b"MSH NCIt NDC NEU PATHLEX PUBCHEM_CID RADELEMENT RADLEX RO RXNORM SCPECG SCT SNM3 SRT "
    b"UBERON UCUM UMLS UNS".split()
)
# Text without which a reader takes values for something else; its terms are the standard's.
_TERMS_IN_TEXT = frozenset(
    {
        0x00281054,  # Rescale Type
        0x00283004,  # Modality LUT Type
        0x00420012,  # MIME Type of Encapsulated Document
    }
)
# Labels that other elements of the instance refer to: a dummy for all of them mixes them up.
_LABELS = frozenset(
    {
        0x00209056,  # Stack ID
        0x00480106,  # Optical Path Identifier
        0x006A000E,  # Referenced Optical Path Identifier
    }
)
# Code strings of Type 3 that say how pixels are shown or measured.
_TERMS = frozenset(
    {
        0x00280A02,  # Pixel Spacing Calibration Type
        0x00281056,  # VOI LUT Function
        0x00281350,  # Partial View
        0x0028135A,  # Spatial Locations Preserved
        0x00540501,  # Scan Progression Direction
        0x00541006,  # SUV Type
        0x00620013,  # Segments Overlap
    }
)
# Numbers of Type 3 by which a device can be told from others.
_COUNTERS = frozenset(
    {
        0x00187010,  # Exposures on Detector Since Last Calibration
        0x00187011,  # Exposures on Detector Since Manufactured
        0x00187012,  # Detector Time Since Last Exposure
        0x00187014,  # Detector Active Time
    }
)
_NUMBERS = frozenset({"AT", "DS", "FD", "FL", "IS", "OV", "SL", "SS", "SV", "UL", "US", "UV"})
# Groups about people, orders, documents and trials; the others are about pixels, geometry and dose,
# where a sequence of Type 3 may hold the contours of a structure set.
_ADMINISTRATIVE = frozenset(
    {0x0008, 0x0010, 0x0012, 0x0032, 0x0038, 0x0040, 0x0042, 0x0044, 0x0074, 0x0400}
)
_CONTRIBUTING_EQUIPMENT = 0x0018A001
_TEXT = (CHARSET_VRS - {"PN"}) | {"AE"}
# What the gateway itself writes, or decides by other rules.
_ALWAYS = MARKER_TAGS | OFFSET_TABLES | {CHARACTER_SET}


class Allowance(StrEnum):
    """What is left of an attribute."""

    NOTHING = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    WORDS = "words"
    VALUE = "value"


@lru_cache(maxsize=1)
def _types() -> dict[int, str]:
    """Return the strictest Type of every attribute of an IOD that has no row."""
    types = {}
    for line in all_types.TYPES.splitlines():
        type_, group, elements = line.split("\t")
        for element in elements.split(" "):
            types[int(group + element, 16)] = type_
    return types


def is_required(tag: int) -> bool:
    """Say whether some IOD requires a value of an attribute that has no row."""
    return _types().get(tag) in {"1", "1C"}


def listed_tags() -> tuple[int, ...]:
    """Return the attributes of IODs that have no row in Table E.1-1, in their order."""
    return tuple(sorted(_types()))


@lru_cache(maxsize=8192)
def allowance(tag: int) -> Allowance | None:
    """Return what the allow-list leaves of an attribute; None where it does not decide.

    It decides about standard attributes without a row in Table E.1-1.
    """
    vr = dictionary_vr(tag)
    if vr is None or tag in ROWS or is_overlay(tag) or 0x5000 <= tag >> 16 <= 0x501E:
        return None
    if tag in _ALWAYS or tag >> 16 < 8:
        return None
    type_ = _types().get(tag)
    if type_ is None:
        return Allowance.NOTHING
    if vr in _TEXT:
        return _of_text(tag, type_)
    return Allowance.VALUE if type_ != "3" or _is_harmless(tag, vr) else Allowance.NOTHING


def _is_harmless(tag: int, vr: str) -> bool:
    """Say whether an attribute that no IOD requires may stay: measurements, and where they are."""
    if vr == "SQ":
        return tag >> 16 not in _ADMINISTRATIVE and tag != _CONTRIBUTING_EQUIPMENT
    return tag in _TERMS or (set(vr.split(" or ")) <= _NUMBERS and tag not in _COUNTERS)


def _of_text(tag: int, type_: str) -> Allowance:
    if tag == CODE_MEANING:
        return Allowance.WORDS
    if tag in CODE_TAGS or tag in _TERMS_IN_TEXT or tag in _LABELS:
        return Allowance.VALUE
    if type_ == "3":
        return Allowance.NOTHING
    return Allowance.EMPTY if type_ in {"2", "2C"} else Allowance.DUMMY


#: What may stand beside dummies: the gateway puts it where Manufacturer was not.
WRITTEN = {MANUFACTURER: b"UNKNOWN"}


def is_local_code(dataset: Dataset, view: View) -> bool:
    """Say whether a data set is a code of a scheme that anybody may have made up."""
    tags = {key_tag(key): index for index, key in enumerate(dataset.keys)}
    if CODE_VALUES.isdisjoint(tags):
        return False
    index = tags.get(_SCHEME)
    if index is None:
        return True
    start, stop = dataset.value_span(index)
    return view.buffer[start:stop].strip(b"\0 ") not in _PUBLIC_SCHEMES


@lru_cache(maxsize=1)
def public_words() -> frozenset[str]:
    """Return the words of the code meanings that the standard itself uses. Source: PS3.16."""
    return frozenset(coded_words.WORDS.split())

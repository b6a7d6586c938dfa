"""Code strings that are terms: what somebody wrote into one may be a name.

Where the standard leaves a code string open, only the standard's own words stay, and runs of three
letters; elsewhere what a code string can be at all. Source: PS3.5 2026d, 6.2 (CS).
"""

import re
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

from app.deid.allowing import public_words
from app.deid.rules.vocabulary import TERMS

#: Rescale Type: a term, although it is no code string.
RESCALE_TYPE = 0x00281054
# Attributes whose terms a manufacturer, or who works with a device, may add to.
_OPEN = frozenset(
    {
        0x00080008,  # Image Type
        0x00089007,  # Frame Type
        0x00180015,  # Body Part Examined
        0x00180022,  # Scan Options
        0x00185100,  # Patient Position
        0x00185101,  # View Position
        0x00200060,  # Laterality
        0x00200062,  # Image Laterality
        0x00282002,  # Color Space
        0x00400318,  # Organ Exposed
        0x00700002,  # Graphic Layer
        0x00700080,  # Content Label
        0x00720062,  # Selector CS Value
        RESCALE_TYPE,
    }
)
# Defined terms and abbreviations that are no words of the dictionary. Source: PS3.3 2026d; PS3.16
# 2026d, Annex L; images of the large manufacturers.
_TERMS = frozenset(
    "hfdr hfdl ffdr ffdl afdr afdl ispl cxcl xccm xccl cspine tspine lspine sspine ctspine srgb "  # noqa: SIM905
    "adobergb rommrgb gems epi csaparallel resampled norm vframe rcbf rcbv mtt scanoscope surview "
    "mpr mip minip recon tomo parts labelmap mrac mosaic dixon fatsat layer unknown removed "
    "normalized mrad mgml bqml propcps".split()
)
_CODE_STRING = re.compile(r"[A-Z0-9 _]{0,16}")
_WORD = re.compile(r"[^\W\d_]+")
_SHORT = 3


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    names = [row[4] for row in (*DicomDictionary.values(), *RepeatersDictionary.values())]
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", " ".join(names))
    return public_words() | _TERMS | {part.lower() for part in (*parts, *TERMS)}


@lru_cache(maxsize=4096)
def only_terms(text: str, tag: int) -> str:
    """Return a code string without the values that are no terms; their places stay empty.

    Args:
        text: all components of a multi-valued one.
        tag: its attribute.
    """
    return "\\".join(part if _is_term(part.strip("\0 "), tag) else "" for part in text.split("\\"))


def _is_term(text: str, tag: int) -> bool:
    if tag != RESCALE_TYPE and _CODE_STRING.fullmatch(text) is None:
        return False
    if tag not in _OPEN:
        return True
    return all(len(word) <= _SHORT or word.lower() in _words() for word in _WORD.findall(text))

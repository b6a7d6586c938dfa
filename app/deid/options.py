"""The options of PS3.15 Annex E: their names, codes, and which of them go together.

What an option means for one element is in ``rulebook`` and ``deciding``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.deid.standard import CID7050
from app.errors import InvalidProfile


class Option(StrEnum):
    """The Basic Profile and its options, in the order of their codes in CID 7050."""

    BASIC = "basic"
    CLEAN_PIXEL_DATA = "clean_pixel_data"
    CLEAN_RECOGNIZABLE_VISUAL_FEATURES = "clean_recognizable_visual_features"
    CLEAN_GRAPHICS = "clean_graphics"
    CLEAN_STRUCTURED_CONTENT = "clean_structured_content"
    CLEAN_DESCRIPTORS = "clean_descriptors"
    FULL_DATES = "retain_long_full_dates"
    MODIFIED_DATES = "retain_long_modified_dates"
    PATIENT_CHARACTERISTICS = "retain_patient_characteristics"
    DEVICE_IDENTITY = "retain_device_identity"
    UIDS = "retain_uids"
    SAFE_PRIVATE = "retain_safe_private"
    INSTITUTION_IDENTITY = "retain_institution_identity"

    @property
    def code(self) -> tuple[str, str]:
        """Code value and meaning of CID 7050."""
        return CID7050[self.value]


@dataclass(frozen=True, slots=True)
class _Names:
    """How people call an option beside its column, its code and the code's meaning."""

    section: str
    title: str
    aliases: tuple[str, ...] = ()


# Sections and titles: PS3.15 2026d, E.2 and E.3. The aliases are the option names of Aspose.Medical
# and fo-dicom.
_NAMES: dict[Option, _Names] = {
    Option.BASIC: _Names(
        "E.2",
        "Basic Application Level Confidentiality Profile",
        ("BasicProfile", "Basic Application Level Profile"),
    ),
    Option.CLEAN_PIXEL_DATA: _Names("E.3.1", "Clean Pixel Data"),
    Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES: _Names(
        "E.3.2", "Clean Recognizable Visual Features", ("CleanRecognizableFeatures",)
    ),
    Option.CLEAN_GRAPHICS: _Names("E.3.3", "Clean Graphics", ("CleanGraph",)),
    Option.CLEAN_STRUCTURED_CONTENT: _Names(
        "E.3.4", "Clean Structured Content", ("CleanStructdCont", "CleanStructCont")
    ),
    Option.CLEAN_DESCRIPTORS: _Names("E.3.5", "Clean Descriptors", ("CleanDesc",)),
    Option.FULL_DATES: _Names(
        "E.3.6",
        "Retain Longitudinal Temporal Information with Full Dates",
        ("RetainLongFullDates",),
    ),
    Option.MODIFIED_DATES: _Names(
        "E.3.6",
        "Retain Longitudinal Temporal Information with Modified Dates",
        ("RetainLongModifDates",),
    ),
    Option.PATIENT_CHARACTERISTICS: _Names(
        "E.3.7", "Retain Patient Characteristics", ("RetainPatientChars",)
    ),
    Option.DEVICE_IDENTITY: _Names("E.3.8", "Retain Device Identity", ("RetainDeviceIdent",)),
    Option.UIDS: _Names("E.3.9", "Retain UIDs", ("RetainUIDs",)),
    Option.SAFE_PRIVATE: _Names("E.3.10", "Retain Safe Private", ("RetainSafePrivate",)),
    Option.INSTITUTION_IDENTITY: _Names(
        "E.3.11", "Retain Institution Identity", ("RetainInstitutionIdent", "RetainInstIdent")
    ),
}

#: What can be asked for; the others have their place in the list and nothing claims them.
AVAILABLE_OPTIONS = frozenset(
    {
        Option.BASIC,
        Option.CLEAN_PIXEL_DATA,
        Option.PATIENT_CHARACTERISTICS,
        Option.DEVICE_IDENTITY,
        Option.INSTITUTION_IDENTITY,
        Option.UIDS,
        Option.FULL_DATES,
        Option.MODIFIED_DATES,
        Option.SAFE_PRIVATE,
        Option.CLEAN_DESCRIPTORS,
        Option.CLEAN_GRAPHICS,
        Option.CLEAN_STRUCTURED_CONTENT,
    }
)
# Pairs that cannot both be true of one object, and why.
_CONTRADICTIONS = (
    (
        Option.FULL_DATES,
        Option.MODIFIED_DATES,
        "dates are either as they were or moved, and (0028,0303) says which",
    ),
)


def title(option: str) -> str:
    """Return an option's title in the standard."""
    return _NAMES[Option(option)].title


def section(option: str) -> str:
    """Return the section of PS3.15, Annex E, that defines an option."""
    return _NAMES[Option(option)].section


def _folded(text: str) -> str:
    bare = "".join(character for character in text.casefold() if character.isalnum())
    return bare.removesuffix("option")


def _by_name() -> dict[str, Option]:
    names: dict[str, Option] = {}
    for option, known in _NAMES.items():
        for name in (option.value, *option.code, known.title, *known.aliases):
            names[_folded(name)] = option
    return names


_BY_NAME = _by_name()


def known_option(name: str) -> Option | None:
    """Find an option by any of its names, available or not; None where it is none."""
    return _BY_NAME.get(_folded(name))


def option_named(name: str) -> Option:
    """Find an option by column, standard name, CID 7050 code or a name of other products.

    Case, spaces, punctuation and the word *Option* at the end do not matter.

    Raises:
        InvalidProfile: it is no option, or one that is not available.
    """
    option = known_option(name)
    if option is None:
        raise InvalidProfile("options holds a name that is no option of PS3.15 Annex E")
    if option not in AVAILABLE_OPTIONS:
        raise InvalidProfile(f"The option {option} ({title(option)}) is not available yet")
    return option


def combined(names: Iterable[str]) -> tuple[Option, ...]:
    """Return options in the order of their codes, each once.

    Raises:
        InvalidProfile: a name is no option, or two of them contradict each other.
    """
    chosen = frozenset(map(option_named, names))
    if Option.BASIC not in chosen:
        raise InvalidProfile("options is a list that holds basic")
    for one, other, reason in _CONTRADICTIONS:
        if chosen >= {one, other}:
            raise InvalidProfile(f"The options {one} and {other} contradict each other: {reason}")
    return tuple(option for option in Option if option in chosen)

"""What a profile decides about pixels and documents when Clean Pixel Data is among its options.

Every default but that of ``read`` is the strict choice. What the words lead to is decided in
``app.pixels``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from app.errors import InvalidProfile


class Read(StrEnum):
    """Which images are read: those that may carry text by their headers, or every one."""

    RISKY = "risky"
    ALL = "all"


class Found(StrEnum):
    """What happens where identifying text is read outside of what rules mask."""

    QUARANTINE = "quarantine"
    MASK = "mask"


class Lossy(StrEnum):
    """Whether pixels outside of a mask may change where nothing else is possible."""

    REFUSE = "refuse"
    ALLOW = "allow"


class Video(StrEnum):
    """What happens to MPEG and HEVC, in which nothing is read and nothing masked."""

    QUARANTINE = "quarantine"
    ACCEPT = "accept"


class Labels(StrEnum):
    """What happens to label and overview images of slides."""

    DROP = "drop"
    MASK = "mask"


class Documents(StrEnum):
    """What happens to encapsulated documents."""

    REPLACE = "replace"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class PixelPolicy:
    """The section ``pixels`` of a profile."""

    read: Read = Read.RISKY
    found: Found = Found.QUARANTINE
    lossy: Lossy = Lossy.REFUSE
    video: Video = Video.QUARANTINE
    labels: Labels = Labels.DROP
    documents: Documents = Documents.REPLACE


#: A profile that says nothing of pixels.
STRICT = PixelPolicy()
_TERMS: dict[str, type[StrEnum]] = {
    "read": Read,
    "found": Found,
    "lossy": Lossy,
    "video": Video,
    "labels": Labels,
    "documents": Documents,
}


def read_pixel_policy(value: object) -> PixelPolicy:
    """Read the section of a profile.

    Raises:
        InvalidProfile: naming the field; never its content.
    """
    if not isinstance(value, Mapping) or set(value) - set(_TERMS):
        raise InvalidProfile(f"pixels takes {', '.join(_TERMS)}")
    terms: dict[str, Any] = {field: _term(field, term) for field, term in value.items()}
    return PixelPolicy(**terms)


def pixel_policy_content(policy: PixelPolicy) -> dict[str, str]:
    """Return the section as it is written; what says nothing is left out."""
    written = asdict(policy)
    nothing = {field.name: field.default for field in fields(PixelPolicy)}
    return {name: str(term) for name, term in written.items() if term != nothing[name]}


def _term(field: str, value: object) -> StrEnum:
    terms = _TERMS[field]
    try:
        return terms(str(value))
    except ValueError:
        raise InvalidProfile(f"pixels.{field} is {' or '.join(terms)}") from None

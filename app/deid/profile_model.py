"""A profile as data: what it holds, its version and the codes that it claims."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from app.deid.allowing import ALLOW_LIST_VERSION
from app.deid.linting import weaknesses
from app.deid.options import Option
from app.deid.overrides import Override
from app.deid.pixel_policy import STRICT, PixelPolicy
from app.deid.private import SafeElement
from app.deid.standard import CID7050, EDITION

# Raised when the engine treats the same profile differently, so that versions tell it.
RULES_VERSION = 4


class BurnedInPolicy(StrEnum):
    """What happens to an instance whose Burned In Annotation (0028,0301) is YES."""

    REFUSE = "refuse"
    ACCEPT_UNCLEANED_PIXELS = "accept-uncleaned-pixels"


class Unlisted(StrEnum):
    """What happens to standard attributes that Table E.1-1 does not name."""

    BY_VR = "by-vr"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class IdentityTemplates:
    """Texts of four attributes.

    ``{organization}``, ``{cloud_study_id}`` and ``{cloud_patient_id}`` are filled in.
    """

    patient_id: str = "{organization}-{cloud_patient_id}"
    patient_name: str = "CloudPatient^{cloud_patient_id}"
    accession_number: str = "{cloud_study_id}"
    institution_name: str = "{organization}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to de-identify.

    Attributes:
        name: lower-case letters, digits, ``-``, ``_`` and ``.``; at most 32.
        options: columns of Table E.1-1 in the order of their codes, ``basic`` always first.
        identity: templates of the four replaced identity attributes.
        burned_in: policy for declared burned-in annotation.
        safe_private: private elements that a site knows to be safe beside the standard's list.
        overrides: what a site decides differently.
        vocabulary: tag and the only words that cleaned text of that attribute may hold, folded.
        unlisted: whether attributes without a row are judged by VR, or go unless the allow-list
            of ``allowing`` has them.
        pixels: what Clean Pixel Data may do; of no consequence without the option.
        description: one line for people.
        version: hash of all that decides the outcome, twelve hexadecimal digits.
    """

    name: str
    options: tuple[str, ...] = (Option.BASIC,)
    identity: IdentityTemplates = IdentityTemplates()
    burned_in: BurnedInPolicy = BurnedInPolicy.REFUSE
    safe_private: tuple[SafeElement, ...] = ()
    overrides: tuple[Override, ...] = ()
    vocabulary: tuple[tuple[int, frozenset[str]], ...] = ()
    unlisted: Unlisted = Unlisted.BY_VR
    pixels: PixelPolicy = STRICT
    description: str = ""
    version: str = ""

    @property
    def cleans_pixels(self) -> bool:
        """Whether text burned into images is looked for."""
        return Option.CLEAN_PIXEL_DATA in self.options

    @property
    def method_codes(self) -> tuple[tuple[str, str], ...]:
        """Code values and meanings of CID 7050 that stand for the options.

        None where an override is weaker than the table: a code is a claim. Source: PS3.15 2026d,
        E.1.1. That of Clean Pixel Data is left out of objects of which it is not true.
        """
        if self.overrides and weaknesses(self.options, self.overrides):
            return ()
        return tuple(CID7050[option] for option in self.options)


# Fields that came after the first versions were given, and what says nothing there.
_LATER_FIELDS = {
    "safe_private": (),
    "overrides": (),
    "vocabulary": (),
    "unlisted": Unlisted.BY_VR,
    "pixels": asdict(STRICT),
}


def with_version(profile: Profile) -> Profile:
    """Return the profile with its content hash as version."""
    content = asdict(profile)
    del content["version"], content["description"]
    for later, nothing in _LATER_FIELDS.items():  # then no version that was given before changes
        if content[later] == nothing:
            del content[later]
    if profile.unlisted is Unlisted.REMOVE:
        content["unlisted"] = f"{profile.unlisted} {ALLOW_LIST_VERSION}"
    text = json.dumps([EDITION, RULES_VERSION, content], sort_keys=True, default=sorted)
    return replace(profile, version=hashlib.sha256(text.encode()).hexdigest()[:12])

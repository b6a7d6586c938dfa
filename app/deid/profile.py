"""Profiles: options of PS3.15 Annex E, identity templates and policy.

A profile is data. What its options mean for one element is decided in ``planning``.
"""

import hashlib
import json
import string
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import lru_cache

import yaml

from app.deid.linting import weaknesses
from app.deid.options import Option, combined
from app.deid.override_text import read_overrides, read_private, tag_of
from app.deid.overrides import Override
from app.deid.private import SafeElement
from app.deid.rules.identifiers import composed, folded, words
from app.deid.standard import CID7050, EDITION
from app.errors import InvalidProfile

# Raised when the engine treats the same profile differently, so that versions tell it.
RULES_VERSION = 1
_NAME_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + "-_.")


class BurnedInPolicy(StrEnum):
    """What happens to an instance whose Burned In Annotation (0028,0301) is YES."""

    REFUSE = "refuse"
    ACCEPT_UNCLEANED_PIXELS = "accept-uncleaned-pixels"


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
    description: str = ""
    version: str = ""

    @property
    def method_codes(self) -> tuple[tuple[str, str], ...]:
        """Code values and meanings of CID 7050 that stand for the options.

        None where an override is weaker than the table: a code is a claim. Source: PS3.15 2026d,
        E.1.1.
        """
        if self.overrides and weaknesses(self.options, self.overrides):
            return ()
        return tuple(CID7050[option] for option in self.options)


# Fields that came after the first versions were given.
_LATER_FIELDS = ("safe_private", "overrides", "vocabulary")


def with_version(profile: Profile) -> Profile:
    """Return the profile with its content hash as version."""
    content = asdict(profile)
    del content["version"], content["description"]
    for later in _LATER_FIELDS:  # absent, they change no version that was given before
        if not content[later]:
            del content[later]
    text = json.dumps([EDITION, RULES_VERSION, content], sort_keys=True, default=sorted)
    return replace(profile, version=hashlib.sha256(text.encode()).hexdigest()[:12])


BUILT_IN: dict[str, Profile] = {
    profile.name: with_version(profile)
    for profile in (
        Profile(
            name="basic",
            description="Basic Profile; the studies of a patient stay linked",
        ),
        Profile(
            name="basic-per-study",
            identity=IdentityTemplates(
                patient_id="{organization}-{cloud_study_id}",
                patient_name="CloudStudy^{cloud_study_id}",
            ),
            description="Basic Profile; every study stands alone",
        ),
        Profile(
            name="teleradiology",
            options=(
                Option.BASIC,
                Option.CLEAN_DESCRIPTORS,
                Option.MODIFIED_DATES,
                Option.PATIENT_CHARACTERISTICS,
                Option.DEVICE_IDENTITY,
            ),
            description="Remote readers: descriptions cleaned, dates moved, age and device kept",
        ),
    )
}


_FIELDS = {
    *("name", "options", "identity", "burned_in", "safe_private", "overrides", "vocabulary"),
    "description",
}
_IDENTITY_FIELDS = {"patient_id", "patient_name", "accession_number", "institution_name"}
_PLACEHOLDERS = {"organization", "cloud_study_id", "cloud_patient_id"}
# Longest text that each attribute takes, and the longest that its placeholders can fill in.
_LENGTHS = {"patient_id": 64, "patient_name": 64, "accession_number": 16, "institution_name": 64}
_LONGEST = {"organization": "O" * 24, "cloud_study_id": "S" * 16, "cloud_patient_id": "P" * 13}


@lru_cache(maxsize=64)
def profile_from_text(text: str) -> Profile:
    """Read a profile from YAML or JSON.

    Raises:
        InvalidProfile: with the field that is wrong; never with its content.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InvalidProfile("The text is neither YAML nor JSON") from None
    if not isinstance(content, dict):
        raise InvalidProfile("A profile is a mapping of fields")
    if unknown := set(map(str, content)) - _FIELDS:
        raise InvalidProfile(
            f"{len(unknown)} unknown fields; known are {', '.join(sorted(_FIELDS))}"
        )
    try:
        burned_in = BurnedInPolicy(content.get("burned_in", "refuse"))
    except ValueError:
        raise InvalidProfile("burned_in is refuse or accept-uncleaned-pixels") from None
    return with_version(
        Profile(
            name=_name(content.get("name")),
            options=_options(content.get("options", ["basic"])),
            identity=_identity(content.get("identity", {})),
            burned_in=burned_in,
            safe_private=_safe_private(content.get("safe_private", [])),
            overrides=read_overrides(content.get("overrides", [])),
            vocabulary=_vocabulary(content.get("vocabulary", {})),
            description=str(content.get("description", "")),
        )
    )


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 32 or set(value) - _NAME_CHARACTERS:
        raise InvalidProfile("name is 1 to 32 of a-z, 0-9, '-', '_' and '.'")
    if value in BUILT_IN:
        raise InvalidProfile("name is that of a ready-made profile")
    return value


def _options(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str | int) for name in value):
        raise InvalidProfile("options is a list of names or codes that holds basic")
    return combined(map(str, value))


_SAFE_FIELDS = {"creator", "group", "elements"}


def _safe_private(value: object) -> tuple[SafeElement, ...]:
    if not isinstance(value, list):
        raise InvalidProfile("safe_private is a list of private blocks")
    return tuple(element for block in value for element in _safe_block(block))


def _safe_block(block: object) -> Iterator[SafeElement]:
    if not isinstance(block, dict) or set(block) != _SAFE_FIELDS:
        raise InvalidProfile("A block of safe_private has creator, group and elements")
    if not isinstance(block["elements"], dict) or not block["elements"]:
        raise InvalidProfile("safe_private: elements maps low bytes to VRs")
    for low_byte, vr in block["elements"].items():
        one = {"creator": block["creator"], "group": block["group"], "element": low_byte}
        yield read_private(one | {"vr": vr or "none"})


def _vocabulary(value: object) -> tuple[tuple[int, frozenset[str]], ...]:
    if not isinstance(value, dict):
        raise InvalidProfile("vocabulary maps keywords of attributes to lists of words")
    return tuple(sorted(_known_words(name, texts) for name, texts in value.items()))


def _known_words(name: object, texts: object) -> tuple[int, frozenset[str]]:
    try:
        tag = tag_of(name)
    except InvalidProfile:
        raise InvalidProfile("vocabulary names an attribute that the standard has not") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidProfile("vocabulary: words are a list of texts")
    return tag, frozenset(word for text in texts for word in words(folded(composed(text))))


def _identity(value: object) -> IdentityTemplates:
    if not isinstance(value, dict) or set(value) - _IDENTITY_FIELDS:
        raise InvalidProfile(f"identity takes {', '.join(sorted(_IDENTITY_FIELDS))}")
    for field, template in value.items():
        _check_template(field, template)
    return IdentityTemplates(**value)


def _check_template(field: str, template: object) -> None:
    if not isinstance(template, str) or not template.isascii() or not template.isprintable():
        raise InvalidProfile(f"identity.{field} is printable ASCII text")
    try:
        names = {name for _, name, spec, conversion in string.Formatter().parse(template) if name}
        longest = template.format(**_LONGEST)
    except (ValueError, KeyError, IndexError, AttributeError):
        raise InvalidProfile(f"identity.{field} has a placeholder that is not known") from None
    if names - _PLACEHOLDERS or "\\" in template:
        raise InvalidProfile(f"identity.{field} has a placeholder that is not known")
    if len(longest) > _LENGTHS[field]:
        raise InvalidProfile(f"identity.{field} can become longer than {_LENGTHS[field]}")
    if field == "patient_id" and not names & {"cloud_patient_id", "cloud_study_id"}:
        raise InvalidProfile("identity.patient_id needs cloud_patient_id or cloud_study_id")

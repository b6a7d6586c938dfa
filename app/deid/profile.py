"""Profiles as people write them: read from YAML or JSON and checked field by field.

What a profile holds is in ``profile_model``; the ready-made ones are in ``ready_made``.
"""

import string
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from app.deid.options import Option, combined
from app.deid.override_text import read_overrides, read_private, tag_of
from app.deid.pixel_policy import STRICT, read_pixel_policy
from app.deid.private import SafeElement
from app.deid.profile_model import (
    RULES_VERSION,
    BurnedInPolicy,
    IdentityTemplates,
    Profile,
    Unlisted,
    with_version,
)
from app.deid.profile_text import read_text
from app.deid.ready_made import BUILT_IN
from app.deid.rules.identifiers import composed, folded, words
from app.errors import InvalidProfile

__all__ = [
    "BUILT_IN",
    "RULES_VERSION",
    "BurnedInPolicy",
    "IdentityTemplates",
    "Profile",
    "Unlisted",
    "profile_from_text",
    "with_version",
]

_Term = TypeVar("_Term", bound=StrEnum)
_NAME_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + "-_.")
_FIELDS = {
    *("name", "options", "identity", "burned_in", "safe_private", "overrides", "vocabulary"),
    *("unlisted", "pixels", "description"),
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
    content = read_text(text)
    if not isinstance(content, dict):
        raise InvalidProfile("A profile is a mapping of fields")
    if unknown := set(map(str, content)) - _FIELDS:
        raise InvalidProfile(
            f"{len(unknown)} unknown fields; known are {', '.join(sorted(_FIELDS))}"
        )
    profile = with_version(
        Profile(
            name=_name(content.get("name")),
            options=_options(content.get("options", ["basic"])),
            identity=_identity(content.get("identity", {})),
            burned_in=_term("burned_in", content.get("burned_in", "refuse"), BurnedInPolicy),
            safe_private=_safe_private(content.get("safe_private", [])),
            overrides=read_overrides(content.get("overrides", [])),
            vocabulary=_vocabulary(content.get("vocabulary", {})),
            unlisted=_term("unlisted", content.get("unlisted", "by-vr"), Unlisted),
            pixels=read_pixel_policy(content.get("pixels", {})),
            description=str(content.get("description", "")),
        )
    )
    _check_pixels(profile)
    ready_made = BUILT_IN.get(profile.name)
    if ready_made is not None and ready_made.version != profile.version:
        raise InvalidProfile("name is that of a ready-made profile, which says something else")
    return profile


def _check_pixels(profile: Profile) -> None:
    """Refuse a profile whose parts say different things about pixels."""
    if not profile.cleans_pixels and profile.pixels != STRICT:
        raise InvalidProfile(f"pixels needs the option {Option.CLEAN_PIXEL_DATA}")
    if profile.cleans_pixels and profile.burned_in is not BurnedInPolicy.REFUSE:
        raise InvalidProfile(
            f"burned_in {profile.burned_in} contradicts the option {Option.CLEAN_PIXEL_DATA}"
        )


def _term(field: str, value: object, terms: type[_Term]) -> _Term:
    try:
        return terms(str(value))
    except ValueError:
        raise InvalidProfile(f"{field} is {' or '.join(terms)}") from None


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 32 or set(value) - _NAME_CHARACTERS:
        raise InvalidProfile("name is 1 to 32 of a-z, 0-9, '-', '_' and '.'")
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

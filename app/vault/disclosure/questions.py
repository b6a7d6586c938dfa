"""What somebody asks about: pseudonyms as they stand in the objects, in canonical form. Pure.

What is kept of a question is well-formed, or nothing: people paste names into wrong fields.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Self

from app.errors import InvalidRequest, MistypedCloudStudyId, MistypedPseudonym
from app.vault.pseudonyms import cloud_patient_ids_in, cloud_study_ids_in, parse_cloud_study_id

MAX_TYPED: Final = 128
_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_MAX_UID_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Question:
    """Pseudonyms that are said to belong to one patient, and to one study where they name one.

    Attributes:
        cloud_study_id: in canonical form.
        patient_id: the cloud patient id, or the cloud study id where the profile makes Patient ID
            of that; without what the identity template puts around it.
        study_uid, series_uid, sop_instance_uid: as they stand in the objects.
        accession_number: the cloud study id in it.
    """

    cloud_study_id: str | None = None
    patient_id: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_instance_uid: str | None = None
    accession_number: str | None = None

    @classmethod
    def stated(cls, given: Mapping[str, str | None]) -> Self:
        """Take what somebody typed, by the names of the attributes.

        Raises:
            InvalidRequest: nothing was given, or something by another name.
            MistypedCloudStudyId, MistypedPseudonym: something cannot be right.
        """
        typed = {name: text.strip() for name, text in given.items() if text is not None}
        if not typed.keys() <= NAMES.keys() or not any(typed.values()):
            raise InvalidRequest(f"Ask by one or several of {', '.join(NAMES)}")
        return cls(**{name: _canonical(name, text) for name, text in typed.items() if text})

    @property
    def given(self) -> dict[str, str]:
        """What was given, by name."""
        named = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def studies(self) -> tuple[str, ...]:
        """The cloud study ids that it names, each once."""
        named = (self.cloud_study_id, self.accession_number, self.patient_id)
        return tuple(dict.fromkeys([name for name in named if name and "-" in name]))

    @property
    def cloud_patient_id(self) -> str | None:
        """The patient that it names."""
        return self.patient_id if self.patient_id and "-" not in self.patient_id else None


NAMES: Final = {field.name: field for field in fields(Question)}


def _canonical(name: str, text: str) -> str:
    if name == "cloud_study_id":
        return parse_cloud_study_id(text)
    if len(text) > MAX_TYPED:
        raise _mistyped(name)
    if name.endswith("_uid"):
        if len(text) > _MAX_UID_CHARACTERS or not _UID.fullmatch(text):
            raise _mistyped(name)
        return text
    return _pseudonym_in(text, name, has_patients=name == "patient_id")


def _pseudonym_in(text: str, name: str, *, has_patients: bool) -> str:
    """Find the one pseudonym that an identity template was filled with."""
    found = set(cloud_study_ids_in(text))
    if has_patients:
        found.update(cloud_patient_ids_in(text))
    if not found and not has_patients:  # typed by hand, like a cloud study id
        try:
            return parse_cloud_study_id(text)
        except MistypedCloudStudyId:
            raise _mistyped(name) from None
    if len(found) != 1:
        raise _mistyped(name)
    return found.pop()


def _mistyped(name: str) -> MistypedPseudonym:
    return MistypedPseudonym(f"What was given as {name} is not a pseudonym; check its spelling")

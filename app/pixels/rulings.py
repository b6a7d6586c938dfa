"""What the pipeline and the quarantine say to each other: cases and rulings. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from app.pixels.model import Decision, Mark, Picture


class Act(StrEnum):
    """What a person decides about the pixels of a held object."""

    RELEASE = "release"  # they pass as they are
    MASK = "mask"  # the marks are overwritten
    REJECT = "reject"  # nothing of it leaves


class SourceKind(StrEnum):
    """How an object came."""

    STREAM = "stream"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person decided about these very bytes.

    Attributes:
        marks: what is overwritten; empty but for `Act.MASK`.
        quarantine_id: under which it was held, for the record.
    """

    action: Act
    marks: tuple[Mark, ...] = ()
    quarantine_id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """Why an object is held, and for whom.

    Attributes:
        organization: id of the organisation that it belongs to.
        profile: name of the profile; decisions hold for every version of it.
        digest: keyed digest of the object's bytes.
        picture: what the header says of the image; sealed together with the object.
        decision: what the ladder found and proposes.
        actor: who sent it, as the audit names callers.
        api_key_id: the key that it was sent with, where there was one.
        cloud_study_id: the study's pseudonym, where it is known.
        cloud_patient_id: the patient's pseudonym: erasing a patient destroys what is held.
    """

    organization: str
    profile: str
    profile_version: str
    digest: bytes
    picture: Picture
    decision: Decision
    actor: str
    api_key_id: str | None = None
    request_id: str | None = None
    source_kind: SourceKind = SourceKind.STREAM
    cloud_study_id: str | None = None
    cloud_patient_id: str | None = None

"""What one SOP Instance's identifiers were and what they became. Values only, no I/O."""

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Originals:
    """The identifiers that an instance came with, padding stripped; ``""`` stands for absent.

    `subject` is the canonical text from which the cloud patient id was derived. It may be left
    out when it follows from Patient ID and issuer alone.
    """

    patient_id: str
    issuer_of_patient_id: str
    study_uid: str
    accession_number: str
    series_uid: str
    sop_instance_uid: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Replacements:
    """The pseudonyms that stand in an instance's place; safe to show.

    A UID that equals its original (kept by the profile) is not mapped: the way back is itself.
    """

    cloud_study_id: str
    cloud_patient_id: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, repr=False)
class Reidentified:
    """Whose a study, a series, an instance or a pseudonymous Patient ID is.

    Attributes:
        patient_id, issuer_of_patient_id: always there; empty where the instance had none.
        first_seen_at: when this identity, or else the patient, was first received.
        cloud_study_id: of the study; None where what was asked names a patient alone, and then
            no study's values are told.
        study_uid, accession_number: of the study.
        series_uid, sop_instance_uid: where they were asked for.
        others: empty but where the study was received under several identities (a corrected
            Patient ID, an accession number given later). The one received last comes first.
    """

    patient_id: str
    issuer_of_patient_id: str
    first_seen_at: dt.datetime
    cloud_study_id: str | None = None
    study_uid: str | None = None
    accession_number: str | None = None
    series_uid: str | None = None
    sop_instance_uid: str | None = None
    others: "tuple[Reidentified, ...]" = ()

    @property
    def originals(self) -> dict[str, str]:
        """Every original value by what it is, those of the other identities too."""
        named: dict[str, str | None] = {
            "original patient id": self.patient_id,
            "original accession number": self.accession_number,
            "original study uid": self.study_uid,
            "original series uid": self.series_uid,
            "original sop instance uid": self.sop_instance_uid,
        }
        found = {what: value for what, value in named.items() if value}
        for number, other in enumerate(self.others, start=1):
            found |= {f"{what} {number}": value for what, value in other.originals.items()}
        return found

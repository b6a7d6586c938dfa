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
    """Who a cloud study id belongs to: the answer to an authorised re-identification.

    `others` is empty but where the study was received under several identities (a corrected
    Patient ID, an accession number given later). The one received last comes first.
    """

    patient_id: str
    issuer_of_patient_id: str
    study_uid: str
    accession_number: str
    first_seen_at: dt.datetime
    others: "tuple[Reidentified, ...]" = ()

"""The JSON bodies of the interface, with the examples that the OpenAPI document shows."""

import datetime as dt

from pydantic import BaseModel, ConfigDict, Field

STUDY_EXAMPLE = "7QM2X-9THV4-CBK8"


class Identity(BaseModel):
    """The identifiers that one study was received under."""

    model_config = ConfigDict(hide_input_in_errors=True)

    original_patient_id: str = Field(description="Patient ID (0010,0020) as received.")
    original_issuer_of_patient_id: str = Field(
        description="Issuer of Patient ID (0010,0021); empty where there was none."
    )
    original_study_uid: str = Field(description="Study Instance UID (0020,000D) as received.")
    original_accession_number: str = Field(
        description="Accession Number (0008,0050); empty where there was none."
    )
    first_seen_at: dt.datetime = Field(description="When the study was first de-identified (UTC).")


class ReidentifiedStudy(Identity):
    """Who a cloud study id belongs to."""

    model_config = ConfigDict(
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {
                    "cloud_study_id": STUDY_EXAMPLE,
                    "original_patient_id": "EXAMPLE-0001",
                    "original_issuer_of_patient_id": "EXAMPLE-HOSPITAL",
                    "original_study_uid": "1.2.826.0.1.3680043.10.1.1",
                    "original_accession_number": "EXAMPLE-ACC-1",
                    "first_seen_at": "2026-01-31T12:00:00Z",
                    "other_identities": [],
                }
            ]
        },
    )

    cloud_study_id: str = Field(description="The id asked for, in its canonical form.")
    other_identities: list[Identity] = Field(
        description="Further identities of the same study (a corrected Patient ID, a later "
        "Accession Number); the one received last stands above."
    )


class Health(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    """Whether the parts that this process needs answer."""

    ready: bool = Field(examples=[True])
    roles: list[str] = Field(examples=[["anonymize", "reidentify"]])
    checks: dict[str, bool] = Field(examples=[{"database": True, "keys": True}])


class ProblemDocument(BaseModel):
    """RFC 9457 problem document; it never repeats anything of the request."""

    type: str = Field(
        description="Where the problem is explained.", examples=["/problems/not-dicom"]
    )
    title: str = Field(examples=["This is not a DICOM object"])
    status: int = Field(examples=[400])
    detail: str = Field(examples=["This is not a DICOM object"])
    code: str = Field(description="Stable; decide by this.", examples=["not-dicom"])
    path: str | None = Field(
        default=None,
        description="The element to blame, where one is.",
        examples=["(0040,A730)[3].(0040,A160)"],
    )
    request_id: str = Field(description="Finds the log lines.", examples=["9f86d081884c7d65"])


class ProblemMeaning(BaseModel):
    """What one problem code means."""

    code: str = Field(examples=["not-dicom"])
    status: int = Field(examples=[400])
    title: str = Field(examples=["This is not a DICOM object"])
    meaning: str = Field(examples=["No DICOM data set could be recognised."])

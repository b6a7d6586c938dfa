"""The JSON bodies and parameters of the way back."""

import datetime as dt
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import STUDY_EXAMPLE
from app.vault.disclosure.purposes import PURPOSES

PATIENT_EXAMPLE: Final = "DEMO-P61YDC2TP2FXA"
UID_EXAMPLE: Final = "2.25.329800735698586629295641978511506172918"
REQUEST_EXAMPLE: Final = "5f0c6c1e-8a53-4c5c-9a43-0c8f1d2b7e55"
_CODES: Final = ", ".join(f"{code} ({display})" for code, display in PURPOSES.items())

# How long a text may be is checked once it is known who asks, so that the audit has it.
_Typed = str | None


class Pseudonyms(BaseModel):
    """What somebody asks about: pseudonyms that are said to belong together."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    cloud_study_id: _Typed = Field(
        None,
        description="As printed on the study; case, spaces and missing hyphens do not matter.",
        examples=[STUDY_EXAMPLE],
    )
    patient_id: _Typed = Field(
        None,
        description="Patient ID (0010,0020) as it stands in the objects.",
        examples=[PATIENT_EXAMPLE],
    )
    study_uid: _Typed = Field(
        None, description="Study Instance UID as it stands in the objects.", examples=[UID_EXAMPLE]
    )
    series_uid: _Typed = Field(None, description="Series Instance UID as it stands in the objects.")
    sop_instance_uid: _Typed = Field(
        None, description="SOP Instance UID as it stands in the objects."
    )
    accession_number: _Typed = Field(
        None,
        description="Accession Number (0008,0050) as it stands in the objects: the cloud study id.",
    )


class Purposes(BaseModel):
    """Why somebody asks."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    purpose: str | None = Field(
        None,
        description=f"Purpose of use, a code of HL7: {_CODES}. ETREAT and BTG are emergencies.",
        examples=["TREAT"],
    )
    reference: str | None = Field(
        None,
        description="Ticket, order or pseudonymous accession number, 2 to 64 characters; kept in "
        "the audit. Write no patient's data into it.",
        examples=["TICKET-4711"],
    )
    reason: str | None = Field(
        None,
        description="In words, 3 to 200 characters; kept in the audit. Emergencies need one. Write "
        "no patient's data into it.",
        examples=["report delivery"],
    )


class LookParameters(Pseudonyms, Purposes):
    """The parameters of one look."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    approval: str | None = Field(
        None,
        description="A request that was approved; it stands for everything else.",
        examples=[REQUEST_EXAMPLE],
    )


class PurposeHeaders(BaseModel):
    """The purpose, for callers who keep it out of the address."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    x_purpose_of_use: str | None = Field(None, description="Like `purpose`.")
    x_reference: str | None = Field(None, description="Like `reference`.")
    x_reason: str | None = Field(None, description="Like `reason`.")


class RequestBody(Purposes):
    """What a second person is asked to approve."""

    items: list[Pseudonyms] = Field(
        min_length=1, description="One question, or those of a worklist."
    )


class BatchBody(Purposes):
    """A worklist: its questions, or the approval that stands for them."""

    items: list[Pseudonyms] | None = Field(
        None, min_length=1, description="The questions; at most DEID_REIDENTIFY_BATCH_MAX."
    )
    approval: str | None = Field(None, examples=[REQUEST_EXAMPLE])


class OriginalIdentity(BaseModel):
    """The identifiers that a study, or a patient, was received under."""

    model_config = ConfigDict(hide_input_in_errors=True)

    original_patient_id: str = Field(description="Patient ID (0010,0020) as received.")
    original_issuer_of_patient_id: str = Field(
        description="Issuer of Patient ID (0010,0021); empty where there was none."
    )
    original_study_uid: str | None = Field(
        description="Study Instance UID (0020,000D) as received; null where a patient alone was "
        "asked for."
    )
    original_accession_number: str | None = Field(
        description="Accession Number (0008,0050); empty where there was none, null where a "
        "patient alone was asked for."
    )
    first_seen_at: dt.datetime = Field(description="When this was first de-identified (UTC).")


class Reidentification(OriginalIdentity):
    """Whose a study, a series, an instance or a pseudonymous Patient ID is."""

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
                    "original_series_uid": None,
                    "original_sop_instance_uid": None,
                    "first_seen_at": "2026-01-31T12:00:00Z",
                    "other_identities": [],
                }
            ]
        },
    )

    cloud_study_id: str | None = Field(
        description="The study, in canonical form; null where a patient alone was asked for."
    )
    original_series_uid: str | None = Field(description="null unless its pseudonym was asked for.")
    original_sop_instance_uid: str | None = Field(
        description="null unless its pseudonym was asked for."
    )
    other_identities: list[OriginalIdentity] = Field(
        description="Further identities of the same study (a corrected Patient ID, a later "
        "Accession Number); the one received last stands above."
    )


class BatchItem(BaseModel):
    """What became of one question of a worklist."""

    number: int = Field(description="Its place in the worklist, from 1.", examples=[1])
    asked: dict[str, str] = Field(description="What was asked, in canonical form.")
    outcome: str = Field(description="`success`, or a code as of problems.", examples=["success"])
    detail: str | None = Field(description="Why not, where it was refused.")
    identity: Reidentification | None


class BatchAnswer(BaseModel):
    """The answers of a worklist, in its order."""

    items: list[BatchItem]


class RequestRepresentation(BaseModel):
    """A request for approval, and what became of it. Pseudonyms alone."""

    request_id: str = Field(examples=[REQUEST_EXAMPLE])
    state: str = Field(
        description="`pending`, `approved`, `denied`, `expired` or `used`.", examples=["pending"]
    )
    items: list[dict[str, str]] = Field(
        description="What is asked.", examples=[[{"cloud_study_id": STUDY_EXAMPLE}]]
    )
    purpose: str = Field(examples=["TREAT"])
    reference: str = Field(examples=["TICKET-4711"])
    reason: str | None
    requested_by: str = Field(description="As the audit names callers.", examples=["reporting"])
    requested_at: dt.datetime
    expires_at: dt.datetime = Field(description="When it is too late to decide.")
    decided_by: str | None
    decided_at: dt.datetime | None
    valid_until: dt.datetime | None = Field(description="When it is too late to get the answer.")
    used_at: dt.datetime | None = Field(description="When the answer was given.")


class RequestList(BaseModel):
    """Requests, the newest first."""

    requests: list[RequestRepresentation]
    next: str | None = Field(description="Where the next page is; null on the last one.")


def json_body(model: type[BaseModel], description: str) -> dict[str, Any]:
    """Describe a JSON body that the route reads by itself, within bounds."""
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {"application/json": {"schema": inlined(model)}},
        }
    }


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema without references to definitions of its own."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(definitions[part["$ref"].rpartition("/")[2]])
            return {name: resolved(value) for name, value in part.items()}
        return [resolved(value) for value in part] if isinstance(part, list) else part

    found: dict[str, Any] = resolved(schema)
    return found

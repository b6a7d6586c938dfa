"""The JSON bodies of batches, with the examples that the OpenAPI document shows."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

BATCH_EXAMPLE: Final = "0b0e7a0e-9d5c-4a55-8f4e-2f4d1c2b3a49"
_STUDY: Final = "7QM2X-9THV4-CBK8"
_SERIES_UID: Final = "2.25.206178913342198675012345678901234567890"
_INSTANCE_UID: Final = "2.25.113478213409871234098712340987123409871"
_CODE: Final = "residual-identifier"
MAX_TEXT_CHARACTERS: Final = 4096

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


class BatchRequest(BaseModel):
    """What a batch is to do. Exactly one of study_directory, source_url and an archive is given."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {
                    "organization_id": "DEMO",
                    "study_directory": "/srv/incoming/export-1",
                    "priority": "URGENT",
                    "on_error": "hold",
                }
            ]
        },
    )

    organization_id: Text | None = Field(
        None,
        description="Act for this organisation; the key must allow it. Default: the key's own.",
    )
    study_directory: Text | None = Field(
        None,
        description="Directory below one of the gateway's roots; all files below it are taken.",
        repr=False,
    )
    source_url: Text | None = Field(
        None,
        description="URL below an object store that is configured as a source, "
        "`s3://bucket/prefix`; or `store://NAME/prefix` by the store's name.",
        repr=False,
    )
    priority: Literal["ROUTINE", "URGENT", "STAT"] = Field(
        "ROUTINE", description="More urgent batches overtake others."
    )
    profile: Text | None = Field(
        None, description="De-identify by this profile; the key must allow it."
    )
    destination: Text | None = Field(
        None,
        description="Name of an object store that is configured as a destination. "
        "Default: the gateway's staging directory.",
    )
    on_error: Literal["hold", "skip"] = Field(
        "hold",
        description="hold: nothing is published unless every object succeeded. "
        "skip: what succeeded is published, the rest is listed.",
    )
    callback_url: Text | None = Field(
        None,
        description="Told when the batch has ended; its host must be on the gateway's list.",
        repr=False,
    )
    fhir: bool = Field(
        False, description="Write a FHIR ImagingStudy (pseudonyms only) beside every study."
    )


class BatchCounts(BaseModel):
    """How many files are where."""

    waiting: int = Field(description="Found, not decided yet.")
    succeeded: int = Field(description="De-identified.")
    duplicate: int = Field(description="The same object came before, byte for byte.")
    ignored: int = Field(description="No DICOM objects; reported, and no obstacle.")
    refused: int = Field(description="Not passed on, by policy or because they are not valid.")
    failed: int = Field(description="Could not be read, or broke a worker.")
    in_review: int = Field(
        description="Held until people have decided about their pixels; then done again."
    )
    published: int = Field(description="At the destination.")


class BatchWaiting(BaseModel):
    """What a batch waits for."""

    code: str = Field(description="A stable code, as of problems.", examples=["staging-full"])
    title: str = Field(examples=["The staging area is full"])
    since: dt.datetime | None = Field(description="null where that is not known.")
    next_try_at: dt.datetime | None = Field(description="null where somebody looks all the time.")


class BatchRate(BaseModel):
    """Mean speed since the batch was started or last tried again."""

    files_per_s: float
    bytes_per_s: float = Field(description="Bytes read at the source.")


class BatchRepresentation(BaseModel):
    """A batch as it stands. Nothing in it tells of a patient."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "batch_id": BATCH_EXAMPLE,
                    "organization_id": "DEMO",
                    "state": "succeeded",
                    "success": True,
                    "version": 9,
                    "priority": "URGENT",
                    "on_error": "hold",
                    "profile": "basic",
                    "profile_version": "0123456789ab",
                    "destination": "archive",
                    "submitted_at": "2026-01-31T12:00:00.000Z",
                    "started_at": "2026-01-31T12:00:00.120Z",
                    "finished_at": "2026-01-31T12:00:02.120Z",
                    "waiting_for": None,
                    "estimated_end_at": None,
                    "rate": {"files_per_s": 151.0, "bytes_per_s": 79167488.0},
                    "is_scanned": True,
                    "total_files": 302,
                    "total_bytes": 158334976,
                    "successful_files": 301,
                    "counts": {
                        "waiting": 0,
                        "succeeded": 301,
                        "duplicate": 0,
                        "ignored": 1,
                        "refused": 0,
                        "failed": 0,
                        "in_review": 0,
                        "published": 301,
                    },
                    "problems": {"not-dicom": 1},
                    "bytes_in": 158334976,
                    "bytes_out": 158301952,
                    "revision": 1,
                    "manifest_path": f"s3://bucket/prefix/{BATCH_EXAMPLE}/manifest.json",
                    "staging_directory": None,
                    "code": None,
                    "detail": None,
                    "links": {
                        "self": f"/batches/{BATCH_EXAMPLE}",
                        "items": f"/batches/{BATCH_EXAMPLE}/items",
                        "events": f"/batches/{BATCH_EXAMPLE}/events",
                    },
                }
            ]
        },
    )

    batch_id: str = Field(json_schema_extra={"format": "uuid"})
    organization_id: str
    state: Literal[
        "queued",
        "processing",
        "publishing",
        "succeeded",
        "partial",
        "held",
        "failed",
        "cancelled",
    ]
    success: bool | None = Field(
        description="null until the batch has ended; true where everything is published."
    )
    version: int = Field(description="Grows with every change.")
    priority: Literal["ROUTINE", "URGENT", "STAT"]
    on_error: Literal["hold", "skip"]
    profile: str
    profile_version: str = Field(description="A hash of all that decides the outcome.")
    destination: str = Field(description="Where the objects go, by name.")
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    waiting_for: BatchWaiting | None = Field(
        description="Why the batch does not get on just now; null while it does, and at its end."
    )
    estimated_end_at: dt.datetime | None = Field(
        description="By the mean speed so far; null while that is not known."
    )
    rate: BatchRate | None
    is_scanned: bool = Field(description="All files are found: total_files is final.")
    total_files: int = Field(description="Files found so far, of whatever kind.")
    total_bytes: int
    successful_files: int = Field(
        description="Objects de-identified; once published, those that the manifest lists."
    )
    counts: BatchCounts
    problems: dict[str, int] = Field(
        description="Codes of files that did not succeed, and how often each came."
    )
    bytes_in: int
    bytes_out: int
    revision: int = Field(description="How often a manifest was published.")
    manifest_path: str | None = Field(description="null until it is written, last of all.")
    staging_directory: str | None = Field(
        description="Where the objects lie when no destination was named."
    )
    code: str | None = Field(description="Why the batch as a whole failed.")
    detail: str | None
    links: dict[str, str] = Field(description="What can be asked and done next.")


class BatchList(BaseModel):
    """A page of batches, the newest first."""

    batches: list[BatchRepresentation]
    next: str | None = Field(
        description="The next page; null on the last one.",
        examples=[f"/batches?limit=50&before={BATCH_EXAMPLE}"],
    )


class BatchItem(BaseModel):
    """What became of one file. Its name at the source is not told."""

    seq: int = Field(description="Number of the file in its batch, from 0.", examples=[17])
    state: Literal["succeeded", "duplicate", "ignored", "refused", "failed", "in_review"] = Field(
        examples=["succeeded"]
    )
    code: str | None = Field(description="Why it did not succeed.", examples=[_CODE])
    detail: str | None = Field(examples=["An identifying value was left in the result"])
    element_path: str | None = Field(
        description="The element to blame, where one is.", examples=["(0040,A730)[3].(0040,A160)"]
    )
    warnings: list[str] = Field(examples=[["kept-text-cleaned (0008,0070)"]])
    cloud_study_id: str | None = Field(examples=[_STUDY])
    series_uid: str | None = Field(description="Replacement UID.", examples=[_SERIES_UID])
    sop_instance_uid: str | None = Field(description="Replacement UID.", examples=[_INSTANCE_UID])
    file: str | None = Field(
        description="Name of the object below the batch at the destination.",
        examples=[f"{_STUDY}/{_SERIES_UID}/{_INSTANCE_UID}.dcm"],
    )
    size: int | None = Field(description="Of the object, in bytes.", examples=[525312])
    sha256: str | None = Field(description="Of the object, in hexadecimal digits.")
    quarantine_id: str | None = Field(
        description="Under which it waits for a review: `/quarantine/{quarantine_id}`."
    )


class BatchItems(BaseModel):
    """A page of the files of a batch, by number."""

    items: list[BatchItem]
    next: str | None = Field(
        description="The next page; null on the last one.",
        examples=[f"/batches/{BATCH_EXAMPLE}/items?limit=100&after=99"],
    )


class BatchOriginal(BaseModel):
    """Which file at the source one item was."""

    seq: int = Field(examples=[17])
    state: Literal["succeeded", "duplicate", "ignored", "refused", "failed", "in_review"] = Field(
        examples=["refused"]
    )
    code: str | None = Field(examples=[_CODE])
    original_name: str = Field(
        description="Path below the source, member of the archive, or key below the prefix. "
        "Bytes that are no text stand as `\\xNN`.",
        examples=["EXAMPLE-0001/IM000017"],
    )
    cloud_study_id: str | None = Field(examples=[_STUDY])
    sop_instance_uid: str | None = Field(description="Replacement UID.", examples=[_INSTANCE_UID])


class BatchOriginals(BaseModel):
    """A page of the original names of the files of a batch, by number."""

    batch_id: str = Field(examples=[BATCH_EXAMPLE])
    originals: list[BatchOriginal]
    next: str | None = Field(description="The next page; null on the last one.")


class SigningKeys(BaseModel):
    """The public keys that manifests and callbacks are checked with: a JSON Web Key Set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "keys": [
                        {
                            "kty": "OKP",
                            "crv": "Ed25519",
                            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                            "use": "sig",
                        }
                    ]
                }
            ]
        }
    )

    keys: list[dict[str, Any]]

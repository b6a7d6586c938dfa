"""The JSON bodies of the interface, with the examples that the OpenAPI document shows."""

from pydantic import BaseModel, Field

STUDY_EXAMPLE = "7QM2X-9THV4-CBK8"


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
    quarantine_id: str | None = Field(
        default=None,
        description="Where the object waits for a review, with `quarantined`; `Location` names it.",
        examples=["0b0f8b0e-6d52-4c1c-9a55-6d1b9d3a2f10"],
    )
    request_id: str = Field(description="Finds the log lines.", examples=["9f86d081884c7d65"])


class ProblemMeaning(BaseModel):
    """What one problem code means."""

    code: str = Field(examples=["not-dicom"])
    status: int = Field(examples=[400])
    title: str = Field(examples=["This is not a DICOM object"])
    meaning: str = Field(examples=["No DICOM data set could be recognised."])

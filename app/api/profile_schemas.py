"""The JSON bodies about profiles and what they do to an object."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

_VERSION: Final = "0123456789ab"
_RULE: Final[JsonDict] = {
    "kind": "identity-template",
    "text": "identity template of the profile",
}
_LINE: Final[JsonDict] = {
    "path": "(0010,0010)",
    "keyword": "PatientName",
    "vr": "PN",
    "action": "identity",
    "code": "D",
    "result": "changed",
    "rule": _RULE,
    "old": "PN(23 chars)",
    "new": "pseudonym",
}
_TREATMENT: Final[JsonDict] = {
    name: _LINE[name] for name in ("action", "code", "result", "rule", "old", "new")
}
_HEAD: Final[JsonDict] = {
    "gateway": "1.0.0",
    "profile": "basic",
    "profile_version": _VERSION,
    "options": ["basic"],
    "method_codes": [
        {
            "value": "113100",
            "scheme": "DCM",
            "meaning": "Basic Application Confidentiality Profile",
        }
    ],
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
    "warnings": ["text-cleaned (0008,1030)"],
}


class ProfileSummary(BaseModel):
    """One confidentiality profile."""

    name: str = Field(examples=["basic"])
    version: str = Field(description="Hash of all that decides the outcome.", examples=[_VERSION])
    description: str = Field(examples=["Basic Profile; the studies of a patient stay linked"])
    options: list[str] = Field(
        description="Options of PS3.15, Annex E, in the order of their codes.", examples=[["basic"]]
    )
    is_default: bool = Field(description="Whether it is used where a request names none.")


class ProfileList(BaseModel):
    """The profiles that the caller may choose."""

    profiles: list[ProfileSummary]


class MethodCode(BaseModel):
    """A code of CID 7050."""

    value: str = Field(examples=["113100"])
    scheme: str = Field(examples=["DCM"])
    meaning: str = Field(examples=["Basic Application Confidentiality Profile"])


class ProfileContent(ProfileSummary):
    """What one profile says."""

    method_codes: list[MethodCode] = Field(
        description="What its objects claim; none where a rule is weaker than the table."
    )
    weaker_rules: list[str] = Field(description="Rules that are weaker than the table, in words.")
    content: dict[str, Any] = Field(
        description="The profile in the form of a profile file.",
        examples=[{"name": "basic", "options": ["basic"], "burned_in": "refuse"}],
    )


class ExplainedRule(BaseModel):
    """What decided."""

    kind: str = Field(description="Where the rule comes from.", examples=["table-e1-1"])
    text: str = Field(description="The rule in words.", examples=["Table E.1-1 (0008,0090): Z"])
    row: str | None = Field(None, description="Row of Table E.1-1.", examples=["(0008,0090)"])
    option: str | None = Field(
        None, description="The option whose column decided.", examples=["retain_device_identity"]
    )
    number: int | None = Field(None, description="Number of the profile's rule, from 1.")


class Treatment(BaseModel):
    """What was done to one element."""

    action: str = Field(
        description="keep, enter (a sequence, its items judged), remove, empty, dummy, map-uid, "
        "shift, clean, pseudonym, creator, replace, identity, notice or marker.",
        examples=["identity"],
    )
    code: str = Field(description="The letter of Table E.1-1a.", examples=["D"])
    result: Literal["kept", "changed", "removed", "inserted"]
    rule: ExplainedRule
    old: str = Field(description="What stood there, in kinds.", examples=["PN(23 chars)"])
    new: str = Field(description="What stands there now, in kinds.", examples=["pseudonym"])
    old_value: str | None = Field(None, description="With `values=true`.")
    new_value: str | None = Field(
        None, description="With `values=true`; never a pseudonym, a UID or a moved date."
    )


class ElementName(BaseModel):
    """Which element, or which part of the file that is none."""

    path: str = Field(examples=["(0040,A730)[3].(0040,A160)"])
    keyword: str | None = Field(None, examples=["TextValue"])
    creator: str | None = Field(
        None, description="Of a private element, where vendors publish it; others are not told."
    )
    vr: str | None = Field(None, description="As the object says.", examples=["UT"])


class ExplainedElement(ElementName, Treatment):
    """What became of one element."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LINE]})


class PixelMark(BaseModel):
    """A rectangle that was overwritten; right and bottom are outside of it."""

    left: int
    top: int
    right: int
    bottom: int
    rung: str = Field(
        description="risk, mask-rule, ultrasound-regions, ocr or review.", examples=["mask-rule"]
    )
    rule: str = Field(description="Id of the mask rule, or kind of the text that was found.")
    confidence: float | None
    frames: tuple[int, int] | None = Field(description="First and last, from 0; null for all.")


class PixelReason(BaseModel):
    """Why the pixels were treated as they were."""

    rung: str
    code: str = Field(examples=["outside-regions"])
    rule: str
    frame: int | None
    confidence: float | None


class PixelDecision(BaseModel):
    """What was decided about the pixels; no text of the image is told."""

    verdict: Literal["pass", "mask"]
    risk: Literal["none", "some", "high", "unknown"]
    marks: list[PixelMark]
    reasons: list[PixelReason]
    rules_version: str = Field(description="Of the mask rules that decided.")
    quarantine_id: str | None = Field(None, description="Where a person decided.")


class ExplanationHead(BaseModel):
    """What is said of the object as a whole."""

    gateway: str = Field(description="Version of the gateway.")
    profile: str
    profile_version: str
    options: list[str]
    method_codes: list[MethodCode]
    sop_class_uid: str
    warnings: list[str] = Field(description="Codes and element paths.")
    pixels: PixelDecision | None = Field(
        None, description="With the option clean_pixel_data, where there are pixels."
    )


class ExplainedObject(ExplanationHead):
    """What a profile does to one object, in the object's own order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_HEAD, "elements": [_LINE], "counts": {"identity": 1}}]}
    )

    elements: list[ExplainedElement]
    counts: dict[str, int] = Field(description="Elements per action.")


class Difference(ElementName):
    """An element that two profiles treat differently; null where one has nothing there."""

    left: Treatment | None
    right: Treatment | None


class Comparison(BaseModel):
    """What two profiles do differently to one object."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "left": _HEAD,
                    "right": {**_HEAD, "profile": "teleradiology"},
                    "differences": [
                        {
                            "path": "(0008,1030)",
                            "keyword": "StudyDescription",
                            "vr": "LO",
                            "left": {
                                **_TREATMENT,
                                "action": "remove",
                                "code": "X",
                                "result": "removed",
                                "rule": {
                                    "kind": "table-e1-1",
                                    "text": "Table E.1-1 (0008,1030): X",
                                    "row": "(0008,1030)",
                                },
                                "old": "LO(11 chars)",
                                "new": "nothing",
                            },
                            "right": {
                                **_TREATMENT,
                                "action": "clean",
                                "code": "C",
                                "result": "kept",
                                "rule": {
                                    "kind": "table-e1-1",
                                    "text": "Table E.1-1 (0008,1030): C, Clean Descriptors",
                                    "row": "(0008,1030)",
                                    "option": "clean_descriptors",
                                },
                                "old": "LO(11 chars)",
                                "new": "unchanged",
                            },
                        }
                    ],
                }
            ]
        }
    )

    left: ExplanationHead
    right: ExplanationHead
    differences: list[Difference]


class ReportedElement(ElementName):
    """What became of one element, without a word on its value."""

    action: str = Field(examples=["identity"])
    code: str = Field(examples=["D"])
    result: Literal["kept", "changed", "removed", "inserted"]
    rule: ExplainedRule


class ObjectReport(ExplanationHead):
    """The report that goes with an object."""

    cloud_study_id: str
    sop_instance_uid: str = Field(description="Of the de-identified object.")
    elements: list[ReportedElement]
    counts: dict[str, int]

"""What the gateway's actions and outcomes are called in the standards' vocabularies. Pure.

Source: PS3.16 2026d, CID 400 and CID 401 (DCM); PS3.15 2026d, A.5.1 and A.5.3; FHIR R4 AuditEvent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.audit.events import SUCCESS, Action

DCM: Final = "DCM"
OWN_SCHEME: Final = "99DEIDGATEWAY"
"""Coding scheme designator of the gateway's own codes: private ones begin with 99 (PS3.16, 8)."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a coding scheme and what it means."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Kind:
    """How an action is classified.

    Attributes:
        event: the family of the event.
        verb: create, read, update, delete or execute, by its first letter.
        life_cycle: what is done with the study (participant object data life cycle).
    """

    event: Code
    verb: str
    life_cycle: str | None = None


APPLICATION_ACTIVITY: Final = Code("110100", DCM, "Application Activity")
AUDIT_LOG_USED: Final = Code("110101", DCM, "Audit Log Used")
INSTANCES_ACCESSED: Final = Code("110103", DCM, "DICOM Instances Accessed")
STUDY_DELETED: Final = Code("110105", DCM, "DICOM Study Deleted")
EXPORT: Final = Code("110106", DCM, "Export")
PATIENT_RECORD: Final = Code("110110", DCM, "Patient Record")
SECURITY_ALERT: Final = Code("110113", DCM, "Security Alert")
USER_AUTHENTICATION: Final = Code("110114", DCM, "User Authentication")
SOURCE: Final = Code("110153", DCM, "Source Role ID")
APPLICATION: Final = Code("110150", DCM, "Application")
URI: Final = Code("12", "RFC-3881", "URI")
CLOUD_STUDY_ID: Final = Code("cloud-study-id", OWN_SCHEME, "Cloud Study ID")
AUDIT_RECORD: Final = Code("audit-record", OWN_SCHEME, "Audit Record")

_DE_IDENTIFICATION, _EXPORT, _DISCLOSURE, _ERASURE = "7", "10", "11", "15"
_SECURITY: Final = Kind(SECURITY_ALERT, "E")
_DEFAULT: Final = Kind(APPLICATION_ACTIVITY, "E")
_KINDS: Final[Mapping[str, Kind]] = {
    Action.ANONYMIZE: Kind(EXPORT, "R", _DE_IDENTIFICATION),
    "batch-prepare": Kind(EXPORT, "R"),
    "batch-publish": Kind(EXPORT, "R", _EXPORT),
    "batch-originals": Kind(INSTANCES_ACCESSED, "R"),
    "batch-delete-with-objects": Kind(STUDY_DELETED, "D"),
    Action.READ_AUDIT: Kind(AUDIT_LOG_USED, "R"),
    Action.EXPORT_AUDIT: Kind(AUDIT_LOG_USED, "R"),
    "quarantine-look": Kind(INSTANCES_ACCESSED, "R"),
    "quarantine-preview": Kind(INSTANCES_ACCESSED, "R"),
    "review-sign-in": Kind(USER_AUTHENTICATION, "E"),
    "reidentify-request": _DEFAULT,
    "reidentify-requests": _DEFAULT,
    "reidentify-approve": _DEFAULT,
    "reidentify-deny": _DEFAULT,
    "reidentify-notice": _DEFAULT,
    "reidentify-safeguards": _SECURITY,
    "change-retention": _SECURITY,
    Action.CREATE_API_KEY: _SECURITY,
    Action.REVOKE_API_KEY: _SECURITY,
    Action.CREATE_ORGANIZATION: _SECURITY,
}
# Families of actions, for those that other parts of the gateway name.
_FAMILIES: Final = (
    (("reidentify", "break-glass"), Kind(PATIENT_RECORD, "R", _DISCLOSURE)),
    (("erase",), Kind(STUDY_DELETED, "D", _ERASURE)),
    (("-keys", "organization"), _SECURITY),
)
_SERIOUS: Final = frozenset({"internal-error", "residual-identifier"})
_UNAVAILABLE: Final = "unavailable"


def kind_of(action: str) -> Kind:
    """Classify an action; one that nobody has named yet is an activity of the application."""
    known = _KINDS.get(action)
    if known is not None:
        return known
    for words, kind in _FAMILIES:
        if any(word in action for word in words):
            return kind
    return _DEFAULT


def action_code(action: str) -> Code:
    """Return the gateway's own code for an action."""
    return Code(action, OWN_SCHEME, action)


def outcome_indicator(outcome: str) -> str:
    """Say how grave an outcome is: ``0`` success, ``4`` minor, ``8`` serious failure."""
    if outcome == SUCCESS:
        return "0"
    return "8" if outcome in _SERIOUS or outcome.endswith(_UNAVAILABLE) else "4"

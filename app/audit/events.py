"""The audit event: the facts that one row records. No I/O, and never a value of a patient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

_NO_DETAIL: Mapping[str, str | int] = MappingProxyType({})


class Action(StrEnum):
    """The actions that the gateway itself records; `AuditEvent.action` takes any text."""

    ANONYMIZE = "anonymize"
    EXPLAIN = "explain"
    REIDENTIFY = "reidentify"
    CREATE_API_KEY = "create-api-key"
    REVOKE_API_KEY = "revoke-api-key"
    CREATE_ORGANIZATION = "create-organization"
    READ_AUDIT = "read-audit"
    EXPORT_AUDIT = "export-audit"


SUCCESS = "success"
"""The outcome of what went well; every other outcome is the code of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One fact for the audit: who did what to which pseudonym, under which rules, how it ended.

    Attributes:
        action: what was tried, such as ``anonymize``.
        outcome: ``success`` or the code of the error.
        organization: whose chain the row joins; None is the gateway's own chain.
        actor: id or name of the API key, or ``cli:<operating system user>``.
        api_key_id: the key that must still be valid when the row is committed; None for none.
        cloud_study_id: a pseudonym, in canonical form.
        sop_instance_uid: the replacement UID, never the original.
        purpose: the stated purpose of a re-identification.
        detail: further facts; names in lower case (letters, digits, ``_``, ``-``, ``.``).
    """

    action: str
    outcome: str = SUCCESS
    organization: str | None = None
    actor: str = ""
    api_key_id: str | None = None
    profile: str | None = None
    profile_version: str | None = None
    cloud_study_id: str | None = None
    sop_instance_uid: str | None = None
    purpose: str | None = None
    request_id: str | None = None
    detail: Mapping[str, str | int] = field(default_factory=lambda: _NO_DETAIL)

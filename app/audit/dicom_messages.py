"""The audit as DICOM audit messages: one XML document per row. Pure.

ASCII alone, with references for everything else, so that it fits every transport. The audit knows
no patients, so no message has a Patient object.

Source: PS3.15 2026d, A.5.1 (schema), A.5.2 (conventions).
"""

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from app.audit.coding import (
    APPLICATION,
    AUDIT_LOG_USED,
    AUDIT_RECORD,
    CLOUD_STUDY_ID,
    SOURCE,
    URI,
    Code,
    Kind,
    action_code,
    kind_of,
    outcome_indicator,
)
from app.audit.events import SUCCESS, Action
from app.audit.fhir import details_of
from app.audit.reading import StoredEvent

AUDIT_SOURCE: Final = "deid-gateway"
AUDIT_LOG: Final = "/audit"
MAX_BYTES: Final = 1000
"""Of one value: receivers take messages of at least 32,768 octets (PS3.15, A.6)."""
MAX_DETAILS: Final = 16

_IN_TEXT: Final = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_IN_ATTRIBUTES: Final = {'"': "&quot;", **_IN_TEXT}
_APPLICATION_SERVER: Final = "4"
_SYSTEM_OBJECT, _REPORT, _SECURITY_RESOURCE = "2", "3", "13"


def audit_message(event: StoredEvent, *, is_repeated: bool = False) -> bytes:
    """Return the message.

    Args:
        event: the row.
        is_repeated: the receiver may have it already; the message says so.
    """
    kind = kind_of(event.action)
    parts = [
        "<AuditMessage>",
        _event(event, kind),
        *_participants(event),
        _source(event),
        *_study(event, kind),
        *_log(kind),
        _record(event, is_repeated=is_repeated),
        "</AuditMessage>",
    ]
    return "".join(parts).encode("ascii", "xmlcharrefreplace")


def _event(event: StoredEvent, kind: Kind) -> str:
    attributes = _attributes(
        EventActionCode=kind.verb,
        EventDateTime=f"{event.recorded_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
        EventOutcomeIndicator=outcome_indicator(event.outcome),
    )
    content = _coded("EventID", kind.event) + _coded("EventTypeCode", action_code(event.action))
    if event.outcome != SUCCESS:
        content += f"<EventOutcomeDescription>{_text(event.outcome)}</EventOutcomeDescription>"
    return f"<EventIdentification{attributes}>{content}</EventIdentification>"


def _participants(event: StoredEvent) -> Iterator[str]:
    caller = {"UserID": event.actor or "unknown", "UserIsRequestor": "true"}
    if event.api_key_id:
        caller["AlternativeUserID"] = event.api_key_id
    yield f"<ActiveParticipant{_attributes(**caller)}/>"
    own = _attributes(UserID=AUDIT_SOURCE, UserIsRequestor="false")
    role = SOURCE if event.action == Action.ANONYMIZE else APPLICATION
    yield f"<ActiveParticipant{own}>{_coded('RoleIDCode', role)}</ActiveParticipant>"


def _source(event: StoredEvent) -> str:
    attributes = {"AuditSourceID": AUDIT_SOURCE}
    if event.organization:
        attributes["AuditEnterpriseSiteID"] = event.organization
    kind = f"<AuditSourceTypeCode{_attributes(**{'csd-code': _APPLICATION_SERVER})}/>"
    return f"<AuditSourceIdentification{_attributes(**attributes)}>{kind}" + (
        "</AuditSourceIdentification>"
    )


def _study(event: StoredEvent, kind: Kind) -> Iterator[str]:
    if not event.cloud_study_id:
        return
    attributes = {
        "ParticipantObjectID": event.cloud_study_id,
        "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
        "ParticipantObjectTypeCodeRole": _REPORT,
    }
    if kind.life_cycle is not None:
        attributes["ParticipantObjectDataLifeCycle"] = kind.life_cycle
    content = _coded("ParticipantObjectIDTypeCode", CLOUD_STUDY_ID) + _name(event.cloud_study_id)
    if event.sop_instance_uid:
        instance = f"<Instance{_attributes(UID=event.sop_instance_uid)}/>"
        content += (
            '<ParticipantObjectDescription><SOPClass NumberOfInstances="1">'
            f"{instance}</SOPClass><Anonymized>true</Anonymized></ParticipantObjectDescription>"
        )
    yield _object(attributes, content)


def _log(kind: Kind) -> Iterator[str]:
    """Name the audit log where it was read.

    Source: PS3.15 2026d, A.5.3.2.
    """
    if kind.event == AUDIT_LOG_USED:
        attributes = {
            "ParticipantObjectID": AUDIT_LOG,
            "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
            "ParticipantObjectTypeCodeRole": _SECURITY_RESOURCE,
        }
        content = _coded("ParticipantObjectIDTypeCode", URI) + _name("Security Audit Log")
        yield _object(attributes, content)


def _record(event: StoredEvent, *, is_repeated: bool) -> str:
    """Say which row this is, so that receivers recognise what they have already."""
    attributes = {
        "ParticipantObjectID": f"{event.chain}/{event.seq}",
        "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
        "ParticipantObjectTypeCodeRole": _SECURITY_RESOURCE,
    }
    facts = list(details_of(event).items())[:MAX_DETAILS]
    if is_repeated:
        facts.append(("repeated", "true"))
    details = [
        f"<ParticipantObjectDetail{_attributes(type=name, value=_base64(value))}/>"
        for name, value in facts
    ]
    content = _coded("ParticipantObjectIDTypeCode", AUDIT_RECORD) + _name("Audit Record")
    return _object(attributes, content + "".join(details))


def _object(attributes: dict[str, str], content: str) -> str:
    return (
        f"<ParticipantObjectIdentification{_attributes(**attributes)}>{content}"
        "</ParticipantObjectIdentification>"
    )


def _name(name: str) -> str:
    return f"<ParticipantObjectName>{_text(name)}</ParticipantObjectName>"


def _coded(element: str, code: Code) -> str:
    attributes = {
        "csd-code": code.value,
        "codeSystemName": code.scheme,
        "originalText": code.meaning,
    }
    return f"<{element}{_attributes(**attributes)}/>"


def _attributes(**values: str) -> str:
    return "".join(
        [f' {name}="{escape(_legible(value), _IN_ATTRIBUTES)}"' for name, value in values.items()]
    )


def _text(value: str) -> str:
    return escape(_legible(value), _IN_TEXT)


def _base64(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "replace")[:MAX_BYTES]).decode()


def _legible(value: str) -> str:
    """Replace what XML 1.0 cannot hold, and cut what is longer than a value in base64 may be."""
    kept = value if len(value) <= 2 * MAX_BYTES else f"{value[:MAX_BYTES]}…"
    return "".join([c if _is_character(c) else "\ufffd" for c in kept])


def _is_character(c: str) -> bool:
    """Tell a character of XML 1.0 (section 2.2)."""
    return c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"

"""The audit as FHIR R4: one AuditEvent per row, bundles of them. Pure.

Source: FHIR R4 (4.0.1), AuditEvent and Bundle.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.audit.coding import DCM, Code, action_code, kind_of, outcome_indicator
from app.audit.reading import StoredEvent

MEDIA_TYPE: Final = "application/fhir+json"
DCM_SYSTEM: Final = "http://dicom.nema.org/resources/ontology/DCM"
OWN_SYSTEM: Final = "urn:deid-gateway:audit-action"
STUDY_SYSTEM: Final = "urn:deid-gateway:cloud-study-id"
KEY_SYSTEM: Final = "urn:deid-gateway:api-key"
ROW_SYSTEM: Final = "urn:deid-gateway:audit-row"
PURPOSE_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
OBSERVER: Final = "deid-gateway"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
# Purposes of use that HL7 has codes for, as people write them: the code itself.
_PURPOSES: Final = frozenset(
    {
        *("TREAT", "ETREAT", "BTG", "PATRQT", "PUBHLTH", "HRESCH", "HOPERAT", "HPAYMT", "HQUALIMP"),
        *("CAREMGT", "COVERAGE", "HLEGAL", "HSYSADMIN", "HTEST", "FAMRQT", "PATSFTY", "HCOMPL"),
    }
)


def audit_event(event: StoredEvent) -> dict[str, Any]:
    """Return the resource; its id is the row's hash in hexadecimal."""
    kind = kind_of(event.action)
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": event.hash.hex(),
        "type": _coding(kind.event),
        "subtype": [_coding(action_code(event.action))],
        "action": kind.verb,
        "recorded": instant(event.recorded_at),
        "outcome": outcome_indicator(event.outcome),
        "outcomeDesc": event.outcome or "unknown",
        "agent": [_agent(event)],
        "source": _source(event),
        "entity": list(_entities(event, kind.life_cycle)),
    }
    if _legible(event.purpose):
        resource["purposeOfEvent"] = [_purpose(_legible(event.purpose))]
    return resource


def bundle(
    events: Sequence[StoredEvent], *, own_address: str, next_address: str | None
) -> dict[str, Any]:
    """Return one page as the answer to a search."""
    links = [{"relation": "self", "url": own_address}]
    if next_address is not None:
        links.append({"relation": "next", "url": next_address})
    found: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    if events:
        found["entry"] = [
            {"resource": audit_event(event), "search": {"mode": "match"}} for event in events
        ]
    return found


class Collection:
    """Writes a bundle of any length, holding one resource at a time."""

    def __init__(self) -> None:
        self._before = '{"resourceType":"Bundle","type":"collection"'
        self._joint = ',"entry":[\n'

    def add(self, event: StoredEvent) -> str:
        """Return the text that comes next."""
        resource = json.dumps(audit_event(event), separators=(",", ":"))
        text = f'{self._before}{self._joint}{{"resource":{resource}}}'
        self._before, self._joint = "", ",\n"
        return text

    def end(self) -> str:
        """Return the text that ends the bundle."""
        return f"{self._before}}}\n" if self._before else "\n]}\n"


def _coding(code: Code) -> dict[str, str]:
    system = DCM_SYSTEM if code.scheme == DCM else OWN_SYSTEM
    value = "".join(_legible(code.value).split()) or "unknown"
    return {"system": system, "code": value, "display": _legible(code.meaning) or "unknown"}


def _agent(event: StoredEvent) -> dict[str, Any]:
    agent: dict[str, Any] = {"requestor": True, "name": _legible(event.actor) or "unknown"}
    if event.api_key_id:
        agent["who"] = {"identifier": {"system": KEY_SYSTEM, "value": event.api_key_id}}
        agent["altId"] = event.api_key_id
    return agent


def _source(event: StoredEvent) -> dict[str, Any]:
    observed = {"observer": {"display": OBSERVER}, "type": [_coded("security-source-type", "4")]}
    return {"site": event.organization, **observed} if event.organization else observed


def _entities(event: StoredEvent, life_cycle: str | None) -> Iterator[dict[str, Any]]:
    if event.cloud_study_id:
        study: dict[str, Any] = {
            "what": _identified(STUDY_SYSTEM, event.cloud_study_id),
            "type": _coded("audit-entity-type", "2"),
            "role": _coded("object-role", "3"),
        }
        if life_cycle is not None:
            study["lifecycle"] = _coded("dicom-audit-lifecycle", life_cycle)
        yield study
    if event.sop_instance_uid:
        yield {
            "what": _identified("urn:dicom:uid", f"urn:oid:{event.sop_instance_uid}"),
            "type": _coded("audit-entity-type", "2"),
        }
    yield {
        "what": _identified(ROW_SYSTEM, f"{event.chain}/{event.seq}"),
        "type": _coded("audit-entity-type", "2"),
        "role": _coded("object-role", "13"),
        "detail": [
            {"type": _legible(name) or "unknown", "valueString": _legible(value) or "-"}
            for name, value in details_of(event).items()
        ],
    }


def details_of(event: StoredEvent) -> Mapping[str, str]:
    """Return the facts that have no place of their own in the standards."""
    facts: dict[str, str | None] = {
        "hash": event.hash.hex(),
        "outcome": event.outcome,
        "profile": event.profile,
        "profile-version": event.profile_version,
        "request-id": event.request_id,
        "purpose": event.purpose,
    }
    facts |= {f"detail.{name}": str(value) for name, value in event.detail.items()}
    return {name: value for name, value in facts.items() if value}


def _identified(system: str, value: str) -> dict[str, Any]:
    return {"identifier": {"system": system, "value": _legible(value) or "unknown"}}


def _coded(system: str, code: str) -> dict[str, str]:
    return {"system": f"{_TERMINOLOGY}/{system}", "code": code}


def _purpose(purpose: str) -> dict[str, Any]:
    code = purpose.partition(" ")[0].rstrip(":;,")
    if code not in _PURPOSES:
        return {"text": purpose}
    return {"coding": [{"system": PURPOSE_SYSTEM, "code": code}], "text": purpose}


def _legible(text: str | None) -> str:
    """Return a text as FHIR allows it: no control characters, no space around it."""
    if not text:
        return ""
    return "".join([c if c.isprintable() else "\ufffd" for c in text]).strip()


def instant(moment: dt.datetime) -> str:
    """Write a moment as FHIR has it, in UTC with microseconds."""
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"

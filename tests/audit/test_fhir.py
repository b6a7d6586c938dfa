import json

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle

from app.audit.fhir import Collection, audit_event, bundle
from tests.audit.events import ODD, stored

ACTIONS = (
    *("anonymize", "reidentify", "batch-prepare", "batch-publish", "create-api-key", "read-audit"),
    *("erase-subject", "break-glass", "something-new"),
)


def details_of(resource: AuditEvent) -> dict[str, str]:
    return {one.type: one.valueString for one in resource.entity[-1].detail}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("outcome", ["success", "not-authorised", "database-unavailable"])
def test_every_event_is_a_valid_resource(action: str, outcome: str) -> None:
    resource = AuditEvent.model_validate(audit_event(stored(action, outcome=outcome)))

    assert resource.subtype[0].code == action
    assert resource.outcomeDesc == outcome


@pytest.mark.parametrize(
    ("outcome", "indicator"),
    [("success", "0"), ("wrong-organization", "4"), ("key-unavailable", "8")],
)
def test_outcomes_say_how_grave_they_are(outcome: str, indicator: str) -> None:
    assert audit_event(stored(outcome=outcome))["outcome"] == indicator


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("anonymize", "110106"),
        ("reidentify", "110110"),
        ("reidentify-break-glass", "110110"),
        ("reidentify-request", "110100"),
        ("reidentify-safeguards", "110113"),
        ("erase-subject", "110105"),
        ("reseal-keys", "110113"),
        ("rotate-keys", "110113"),
        ("quarantine-preview", "110103"),
        ("review-sign-in", "110114"),
        ("change-organization", "110113"),
        ("change-retention", "110113"),
        ("read-audit", "110101"),
        ("nobody-knows", "110100"),
    ],
)
def test_actions_have_the_codes_of_their_kind(action: str, kind: str) -> None:
    assert audit_event(stored(action))["type"]["code"] == kind


def test_what_was_recorded_is_in_the_resource() -> None:
    resource = AuditEvent.model_validate(audit_event(stored("reidentify", purpose="TREAT report")))

    assert resource.id == bytes(range(32)).hex()
    assert resource.recorded.isoformat() == "2026-01-02T03:04:05.000006+00:00"
    assert (resource.type.code, resource.type.display) == ("110110", "Patient Record")
    assert resource.source.site == "NORTH"
    assert (resource.agent[0].name, resource.agent[0].altId) == ("viewer", "abcd2345")
    assert resource.entity[0].what.identifier.value == "7QM2X-9THV4-CBK8"
    assert resource.entity[1].what.identifier.value == "urn:oid:2.25.1234567890"
    assert resource.entity[2].what.identifier.value == "NORTH/17"
    assert resource.purposeOfEvent[0].coding[0].code == "TREAT"
    assert details_of(resource)["detail.size"] == "7"


def test_a_purpose_in_words_has_no_code() -> None:
    resource = AuditEvent.model_validate(audit_event(stored(purpose="report delivery")))

    assert (resource.purposeOfEvent[0].text, resource.purposeOfEvent[0].coding) == (
        "report delivery",
        None,
    )


@pytest.mark.parametrize("odd", [ODD, "", " ", "\n"])
def test_odd_texts_give_valid_resources(odd: str) -> None:
    event = stored(
        odd,
        outcome=odd,
        actor=odd,
        purpose=odd,
        profile=odd,
        request_id=odd,
        api_key_id=None,
        detail={"odd": odd},
    )

    AuditEvent.model_validate(audit_event(event))


def test_an_event_of_the_gateway_itself_is_of_no_site() -> None:
    event = stored(chain="", cloud_study_id=None, sop_instance_uid=None, api_key_id=None)

    resource = AuditEvent.model_validate(audit_event(event))

    assert (resource.source.site, len(resource.entity)) == (None, 1)


def test_a_page_is_a_valid_bundle_that_names_the_next_one() -> None:
    made = bundle([stored(), stored(seq=16)], own_address="/audit", next_address="/audit?before=1")

    found = Bundle.model_validate(made)

    assert [link.relation for link in found.link] == ["self", "next"]
    assert [entry.resource.get_resource_type() for entry in found.entry] == ["AuditEvent"] * 2


def test_an_empty_page_is_a_valid_bundle() -> None:
    found = Bundle.model_validate(bundle([], own_address="/audit", next_address=None))

    assert found.entry is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_collection_of_any_length_is_a_valid_bundle(count: int) -> None:
    writing = Collection()

    text = "".join([writing.add(stored(seq=seq + 1)) for seq in range(count)]) + writing.end()

    assert len(Bundle.model_validate(json.loads(text)).entry or []) == count

import base64
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from app.audit.dicom_messages import audit_message
from tests.audit.events import ODD, stored
from tests.audit.test_fhir import ACTIONS
from tools import debian_tools

GRAMMAR = Path(__file__).with_name("audit_message.rng")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory):
    """What xmllint says against documents by the grammar of PS3.15 A.5.1; nothing when valid."""
    if not debian_tools.is_available():
        pytest.skip("xmllint comes from Debian's libxml2-utils, and there is no apt-get here")
    tool = debian_tools.provide("libxml2-utils", "xmllint")
    folder = tmp_path_factory.mktemp("messages")

    def check(*documents: bytes) -> list[str]:
        paths = [folder / f"{number}.xml" for number in range(len(documents))]
        for path, document in zip(paths, documents, strict=True):
            path.write_bytes(document)
        done = tool.run("--noout", "--relaxng", str(GRAMMAR), *map(str, paths))
        return [line for line in done.stderr.splitlines() if not line.endswith(" validates")]

    return check


def parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - made a line ago


def details_of(document: bytes) -> dict[str, str]:
    found = parsed(document).iter("ParticipantObjectDetail")
    return {one.get("type", ""): base64.b64decode(one.get("value", "")).decode() for one in found}


def test_every_event_is_a_valid_message(faults) -> None:
    outcomes = ("success", "not-authorised", "database-unavailable")

    made = [
        audit_message(stored(action, outcome=outcome)) for action in ACTIONS for outcome in outcomes
    ]

    assert faults(*made) == []


def test_events_without_most_facts_are_valid_messages(faults) -> None:
    bare = stored(
        chain="",
        actor="",
        api_key_id=None,
        profile=None,
        profile_version=None,
        cloud_study_id=None,
        sop_instance_uid=None,
        request_id=None,
        detail={},
    )

    assert faults(audit_message(bare)) == []


def test_odd_texts_give_valid_messages_of_one_line(faults) -> None:
    odd = stored(ODD, outcome=ODD, actor=ODD, purpose=ODD, detail={"odd": ODD})

    made = audit_message(odd)

    assert faults(made) == []
    assert made.isascii()
    assert b"\n" not in made
    assert parsed(made).find("ActiveParticipant").get("UserID").startswith("quotes ' \" & <tag/>")


def test_the_grammar_refuses_what_is_no_message(faults) -> None:
    made = audit_message(stored())

    broken = made.replace(b' EventOutcomeIndicator="0"', b""), made.replace(b"csd-code", b"code")

    assert all(faults(one) for one in broken)


def test_what_was_recorded_is_in_the_message() -> None:
    document = audit_message(stored("reidentify", purpose="report", outcome="wrong-organization"))

    message = parsed(document)
    event, study = message[0], message.find("ParticipantObjectIdentification")
    assert event.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "2026-01-02T03:04:05.000006Z",
        "EventOutcomeIndicator": "4",
    }
    assert event.find("EventID").get("csd-code") == "110110"
    assert event.findtext("EventOutcomeDescription") == "wrong-organization"
    assert message.find("AuditSourceIdentification").get("AuditEnterpriseSiteID") == "NORTH"
    assert study.get("ParticipantObjectID") == "7QM2X-9THV4-CBK8"
    assert study.find(".//Instance").get("UID") == "2.25.1234567890"
    assert study.findtext(".//Anonymized") == "true"
    assert details_of(document)["purpose"] == "report"
    assert details_of(document)["hash"] == bytes(range(32)).hex()


def test_reading_the_audit_names_the_audit_log() -> None:
    message = parsed(audit_message(stored("read-audit", cloud_study_id=None)))

    names = [one.text for one in message.iter("ParticipantObjectName")]
    assert message.find(".//EventID").get("csd-code") == "110101"
    assert "Security Audit Log" in names


def test_a_message_that_may_have_come_before_says_so() -> None:
    assert details_of(audit_message(stored(), is_repeated=True))["repeated"] == "true"
    assert "repeated" not in details_of(audit_message(stored()))


def test_long_values_stay_within_what_every_receiver_takes(faults) -> None:
    long = "é" * 40_000
    event = stored(
        "a", actor=long, purpose=long, detail={f"fact{number}": long for number in range(40)}
    )

    made = audit_message(event)

    assert len(made) < 32_768 - 300
    assert faults(made) == []

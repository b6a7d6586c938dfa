import datetime as dt
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.chain import GENESIS, canonical, chain_of, facts_of, facts_of_row, link
from app.audit.events import AuditEvent

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
EVENT = AuditEvent(
    action="anonymize",
    organization="NORTH",
    actor="viewer",
    profile="basic",
    detail={"size": 7, "kind": "CT"},
)


def text_of(event: AuditEvent, seq: int = 1, recorded_at: dt.datetime = WHEN) -> str:
    return canonical(facts_of(event, seq=seq, recorded_at=recorded_at))


def test_the_canonical_form_stays_what_it_was_in_the_first_release() -> None:
    assert text_of(EVENT) == (
        '{"action":"anonymize","actor":"viewer","chain":"NORTH","detail":{"kind":"CT","size":7},'
        '"outcome":"success","profile":"basic","recorded_at":"2026-01-02T03:04:05.000006Z",'
        '"seq":1,"v":1}'
    )


def test_a_link_is_the_hash_of_the_hash_before_and_the_row() -> None:
    assert link(GENESIS, "{}") == sha256(bytes(32) + b"{}").digest()


def test_times_are_written_in_utc() -> None:
    elsewhere = WHEN.astimezone(dt.timezone(dt.timedelta(hours=5)))

    assert text_of(EVENT, recorded_at=elsewhere) == text_of(EVENT)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('"\\/\b\f\n\r\t\x1f', r'"\"\\/\b\f\n\r\t\u001f"'),
        ("é€😀\x7f", '"é€😀\x7f"'),
        ("a\0b", '"a\ufffdb"'),
        ("\ud800x", '"?x"'),
    ],
)
def test_texts_are_escaped_as_rfc_8785_says(text: str, written: str) -> None:
    event = AuditEvent(action="a", purpose=text)

    assert f'"purpose":{written}' in text_of(event)


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0"), (-7, "-7"), (1 << 53, "9007199254740992"), ((1 << 53) + 1, '"9007199254740993"')],
)
def test_numbers_that_json_cannot_hold_exactly_become_text(number: int, written: str) -> None:
    assert f'"n":{written}' in text_of(AuditEvent(action="a", detail={"n": number}))


def test_the_gateways_own_events_have_a_chain_of_their_own() -> None:
    assert chain_of(AuditEvent(action="a")) == ""
    assert chain_of(EVENT) == "NORTH"


@given(
    st.builds(
        AuditEvent,
        action=st.text(),
        actor=st.text(),
        purpose=st.none() | st.text(),
        detail=st.dictionaries(
            st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1), st.text() | st.integers()
        ),
    )
)
def test_the_text_of_an_event_equals_the_text_of_its_row(event: AuditEvent) -> None:
    written = json.loads(text_of(event))
    names = ("chain", "action", "outcome", "actor", "api_key_id", "profile", "profile_version")
    more = ("cloud_study_id", "sop_instance_uid", "purpose", "request_id", "detail")
    row = {name: written.get(name) for name in (*names, *more)}

    assert canonical(facts_of_row(row, seq=1, recorded_at=WHEN)) == text_of(event)


@given(st.text(), st.text())
def test_different_events_give_different_texts(one: str, other: str) -> None:
    first = text_of(AuditEvent(action="a", actor=one, purpose=other))
    second = text_of(AuditEvent(action="a", actor=other, purpose=one))

    assert (first == second) == (json.loads(first) == json.loads(second))

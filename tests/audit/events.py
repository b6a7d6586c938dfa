"""Rows of the audit as they are read."""

import datetime as dt

from app.audit.reading import StoredEvent

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
ODD = "quotes ' \" & <tag/> ]]> \\ newline \n return \r tab \t NUL \0 bell \x07 \ufffe \U0001f600 é"


def stored(action: str = "anonymize", **given: object) -> StoredEvent:
    """A row of a chain, whole unless something else is given."""
    made: dict[str, object] = {
        "chain": "NORTH",
        "seq": 17,
        "recorded_at": WHEN,
        "outcome": "success",
        "actor": "viewer",
        "api_key_id": "abcd2345",
        "profile": "basic",
        "profile_version": "0123456789ab",
        "cloud_study_id": "7QM2X-9THV4-CBK8",
        "sop_instance_uid": "2.25.1234567890",
        "purpose": None,
        "request_id": "9f86d081884c7d65",
        "detail": {"size": 7, "kind": "CT"},
        "hash": bytes(range(32)),
    }
    return StoredEvent(action=action, **(made | given))

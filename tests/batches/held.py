"""Held objects as the quarantine keeps them, for batches that wait for a review."""

from uuid import UUID, uuid4

from app.batches.records import ChunkClaim, ItemResult
from app.batches.states import ItemState
from app.errors import Quarantined
from tests.batches.house import BatchHouse, result

HOLD = """
INSERT INTO quarantine (id, organization, key_version, size, source_kind, profile, profile_version,
    digest, sealed, shape, decision, sender, sent_by)
VALUES (%s, (SELECT organization FROM batches LIMIT 1), 1, 10, 'batch', 'basic', '0123456789ab', %s,
    'sealed', '{}', '{}', 'tester', 'tester') RETURNING id
"""
DECIDE = """
UPDATE quarantine SET state = %s, sealed = NULL, decided_at = now(), decider = 'other',
    decided_by = 'other', ruling = CASE WHEN %s = 'masked' THEN '[]'::jsonb END
WHERE id = %s RETURNING id
"""


def hold(house: BatchHouse) -> str:
    held = uuid4()
    house.mapping.query(HOLD, held, held.bytes)
    return str(held)


def decide(house: BatchHouse, held: str, state: str = "released") -> None:
    assert house.mapping.query(DECIDE, state, state, UUID(held))


def in_review(claim: ChunkClaim, *held: str) -> list[ItemResult]:
    """The first files of a chunk are held, the others succeed."""
    made = [
        ItemResult(file, ItemState.IN_REVIEW, Quarantined.code, quarantine_id=name)
        for file, name in zip(claim.files, held, strict=False)
    ]
    return made + [result(file) for file in claim.files[len(held) :]]

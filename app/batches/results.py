"""What became of a chunk's files goes into the tables: items, counters, problems.

An object that came before in the batch is published once: the same bytes again are a duplicate,
other bytes under the same SOP Instance UID are refused, because nobody can say which are right.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches.records import ItemResult
from app.batches.sql import rows, run
from app.batches.states import ItemState
from app.errors import DuplicateInstance
from app.vault.sealing import DataKey, SealedDataKey

DUPLICATE: Final = "duplicate-object"

_COLUMNS: Final[Mapping[str, str]] = {
    "seq": "bigint",
    "state": "text",
    "code": "text",
    "detail": "text",
    "element_path": "text",
    "warnings": "text",
    "patient_id": "text",
    "cloud_study_id": "text",
    "study_uid": "text",
    "series_uid": "text",
    "sop_instance_uid": "text",
    "sop_class_uid": "text",
    "modality": "text",
    "size": "bigint",
    "sha256": "bytea",
    "data_key": "bigint",
    "sealed_name": "bytea",
    "quarantine": "uuid",
}
# Arrays of arrays must be rectangular: warnings travel as one text, a line each.
_SELECTED: Final = ", ".join(
    "string_to_array(warnings, E'\\n')" if name == "warnings" else name for name in _COLUMNS
)
_ARRAYS: Final = ", ".join(f"%({name})s::{kind}[]" for name, kind in _COLUMNS.items())
# Everybody adds instances in one order, so that nobody waits for somebody who waits for them. A
# number that is there already is that of a claimant who came first.
_INSERT: Final = f"""
INSERT INTO batch_items (batch, chunk, {", ".join(_COLUMNS)})
SELECT %(batch)s, %(chunk)s, {_SELECTED} FROM unnest({_ARRAYS}) AS new ({", ".join(_COLUMNS)})
ORDER BY sop_instance_uid, seq
ON CONFLICT DO NOTHING
RETURNING seq
"""  # noqa: S608 - made of the constants above
_INSERT_KEYS: Final = """
INSERT INTO data_keys (id, organization, key_version, cloud_patient_id, sealed)
SELECT id, %(organization)s, key_version, cloud_patient_id, sealed
FROM unnest(%(ids)s::bigint[], %(versions)s::smallint[], %(subjects)s::text[], %(keys)s::bytea[])
    AS new (id, key_version, cloud_patient_id, sealed)
ON CONFLICT DO NOTHING
"""
_COUNT: Final = """
UPDATE batches SET version = version + 1, open_chunks = open_chunks - 1,
    unpublished_chunks = unpublished_chunks - %(nothing_to_publish)s,
    succeeded_files = succeeded_files + %(succeeded)s,
    duplicate_files = duplicate_files + %(duplicate)s,
    ignored_files = ignored_files + %(ignored)s,
    refused_files = refused_files + %(refused)s,
    failed_files = failed_files + %(failed)s,
    in_review_files = in_review_files + %(in_review)s,
    bytes_in = bytes_in + %(bytes_in)s, bytes_out = bytes_out + %(bytes_out)s,
    waiting_for = NULL, waiting_since = NULL, waiting_until = NULL
WHERE id = %(batch)s
"""
_COUNT_PROBLEMS: Final = """
INSERT INTO batch_problems (batch, code, count)
SELECT %(batch)s, code, count FROM unnest(%(codes)s::text[], %(counts)s::bigint[])
    AS new (code, count)
ON CONFLICT (batch, code) DO UPDATE SET count = batch_problems.count + EXCLUDED.count
"""
_WINNERS: Final = """
SELECT sop_instance_uid, sha256 FROM batch_items
WHERE batch = %(batch)s AND sop_instance_uid = ANY(%(uids)s) AND state = 'succeeded'
"""


KeyOf = Callable[[str, str], DataKey]
"""Gives the data key of an organisation and a cloud patient id: `Vault.data_key`."""


class Names:
    """Seals names of files for the way back: under the patient's data key where he is known.

    Args:
        key_of: gives data keys.
        organization: id of the organisation.
    """

    def __init__(self, key_of: KeyOf, organization: str) -> None:
        self._key_of = key_of
        self._organization = organization
        self.used: dict[int, tuple[SealedDataKey, str]] = {}

    def seal(self, batch_id: UUID, result: ItemResult) -> tuple[int, bytes]:
        """Return the id of the data key and the sealed name."""
        key = self._key_of(self._organization, result.cloud_patient_id)
        self.used[key.stored.data_key_id] = (key.stored, result.cloud_patient_id)
        sealed = key.seal("batch_items", f"{batch_id}:{result.file.seq}", [result.file.name])
        return key.stored.data_key_id, sealed


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """The names of a chunk's files, sealed, and the data keys that they were sealed with."""

    names: Mapping[int, tuple[int, bytes]]
    keys: Sequence[tuple[SealedDataKey, str]]


def sealed(batch_id: UUID, results: Sequence[ItemResult], names: Names) -> Sealed:
    """Seal the names of a chunk's files, by number."""
    made = {result.file.seq: names.seal(batch_id, result) for result in results}
    return Sealed(made, [names.used[key_id] for key_id in sorted(names.used)])


async def record(
    connection: AsyncConnection,
    *,
    organization: int,
    batch_id: UUID,
    chunk: int,
    results: Sequence[ItemResult],
    sealed: Sealed,
) -> tuple[ItemResult, ...]:
    """Add the items of a chunk; return those that were added, duplicates recognised.

    An item that somebody else has added before is not among them.
    """
    await _insert_keys(connection, organization, sealed)
    inserted = await _insert(connection, batch_id, chunk, [_values(r, sealed) for r in results])
    doubles = [result for result in results if result.file.seq not in inserted]
    if not doubles:
        return tuple(results)
    settled = await _settled(connection, batch_id, doubles)
    again = [_values(result, sealed) for result in settled.values()]
    inserted |= await _insert(connection, batch_id, chunk, again)
    added = (settled.get(result.file.seq, result) for result in results)
    return tuple(result for result in added if result.file.seq in inserted)


async def count(
    connection: AsyncConnection,
    *,
    batch_id: UUID,
    results: Iterable[ItemResult],
    bytes_in: int,
) -> bool:
    """Add a chunk to the batch's counters; True when it has something to be published."""
    settled = list(results)
    states = Counter(result.state for result in settled)
    has_objects = states[ItemState.SUCCEEDED] > 0
    await run(
        connection,
        _COUNT,
        batch=batch_id,
        nothing_to_publish=0 if has_objects else 1,
        bytes_in=bytes_in,
        bytes_out=sum(r.size for r in settled if r.state is ItemState.SUCCEEDED),
        **{str(state): states[state] for state in ItemState},
    )
    codes = Counter(result.code for result in settled if result.code)
    if codes:
        await run(
            connection,
            _COUNT_PROBLEMS,
            batch=batch_id,
            codes=list(codes),
            counts=list(codes.values()),
        )
    return has_objects


async def _insert_keys(connection: AsyncConnection, organization: int, sealed: Sealed) -> None:
    await run(
        connection,
        _INSERT_KEYS,
        organization=organization,
        ids=[stored.data_key_id for stored, _ in sealed.keys],
        versions=[stored.key_version for stored, _ in sealed.keys],
        subjects=[subject for _, subject in sealed.keys],
        keys=[stored.sealed for stored, _ in sealed.keys],
    )


async def _insert(
    connection: AsyncConnection, batch_id: UUID, chunk: int, values: Sequence[tuple[object, ...]]
) -> set[int]:
    columns = zip(*values, strict=True) if values else [()] * len(_COLUMNS)
    arrays = {name: list(column) for name, column in zip(_COLUMNS, columns, strict=True)}
    inserted = await rows(connection, _INSERT, batch=batch_id, chunk=chunk, **arrays)
    return {found["seq"] for found in inserted}


async def _settled(
    connection: AsyncConnection, batch_id: UUID, doubles: Sequence[ItemResult]
) -> dict[int, ItemResult]:
    uids = [result.sop_instance_uid for result in doubles]
    found = await rows(connection, _WINNERS, batch=batch_id, uids=uids)
    winners = {winner["sop_instance_uid"]: bytes(winner["sha256"]) for winner in found}
    return {
        result.file.seq: _double(result, winners[result.sop_instance_uid] == result.sha256)
        for result in doubles
        if result.sop_instance_uid in winners
    }


def _double(result: ItemResult, is_same: bool) -> ItemResult:
    if is_same:
        return replace(result, state=ItemState.DUPLICATE, code=DUPLICATE)
    return replace(
        result,
        state=ItemState.REFUSED,
        code=DuplicateInstance.code,
        detail=DuplicateInstance.title,
    )


def _values(result: ItemResult, sealed: Sealed) -> tuple[object, ...]:
    data_key, sealed_name = sealed.names[result.file.seq]
    return (
        result.file.seq,
        str(result.state),
        result.code or None,
        result.detail or None,
        result.element_path or None,
        "\n".join(result.warnings) or None,
        result.patient_id or None,
        result.cloud_study_id or None,
        result.study_uid or None,
        result.series_uid or None,
        result.sop_instance_uid or None,
        result.sop_class_uid or None,
        result.modality or None,
        result.size,
        result.sha256 or None,
        data_key,
        sealed_name,
        UUID(result.quarantine_id) if result.quarantine_id else None,
    )

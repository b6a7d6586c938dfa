"""Rows and results that are made up, for measurements of the tables without files."""

import hashlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from app.batches.records import ItemResult, NewBatch, Request, SourceFile
from app.batches.states import ItemState, OnError, Priority
from bench.house import House

CHUNK: Final = 256
PER_STUDY: Final = 500
PER_SERIES: Final = 125
OBJECT_BYTES: Final = 530_000

# The rows that `app.batches.chunks.Chunks.finish_chunk` would have made, a million in ten seconds.
_ITEMS: Final = """
INSERT INTO batch_items (batch, seq, chunk, state, cloud_study_id, study_uid, series_uid,
    sop_instance_uid, sop_class_uid, modality, size, sha256, data_key, sealed_name)
SELECT (%(batch)s::text)::uuid, seq, seq / %(chunk)s, 'succeeded',
    upper(substr(md5(%(batch)s::text || 'study' || seq / %(study)s), 1, 16)),
    made_up_uid(%(batch)s::text || 'study' || seq / %(study)s),
    made_up_uid(%(batch)s::text || 'series' || seq / %(series)s),
    made_up_uid(%(batch)s::text || 'instance' || seq),
    '1.2.840.10008.5.1.4.1.1.2', 'CT', %(size)s, sha256((%(batch)s::text || seq)::bytea),
    1000000000000 + seq / %(study)s, substr(sha256(seq::text::bytea) || sha256('a')
        || sha256((seq || 'b')::bytea), 1, 80)
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS seq
"""
_UID: Final = """
CREATE OR REPLACE FUNCTION made_up_uid(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT '2.25.3' || lpad(abs(hashtextextended(name, 1))::text, 19, '0')
    || lpad(abs(hashtextextended(name, 2))::text, 19, '0') $$
"""
_KEYS: Final = """
INSERT INTO data_keys (id, organization, key_version, cloud_patient_id, sealed)
SELECT 1000000000000 + n, organization, 1, 'PATIENT', sha256('a')
FROM batches, generate_series(0, %(last)s::bigint / %(study)s) AS n
WHERE batches.id = (%(batch)s::text)::uuid
ON CONFLICT DO NOTHING
"""


def new_batch(organization: str, number: int, **given: object) -> NewBatch:
    """Return a batch to be handed in."""
    asked = {
        "request": Request(
            source={"kind": "directory", "root": "/archive", "path": f"2024/list-{number:06}"},
            destination={"kind": "staging"},
        ),
        "priority": Priority.ROUTINE,
        "on_error": OnError.HOLD,
        "profile": "basic",
        "profile_version": "0123456789ab",
        "actor": "bench",
        "api_key_id": None,
        "request_id": None,
    }
    return NewBatch(organization=organization, **(asked | given))  # type: ignore[arg-type]


def files(first: int, count: int) -> list[SourceFile]:
    """Return files as a scan finds them."""
    return [
        SourceFile(seq, f"PATIENT{seq // PER_STUDY:08}/SERIES{seq // PER_SERIES:04}/IM{seq:08}", 1)
        for seq in range(first, first + count)
    ]


def chunks(first: int, total: int, size: int = CHUNK) -> list[list[SourceFile]]:
    """Return files in chunks."""
    return [files(seq, min(size, total - seq)) for seq in range(first, total, size)]


def results(batch: UUID, given: Sequence[SourceFile]) -> list[ItemResult]:
    """Return what de-identifying would make of files."""
    return [
        ItemResult(
            file,
            ItemState.SUCCEEDED,
            cloud_study_id=f"S{file.seq // PER_STUDY:012}",
            cloud_patient_id=f"P{file.seq // PER_STUDY:012}",
            study_uid=uid(batch, "study", file.seq // PER_STUDY),
            series_uid=uid(batch, "series", file.seq // PER_SERIES),
            sop_instance_uid=uid(batch, "instance", file.seq),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            modality="CT",
            size=OBJECT_BYTES,
            sha256=hashlib.sha256(str(file.seq).encode()).digest(),
        )
        for file in given
    ]


def uid(batch: UUID, what: str, number: int) -> str:
    """Return a UID of the usual length."""
    digest = hashlib.sha256(f"{batch}{what}{number}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big') | 1 << 127}"


def fill_items(house: House, batch: str, first: int, last: int) -> None:
    """Put items into a batch past the program: numbers ``first`` to ``last``, both included."""
    house.run(_UID)
    values = {"batch": batch, "first": first, "last": last, "study": PER_STUDY}
    house.run(_ITEMS, **values, chunk=CHUNK, series=PER_SERIES, size=OBJECT_BYTES)
    house.run(_KEYS, batch=batch, last=last, study=PER_STUDY)

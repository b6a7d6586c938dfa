"""Batches as clients see them: handed in, listed, cancelled, tried again, deleted."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.batches import waiting
from app.batches.records import Item, NewBatch, object_name
from app.batches.retrying import try_again
from app.batches.sealing import BatchBox
from app.batches.settling import (
    defer_for,
    end,
    forget,
    leave_over,
    lock_batch,
)
from app.batches.sql import BATCH_COLUMNS, BATCH_TABLES, row, rows, run, transaction
from app.batches.states import (
    ENDED,
    RETRIABLE,
    BatchState,
    ItemState,
)
from app.batches.tickets import Task
from app.db.session import Database
from app.errors import (
    BatchNotFound,
    IdempotencyKeyReused,
    IllegalTransition,
    OrganizationNotFound,
)
from app.vault.sealing import SealedDataKey

_INSERT: Final = """
INSERT INTO batches (id, organization, state, priority, on_error, profile, profile_version,
    destination, sealed_request, actor, api_key_id, request_id, home, idempotency_key,
    request_hash, has_callback)
VALUES (%(id)s, %(organization)s, 'queued', %(priority)s, %(on_error)s, %(profile)s,
    %(profile_version)s, %(destination)s, %(sealed_request)s, %(actor)s, %(api_key_id)s,
    %(request_id)s, %(home)s, %(idempotency_key)s, %(request_hash)s, %(has_callback)s)
ON CONFLICT (organization, idempotency_key) DO NOTHING
"""
_ONE: Final = f"""
SELECT {BATCH_COLUMNS} {waiting.COLUMNS} FROM {BATCH_TABLES} {waiting.TABLES}
WHERE b.id = %(batch)s AND o.id = %(organization)s AND b.state <> 'deleted'
"""  # noqa: S608 - constants
_MANY: Final = f"""
SELECT {BATCH_COLUMNS} {waiting.COLUMNS} FROM {BATCH_TABLES} {waiting.TABLES}
WHERE o.id = %(organization)s AND b.state <> 'deleted'
    AND (%(state)s::text IS NULL OR b.state = %(state)s)
    AND (%(before)s::uuid IS NULL OR (b.submitted_at, b.id) <
        (SELECT submitted_at, id FROM batches WHERE id = %(before)s))
ORDER BY b.submitted_at DESC, b.id DESC LIMIT %(limit)s
"""  # noqa: S608 - constants
_ITEMS: Final = """
SELECT seq, state, coalesce(code, '') AS code, coalesce(detail, '') AS detail,
    coalesce(element_path, '') AS element_path, coalesce(warnings, '{}') AS warnings,
    coalesce(cloud_study_id, '') AS cloud_study_id, coalesce(series_uid, '') AS series_uid,
    coalesce(sop_instance_uid, '') AS sop_instance_uid, size, sha256, quarantine
FROM batch_items
WHERE batch = %(batch)s AND seq > %(after)s AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY seq LIMIT %(limit)s
"""
# The same for what did not succeed, by its own index: few among millions.
_PROBLEMS: Final = _ITEMS.replace("ORDER BY", "AND state <> 'succeeded'\nORDER BY")
_ORIGINALS: Final = """
SELECT i.seq, i.state, coalesce(i.code, '') AS code, i.sealed_name,
    coalesce(i.cloud_study_id, '') AS cloud_study_id,
    coalesce(i.sop_instance_uid, '') AS sop_instance_uid,
    k.id AS data_key, k.key_version, k.sealed AS sealed_key
FROM batch_items AS i JOIN data_keys AS k ON k.id = i.data_key
WHERE i.batch = %(batch)s AND i.seq > %(after)s ORDER BY i.seq LIMIT %(limit)s
"""


class BatchRepository:
    """The tables of batches as clients see them; every call names the organisation.

    Args:
        database: where they are.
        box: seals what names patients.
    """

    def __init__(self, database: Database, box: BatchBox) -> None:
        self._database = database
        self._box = box

    async def add(self, new: NewBatch) -> tuple[RowMapping, bool]:
        """Add a batch, or find the one that came before under the same idempotency key.

        Raises:
            IdempotencyKeyReused: the earlier request was another one.
            OrganizationNotFound: there is none by that id.
        """
        while True:
            found, is_new = await self._added(new)
            if found is not None:
                return found, is_new

    async def find(self, new: NewBatch) -> RowMapping | None:
        """Return the batch that the same request made under its idempotency key, if there is one.

        Raises:
            OrganizationNotFound: there is none by that id.
        """
        hashes = self._hashes(new)
        async with transaction(self._database) as connection:
            number = await self._number(connection, new.organization)
            with suppress(IdempotencyKeyReused):
                batch_id = await self._earlier(connection, number, *hashes)
                return await row(connection, _ONE, batch=batch_id, organization=new.organization)
        return None

    async def _added(self, new: NewBatch) -> tuple[RowMapping | None, bool]:
        """Add a batch, or find the earlier one; None where that was deleted just now."""
        organization = new.organization
        batch_id = uuid4()
        key_hash, request_hash = self._hashes(new)
        async with transaction(self._database) as connection:
            number = await self._number(connection, organization)
            is_new = await run(
                connection,
                _INSERT,
                id=batch_id,
                organization=number,
                priority=int(new.priority),
                on_error=str(new.on_error),
                profile=new.profile,
                profile_version=new.profile_version,
                destination=_destination_name(new),
                sealed_request=self._box.seal_request(organization, batch_id, new.request),
                actor=new.actor,
                api_key_id=new.api_key_id,
                request_id=new.request_id,
                home=new.home,
                idempotency_key=key_hash,
                request_hash=request_hash,
                has_callback=new.request.callback_url is not None,
            )
            if not is_new:
                earlier = await self._earlier(connection, number, key_hash, request_hash)
                batch_id = earlier or batch_id
            batch = await lock_batch(connection, batch_id)
            if batch is None:
                return None, False
            if is_new:
                await defer_for(connection, batch, Task.SCAN)
            found = await row(connection, _ONE, batch=batch_id, organization=organization)
        return found, bool(is_new)

    def _hashes(self, new: NewBatch) -> tuple[bytes | None, bytes]:
        """Return what an idempotency key and the request under it are known by."""
        organization, key = new.organization, new.idempotency_key
        asked = (str(int(new.priority)), str(new.on_error), new.profile)
        return (
            self._box.idempotency_hash(organization, key) if key is not None else None,
            self._box.request_hash(organization, new.request, asked),
        )

    async def get(self, organization: str, batch_id: UUID) -> RowMapping:
        """Return one batch.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
        """
        async with transaction(self._database) as connection:
            found = await row(connection, _ONE, batch=batch_id, organization=organization)
        if found is None:
            raise BatchNotFound
        return found

    async def version(self, batch_id: UUID) -> int | None:
        """Return the version alone, which is what is asked for over and over."""
        async with transaction(self._database) as connection:
            found = await row(
                connection, "SELECT version FROM batches WHERE id = %(batch)s", batch=batch_id
            )
        return found["version"] if found is not None else None

    async def list(
        self, organization: str, *, state: BatchState | None, before: UUID | None, limit: int
    ) -> Sequence[RowMapping]:
        """Return a page of batches, newest first."""
        async with transaction(self._database) as connection:
            return await rows(
                connection,
                _MANY,
                organization=organization,
                state=str(state) if state is not None else None,
                before=before,
                limit=limit,
            )

    async def items(
        self, batch_id: UUID, *, state: ItemState | None, after: int, limit: int
    ) -> Sequence[Item]:
        """Return a page of items in the order of the source."""
        is_problem = state is not None and state is not ItemState.SUCCEEDED
        async with transaction(self._database) as connection:
            found = await rows(
                connection,
                _PROBLEMS if is_problem else _ITEMS,
                batch=batch_id,
                state=str(state) if state is not None else None,
                after=after,
                limit=limit,
            )
        return [_item(entry) for entry in found]

    async def originals(
        self, batch_id: UUID, organization: str, *, after: int, limit: int
    ) -> Sequence[tuple[RowMapping, SealedDataKey]]:
        """Return a page of items with their sealed names."""
        async with transaction(self._database) as connection:
            found = await rows(connection, _ORIGINALS, batch=batch_id, after=after, limit=limit)
        return [
            (
                entry,
                SealedDataKey(
                    entry["data_key"],
                    organization,
                    entry["key_version"],
                    bytes(entry["sealed_key"]),
                ),
            )
            for entry in found
        ]

    async def cancel(self, organization: str, batch_id: UUID) -> None:
        """End a batch; what its workers still do is dropped.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            IllegalTransition: it has ended in a way that cannot be undone.
        """
        async with transaction(self._database) as connection:
            batch = await self._locked(connection, organization, batch_id)
            if batch["state"] != BatchState.CANCELLED:  # asked for twice, it is done once
                await end(connection, batch, BatchState.CANCELLED)

    async def retry(self, organization: str, batch_id: UUID) -> None:
        """Do again what did not succeed, and only that.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            IllegalTransition: there is nothing to be done again.
        """
        async with transaction(self._database) as connection:
            batch = await self._locked(connection, organization, batch_id)
            if batch["state"] not in RETRIABLE:
                raise IllegalTransition(f"A batch that is {batch['state']} has nothing to retry")
            await try_again(connection, self._box, organization, batch)

    async def delete(self, organization: str, batch_id: UUID, *, objects: bool) -> None:
        """Forget a batch that has ended; workers tidy up after it.

        Args:
            organization: whose it is.
            batch_id: which.
            objects: remove what it published as well.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            IllegalTransition: it has not ended.
        """
        async with transaction(self._database) as connection:
            batch = await self._locked(connection, organization, batch_id)
            if batch["state"] not in ENDED:
                raise IllegalTransition(f"A batch that is {batch['state']} cannot be deleted")
            remains = batch["revision"] and not objects
            await leave_over(connection, batch, ["upload"] if remains else ["upload", "published"])
            await forget(connection, batch_id)

    async def _locked(
        self, connection: AsyncConnection, organization: str, batch_id: UUID
    ) -> RowMapping:
        number = await self._number(connection, organization)
        batch = await lock_batch(connection, batch_id)
        if batch is None or batch["organization"] != number:
            raise BatchNotFound
        return batch

    async def _number(self, connection: AsyncConnection, organization: str) -> int:
        found = await row(
            connection, "SELECT number FROM organizations WHERE id = %(id)s", id=organization
        )
        if found is None:
            raise OrganizationNotFound
        number: int = found["number"]
        return number

    async def _earlier(
        self,
        connection: AsyncConnection,
        organization: int,
        key_hash: bytes | None,
        request_hash: bytes,
    ) -> UUID | None:
        """Return the batch under a key; None where there is none, or not any more.

        Raises:
            IdempotencyKeyReused: it is another request's.
        """
        found = await row(
            connection,
            "SELECT id, request_hash FROM batches"
            " WHERE organization = %(organization)s AND idempotency_key = %(key)s",
            organization=organization,
            key=key_hash,
        )
        if found is None:
            return None
        if bytes(found["request_hash"]) != request_hash:
            raise IdempotencyKeyReused
        earlier: UUID = found["id"]
        return earlier


def _destination_name(new: NewBatch) -> str:
    destination = new.request.destination
    return destination.get("name") or destination["kind"]


def _item(entry: RowMapping) -> Item:
    has_file = entry["state"] in {ItemState.SUCCEEDED, ItemState.DUPLICATE}
    return Item(
        seq=entry["seq"],
        state=ItemState(entry["state"]),
        code=entry["code"],
        detail=entry["detail"],
        element_path=entry["element_path"],
        warnings=tuple(entry["warnings"]),
        cloud_study_id=entry["cloud_study_id"],
        series_uid=entry["series_uid"],
        sop_instance_uid=entry["sop_instance_uid"],
        file=object_name(entry["cloud_study_id"], entry["series_uid"], entry["sop_instance_uid"])
        if has_file
        else "",
        size=entry["size"],
        sha256=bytes(entry["sha256"]).hex() if entry["sha256"] else "",
        quarantine_id=str(entry["quarantine"]) if entry["quarantine"] else "",
    )

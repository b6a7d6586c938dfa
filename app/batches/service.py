"""What the interface and the command line ask of batches."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import RowMapping

from app.audit.events import SUCCESS, AuditEvent
from app.batches.records import Batch, Item, NewBatch, Original
from app.batches.repository import BatchRepository
from app.batches.sql import batch_of
from app.batches.states import ENDED, BatchState, ItemState
from app.batches.waiting import waiting_of
from app.errors import GatewayError
from app.vault.sealing import SealedDataKey

if TYPE_CHECKING:
    from app.vault.service import Vault

POLL_S: Final = 0.25
SUBMIT: Final = "batch-prepare"
CANCEL: Final = "batch-cancel"
RETRY: Final = "batch-retry"
DELETE: Final = "batch-delete"
DELETE_OBJECTS: Final = "batch-delete-with-objects"
ORIGINALS: Final = "batch-originals"


class BatchService:
    """Batches of one gateway. Whatever changes one is in the audit, refused or not.

    Args:
        repository: where they are.
        vault: records the audit and opens names of files.
        staging: the directory of the staging area, as this process sees it.
    """

    def __init__(self, repository: BatchRepository, vault: "Vault", staging: Path) -> None:
        self._repository = repository
        self._vault = vault
        self._staging = staging

    async def submit(self, new: NewBatch) -> tuple[Batch, bool]:
        """Take a batch; False with the earlier one where its idempotency key came before.

        Raises:
            IdempotencyKeyReused: the earlier request was another one.
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer; nothing is known to be taken.
        """
        event = AuditEvent(
            action=SUBMIT,
            organization=new.organization,
            actor=new.actor,
            api_key_id=new.api_key_id,
            profile=new.profile,
            profile_version=new.profile_version,
            request_id=new.request_id,
        )
        try:
            found, is_new = await self._repository.add(new)
        except GatewayError as error:
            await self._vault.audit(replace(event, outcome=error.code))
            raise
        batch = self._batch(found)
        if is_new:
            await self._vault.audit(
                replace(
                    event,
                    outcome=SUCCESS,
                    detail={
                        "batch_id": str(batch.batch_id),
                        "priority": new.priority.name,
                        "on_error": str(new.on_error),
                        "destination": batch.destination,
                    },
                )
            )
        return batch, is_new

    async def find(self, new: NewBatch) -> Batch | None:
        """Return the batch that the same request made under its idempotency key, if there is one.

        Raises:
            OrganizationNotFound: there is none by that id.
        """
        found = await self._repository.find(new)
        return None if found is None else self._batch(found)

    async def get(self, organization: str, batch_id: UUID) -> Batch:
        """Return a batch as it stands.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
        """
        return self._batch(await self._repository.get(organization, batch_id))

    async def list(
        self,
        organization: str,
        *,
        state: BatchState | None = None,
        before: UUID | None = None,
        limit: int = 50,
    ) -> Sequence[Batch]:
        """Return a page of batches, newest first, from behind the one named."""
        found = await self._repository.list(organization, state=state, before=before, limit=limit)
        return [self._batch(entry) for entry in found]

    async def items(
        self,
        organization: str,
        batch_id: UUID,
        *,
        state: ItemState | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> Sequence[Item]:
        """Return a page of a batch's files, from behind the number named.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
        """
        await self._repository.get(organization, batch_id)
        return await self._repository.items(batch_id, state=state, after=after, limit=limit)

    async def originals(
        self,
        organization: str,
        batch_id: UUID,
        *,
        after: int = -1,
        limit: int = 100,
        event: AuditEvent,
    ) -> Sequence[Original]:
        """Return which file at the source was which item; in the audit before it is answered.

        Args:
            organization: whose staff asks.
            batch_id: which batch.
            after: number behind which the page begins.
            limit: most entries.
            event: who asks and why.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            KeyUnavailable: this process holds no private key, or none that opens the names.
        """
        async with self._audited(event, ORIGINALS, organization, batch_id):
            await self._repository.get(organization, batch_id)
            found = await self._repository.originals(
                batch_id, organization, after=after, limit=limit
            )
            return [self._original(batch_id, entry, key) for entry, key in found]

    async def cancel(self, organization: str, batch_id: UUID, event: AuditEvent) -> Batch:
        """End a batch; nothing of it is published any more.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            IllegalTransition: it has ended.
        """
        async with self._audited(event, CANCEL, organization, batch_id):
            await self._repository.cancel(organization, batch_id)
        return await self.get(organization, batch_id)

    async def retry(self, organization: str, batch_id: UUID, event: AuditEvent) -> Batch:
        """Do again what did not succeed.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            IllegalTransition: there is nothing to be done again.
        """
        async with self._audited(event, RETRY, organization, batch_id):
            await self._repository.retry(organization, batch_id)
        return await self.get(organization, batch_id)

    async def delete(
        self, organization: str, batch_id: UUID, event: AuditEvent, *, objects: bool = False
    ) -> None:
        """Forget a batch that has ended, and remove what it published where that is asked for.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
            IllegalTransition: it has not ended.
        """
        action = DELETE_OBJECTS if objects else DELETE
        async with self._audited(event, action, organization, batch_id):
            await self._repository.delete(organization, batch_id, objects=objects)

    async def wait(
        self, organization: str, batch_id: UUID, *, version: int, timeout_s: float
    ) -> Batch:
        """Return a batch as soon as its version differs, or as it stands after the timeout.

        Raises:
            BatchNotFound: there is none by that id in this organisation.
        """
        batch = await self.get(organization, batch_id)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while batch.version == version and batch.state not in ENDED:
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:  # what it waits for changes without a version
                return await self.get(organization, batch_id)
            await asyncio.sleep(min(POLL_S, remaining))
            if await self._repository.version(batch_id) != version:
                batch = await self.get(organization, batch_id)
        return batch

    def _batch(self, found: RowMapping) -> Batch:
        """Say where the staged results lie: published there, or until they are elsewhere."""
        directory = self._staging / ".work" / str(found["id"])
        state = found["state"]
        is_there = state not in {BatchState.SUCCEEDED, BatchState.PARTIAL, BatchState.CANCELLED}
        if found["destination"] == "staging" and found["revision"]:
            directory, is_there = self._staging / str(found["id"]), True
        elif state in {BatchState.HELD, BatchState.FAILED}:
            is_there = directory.is_dir()  # its room may have been given to others
        batch = batch_of(found, str(directory) if is_there else None)
        return replace(batch, waiting=waiting_of(found))

    def _original(self, batch_id: UUID, entry: RowMapping, key: SealedDataKey) -> Original:
        (name,) = self._vault.open_text(
            key,
            bytes(entry["sealed_name"]),
            table="batch_items",
            pseudonym=f"{batch_id}:{entry['seq']}",
        )
        return Original(
            seq=entry["seq"],
            state=ItemState(entry["state"]),
            code=entry["code"],
            name=name,
            cloud_study_id=entry["cloud_study_id"],
            sop_instance_uid=entry["sop_instance_uid"],
        )

    @asynccontextmanager
    async def _audited(
        self, event: AuditEvent, action: str, organization: str, batch_id: UUID
    ) -> AsyncIterator[None]:
        """Put into the audit what was done to a batch, or why it was refused."""
        asked = replace(
            event,
            action=action,
            organization=organization,
            detail={**event.detail, "batch_id": str(batch_id)},
        )
        try:
            yield
        except GatewayError as error:
            await self._vault.audit(replace(asked, outcome=error.code))
            raise
        await self._vault.audit(replace(asked, outcome=SUCCESS))

"""Claims on what comes after a batch: tidying up, and telling the client."""

from typing import Final
from uuid import UUID

from app.batches.claims import Claims
from app.batches.records import CallbackClaim, CleanClaim
from app.batches.sql import batch_of, batch_row, row, rows, run, transaction
from app.batches.tickets import Task, defer

CALLBACK_LEASE_S: Final = 120
CLEAN_LEASE_S: Final = 300

_TAKE_LEFTOVER: Final = """
UPDATE batch_leftovers SET due_at = now() + make_interval(secs => %(lease)s),
    attempts = attempts + 1
WHERE id = (SELECT id FROM batch_leftovers
    WHERE due_at <= now() AND (staging IS NULL OR staging = %(staging)s)
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, batch, organization, kind, sealed_request, attempts,
    (SELECT id FROM organizations WHERE number = batch_leftovers.organization) AS organization_id
"""
_TAKE_CALLBACK: Final = """
UPDATE batches SET callback_due_at = now() + make_interval(secs => %(lease)s),
    callback_attempts = callback_attempts + 1
WHERE id = (SELECT id FROM batches WHERE callback_due_at <= now()
    ORDER BY callback_due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id, callback_attempts
"""
_WITH_ARCHIVES: Final = """
SELECT b.id, o.id AS organization_id, b.sealed_request
FROM batches AS b JOIN organizations AS o ON o.number = b.organization
WHERE b.home = %(staging)s AND b.state NOT IN ('succeeded', 'cancelled')
"""
# Archives that come under an idempotency key have a name that is made of it.
_UNDER_KEYS: Final = """
SELECT b.id, b.sealed_request FROM batches AS b JOIN organizations AS o ON o.number = b.organization
WHERE o.id = %(organization)s AND b.home = %(staging)s AND b.id <> %(batch)s
    AND b.idempotency_key IS NOT NULL AND b.state NOT IN ('succeeded', 'cancelled')
"""


class Aftermath(Claims):
    """What is left to do when a batch has ended."""

    async def claim_clean(self, staging: UUID) -> CleanClaim | None:
        """Claim something to be tidied up; it comes again when it is not finished in time."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_LEFTOVER, staging=staging, lease=CLEAN_LEASE_S)
        if taken is None:
            return None
        request = self._box.open_request(
            taken["organization_id"], taken["batch"], taken["sealed_request"]
        )
        return CleanClaim(
            leftover_id=taken["id"],
            batch_id=taken["batch"],
            organization=taken["organization_id"],
            kind=taken["kind"],
            request=request,
            attempts=taken["attempts"],
        )

    async def finish_clean(self, claim: CleanClaim) -> None:
        """Say that it is tidied up."""
        async with transaction(self._database) as connection:
            await run(
                connection,
                "DELETE FROM batch_leftovers WHERE id = %(leftover)s",
                leftover=claim.leftover_id,
            )

    async def archives(self, staging: UUID) -> frozenset[str]:
        """Name the uploaded archives of a staging area that batches may still need."""
        async with transaction(self._database) as connection:
            found = await rows(connection, _WITH_ARCHIVES, staging=staging)
        requests = [
            self._box.open_request(entry["organization_id"], entry["id"], entry["sealed_request"])
            for entry in found
        ]
        sources = [request.source for request in requests]
        return frozenset(source["name"] for source in sources if source["kind"] == "archive")

    async def is_archive_needed(self, claim: CleanClaim, staging: UUID) -> bool:
        """Say whether another batch has the archive: deleted, it was handed in once more."""
        async with transaction(self._database) as connection:
            found = await rows(
                connection,
                _UNDER_KEYS,
                organization=claim.organization,
                staging=staging,
                batch=claim.batch_id,
            )
        return any(
            self._box.open_request(claim.organization, entry["id"], entry["sealed_request"]).source
            == claim.request.source
            for entry in found
        )

    async def claim_callback(self) -> CallbackClaim | None:
        """Claim a client that is to be told; it comes again when it is not finished in time."""
        async with transaction(self._database) as connection:
            taken = await row(connection, _TAKE_CALLBACK, lease=CALLBACK_LEASE_S)
            if taken is None:
                return None
            found = await batch_row(connection, taken["id"])
        request = self._box.open_request(
            found["organization_id"], found["id"], found["sealed_request"]
        )
        return CallbackClaim(
            batch_of(found, None), request.callback_url or "", taken["callback_attempts"]
        )

    async def postpone_callback(self, claim: CallbackClaim, seconds: float) -> None:
        """Have a client told later that nobody has tried to tell just now."""
        async with transaction(self._database) as connection:
            await run(
                connection,
                "UPDATE batches SET callback_attempts = callback_attempts - 1,"
                " callback_due_at = now() + make_interval(secs => %(seconds)s)"
                " WHERE id = %(batch)s AND callback_attempts = %(attempt)s"
                " AND callback_due_at IS NOT NULL",
                seconds=seconds,
                batch=claim.batch.batch_id,
                attempt=claim.attempt,
            )
            await defer(connection, Task.CALL_BACK, delay_s=seconds)

    async def finish_callback(self, claim: CallbackClaim, retry_in_s: float | None) -> None:
        """Say that a client was told, or given up (None), or is to be told again later."""
        async with transaction(self._database) as connection:
            await run(
                connection,
                "UPDATE batches SET callback_due_at ="
                " now() + make_interval(secs => %(seconds)s::double precision)"
                " WHERE id = %(batch)s AND callback_attempts = %(attempt)s",
                seconds=retry_in_s,
                batch=claim.batch.batch_id,
                attempt=claim.attempt,
            )
            if retry_in_s is not None:
                await defer(connection, Task.CALL_BACK, delay_s=retry_in_s)

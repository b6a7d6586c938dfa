"""Publishing to an object store: streamed in parts, verified, resumed, and tried again.

Whatever is interrupted leaves no object: parts are taken back, and an object appears only as a
whole. Which store it is and how it is spoken to is in ``clients``.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import obstore
from obstore.exceptions import PermissionDeniedError

from app import errors
from app.storage.clients import ObjectStore, Patience, open_store
from app.storage.faults import STORE_FAULTS, fault_of, is_absent, is_temporary
from app.storage.staged import READ_BYTES, StagedFile, check_name
from app.storage.store_kinds import ObjectConfig, Verification
from app.telemetry import rfc3339, utc_now

if TYPE_CHECKING:
    from obstore import Attributes, PutResult

_CONCURRENT_PARTS: Final = 2  # more would cost one part of memory each
_LARGE_AT_ONCE: Final = 2  # bounds memory, and what shares a slow line at a time
_MOST_PARTS: Final = 9_000  # of 10,000 that S3 and GCS allow
_LISTED_AT_ONCE: Final = 1_000
_REMOVAL_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class _Sent:
    """What an object must be."""

    name: str
    size: int
    sha256: bytes


class _NotAsSent(Exception):
    """The store holds something else than what was sent."""


class _Stopped(Exception):
    """Nobody waits for the upload any more."""


class ObjectDestination:
    """A bucket or container, below a prefix. Several objects may be put at the same time."""

    def __init__(self, config: ObjectConfig, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._store: ObjectStore = open_store(config, self._patience)
        self._verification = config.verification
        self._storage_class = config.storage_class
        self._part_bytes = config.part_bytes
        self._base = config.url.rstrip("/")
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def links(self, directory: Path) -> bool:  # noqa: ARG002 - the port's signature
        """Say no: every object is sent."""
        return False

    def url_of(self, name: str) -> str:
        """Return where an object is, for people; no credentials, no query."""
        return f"{self._base}/{quote(name)}"

    async def put(  # noqa: PLR0913 - the port's signature
        self,
        name: str,
        staged: Path,
        *,
        size: int,
        sha256: bytes,
        attributes: Mapping[str, str],
        content_type: str,
        is_resumed: bool,
    ) -> None:
        """Publish one staged file and make sure that it arrived.

        Raises:
            StorageUnavailable: the store does not take it now.
            StagedFileDamaged: the staged file is not what was staged.
            DestinationRefused: the store will not take it.
        """
        sent = _Sent(check_name(name), size, sha256)
        described: Attributes = {
            "uploaded_at": rfc3339(utc_now()),
            **attributes,
            "sha256": sha256.hex(),
            "Content-Type": content_type,
        }
        if self._storage_class is not None:
            described["Storage-Class"] = self._storage_class

        async def once(is_first: bool) -> None:
            if (is_resumed or not is_first) and await self._was_there(sent):
                return
            await self._send(sent, staged, described)
            if not await self._is_there(sent, is_fresh=True):
                with suppress(*STORE_FAULTS):
                    await obstore.delete_async(self._store, sent.name)
                raise _NotAsSent

        await self._persist(once)

    async def flush(self, names: Sequence[str]) -> None:
        """Do nothing: what was put is durable already."""

    async def read(self, name: str) -> bytes:
        """Return a whole object, such as a manifest.

        Raises:
            UnreadableFile: there is no such object.
        """
        pieces = [piece async for piece in self.stream(name)]
        return b"".join(pieces)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object in pieces.

        Raises:
            UnreadableFile: there is no such object.
        """
        try:
            found = await obstore.get_async(self._store, check_name(name))
            async for piece in found.stream(READ_BYTES):
                yield bytes(piece)
        except STORE_FAULTS as error:
            if is_absent(error):
                raise errors.UnreadableFile from None
            raise fault_of(error) from None

    async def names(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield name and size of every object below a prefix."""
        if prefix:
            check_name(prefix)
        try:
            listed = obstore.list(self._store, prefix or None, chunk_size=_LISTED_AT_ONCE)
            async for page in listed:
                for found in page:
                    yield found["path"], found["size"]
        except STORE_FAULTS as error:
            raise fault_of(error) from None

    async def count_gone(self, objects: Sequence[tuple[str, int]]) -> int:
        """Trust the store to keep what it took: a question costs as much as an object."""
        del objects
        return 0

    async def remove(self, prefix: str) -> int:
        """Remove every object below a prefix; return how many there were."""
        check_name(prefix)
        removed = 0
        for _ in range(_REMOVAL_ROUNDS):
            is_complete = True
            page: list[str] = []
            async for name, _size in self.names(prefix):
                page.append(name)
                if len(page) == _LISTED_AT_ONCE:
                    is_complete &= await self._delete(page)
                    removed += len(page)
                    page = []
            is_complete &= await self._delete(page)
            removed += len(page)
            if is_complete:
                return removed
        raise errors.StorageUnavailable("Objects come back while they are removed")

    async def close(self) -> None:
        """Do nothing: connections close with the last reference."""

    async def _delete(self, names: list[str]) -> bool:
        """Delete objects; return False when somebody else removed one of them meanwhile."""
        if not names:
            return True
        try:
            await obstore.delete_async(self._store, names)
        except STORE_FAULTS as error:
            if is_absent(error):
                return False
            raise fault_of(error) from None
        return True

    async def _persist(self, once: Callable[[bool], Awaitable[None]]) -> None:
        """Try until it is done, the fault is for good, or patience ends."""
        fault: errors.GatewayError = errors.StorageUnavailable()
        for attempt in range(self._patience.attempts):
            if attempt:
                await asyncio.sleep(self._wait_s(attempt))
            try:
                return await once(attempt == 0)
            except _NotAsSent:
                fault = errors.StorageUnavailable("An object did not arrive as it was sent")
            except STORE_FAULTS as error:
                fault = fault_of(error)
                if not is_temporary(error):
                    break
        raise fault from None

    def _wait_s(self, attempt: int) -> float:
        longest = min(self._patience.first_wait_s * 2**attempt, self._patience.longest_wait_s)
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads tries, guards nothing

    async def _was_there(self, sent: _Sent) -> bool:
        try:
            return await self._is_there(sent)
        except PermissionDeniedError:  # what S3 says of an absent object to who may not list
            return False

    async def _is_there(self, sent: _Sent, *, is_fresh: bool = False) -> bool:
        """Whether the store holds exactly this object.

        Args:
            sent: the object.
            is_fresh: it was sent a moment ago, so that a checksum was checked on the way.
        """
        try:
            found = await obstore.get_async(self._store, sent.name, options={"head": True})
        except STORE_FAULTS as error:
            if is_absent(error):
                return False
            raise
        recorded = found.attributes.get("sha256")
        if found.meta["size"] != sent.size or recorded not in {sent.sha256.hex(), None}:
            return False
        if self._verification is Verification.READ_BACK:
            return await self._hash(sent.name) == sent.sha256
        return is_fresh or recorded is not None

    async def _hash(self, name: str) -> bytes:
        digest = hashlib.sha256()
        found = await obstore.get_async(self._store, name)
        async for piece in found.stream(READ_BYTES):
            await asyncio.to_thread(digest.update, piece)
        return digest.digest()

    async def _send(self, sent: _Sent, staged: Path, described: "Attributes") -> None:
        with StagedFile(staged, sent.size, sent.sha256) as file:
            if sent.size <= self._part_bytes:
                data = await asyncio.to_thread(file.whole)
                await obstore.put_async(
                    self._store, sent.name, data, attributes=described, use_multipart=False
                )
            else:
                async with self._large:
                    await self._send_parts(file, sent, described)

    async def _send_parts(self, file: StagedFile, sent: _Sent, described: "Attributes") -> None:
        parts = _Parts(file, max(self._part_bytes, -(-sent.size // _MOST_PARTS)))
        upload = asyncio.ensure_future(
            obstore.put_async(
                self._store,
                sent.name,
                parts.read(),
                attributes=described,
                use_multipart=True,
                chunk_size=parts.part_bytes,
                max_concurrency=_CONCURRENT_PARTS,
            )
        )
        try:
            await asyncio.shield(upload)
        except asyncio.CancelledError:
            # A library call that is cancelled leaves its parts behind; one that fails does not.
            parts.is_stopped = True
            try:
                await asyncio.wait([upload], timeout=self._patience.abort_s)
            finally:
                upload.add_done_callback(_forget)
                upload.cancel()
            raise


class _Parts:
    """The parts of a staged file, for as long as somebody waits for them."""

    def __init__(self, file: StagedFile, part_bytes: int) -> None:
        self.part_bytes = part_bytes
        self.is_stopped = False
        self._pieces = file.pieces(part_bytes)

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the parts in order."""
        while part := await asyncio.to_thread(next, self._pieces, b""):
            if self.is_stopped:
                raise _Stopped
            yield part


def _forget(upload: "asyncio.Future[PutResult]") -> None:
    """Look at how an abandoned upload ended, so that nobody complains that nobody did."""
    if not upload.cancelled():
        upload.exception()

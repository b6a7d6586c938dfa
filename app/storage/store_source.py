"""Study sources in object stores: the objects below a prefix, listed and lent one by one.

Keys can name patients: they are in no error and no log.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import obstore
from obstore.exceptions import InvalidPathError, PermissionDeniedError

from app import errors
from app.dicom.source import FileSource, MemorySource, Source, write_all
from app.storage.clients import ObjectStore, Patience, open_store
from app.storage.faults import STORE_FAULTS, fault_of, is_absent, is_temporary
from app.storage.found import Found
from app.storage.nameless import open_nameless
from app.storage.store_kinds import AzureConfig, StoreConfig

T = TypeVar("T")
MEMORY_BYTES: Final = 8 << 20
_PIECE_BYTES: Final = 4 << 20
_LISTED_AT_ONCE: Final = 1_000


class StoreSource:
    """The objects below a prefix of a store.

    Small objects are lent from memory, larger ones from a nameless file in the spool.
    """

    def __init__(
        self,
        config: StoreConfig,
        prefix: str,
        *,
        spool: Path,
        memory_bytes: int = MEMORY_BYTES,
        patience: Patience | None = None,
    ) -> None:
        """Open a client; nothing is sent yet.

        Raises:
            SourceNotAllowed: the prefix is none that a store can have.
            Misconfigured: the store's client cannot be made from its settings.
        """
        self._patience = patience or Patience()
        self._store: ObjectStore = open_store(config, self._patience, checked_prefix(prefix))
        # Azure's accounts with directories sort by whole parts of a name, the others do not.
        self._is_sorted = not isinstance(config, AzureConfig)
        self._spool = spool
        self._memory_bytes = memory_bytes

    def list(self, after: str = "") -> Iterator[Found]:
        """Yield every object once, in the order of the store, behind the name ``after``.

        Raises:
            StorageUnavailable: the store does not answer now.
            SourceNotAllowed: the store refuses, does not sort its list, or holds keys that
                cannot be read back.
        """
        if self._is_sorted:
            return self._sorted(after)
        return self._behind(after) if after else self._all("")

    @contextmanager
    def lend(self, name: str) -> Iterator[Source]:
        """Fetch one object for the time of a ``with`` block.

        Raises:
            UnreadableFile: it is gone, or may not be read.
            StorageUnavailable: the store does not answer now.
        """
        source = self._persist(lambda: self._fetch(name))
        try:
            yield source
        finally:
            if isinstance(source, FileSource):
                os.close(source.fd)

    def close(self) -> None:
        """Do nothing: connections close with the last reference."""

    def _sorted(self, after: str) -> Iterator[Found]:
        last, is_new = after, False
        for listed in self._all(after):
            found = _marked(listed, last) if is_new or listed.name != after else listed
            if found.name > last:
                last, is_new = found.name, True
                yield found
            elif is_new:
                raise errors.SourceNotAllowed("The store does not list its objects in order")

    def _behind(self, after: str) -> Iterator[Found]:
        """List anew and pass over what came before; all of it, if that object is gone."""
        is_behind = False
        for found in self._all(""):
            if is_behind:
                yield found
            is_behind = is_behind or found.name == after
        if not is_behind:
            yield from self._all("")

    def _all(self, after: str) -> Iterator[Found]:
        try:
            pages = obstore.list(self._store, offset=after or None, chunk_size=_LISTED_AT_ONCE)
            for page in pages:
                for found in page:
                    # Empty objects are mostly marks of folders, which cannot be fetched by name.
                    error = errors.NotDicom if found["size"] == 0 else None
                    yield Found(found["path"], found["size"], error)
        except InvalidPathError:
            raise errors.SourceNotAllowed(
                "The store holds keys with an empty part, '.', '..' or control characters there"
            ) from None
        except STORE_FAULTS as error:
            raise _fault(error) from None

    def _fetch(self, name: str) -> MemorySource | FileSource:
        found = obstore.get(self._store, name)
        size = found.meta["size"]
        if size <= self._memory_bytes:
            data = bytes(found.bytes())
            if len(data) != size:
                raise errors.StorageUnavailable("An object was cut off on its way")
            return MemorySource(data)
        fd = open_nameless(self._spool)
        try:
            _spool(fd, found.stream(_PIECE_BYTES), size)
        except BaseException:
            os.close(fd)
            raise
        return FileSource(fd, size)

    def _persist(self, fetch: Callable[[], T]) -> T:
        for attempt in range(self._patience.attempts):
            try:
                return fetch()
            except STORE_FAULTS as error:
                is_last = attempt + 1 == self._patience.attempts
                if is_last or not is_temporary(error):
                    raise _fault_of_one(error) from None
            time.sleep(min(self._patience.first_wait_s * 2**attempt, self._patience.longest_wait_s))
        raise errors.StorageUnavailable


def checked_prefix(prefix: str) -> str:
    """Return a prefix without slashes around it.

    Raises:
        SourceNotAllowed: it has an empty part, ``.``, ``..`` or control characters.
    """
    plain = prefix.strip("/")
    if any(ord(character) < 0x20 or character == "\x7f" for character in plain):
        raise errors.SourceNotAllowed("The prefix holds a control character")
    if plain and any(part in {"", ".", ".."} for part in plain.split("/")):
        raise errors.SourceNotAllowed("The prefix has an empty part, '.' or '..'")
    return plain


def _marked(found: Found, last: str) -> Found:
    """Give the mark of a folder its slash back, which the client takes away.

    Keys are sorted with it: ``a-b`` comes before the mark ``a/``.
    """
    if found.size or found.name > last:
        return found
    return Found(f"{found.name}/", 0, found.error)


def _spool(fd: int, pieces: Iterable[bytes], size: int) -> None:
    for piece in pieces:
        try:
            write_all(fd, piece)
        except OSError:
            raise errors.StorageUnavailable("The spool is full or cannot be written") from None
    if os.fstat(fd).st_size != size:
        raise errors.StorageUnavailable("An object was cut off on its way")


def _fault(error: BaseException) -> errors.GatewayError:
    """Return our error for a listing that failed."""
    fault = fault_of(error)
    if isinstance(fault, errors.StorageUnavailable):
        return fault
    return errors.SourceNotAllowed(fault.detail)


def _fault_of_one(error: BaseException) -> errors.GatewayError:
    """Return our error for one object that could not be fetched."""
    fault = fault_of(error)
    if isinstance(fault, errors.StorageUnavailable):
        return fault
    if is_absent(error) or isinstance(error, PermissionDeniedError | InvalidPathError):
        return errors.UnreadableFile()
    return errors.SourceNotAllowed(fault.detail)

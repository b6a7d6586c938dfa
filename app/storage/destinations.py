"""Where de-identified objects go: one port for directories and object stores.

What a destination promises stands here; how it is kept stands in ``disk`` and ``objects``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from app import errors
from app.storage.clients import Patience
from app.storage.disk import DiskDestination
from app.storage.objects import ObjectDestination
from app.storage.staged import StagedFileDamaged
from app.storage.store_kinds import DiskConfig, ObjectConfig, StoreConfig
from app.storage.stores import store_config

__all__ = ["Destination", "StagedFileDamaged", "config_of_url", "open_destination"]


class Destination(Protocol):
    """A place for published objects.

    An object appears under its name as a whole or not at all, whatever is killed when. Names are
    pseudonyms with ``/`` between their parts.
    """

    async def links(self, directory: Path) -> bool:
        """Say whether staged files of a directory become objects without being read again."""

    def url_of(self, name: str) -> str:
        """Return where an object is, for people; no credentials, no query."""

    async def put(  # noqa: PLR0913 - everything that belongs to one object
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
        """Publish one staged file and make sure that it arrived; the file stays where it is.

        On a disk the object gets its name with ``flush``.

        Args:
            name: under which it is published.
            staged: the file.
            size: of the file in bytes.
            sha256: of the file.
            attributes: metadata of the object where the store knows such.
            content_type: media type.
            is_resumed: it may be there already; look first and leave it if it is the same.

        Raises:
            StorageUnavailable: a temporary fault that outlasted patience.
            StagedFileDamaged: the staged file is not what was staged; stage it again.
            DestinationRefused: a fault that will not go away.
        """

    async def flush(self, names: Sequence[str]) -> None:
        """Make durable what was put; only then it counts as published.

        Raises:
            StorageUnavailable: some of it may be lost; put it again.
        """

    async def read(self, name: str) -> bytes:
        """Return a whole object; raise UnreadableFile where there is none."""

    def stream(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object in pieces; raise UnreadableFile where there is none."""

    def names(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield name and size of every object below a prefix, which is a whole part of names."""

    async def count_gone(self, objects: Sequence[tuple[str, int]]) -> int:
        """Count published objects (name, size) that are not there any more.

        Directories are moved, emptied and unmounted; a store keeps what it has taken, and says 0.
        """

    async def remove(self, prefix: str) -> int:
        """Remove every object below a prefix; return how many there were."""

    async def close(self) -> None:
        """Let go of everything; what was put and not flushed may be gone."""


def open_destination(store: StoreConfig | str, patience: Patience | None = None) -> Destination:
    """Open a configured store, or a URL or directory from the command line.

    Nothing is sent yet: whether the store takes objects shows with the first one.

    Raises:
        InvalidRequest: the URL is none that is known.
        Misconfigured: the store's client cannot be made from its settings.
    """
    config = store if isinstance(store, StoreConfig) else config_of_url(store)
    if isinstance(config, DiskConfig):
        return DiskDestination(config.path)
    if isinstance(config, ObjectConfig):
        return ObjectDestination(config, patience)
    raise errors.Misconfigured("This kind of store takes no objects")


def config_of_url(url: str) -> StoreConfig:
    """Return the store that a URL or path means, with defaults and the usual credentials.

    Raises:
        InvalidRequest: it means none.
    """
    if "://" not in url:
        if not url:
            raise errors.InvalidRequest("The destination is empty")
        url = Path(url).absolute().as_uri()
    try:
        return store_config({"url": url, "organizations": "*"})
    except errors.Misconfigured as error:
        raise errors.InvalidRequest(error.detail) from None

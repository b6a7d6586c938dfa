"""From what a batch says about its source to files: directories, archives, object stores.

A request is checked again when it is worked on: its root may not be configured any more, or be
another directory than when the batch was handed in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.errors import SourceNotAllowed
from app.storage.archives import ArchiveBounds, ArchiveSource, Contents
from app.storage.destinations import config_of_url
from app.storage.directories import DirectorySource
from app.storage.found import Found, StudySource
from app.storage.lending import Handle
from app.storage.roots import Roots, Tree
from app.storage.store_kinds import DiskConfig, StoreConfig
from app.storage.store_source import StoreSource
from app.storage.stores import Stores
from app.storage.uploads import Uploads

__all__ = ["ArchiveBounds", "Found", "Sources", "StudySource", "given_directory"]

_GIVEN: Final = "given"


def given_directory(directory: Path) -> Mapping[str, str]:
    """Describe a directory that the operator names on the command line: a root of its own.

    No root has to be configured for it: never make one of what came over the network. Only
    workers of this machine can read it, so its batch needs a home.
    """
    return {"kind": "directory", "root": str(directory.absolute()), "path": ".", _GIVEN: "yes"}


class Sources:
    """Opens the sources of batches.

    Args:
        roots: directories below which studies may lie.
        stores: named object stores.
        uploads: uploaded archives.
        spool: private directory for members and objects that are too large for memory.
        bounds: on one archive; on a DICOMDIR wherever it lies.
    """

    __slots__ = ("_bounds", "_roots", "_spool", "_stores", "_uploads")

    def __init__(
        self,
        roots: Roots,
        stores: Stores,
        *,
        uploads: Uploads,
        spool: Path,
        bounds: ArchiveBounds,
    ) -> None:
        self._roots = roots
        self._stores = stores
        self._uploads = uploads
        self._spool = spool
        self._bounds = bounds

    def open(self, source: Mapping[str, str], organization: str) -> StudySource:
        """Open what the request of a batch names; the caller closes it.

        Args:
            source: as in app.batches.records.Request.
            organization: whose batch it is.

        Raises:
            SourceNotAllowed: it is not configured, not there any more, or of no kind that is read.
            UnreadableFile: the directory may not be read.
            InvalidArchive, ArchiveTooLarge: the archive is damaged or too large.
            DestinationNotFound: the organisation has no such store.
            InvalidRequest, Misconfigured: the store's URL or settings are not right.
            StorageUnavailable: it does not answer now.
        """
        match source.get("kind"):
            case "directory":
                return self._directory(self._tree(source, organization), source["path"])
            case "archive":
                return self._archive(source["name"])
            case "store":
                config = self._stores.source(organization, source["name"])
                return self._store(config, source["prefix"])
            case "url":
                return self._store(config_of_url(source["url"]), "")
        raise SourceNotAllowed("There is no such kind of source")

    def _tree(self, source: Mapping[str, str], organization: str) -> Tree:
        if _GIVEN in source:
            return self._roots.open_given(Path(source["root"]))
        return self._roots.open(source["root"], organization)

    def _directory(self, tree: Tree, path: str) -> DirectorySource:
        try:
            return DirectorySource(tree, path, self._bounds.limits)
        except BaseException:
            tree.close()
            raise

    def _archive(self, name: str) -> ArchiveSource:
        file = Handle(self._uploads.open(name))
        try:
            contents = Contents(file.fd, self._bounds)
        except BaseException:
            file.close()
            raise
        return ArchiveSource(file, contents, spool=self._spool, bounds=self._bounds)

    def _store(self, config: StoreConfig, prefix: str) -> StudySource:
        if isinstance(config, DiskConfig):  # a URL of the command line
            return self._directory(self._roots.open_given(config.path), ".")
        return StoreSource(
            config, prefix, spool=self._spool, memory_bytes=self._bounds.memory_bytes
        )

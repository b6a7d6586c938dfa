"""Batches: where studies lie, the staging area, workers, chunks and callbacks."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from app.settings.lists import AT_COLONS, AT_COMMAS
from app.settings.service import ServiceSettings
from app.settings.sizes import GIB, MIB

_ORGANIZATION = re.compile(r"[A-Za-z0-9_-]{1,24}")


class BatchSettings(ServiceSettings):
    """What batches read, where they are staged and who works on them."""

    source_roots: Annotated[tuple[Path, ...], NoDecode, AT_COLONS] = Field(
        (),
        description="Directories below which study directories may lie, separated by colons; "
        "ORGANIZATION=/directory for one organisation alone, several times for several; in "
        "development incoming in data_dir.",
    )
    stores_file: Path | None = Field(
        None, description="YAML file that names object stores as destinations and sources."
    )
    staging_dir: Path | None = Field(
        None,
        description="Directory where batches are staged, and published when no destination is "
        "named; workers that share it work on the same batches; default staging in data_dir.",
    )
    staging_max_bytes: int = Field(
        0, ge=0, description="Most bytes that wait in the staging area; 0 for no such bound."
    )
    staging_direct: bool = Field(
        True,
        description="Write results past the page cache where they are only linked when they are "
        "published; false where a disk or file system is slower that way.",
    )
    staging_min_free_bytes: int = Field(
        GIB, ge=0, description="Free space of the staging area below which work waits, in bytes."
    )
    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Worker processes for batches that serve starts beside itself; 0 where "
        "deid-gateway worker runs elsewhere.",
    )
    worker_lost_after_s: float = Field(
        10.0,
        ge=2,
        description="Silence after which a worker's chunks are given to others, in seconds.",
    )
    chunk_files: int = Field(
        256, ge=1, le=10_000, description="Most files of one chunk, the unit of a worker's work."
    )
    chunk_bytes: int = Field(
        64 * MIB, ge=1, description="Bytes of files at which a chunk is closed."
    )
    max_batch_files: int = Field(
        50_000_000, ge=1, description="Most files of one batch; more are refused as a whole."
    )
    max_archive_bytes: int = Field(
        16 * GIB, ge=1024, description="Largest ZIP upload, and most bytes that it may unpack to."
    )
    max_archive_files: int = Field(100_000, ge=1, description="Most files in one ZIP upload.")
    callback_hosts: Annotated[tuple[str, ...], NoDecode, AT_COMMAS] = Field(
        (),
        description="Hosts (host or host:port) that callbacks may go to, separated by commas; "
        "in development loopback addresses as well.",
    )
    batch_kept_days: int = Field(
        90, ge=1, description="Days after its end that a batch's record and staged files are kept."
    )

    @field_validator("source_roots")
    @classmethod
    def _owned_roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        if any("=" in str(root) and not _root_of(root)[1].is_absolute() for root in value):
            raise ValueError("bind a directory to an organisation as ORGANIZATION=/directory")
        return value

    @property
    def staging_path(self) -> Path:
        """The staging area of batches."""
        return self.staging_dir or self.data_dir / "staging"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The directories below which study directories may lie."""
        if self.source_roots or self.is_production:
            return tuple(dict.fromkeys(_root_of(root)[1] for root in self.source_roots))
        return (self.data_dir / "incoming",)

    @property
    def root_owners(self) -> Mapping[Path, frozenset[str]]:
        """The organisations that alone may read a root; those that everybody may are not in it."""
        owned = [_root_of(root) for root in self.source_roots]
        open_to_all = {root for owner, root in owned if not owner}
        return {
            root: frozenset(owner for owner, other in owned if other == root)
            for _, root in owned
            if root not in open_to_all
        }


def _root_of(entry: Path) -> tuple[str, Path]:
    """Return the organisation that a root is bound to, empty for none, and its directory."""
    owner, separator, directory = str(entry).partition("=")
    if separator and _ORGANIZATION.fullmatch(owner):
        return owner, Path(directory)
    return "", entry

"""What the routes of batches need of the process; put together by the composition root."""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.api.places import Places
from app.batches.callbacks import CallbackPolicy
from app.storage.roots import Roots
from app.storage.stores import Stores
from app.storage.uploads import Uploads

# Each takes room in the staging area as long as it lasts; further ones wait, others come again.
CONCURRENT_ARCHIVES: Final = 32
WAITING_ARCHIVES: Final = 64


@dataclass(frozen=True, slots=True)
class BatchIntake:
    """Where batches may come from and go to, and where archives are taken.

    Attributes:
        roots: directories below which studies may lie.
        stores: object stores by name.
        uploads: takes archives.
        staging_id: the staging area of this process.
        callbacks: where callbacks may go.
        max_archive_bytes: largest archive that is taken.
        min_free_bytes: free space that an archive must leave in the staging area.
        places: bounds how many archives are taken at once.
    """

    roots: Roots
    stores: Stores
    uploads: Uploads
    staging_id: UUID
    callbacks: CallbackPolicy
    max_archive_bytes: int
    min_free_bytes: int
    places: Places = field(default_factory=lambda: Places(CONCURRENT_ARCHIVES, WAITING_ARCHIVES))

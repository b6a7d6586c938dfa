"""Every table. Pseudonyms stand in clear, originals only sealed; rules are in the repositories.

No column and no unique constraint ever holds an original: Postgres quotes values in its errors.
Migrations are in ``alembic/``; what they add beside tables (triggers) is in their own text.
Each module holds the tables of one subject; here is the metadata that knows all of them.
"""

from app.db.models import (
    access,
    audit,
    batch_files,
    batches,
    mapping,
    quarantine,
    reidentification,
)
from app.db.models.base import metadata

__all__ = [
    "access",
    "audit",
    "batch_files",
    "batches",
    "mapping",
    "metadata",
    "quarantine",
    "reidentification",
]

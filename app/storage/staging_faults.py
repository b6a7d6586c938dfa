"""What went wrong in the staging area: no room, which work waits for, or anything else."""

import errno
from typing import Final

from app.errors import StagingFull, StagingUnavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def storage_error(error: OSError) -> StagingUnavailable:
    """Name a failure of the staging area without its path."""
    kind = StagingFull if error.errno in _FULL else StagingUnavailable
    return kind(f"The staging area cannot be used: {error.strerror}")

"""How many files a long-running process may open: as many as the system lets it, or it says so."""

import contextlib
import resource
from typing import Final

from app import errors

#: What a worker process needs while it works on all the files that it takes at once; with less
#: some of them would wait for ever. The process that starts workers needs no more.
LEAST_OF_WORKER: Final = 256


def provide(least: int) -> int:
    """Raise the limit of this process, and of those that it starts; return how many it may open.

    Args:
        least: with fewer it cannot do its work.

    Raises:
        errors.Misconfigured: the system allows fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft != resource.RLIM_INFINITY and soft < least:
        raise errors.Misconfigured(
            f"{soft} files may be open at once, and {least} are needed: raise the hard limit "
            "(ulimit -Hn, LimitNOFILE)"
        )
    return soft

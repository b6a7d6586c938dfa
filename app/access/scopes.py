"""What an API key may do. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from app.errors import InvalidRequest


class Scope(StrEnum):
    """One right of an API key."""

    ANONYMIZE = "anonymize"  # send single instances
    BATCH = "batch"  # hand over directories
    REIDENTIFY = "reidentify"  # ask whose study it is
    REIDENTIFY_BATCH = "reidentify-batch"  # ask for a whole worklist
    REVIEW = "review"  # look at what is held, and decide
    APPROVE = "approve"  # be the second person; tells nothing by itself
    AUDIT = "audit"  # read the audit
    ADMIN = "admin"  # administer keys, organisations and erasure


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Read scopes by name.

    Raises:
        InvalidRequest: there is none, or one is not known.
    """
    try:
        scopes = frozenset([Scope(name) for name in names])
    except ValueError:
        raise InvalidRequest(f"the scopes are {', '.join(Scope)}") from None
    if not scopes:
        raise InvalidRequest(f"name at least one scope of {', '.join(Scope)}")
    return scopes

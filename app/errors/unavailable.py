"""Something that is needed does not answer now."""

from app.errors.base import GatewayError


class Unavailable(GatewayError):
    """A part that this needs does not answer; try again later."""

    code = "unavailable"
    title = "Temporarily unavailable"


class DatabaseUnavailable(Unavailable):
    """Postgres does not answer."""

    code = "database-unavailable"
    title = "The mapping database does not answer"


class KeyUnavailable(Unavailable):
    """The key that this needs is not held by this process."""

    code = "key-unavailable"
    title = "This process does not hold the key for this"


class StorageUnavailable(Unavailable):
    """Spool, staging or destination cannot be written."""

    code = "storage-unavailable"
    title = "Storage is not available"


class SourceUnavailable(StorageUnavailable):
    """What the files are read from does not answer; it is tried again."""

    code = "source-unavailable"
    title = "The source does not answer"


class DestinationUnavailable(StorageUnavailable):
    """What the objects go to does not answer, or is full; it is tried again."""

    code = "destination-unavailable"
    title = "The destination is away or full"


class StagingUnavailable(StorageUnavailable):
    """The staging area cannot be written or read."""

    code = "staging-unavailable"
    title = "The staging area cannot be used"


class StagingFull(StagingUnavailable):
    """The staging area has no room; work waits until it has."""

    code = "staging-full"
    title = "The staging area is full"


class StagingYielded(Unavailable):
    """The batch gave its place in the full staging area to one before it, and follows it."""

    code = "staging-yielded"
    title = "Another batch has the staging area first"


class InReview(Unavailable):
    """A batch waits for people to decide about pixels of its objects."""

    code = "review"
    title = "Objects of the batch wait for a review of their pixels"


class QuarantineFull(Unavailable):
    """What is held already fills the space for it; there is room when people have decided.

    Args:
        size: bytes that there was no room for.
    """

    code = "quarantine-full"
    title = "The quarantine has no room for this object"

    def __init__(self, detail: str | None = None, *, size: int = 0) -> None:
        super().__init__(detail)
        self.size = size


class Overloaded(Unavailable):
    """Too many requests or connections at once; nothing was taken."""

    code = "overloaded"
    title = "The gateway has more to do than it can take"


class ResourcesUnavailable(Unavailable):
    """The process may open no more files, or start no more threads or processes, just now."""

    code = "resources-unavailable"
    title = "The process has no descriptors, threads or memory left"


class NoWorker(Unavailable):
    """No worker process runs that could do the batch."""

    code = "no-worker"
    title = "No worker is there for this batch"


class AuditReceiverUnavailable(Unavailable):
    """The audit receiver cannot be reached, is not trusted, or did not confirm what it was sent."""

    code = "audit-receiver-unavailable"
    title = "The audit receiver does not answer"


class RoleNotServed(Unavailable):
    """This process does not serve that role."""

    code = "role-not-served"
    title = "This process does not serve this endpoint"


class IdentityProviderUnavailable(Unavailable):
    """The OpenID provider does not answer, and without its keys no token can be checked."""

    code = "identity-provider-unavailable"
    title = "The identity provider does not answer"

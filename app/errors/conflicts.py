"""What is asked for contradicts what is there."""

from app.errors.base import GatewayError


class Conflict(GatewayError):
    """The request contradicts what is there."""

    code = "conflict"
    title = "The request conflicts with the present state"


class AlreadyExists(Conflict):
    """The name is taken."""

    code = "already-exists"
    title = "This already exists"


class PseudonymCollision(Conflict):
    """Two originals met in one pseudonym; the second is refused."""

    code = "pseudonym-collision"
    title = "The pseudonym is already in use for another original"


class IllegalTransition(Conflict):
    """The batch is in a state from which this cannot be done."""

    code = "illegal-transition"
    title = "The batch is in a state that does not allow this"


class IdempotencyKeyReused(Conflict):
    """The Idempotency-Key came before with another request."""

    code = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


class DifferentPatients(Conflict):
    """The pseudonyms that were given together belong to different patients; none is answered."""

    code = "different-patients"
    title = "The ids given belong to different patients"


class DifferentStudies(Conflict):
    """The pseudonyms that were given together belong to different studies of one patient."""

    code = "different-studies"
    title = "The ids given belong to different studies"


class ApprovalPending(Conflict):
    """Nobody has decided yet."""

    code = "approval-pending"
    title = "The request waits for a second person"


class ApprovalDenied(Conflict):
    """A second person said no."""

    code = "approval-denied"
    title = "The request was denied"


class ApprovalExpired(Conflict):
    """It was not decided, or its answer not fetched, in time."""

    code = "approval-expired"
    title = "The request or its approval has expired"


class ApprovalUsed(Conflict):
    """The answer was given already; an approval is good for one."""

    code = "approval-used"
    title = "The approval was used already"


class AlreadyDecided(Conflict):
    """Another second person was faster."""

    code = "already-decided"
    title = "The request was decided already"

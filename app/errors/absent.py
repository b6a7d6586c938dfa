"""What is asked for is not there."""

from app.errors.base import GatewayError


class NotFound(GatewayError):
    """There is nothing by that name."""

    code = "not-found"
    title = "Not found"


class ProfileNotFound(NotFound):
    """No profile by that name."""

    code = "profile-not-found"
    title = "There is no profile by that name"


class OrganizationNotFound(NotFound):
    """No organisation by that id."""

    code = "organization-not-found"
    title = "There is no organisation by that id"


class PseudonymNotFound(NotFound):
    """The id is well-formed but was never issued here."""

    code = "pseudonym-not-found"
    title = "This id was not issued by this gateway"


class ApprovalNotFound(NotFound):
    """No request for approval by that id, or not one of this caller."""

    code = "approval-not-found"
    title = "There is no request for approval by that id"


class QuarantineNotFound(NotFound):
    """No held object by that id, or not one of this organisation."""

    code = "quarantine-not-found"
    title = "There is no held object by that id"


class MaskRuleNotFound(NotFound):
    """No remembered mask rule by that id, or not one of this organisation."""

    code = "mask-rule-not-found"
    title = "There is no remembered mask rule by that id"


class BatchNotFound(NotFound):
    """No batch by that id, or not one of this organisation."""

    code = "batch-not-found"
    title = "There is no batch by that id"


class DestinationNotFound(NotFound):
    """No object store by that name is configured for this organisation."""

    code = "destination-not-found"
    title = "There is no destination or source by that name"

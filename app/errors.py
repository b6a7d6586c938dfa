"""The error tree: stable codes and public texts.

No HTTP here (status numbers live in ``app.api.problems``) and never a value of a patient: an
error names the element path and the reason.

GatewayError
├── InvalidInput     NotDicom · Truncated · MalformedDicom · LimitExceeded (ArchiveTooLarge) ·
│                    TooLarge · UnsupportedTransferSyntax · UnsupportedSOPClass (MediaDirectory) ·
│                    MissingIdentifier · InvalidProfile · InvalidRules · InvalidRequest ·
│                    BodyTimeout · UnsupportedMediaType · MistypedCloudStudyId · MistypedPseudonym
├── Denied           NotAuthenticated (TokenExpired) · NotAuthorised · ApprovalRequired ·
│                    OwnRequest · OwnObject · BreakGlassNotAllowed
├── Throttled        RateLimited · LockedOut · QuotaExceeded · ReidentifyQuotaExceeded
├── NotFound         ProfileNotFound · OrganizationNotFound · PseudonymNotFound · ApprovalNotFound ·
│                    BatchNotFound · QuarantineNotFound · MaskRuleNotFound ·
│                    DestinationNotFound
├── Conflict         AlreadyExists · PseudonymCollision · IllegalTransition · IdempotencyKeyReused ·
│                    DifferentPatients · DifferentStudies · ApprovalPending · ApprovalDenied ·
│                    ApprovalExpired · ApprovalUsed · AlreadyDecided
├── Refused          Quarantined · PixelsNeedReview · RejectedInReview · ReviewExpired ·
│                    LabelImage · PixelWorkFailed · HeldObjectDamaged ·
│                    PreviewUnavailable · BurnedInAnnotationSuspected · UndecidableElement ·
│                    ResidualIdentifier ·
│                    SourceNotAllowed · SymbolicLink · NotARegularFile · UnreadableFile ·
│                    SubjectErased · DuplicateInstance · MissingReferencedFile · WorkerCrashed ·
│                    NothingToPublish · StagingTooSmall · DestinationRefused (ObjectsGone) ·
│                    CallbackNotAllowed
├── Unavailable      DatabaseUnavailable · KeyUnavailable · StorageUnavailable (SourceUnavailable ·
│                    DestinationUnavailable · StagingUnavailable · StagingFull) · StagingYielded ·
│                    InReview · QuarantineFull · NoWorker · RoleNotServed ·
│                    IdentityProviderUnavailable · AuditReceiverUnavailable
└── Misconfigured    (start-up only)
"""

from typing import ClassVar


class GatewayError(Exception):
    """Base of everything the gateway says no with.

    Args:
        detail: one sentence for the caller; never a value that came out of an instance.
        path: element path such as ``(0040,A730)[3].(0040,A160)`` where one is to blame.
    """

    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The gateway could not do this"

    def __init__(self, detail: str | None = None, *, path: str | None = None) -> None:
        self.detail = detail or self.title
        self.path = path
        super().__init__(f"{self.detail} at {path}" if path else self.detail)


class InvalidInput(GatewayError):
    """What was sent cannot be worked with."""

    code = "invalid-input"
    title = "The input is not valid"


class NotDicom(InvalidInput):
    """No DICOM data set could be recognised."""

    code = "not-dicom"
    title = "This is not a DICOM object"


class Truncated(InvalidInput):
    """The object ends before its own lengths say it does."""

    code = "truncated"
    title = "The DICOM object is incomplete"


class MalformedDicom(InvalidInput):
    """The structure contradicts itself."""

    code = "malformed-dicom"
    title = "The DICOM object is malformed"


class LimitExceeded(InvalidInput):
    """A bound on header size, element count, nesting depth or inflation was passed."""

    code = "limit-exceeded"
    title = "The DICOM object exceeds a configured bound"


class TooLarge(InvalidInput):
    """The body is larger than the gateway accepts."""

    code = "too-large"
    title = "The body is too large"


class UnsupportedMediaType(InvalidInput):
    """The body's media type is not one that the endpoint takes."""

    code = "unsupported-media-type"
    title = "The media type is not supported"


class InvalidRequest(InvalidInput):
    """A parameter, header or form field is missing or not valid."""

    code = "invalid-request"
    title = "The request is not valid"


class BodyTimeout(InvalidInput):
    """The rest of the body did not come in time."""

    code = "body-timeout"
    title = "The body did not arrive in time"


class UnsupportedTransferSyntax(InvalidInput):
    """The transfer syntax is unknown or not taken."""

    code = "unsupported-transfer-syntax"
    title = "The transfer syntax is not supported"


class UnsupportedSOPClass(InvalidInput):
    """The SOP Class has no meaning outside its system, or is not taken."""

    code = "unsupported-sop-class"
    title = "The SOP Class is not supported"


class MediaDirectory(UnsupportedSOPClass):
    """A DICOMDIR: it lists the instances of a medium and is none itself."""


class MissingIdentifier(InvalidInput):
    """An identifier without which the instance cannot be linked is absent or empty."""

    code = "missing-identifier"
    title = "A required identifier is missing"


class InvalidProfile(InvalidInput):
    """The profile text is not a valid profile."""

    code = "invalid-profile"
    title = "The profile is not valid"


class InvalidRules(InvalidInput):
    """A file or text with mask rules is not valid; the detail says where."""

    code = "invalid-pixel-rules"
    title = "The mask rules are not valid"


class MistypedCloudStudyId(InvalidInput):
    """The check character, the length or the alphabet does not fit."""

    code = "mistyped-cloud-study-id"
    title = "This is not a cloud study id; check it for typing errors"


class MistypedPseudonym(InvalidInput):
    """A Patient ID, UID or accession number is not of the form that this gateway gives out."""

    code = "mistyped-pseudonym"
    title = "This is not a pseudonym of this gateway; check it for typing errors"


class InvalidArchive(InvalidInput):
    """The ZIP archive is cut short or damaged, or its members overlap."""

    code = "invalid-archive"
    title = "The ZIP archive is damaged"


class ArchiveTooLarge(LimitExceeded):
    """The archive holds more files than it may, or unpacks to more bytes."""


class Denied(GatewayError):
    """The caller may not do this."""

    code = "denied"
    title = "Access denied"


class NotAuthenticated(Denied):
    """No key or token, or one that is unknown, revoked or not valid here."""

    code = "not-authenticated"
    title = "A valid API key or token is required"
    locks_out = False
    """Whether the caller is shut out for a while from now on."""


class TokenExpired(NotAuthenticated):
    """The token was valid; a fresh one is needed."""

    code = "token-expired"
    title = "The token has expired"


class NotAuthorised(Denied):
    """The key or token lacks the scope or the right to this override."""

    code = "not-authorised"
    title = "The caller may not do this"


class ApprovalRequired(Denied):
    """The organisation lets nobody re-identify without a second person's approval."""

    code = "approval-required"
    title = "A second person must approve this first: POST /reidentify/requests"


class OwnRequest(Denied):
    """Whoever asked cannot be the second person."""

    code = "own-request"
    title = "Another person must approve this request"


class OwnObject(Denied):
    """Whoever sent a held object cannot be the one who lets it pass."""

    code = "own-object"
    title = "Another person must decide about this object"


class BreakGlassNotAllowed(Denied):
    """The organisation has switched emergencies off."""

    code = "break-glass-not-allowed"
    title = "This organisation allows no emergency access"


class Throttled(GatewayError):
    """Too much in too short a time; nothing was done.

    Args:
        detail: as always.
        retry_after_s: when it may be tried again, in seconds from now.
        is_first: nothing of the kind was answered since the caller was last admitted.
    """

    code = "throttled"
    title = "Too many requests"

    def __init__(
        self, detail: str | None = None, *, retry_after_s: int = 1, is_first: bool = False
    ) -> None:
        super().__init__(detail)
        self.retry_after_s = max(1, retry_after_s)
        self.is_first = is_first


class RateLimited(Throttled):
    """The caller asks more often than is configured."""

    code = "rate-limited"
    title = "Too many requests in this minute"


class LockedOut(Throttled):
    """Too many attempts without a valid key or token; nothing is listened to for a while."""

    code = "locked-out"
    title = "Too many failed attempts"


class QuotaExceeded(Throttled):
    """The organisation's quota is used up."""

    code = "quota-exceeded"
    title = "The organisation's quota is used up"


class ReidentifyQuotaExceeded(Throttled):
    """The caller has looked up as many patients as it may in this hour or day."""

    code = "reidentify-quota-exceeded"
    title = "The quota of re-identifications is used up"


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


class Refused(GatewayError):
    """Policy forbids passing this instance on; nothing of it leaves."""

    code = "refused"
    title = "The instance was refused"


class RecognizerFailed(Refused):
    """The site's entity recogniser could not look at a text that would have been kept."""

    code = "recognizer-failed"
    title = "The entity recogniser failed"


class PixelWorkFailed(Refused):
    """A child process could not look at the pixels or the document, or not change them.

    Args:
        reason: a stable word: ``crashed``, ``timed-out``, ``out-of-memory``, ``not-installed``,
            ``not-started``, ``message-too-large``, ``unknown-kind``, ``failed`` or ``closed``.
        where: a place in this program or a package that is missing; never a text of the image.
    """

    code = "pixel-work-failed"
    title = "The pixels could not be worked on"

    def __init__(self, reason: str = "failed", *, where: str = "", path: str | None = None) -> None:
        super().__init__(f"The pixels could not be worked on: {reason}", path=path)
        self.reason = reason
        self.where = where


class BurnedInAnnotationSuspected(Refused):
    """The pixel data is declared to carry identifying text."""

    code = "burned-in-annotation-suspected"
    title = "The pixel data may show identifying text"


class Quarantined(Refused):
    """The pixels are doubtful: the object waits for a person's decision.

    Args:
        quarantine_id: names it to reviewers; says nothing of the object.
    """

    code = "quarantined"
    title = "The instance waits for a review of its pixels"

    def __init__(self, quarantine_id: str, detail: str | None = None) -> None:
        super().__init__(detail)
        self.quarantine_id = quarantine_id


class ReviewExpired(Refused):
    """Nobody decided about a held object of a batch in time; a retry has it held once more."""

    code = "review-expired"
    title = "Nobody decided about the pixels in time"


class PixelsNeedReview(Refused):
    """The pixels are doubtful, and there is no quarantine here that could hold the object."""

    code = "pixels-need-review"
    title = "The pixels may show identifying text and nobody can review them here"


class RejectedInReview(Refused):
    """A person looked at these very bytes and decided that nothing of them leaves."""

    code = "rejected-in-review"
    title = "A reviewer rejected this instance"


class LabelImage(Refused):
    """A label or overview image of a slide: it shows whose the specimen is, and nothing else."""

    code = "label-image"
    title = "Label and overview images of slides are not passed on"


class UndecidableElement(Refused):
    """No rule could decide, and removing would not be safe."""

    code = "undecidable-element"
    title = "An element could not be decided"


class ResidualIdentifier(Refused):
    """Verification found something of the original in the result."""

    code = "residual-identifier"
    title = "An identifying value was left in the result"


class HeldObjectDamaged(Refused):
    """What is held was altered, cut short or taken away; nothing of it is shown."""

    code = "held-object-damaged"
    title = "The held object is damaged"


class PreviewUnavailable(Refused):
    """The frame cannot be shown: there is none of that number, or its pixels do not decode."""

    code = "preview-unavailable"
    title = "The image cannot be shown"


class SourceNotAllowed(Refused):
    """The source lies outside of what is configured, or is not of a kind that is read."""

    code = "source-not-allowed"
    title = "The source is not allowed"


class SymbolicLink(Refused):
    """A symbolic link leads out of the allowed directory, to a directory, or nowhere."""

    code = "symbolic-link"
    title = "A symbolic link is not followed"


class NotARegularFile(Refused):
    """A device, socket or FIFO stands among the files."""

    code = "not-a-regular-file"
    title = "This is not a regular file"


class UnreadableFile(Refused):
    """A file could not be read: rights, a damaged archive member, an object that is gone."""

    code = "unreadable-file"
    title = "The file cannot be read"


class SubjectErased(Refused):
    """The patient's originals were erased, and the organisation takes no new ones."""

    code = "subject-erased"
    title = "The originals of this patient were erased; new ones are refused"


class DuplicateInstance(Refused):
    """Two different objects carry the same SOP Instance UID; the later one is refused."""

    code = "duplicate-instance"
    title = "Another object of the batch has the same SOP Instance UID"


class MissingReferencedFile(Refused):
    """The DICOMDIR names a file that is not there."""

    code = "missing-referenced-file"
    title = "A file named by the DICOMDIR is missing"


class WorkerCrashed(Refused):
    """A worker process died twice while it worked on this object alone."""

    code = "worker-crashed"
    title = "The object made the worker process crash"


class NothingToPublish(Refused):
    """The source holds no DICOM object that could be de-identified."""

    code = "nothing-to-publish"
    title = "The source holds no object to publish"


class StagingTooSmall(Refused):
    """A batch that is held back until it is complete does not fit the staging area."""

    code = "staging-too-small"
    title = "The batch is larger than the staging area"


class DestinationRefused(Refused):
    """The destination does not take the objects: wrong name, rights or settings."""

    code = "destination-refused"
    title = "The destination does not take the objects"


class ObjectsGone(DestinationRefused):
    """What was published is not at the destination any more; a retry publishes it again."""

    code = "objects-gone"
    title = "Published objects are gone from the destination"


class CallbackNotAllowed(Refused):
    """The callback's host is not on the list, or its scheme is not https."""

    code = "callback-not-allowed"
    title = "The callback URL is not allowed"


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


class Misconfigured(GatewayError):
    """The settings, keys or files at start are not safe to run with."""

    code = "misconfigured"
    title = "The gateway is not configured safely"

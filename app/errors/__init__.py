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
│                    SourceNotAllowed · AmbiguousName · SymbolicLink · NotARegularFile ·
│                    UnreadableFile · SubjectErased · DuplicateInstance ·
│                    MissingReferencedFile · WorkerCrashed · NothingToPublish ·
│                    StagingTooSmall · DestinationRefused (ObjectsGone) · CallbackNotAllowed
├── Unavailable      DatabaseUnavailable · KeyUnavailable · StorageUnavailable (SourceUnavailable ·
│                    DestinationUnavailable · StagingUnavailable · StagingFull) · StagingYielded ·
│                    InReview · QuarantineFull · ResourcesUnavailable · NoWorker · RoleNotServed ·
│                    IdentityProviderUnavailable · AuditReceiverUnavailable
└── Misconfigured    (start-up only)
"""

from app.errors.absent import (
    ApprovalNotFound,
    BatchNotFound,
    DestinationNotFound,
    MaskRuleNotFound,
    NotFound,
    OrganizationNotFound,
    ProfileNotFound,
    PseudonymNotFound,
    QuarantineNotFound,
)
from app.errors.base import (
    GatewayError,
    Misconfigured,
)
from app.errors.conflicts import (
    AlreadyDecided,
    AlreadyExists,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalPending,
    ApprovalUsed,
    Conflict,
    DifferentPatients,
    DifferentStudies,
    IdempotencyKeyReused,
    IllegalTransition,
    PseudonymCollision,
)
from app.errors.denied import (
    ApprovalRequired,
    BreakGlassNotAllowed,
    Denied,
    LockedOut,
    NotAuthenticated,
    NotAuthorised,
    OwnObject,
    OwnRequest,
    QuotaExceeded,
    RateLimited,
    ReidentifyQuotaExceeded,
    Throttled,
    TokenExpired,
)
from app.errors.invalid import (
    ArchiveTooLarge,
    BodyTimeout,
    InvalidArchive,
    InvalidInput,
    InvalidProfile,
    InvalidRequest,
    InvalidRules,
    LimitExceeded,
    MalformedDicom,
    MediaDirectory,
    MissingIdentifier,
    MistypedCloudStudyId,
    MistypedPseudonym,
    NotDicom,
    TooLarge,
    Truncated,
    UnsupportedMediaType,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from app.errors.refused import (
    AmbiguousName,
    BurnedInAnnotationSuspected,
    CallbackNotAllowed,
    DestinationRefused,
    DuplicateInstance,
    HeldObjectDamaged,
    LabelImage,
    MissingReferencedFile,
    NotARegularFile,
    NothingToPublish,
    ObjectsGone,
    PixelsNeedReview,
    PixelWorkFailed,
    PreviewUnavailable,
    Quarantined,
    RecognizerFailed,
    Refused,
    RejectedInReview,
    ResidualIdentifier,
    ReviewExpired,
    SourceNotAllowed,
    StagingTooSmall,
    SubjectErased,
    SymbolicLink,
    UndecidableElement,
    UnreadableFile,
    WorkerCrashed,
)
from app.errors.unavailable import (
    AuditReceiverUnavailable,
    DatabaseUnavailable,
    DestinationUnavailable,
    IdentityProviderUnavailable,
    InReview,
    KeyUnavailable,
    NoWorker,
    Overloaded,
    QuarantineFull,
    ResourcesUnavailable,
    RoleNotServed,
    SourceUnavailable,
    StagingFull,
    StagingUnavailable,
    StagingYielded,
    StorageUnavailable,
    Unavailable,
)

__all__ = [
    "AlreadyDecided",
    "AlreadyExists",
    "AmbiguousName",
    "ApprovalDenied",
    "ApprovalExpired",
    "ApprovalNotFound",
    "ApprovalPending",
    "ApprovalRequired",
    "ApprovalUsed",
    "ArchiveTooLarge",
    "AuditReceiverUnavailable",
    "BatchNotFound",
    "BodyTimeout",
    "BreakGlassNotAllowed",
    "BurnedInAnnotationSuspected",
    "CallbackNotAllowed",
    "Conflict",
    "DatabaseUnavailable",
    "Denied",
    "DestinationNotFound",
    "DestinationRefused",
    "DestinationUnavailable",
    "DifferentPatients",
    "DifferentStudies",
    "DuplicateInstance",
    "GatewayError",
    "HeldObjectDamaged",
    "IdempotencyKeyReused",
    "IdentityProviderUnavailable",
    "IllegalTransition",
    "InReview",
    "InvalidArchive",
    "InvalidInput",
    "InvalidProfile",
    "InvalidRequest",
    "InvalidRules",
    "KeyUnavailable",
    "LabelImage",
    "LimitExceeded",
    "LockedOut",
    "MalformedDicom",
    "MaskRuleNotFound",
    "MediaDirectory",
    "Misconfigured",
    "MissingIdentifier",
    "MissingReferencedFile",
    "MistypedCloudStudyId",
    "MistypedPseudonym",
    "NoWorker",
    "NotARegularFile",
    "NotAuthenticated",
    "NotAuthorised",
    "NotDicom",
    "NotFound",
    "NothingToPublish",
    "ObjectsGone",
    "OrganizationNotFound",
    "Overloaded",
    "OwnObject",
    "OwnRequest",
    "PixelWorkFailed",
    "PixelsNeedReview",
    "PreviewUnavailable",
    "ProfileNotFound",
    "PseudonymCollision",
    "PseudonymNotFound",
    "QuarantineFull",
    "QuarantineNotFound",
    "Quarantined",
    "QuotaExceeded",
    "RateLimited",
    "RecognizerFailed",
    "Refused",
    "ReidentifyQuotaExceeded",
    "RejectedInReview",
    "ResidualIdentifier",
    "ResourcesUnavailable",
    "ReviewExpired",
    "RoleNotServed",
    "SourceNotAllowed",
    "SourceUnavailable",
    "StagingFull",
    "StagingTooSmall",
    "StagingUnavailable",
    "StagingYielded",
    "StorageUnavailable",
    "SubjectErased",
    "SymbolicLink",
    "Throttled",
    "TokenExpired",
    "TooLarge",
    "Truncated",
    "Unavailable",
    "UndecidableElement",
    "UnreadableFile",
    "UnsupportedMediaType",
    "UnsupportedSOPClass",
    "UnsupportedTransferSyntax",
    "WorkerCrashed",
]

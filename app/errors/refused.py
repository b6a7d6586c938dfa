"""Policy forbids passing something on; nothing of it leaves."""

from app.errors.base import GatewayError


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


class AmbiguousName(Refused):
    """Several members of an archive have this name; which of them is meant nobody can tell."""

    code = "ambiguous-name"
    title = "Several members of the archive have the same name"


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

"""What was sent cannot be worked with."""

from app.errors.base import GatewayError


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

"""What went wrong at an object store: temporary or for good, told without its own words.

Texts of the client library hold URLs, keys of objects and whatever the server wrote; nothing of
them is passed on but a status number and the server's error code.
"""

import re
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from app import errors

STORE_FAULTS: Final = (BaseError, OSError, ValueError)
"""What the client library raises."""

_STATUS: Final = re.compile(r"status code: (\d{3})|\(code: (\d{3})\)")
_CODE: Final = re.compile(r"<Code>\s*([A-Za-z][A-Za-z0-9.]{1,60})\s*</Code>")
_TEMPORARY_STATUS: Final = frozenset({"408", "409", "425", "429"})
# Refused this time, and another try of the whole object can succeed.
_TEMPORARY_CODES: Final = frozenset(
    {
        *("BadDigest", "IncompleteBody", "InvalidDigest", "Md5Mismatch", "NoSuchUpload"),
        *("RequestTimeout", "SlowDown", "XAmzContentChecksumMismatch"),
        *("XAmzContentSHA256Mismatch", "InvalidBlockList", "InvalidPart"),
        *("ExpiredToken", "TokenRefreshRequired", "ExpiredAuthenticationToken"),
    }
)
_PERMANENT_CODES: Final = frozenset(
    {"BlobArchived", "BlobImmutableDueToPolicy", "ContainerBeingDeleted", "ObjectLocked"}
)
# Where machines are asked for their identity; nobody answers where they have none.
_METADATA: Final = re.compile(
    r"/latest/api/token|/latest/meta-data/iam/|/computeMetadata/v1/|/metadata/identity/oauth2/"
)
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "BucketNotFound"})


def is_temporary(error: BaseException) -> bool:
    """Whether another try can succeed."""
    text = str(error)
    code, status = _code(text), _status(text)
    if code in _TEMPORARY_CODES:
        return True
    if code in _PERMANENT_CODES or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return False
    if status:
        return status in _TEMPORARY_STATUS or (status[0] == "5" and status not in {"501", "505"})
    if _is_unsendable(text):
        return False
    # Without an answer: silence or a lost connection is temporary, all else is not about to end.
    return type(error).__name__ in {"GenericError", "JoinError"} and "redirect" not in text


def is_absent(error: BaseException) -> bool:
    """Whether there is no such object, in a bucket that exists."""
    return isinstance(error, FileNotFoundError) and _code(str(error)) not in _NO_BUCKET


def fault_of(error: BaseException) -> errors.GatewayError:
    """Return our error for one of the library's, for a destination."""
    text = str(error)
    if _is_without_credentials(text):
        return errors.DestinationRefused("No credentials for the store were found")
    if is_temporary(error):
        status = _status(text)
        return errors.StorageUnavailable(
            f"The store answers with status {status}" if status else "The store does not answer"
        )
    return errors.DestinationRefused(_refusal(error, text))


def _refusal(error: BaseException, text: str) -> str:
    code, status = _code(text), _status(text)
    told = ", ".join(part for part in (status and f"status {status}", code) if part)
    if code in _NO_BUCKET or isinstance(error, FileNotFoundError):
        sentence = "The bucket or container does not exist"
    elif isinstance(error, UnauthenticatedError):
        sentence = "The store does not accept the credentials, or none were found"
    elif isinstance(error, PermissionDeniedError):
        sentence = "The credentials may not do this"
    elif not status and _is_unsendable(text):
        sentence = (
            "The store's address cannot be used: it is none, or plain HTTP, which must be allowed"
        )
    elif "redirect" in text:
        sentence = "The bucket is in another region"
    else:
        sentence = "The store refuses the request"
    return f"{sentence} ({told})" if told else sentence


def _is_without_credentials(text: str) -> bool:
    return not _status(text) and _METADATA.search(text) is not None


def _is_unsendable(text: str) -> bool:
    """Whether the request was never made: no address, or one whose scheme is not allowed."""
    return "builder error" in text


def _status(text: str) -> str:
    found = _STATUS.search(text)
    return (found[1] or found[2]) if found else ""


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""

"""Requests whose body is one SOP Instance: what their head says, and how the body is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from app import errors
from app.api.dependencies import Services
from app.api.multipart import OVERHEAD_BYTES, boundary_of, receive_multipart
from app.api.spool import Body, receive_raw, too_large

MEDIA_TYPE: Final = b"application/dicom"
RAW_MEDIA_TYPES: Final = frozenset({MEDIA_TYPE, b"application/octet-stream"})
MULTIPART: Final = b"multipart/form-data"


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of the request says.

    Attributes:
        media_type: of the body.
        boundary: of a form; empty for others.
        declared_bytes: length of the body, 0 where it is not said.
        parameters: those of the query.
        accept: what the caller takes, as it says so; empty where it does not.
    """

    media_type: bytes
    boundary: bytes
    declared_bytes: int
    parameters: Mapping[str, str]
    accept: bytes = b""


def read_head(scope: Scope, known: frozenset[str]) -> Head:
    """Read content type, length and parameters.

    Args:
        scope: of the request.
        known: the parameters that there are.

    Raises:
        errors.UnsupportedMediaType: the body is neither an object nor a form with one.
        errors.InvalidRequest: a parameter is unknown or given twice.
    """
    content_type, declared, accept = b"", 0, b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            declared = int(value)
        elif name == b"accept":
            accept = accept + b"," + value if accept else value
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise errors.UnsupportedMediaType("The body must not be compressed")
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type not in RAW_MEDIA_TYPES and media_type != MULTIPART:
        raise errors.UnsupportedMediaType(
            "Send application/dicom, or multipart/form-data with a part named 'file'"
        )
    boundary = boundary_of(content_type) if media_type == MULTIPART else b""
    return Head(media_type, boundary, declared, _parameters(scope["query_string"], known), accept)


def check_size(head: Head, services: Services) -> None:
    """Refuse a body that says itself that it is too large.

    Raises:
        errors.TooLarge: it is.
    """
    if head.declared_bytes > services.limits.max_bytes + OVERHEAD_BYTES:
        raise too_large(services.limits)


async def receive_instance(receive: Receive, body: Body, head: Head, services: Services) -> None:
    """Take the body whole.

    Raises:
        errors.InvalidInput: it is empty, too large, too slow or no such form.
    """
    if head.media_type == MULTIPART:
        await receive_multipart(receive, body, services.limits, boundary=head.boundary)
    else:
        await receive_raw(receive, body, services.limits)
    if not body.size:
        raise errors.InvalidRequest("The body is empty")
    services.metrics.received.inc(body.size)


def _parameters(query: bytes, known: frozenset[str]) -> dict[str, str]:
    if not query:
        return {}
    pairs = parse_qsl(str(query, "latin-1"), keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs) or not known.issuperset(parameters):
        raise errors.InvalidRequest(
            f"The query parameters are {', '.join(sorted(known))}; each at most once"
        )
    return parameters

"""RFC 9457 problem documents: the one place where an error becomes a status number.

A document carries the error's public text, its code and the element path; nothing of the request
is repeated in it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Send

from app import errors

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5
NO_STORE: Final = (b"cache-control", b"no-store")

# The nearest class in the method resolution order decides.
STATUS: Final[Mapping[type[errors.GatewayError], int]] = {
    errors.GatewayError: 500,
    errors.InvalidInput: 400,
    errors.TooLarge: 413,
    errors.LimitExceeded: 413,
    errors.BodyTimeout: 408,
    errors.UnsupportedMediaType: 415,
    errors.UnsupportedTransferSyntax: 415,
    errors.UnsupportedSOPClass: 422,
    errors.MissingIdentifier: 422,
    errors.InvalidProfile: 422,
    errors.InvalidRules: 422,
    errors.MistypedCloudStudyId: 422,
    errors.MistypedPseudonym: 422,
    errors.Denied: 403,
    errors.NotAuthenticated: 401,
    errors.Throttled: 429,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Refused: 422,
    errors.Unavailable: 503,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What one problem document says."""

    status: int
    code: str
    title: str
    detail: str
    path: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    quarantine_id: str | None = None

    def document(self, request_id: str | None) -> dict[str, Any]:
        """Return the members of the document; ``path`` only where an element is to blame."""
        members: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.path is not None:
            members["path"] = self.path
        if self.quarantine_id is not None:
            members["quarantine_id"] = self.quarantine_id
        members["request_id"] = request_id
        return members


def status_of(kind: type[errors.GatewayError]) -> int:
    """Return the status number of an error class."""
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def of_error(error: errors.GatewayError) -> Problem:
    """Describe an error of the tree."""
    status = status_of(type(error))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal()
    return Problem(
        status=status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        path=error.path,
        headers=tuple(_headers_of(error, status)),
        quarantine_id=error.quarantine_id if isinstance(error, errors.Quarantined) else None,
    )


def of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Describe an answer of the router, such as 404 and 405."""
    phrase = HTTPStatus(status).phrase
    return Problem(
        status=status,
        code=phrase.lower().replace(" ", "-"),
        title=phrase,
        detail=phrase,
        headers=tuple((k.lower().encode(), v.encode()) for k, v in (headers or {}).items()),
    )


def internal() -> Problem:
    """Describe a fault of the gateway itself; what happened stands in the log only."""
    return Problem(
        status=500,
        code="internal-error",
        title="Internal error",
        detail="The gateway failed; the request id finds the cause in its log.",
    )


def closing(problem: Problem) -> Problem:
    """Return the problem for an answer after which the connection is closed."""
    return replace(problem, headers=(*problem.headers, (b"connection", b"close")))


def known_codes() -> Mapping[str, type[errors.GatewayError]]:
    """Return every code of the error tree that can stand in an answer."""
    return {
        kind.code: kind
        for kind in _descendants(errors.GatewayError)
        if "code" in vars(kind) and not issubclass(kind, errors.Misconfigured)
    }


def explained(code: str) -> tuple[Problem, str] | None:
    """Return what stands in every problem of a code, and what it means; None for an unknown one."""
    kind = known_codes().get(code)
    if kind is None:
        return _OF_NO_CLASS.get(code)
    meaning = (kind.__doc__ or kind.title).strip().splitlines()[0]
    return Problem(status_of(kind), kind.code, kind.title, kind.title), meaning


async def send_problem(
    send: Send, problem: Problem, request_id: str | None, *, more_body: bool = False
) -> None:
    """Answer with a problem document."""
    body = json.dumps(problem.document(request_id), ensure_ascii=False).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        NO_STORE,
        *problem.headers,
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


_OF_NO_CLASS: Final[Mapping[str, tuple[Problem, str]]] = {
    "internal-error": (
        internal(),
        "A fault of the gateway; the log tells more under the request id.",
    ),
    "method-not-allowed": (
        of_status(HTTPStatus.METHOD_NOT_ALLOWED),
        "The endpoint does not take this method.",
    ),
}


def _headers_of(error: errors.GatewayError, status: int) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(error, errors.Throttled):
        yield b"retry-after", str(error.retry_after_s).encode()
    if isinstance(error, errors.Quarantined):
        yield b"location", f"/quarantine/{error.quarantine_id}".encode()
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        yield b"retry-after", str(RETRY_AFTER_S).encode()
    if status == HTTPStatus.UNAUTHORIZED:
        challenge = 'Bearer realm="deid-gateway"'
        if isinstance(error, errors.TokenExpired):  # RFC 6750, 3.1
            challenge += ', error="invalid_token", error_description="expired"'
        yield b"www-authenticate", challenge.encode()


def _descendants(kind: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)

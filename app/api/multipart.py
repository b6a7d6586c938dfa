"""Multipart uploads: exactly one part, named ``file``, streamed into the body.

The part's file name is never read: it often carries the patient's name.
"""

from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from app import errors
from app.api.spool import Body, BodyLimits, next_piece, too_large

FIELD: Final = b"file"
# Boundaries, part headers and an epilogue; anything longer is not an upload of one object.
OVERHEAD_BYTES: Final = 64 << 10
_PLAIN_ENCODINGS: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})


class FilePart:
    """Feeds the one expected part of a multipart message into a body."""

    def __init__(self, body: Body, boundary: bytes) -> None:
        self._body = body
        self._parts = 0
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_header_name,
                "on_header_value": self._take_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._check_headers,
                "on_part_data": self._take_data,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the message.

        Raises:
            errors.InvalidRequest: the message is malformed or has other parts.
            errors.TooLarge: the part passes the bound of the body.
        """
        try:
            self._parser.write(piece)
        except FormParserError:
            raise errors.InvalidRequest("The multipart body is malformed") from None

    def finish(self) -> None:
        """Check that the message came to its end.

        Raises:
            errors.InvalidRequest: it stops in the middle, or no part was the file.
        """
        if not self._ended:
            raise errors.InvalidRequest("The multipart body is incomplete")
        if self._parts != 1:
            raise errors.InvalidRequest("The multipart body has no part named 'file'")

    def _begin(self) -> None:
        self._parts += 1
        self._headers = {}

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _check_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD or self._parts > 1:
            raise errors.InvalidRequest(
                "The multipart body must have one part, named 'file'; "
                "organization and profile are query parameters"
            )
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _PLAIN_ENCODINGS:
            raise errors.UnsupportedMediaType("The part 'file' must be sent as plain binary")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        whole = start == 0 and end == len(data)
        self._body.add(data if whole else memoryview(data)[start:end])

    def _end(self) -> None:
        self._ended = True


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that a ``multipart/form-data`` content type names.

    Raises:
        errors.InvalidRequest: it names none, or one that no boundary may be.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise errors.InvalidRequest("The multipart content type names no valid boundary")
    return boundary


async def receive_multipart(
    receive: Receive, body: Body, limits: BodyLimits, *, boundary: bytes
) -> None:
    """Take a request whose body is a multipart message with the object in its part ``file``."""
    part = FilePart(body, boundary)
    received, more = 0, True
    while more:
        piece, more = await next_piece(receive, limits)
        received += len(piece)
        if received > limits.max_bytes + OVERHEAD_BYTES:
            raise too_large(limits)
        if piece:
            part.feed(piece)
            await body.settle()
    part.finish()

"""An object and the report on it in one answer: ``multipart/related`` for those who ask for it."""

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

from app.api.spool import Bytes

REPORT_MEDIA_TYPE: Final = b"application/json"
_RELATED: Final = b"multipart/related"
_OBJECT: Final = b"application/dicom"
_PARAMETER: Final = re.compile(rb'\s*([a-z]+)\s*=\s*"?([^"]*)"?\s*')
_QUALITY: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_EOL: Final = b"\r\n"


def wants_report(accept: bytes) -> bool:
    """Say whether a caller prefers an object with its report to the object alone.

    Only naming ``multipart/related`` asks for it; what takes anything is answered as ever.
    Source: RFC 9110, 12.5.1.

    Args:
        accept: all values of the header, joined by commas.
    """
    if b"multipart/related" not in accept.lower():
        return False
    qualities = {_RELATED: 0.0, _OBJECT: 0.0}
    for media_range in accept.lower().split(b","):
        name, _, rest = media_range.partition(b";")
        parameters = _parameters(rest)
        if parameters.get(b"type", _OBJECT) == _OBJECT and name.strip() in qualities:
            qualities[name.strip()] = _quality(parameters.get(b"q", b"1"))
    return qualities[_RELATED] > 0 and qualities[_RELATED] >= qualities[_OBJECT]


def new_boundary() -> bytes:
    """Return a boundary that nobody can have put into an object."""
    return secrets.token_hex(16).encode()


def content_type(boundary: bytes) -> bytes:
    """Return the media type of the answer. Source: RFC 2387."""
    return b'multipart/related; type="application/dicom"; boundary=' + boundary


def related(
    boundary: bytes, *, name: str, size: int, chunks: Iterable[Bytes], report: Iterable[bytes]
) -> Iterator[Bytes]:
    """Yield the object and the report on it as the parts of one message.

    Args:
        boundary: between the parts.
        name: what both parts are called, without suffix.
        size: length of the object.
        chunks: the object's bytes.
        report: the report's.
    """
    yield _head(boundary, _OBJECT, f"{name}.dcm", b"content-length: %d" % size)
    yield from chunks
    yield _EOL + _head(boundary, REPORT_MEDIA_TYPE, f"{name}.json")
    yield from report
    yield _EOL + b"--" + boundary + b"--" + _EOL


def _head(boundary: bytes, media_type: bytes, name: str, *fields: bytes) -> bytes:
    disposition = f'content-disposition: attachment; filename="{name}"'.encode()
    return _EOL.join(
        [b"--" + boundary, b"content-type: " + media_type, disposition, *fields, b"", b""]
    )


def _parameters(text: bytes) -> dict[bytes, bytes]:
    found = (_PARAMETER.fullmatch(part) for part in text.split(b";"))
    return {match[1]: match[2].strip() for match in found if match}


def _quality(text: bytes) -> float:
    return float(text) if _QUALITY.fullmatch(text) else 0.0

"""The task ``document`` of the child processes: one encapsulated document in, one out."""

import os
import time
from collections.abc import Callable
from typing import Any, Final

from app.deid.rules.identifiers import Identifier, Kind
from app.pixels.documents import (
    MAX_CLEANED_BYTES,
    MAX_DOCUMENT_BYTES,
    Doubt,
    Outcome,
    Treated,
    Why,
)
from app.pixels.documents.finding import Finder

_DEFAULT_BUDGET_S: Final = 120.0
_PIECE = 1 << 20


def document(task: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Clean the document in the first descriptor into the second.

    Args:
        task: ``mime_type``; ``identifiers`` as ``{"kind", "text"}`` of the instance; ``offset`` and
            ``size`` of the document, the whole file without them; ``budget_s``; ``name_key``, in
            hexadecimal figures, under which names in models get neutral ones; ``may_read``, whether
            pages may be read as images.
        fds: the document, and a file that takes the cleaned one.

    Returns:
        ``Treated`` as plain data. Nothing is written where the document is to be replaced.
    """
    try:
        data = _read(fds[0], int(task.get("offset", 0)), task.get("size"))
        cleaned, treated = _cleaned(task, data)
        if len(cleaned) > MAX_CLEANED_BYTES:
            raise Doubt(Why.TOO_LARGE)  # noqa: TRY301 - one way out for all doubts
    except Doubt as doubt:
        return Treated(Outcome.REPLACED, doubt.why).to_json()
    except ModuleNotFoundError:
        return Treated(Outcome.REPLACED, Why.NOT_INSTALLED).to_json()
    _write(fds[1], cleaned)
    return treated.to_json()


def _cleaned(task: dict[str, Any], data: bytes) -> tuple[bytes, Treated]:
    cleaner = _CLEANERS.get(str(task.get("mime_type", "")).strip().lower())
    if cleaner is None:
        raise Doubt(Why.NO_CLEANER)
    if not data.rstrip(b"\0 "):
        raise Doubt(Why.EMPTY)
    return cleaner(task, data)


def _pdf(task: dict[str, Any], data: bytes) -> tuple[bytes, Treated]:
    # Imported here: a model needs no library of images.
    from app.pixels.documents.pdf import clean_pdf  # noqa: PLC0415
    from app.pixels.documents.pdf_reading import reader_for  # noqa: PLC0415

    identifiers = _identifiers(task)
    finder = Finder(identifiers)
    is_over = _bound(float(task.get("budget_s", _DEFAULT_BUDGET_S)))
    reader = reader_for(identifiers, finder, is_over) if task.get("may_read", True) else None
    made = clean_pdf(data, finder, reader, _clock(is_over))
    findings = tuple(sorted(made.findings))
    return made.data, Treated(Outcome.CLEANED, "", findings, made.pages)


def _cda(task: dict[str, Any], data: bytes) -> tuple[bytes, Treated]:
    from app.pixels.documents.cda import clean_cda  # noqa: PLC0415

    cleaned, findings = clean_cda(data, Finder(_identifiers(task)))
    return cleaned, Treated(Outcome.CLEANED, "", tuple(sorted(findings)))


def _stl(_task: dict[str, Any], data: bytes) -> tuple[bytes, Treated]:
    from app.pixels.documents.models import clean_stl  # noqa: PLC0415

    return clean_stl(data), Treated(Outcome.CLEANED)


def _obj(task: dict[str, Any], data: bytes) -> tuple[bytes, Treated]:
    from app.pixels.documents.models import clean_obj, renamer  # noqa: PLC0415

    return clean_obj(data, renamer(_name_key(task))), Treated(Outcome.CLEANED)


def _mtl(task: dict[str, Any], data: bytes) -> tuple[bytes, Treated]:
    from app.pixels.documents.models import clean_mtl, renamer  # noqa: PLC0415

    return clean_mtl(data, renamer(_name_key(task))), Treated(Outcome.CLEANED)


# MIME type → what cleans such a document; ``CLEANABLE`` lists them.
_CLEANERS: Final[dict[str, Callable[[dict[str, Any], bytes], tuple[bytes, Treated]]]] = {
    "application/pdf": _pdf,
    "text/xml": _cda,
    "application/xml": _cda,
    "application/hl7-cda+xml": _cda,
    "model/stl": _stl,
    "application/sla": _stl,
    "model/obj": _obj,
    "model/mtl": _mtl,
}


def _identifiers(task: dict[str, Any]) -> list[Identifier]:
    return [Identifier(Kind(one["kind"]), str(one["text"])) for one in task["identifiers"]]


def _name_key(task: dict[str, Any]) -> bytes:
    key = bytes.fromhex(task.get("name_key", ""))
    if not key:
        raise Doubt(Why.FAILED)
    return key


def _bound(budget_s: float) -> Callable[[], bool]:
    deadline = time.monotonic() + budget_s
    return lambda: time.monotonic() > deadline


def _clock(is_over: Callable[[], bool]) -> Callable[[], None]:
    def check() -> None:
        if is_over():
            raise Doubt(Why.TOO_SLOW)

    return check


def _read(fd: int, offset: int, size: int | None) -> bytes:
    length = os.fstat(fd).st_size - offset if size is None else int(size)
    if length > MAX_DOCUMENT_BYTES:
        raise Doubt(Why.TOO_LARGE)
    data = bytearray()
    while len(data) < length:
        piece = os.pread(fd, min(_PIECE, length - len(data)), offset + len(data))
        if not piece:
            raise Doubt(Why.BROKEN)
        data += piece
    return bytes(data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[:_PIECE]) :]

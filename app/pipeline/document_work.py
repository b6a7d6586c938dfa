"""Encapsulated documents that are cleaned instead of replaced: asked of a child process, checked.

Only for profiles with Clean Pixel Data whose section ``pixels`` says so. Nothing is opened here.
What is doubtful leaves no document: the notice is written as without the option.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from app.deid.attributes import BURNED_IN, DOCUMENT_LENGTH, ENCAPSULATED_DOCUMENT
from app.deid.pixel_policy import Documents
from app.deid.profile import Profile
from app.deid.rules.identifiers import Identifier
from app.deid.substitutes import Fact
from app.deid.verifying import holds_identifiers
from app.dicom.source import write_all
from app.errors import PixelWorkFailed
from app.pipeline.root import RootValues
from app.pixels.documents import (
    CLEANABLE,
    MAX_CLEANED_BYTES,
    MAX_DOCUMENT_BYTES,
    Outcome,
    Treated,
    Why,
)
from app.pixels.documents.own_words import without_own_words

if TYPE_CHECKING:
    from app.pipeline.side_work import PixelParts

_MIME_TYPE: Final = 0x00420012
# A document may take longer than an image, since each of its pages is read like one.
_TIMES: Final = 2
# Of the time that a child has; then it gives up by itself.
_BUDGET_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """The document of an instance.

    Attributes:
        mime_type: lower case, without padding.
        start, stop: of its bytes in the header.
        name_key: under which names in 3D models get neutral ones, the same in a study.
    """

    mime_type: str
    start: int
    stop: int
    name_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Document:
    """What became of a document.

    Attributes:
        treated: what the child says of it.
        data: the cleaned document; empty where a notice takes its place.
    """

    treated: Treated
    data: bytes = b""

    def facts(self) -> dict[int, Fact]:
        """Return tag → what is written; nothing of a document that a notice replaces."""
        facts = {BURNED_IN: Fact("CS", b"NO")}
        if self.data:
            length = len(self.data).to_bytes(4, "little")
            facts[ENCAPSULATED_DOCUMENT] = Fact("OB", self.data)
            facts[DOCUMENT_LENGTH] = Fact("UL", length)
        return facts


def document_in(root: RootValues, profile: Profile) -> DocumentPart | None:
    """Return the document that the profile wants cleaned; None where there is none."""
    index = root.places.get(ENCAPSULATED_DOCUMENT)
    if index is None or profile.pixels.documents is not Documents.CLEAN:
        return None
    start, stop = root.tokens.root.value_span(index)
    mime_type = root.raw(_MIME_TYPE).decode("latin-1").strip("\0 ").lower()
    return DocumentPart(mime_type, start, stop)


async def cleaned(
    part: DocumentPart, header: bytes, identifiers: Sequence[Identifier], parts: "PixelParts"
) -> Document:
    """Have one document cleaned; fails closed.

    Args:
        part: where it is.
        header: what holds it.
        identifiers: of the instance.
        parts: child processes and files without a name.
    """
    size = part.stop - part.start
    if part.mime_type not in CLEANABLE:
        return _replaced(Why.NO_CLEANER)
    if not 0 < size <= MAX_DOCUMENT_BYTES:
        return _replaced(Why.TOO_LARGE)
    given = await asyncio.to_thread(_lent, header[part.start : part.stop], parts)
    try:
        taken = parts.scratch(size)
    except BaseException:
        os.close(given)
        raise
    try:
        return await _asked(part, given, taken, identifiers, parts)
    except PixelWorkFailed:
        return _replaced(Why.FAILED)
    finally:
        os.close(given)
        os.close(taken)


async def _asked(
    part: DocumentPart,
    given: int,
    taken: int,
    identifiers: Sequence[Identifier],
    parts: "PixelParts",
) -> Document:
    children, timeout_s = parts.readers or parts.workers, _TIMES * parts.timeout_s
    task = {
        "kind": "document",
        "mime_type": part.mime_type,
        "identifiers": [{"kind": str(one.kind), "text": one.text} for one in identifiers],
        "name_key": part.name_key.hex(),
        "may_read": parts.readers is not None,
        "budget_s": timeout_s * _BUDGET_SHARE,
    }
    answer = await children.ask(task, [given, taken], timeout_s)
    try:
        treated = Treated.from_json(answer)
    except (TypeError, ValueError):
        return _replaced(Why.FAILED)
    if treated.outcome is not Outcome.CLEANED:
        return Document(treated)
    data = await asyncio.to_thread(_written, taken)
    if not data or len(data) % 2:
        return _replaced(Why.FAILED)
    # The child opened a hostile document: what it says of the result is not taken on trust.
    if await asyncio.to_thread(_is_residue_in, data, identifiers):
        return _replaced(Why.RESIDUE)
    return Document(treated, data)


def _is_residue_in(data: bytes, identifiers: Sequence[Identifier]) -> bool:
    return holds_identifiers(without_own_words(data), identifiers)


def _replaced(why: Why) -> Document:
    return Document(Treated(Outcome.REPLACED, why))


def _lent(document: bytes, parts: "PixelParts") -> int:
    """Return a descriptor of a file without a name that holds a document."""
    fd = parts.scratch(len(document))
    try:
        write_all(fd, document)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _written(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0) if size <= MAX_CLEANED_BYTES else b""

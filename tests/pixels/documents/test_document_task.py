"""The task ``document`` of the child processes: documents in, documents or reasons out."""

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from pikepdf import Array, Dictionary, Name

from app.errors import PixelWorkFailed
from app.pixels.children import OCR_MEMORY, QUICK_MEMORY, Children
from app.pixels.documents import CLEANABLE, Why, child
from app.pixels.documents.child import document
from tests.pixels.documents.making import (
    IDENTIFIERS,
    PLANTED,
    Paper,
    encrypted,
    holds,
    picture_of,
    texts,
)
from tests.pixels.documents.test_cda import DOCUMENT
from tests.pixels.documents.test_models import MTL, OBJ, binary_stl

FORM = Dictionary(Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 600, 800]))
TASK = {
    "kind": "document",
    "identifiers": [{"kind": i.kind.value, "text": i.text} for i in IDENTIFIERS],
    "name_key": "00ff",
    "may_read": False,
}


def file_of(data: bytes) -> int:
    fd = os.memfd_create("document", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd


def treated(mime_type: str, data: bytes, **changes: Any) -> tuple[dict[str, Any], bytes]:
    given, taken = file_of(data), file_of(b"")
    try:
        answer = document(TASK | {"mime_type": mime_type} | changes, [given, taken])
        return answer, os.pread(taken, 1 << 24, 0)
    finally:
        os.close(given)
        os.close(taken)


@pytest.mark.parametrize(
    ("mime_type", "data"),
    [
        ("application/pdf", Paper("Normal liver of Kensington").data()),
        ("text/XML", DOCUMENT.encode()),
        ("model/stl", binary_stl()),
        ("application/sla", binary_stl()),
        ("model/obj", OBJ),
        ("model/mtl", MTL),
    ],
    ids=["pdf", "cda", "stl", "sla", "obj", "mtl"],
)
def test_each_kind_of_document_is_cleaned(mime_type: str, data: bytes) -> None:
    answer, cleaned = treated(mime_type, data)

    assert answer["outcome"] == "cleaned"
    assert cleaned
    assert len(cleaned) % 2 == 0
    assert not any(word.encode() in cleaned for word in PLANTED)


@pytest.mark.parametrize(
    ("mime_type", "data", "why"),
    [
        ("image/png", b"\x89PNG", Why.NO_CLEANER),
        ("application/pdf", b"\0\0", Why.EMPTY),
        ("application/pdf", encrypted(), Why.ENCRYPTED),
        ("application/pdf", b"%PDF-1.4", Why.BROKEN),
        ("application/pdf", DOCUMENT.encode(), Why.CONTRADICTORY),
        ("text/xml", Paper("x").data(), Why.BROKEN),
        ("model/stl", OBJ, Why.CONTRADICTORY),
        ("model/obj", MTL, Why.UNKNOWN_CONTENT),
    ],
    ids=["no-cleaner", "empty", "encrypted", "broken", "xml-as-pdf", "pdf-as-xml", "obj", "mtl"],
)
def test_what_cannot_be_cleaned_has_a_reason_and_writes_nothing(
    mime_type: str, data: bytes, why: Why
) -> None:
    answer, written = treated(mime_type, data)

    assert answer == {"outcome": "replaced", "reason": why, "findings": [], "pages": 0}
    assert written == b""


def test_a_document_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MAX_DOCUMENT_BYTES", 10)

    answer, _ = treated("model/obj", OBJ)

    assert answer["reason"] == Why.TOO_LARGE


def test_no_time_is_too_little() -> None:
    answer, _ = treated("application/pdf", Paper("liver").data(), budget_s=-1.0)

    assert answer["reason"] == Why.TOO_SLOW


def test_a_part_of_a_file_may_be_the_document() -> None:
    answer, cleaned = treated("model/obj", b"before" + OBJ + b"behind", offset=6, size=len(OBJ))

    assert answer["outcome"] == "cleaned"
    assert cleaned.endswith((b"l 1 2\n", b"l 1 2\n\n"))


def test_every_type_that_is_sent_to_a_child_has_a_cleaner_there() -> None:
    assert set(child._CLEANERS) == CLEANABLE


def endless() -> bytes:
    """Return a page whose drawings each consist of ten others, twelve times over."""
    paper = Paper()
    form = paper.pdf.make_stream(b"0 0 10 10 re f ")
    form.update(FORM)
    for _ in range(12):
        outer = paper.pdf.make_stream(b"/X Do " * 10)
        outer.update(FORM)
        outer.Resources = Dictionary(XObject=Dictionary(X=form))
        form = outer
    paper.page(b"/X Do", XObject=Dictionary(X=form))
    return paper.data()


async def test_a_document_that_never_ends_costs_a_child_only() -> None:
    given, taken = file_of(endless()), file_of(b"")
    task = TASK | {"mime_type": "application/pdf"}
    try:
        with Children(size=1, memory_bytes=QUICK_MEMORY) as pool:
            with pytest.raises(PixelWorkFailed):
                await pool.ask(task, [given, taken], 3)

            assert await pool.ask({"kind": "ping"})
    finally:
        os.close(given)
        os.close(taken)


@pytest.fixture
def readers() -> Iterator[Children]:
    with Children(size=1, memory_bytes=OCR_MEMORY) as pool:
        yield pool


@pytest.mark.parametrize("ink", [0, 252])
async def test_text_in_a_picture_is_read_and_painted_over(readers: Children, ink: int) -> None:
    pytest.importorskip("rapidocr")
    paper = Paper("Normal liver.", "Nothing else was seen.")
    paper.image_page(picture_of("KENSINGTON JONATHAN", "50 mm", ink=ink))
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
        given.write(paper.data())
        given.flush()
        task = TASK | {"mime_type": "application/pdf", "may_read": True, "budget_s": 100.0}

        answer = await readers.ask(task, [given.fileno(), taken.fileno()], 120)

        cleaned = os.pread(taken.fileno(), 1 << 24, 0)
    assert answer["outcome"] == "cleaned"
    assert "picture" in answer["findings"]
    assert not holds(cleaned, PLANTED)
    assert "Normal liver" in texts(cleaned)

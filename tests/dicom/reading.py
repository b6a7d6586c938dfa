"""Short ways to read what a test built."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.dicom import part10
from app.dicom.source import FileSource, MemorySource
from app.dicom.tokens import Limits, Tokens
from tests.dicom.building import CT_IMAGE, Element, Outline, Stream
from tests.dicom.oracle import tokens_outline

FIRST = Element(0x00080016, "UI", CT_IMAGE)


def read(data: bytes, limits: Limits | None = None) -> Tokens:
    """Tokenise bytes in memory."""
    return part10.read(MemorySource(data), limits or Limits())


def read_elements(*elements: Element, limits: Limits | None = None, **form: object) -> Tokens:
    """Tokenise a data set that begins with SOP Class UID."""
    return read(Stream((FIRST, *elements), **form).encode(), limits)


@contextmanager
def file_source(data: bytes) -> Iterator[FileSource]:
    """A file that holds ``data``."""
    fd = os.memfd_create("instance")
    try:
        os.write(fd, data)
        yield FileSource(fd)
    finally:
        os.close(fd)


def places(outline: Outline | Tokens) -> list[str]:
    """Return the tags at depth 0, as eight digits, in order."""
    found = tokens_outline(outline) if isinstance(outline, Tokens) else outline
    return [f"{tag:08X}" for place, tag in found if not place]


def value(tokens: Tokens, tag: int, *place: tuple[int, int]) -> bytes | None:
    """Return the bytes of one element."""
    return tokens_outline(tokens)[place, tag].value


def values(tokens: Tokens, *tags: int) -> Sequence[bytes | None]:
    """Return the bytes of several elements at depth 0."""
    return [value(tokens, tag) for tag in tags]

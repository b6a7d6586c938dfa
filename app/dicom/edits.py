"""Edits of one frame's bytes, and what the finders of metadata in compressed frames share."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import MalformedDicom

U16 = struct.Struct(">H").unpack_from
U32 = struct.Struct(">I").unpack_from
U64 = struct.Struct(">Q").unpack_from

Frame = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``frame[start:end]``; ``replacement`` may be longer, shorter or empty."""

    start: int
    end: int
    replacement: bytes = b""


def edited_size(size: int, edits: Sequence[Edit]) -> int:
    """Compute the length of the edited frame in bytes."""
    return size + sum(len(edit.replacement) - (edit.end - edit.start) for edit in edits)


def finish(edits: list[Edit], end: int, frame: Frame) -> list[Edit]:
    """Drop what follows the codestream's end and make the length even with one zero byte."""
    pad = b"\x00" * (edited_size(end, edits) & 1)
    rest = len(frame) - end
    if rest != len(pad) or bytes(frame[end:]) != pad:
        edits.append(Edit(end, len(frame), pad))
    return edits


def read_number(unpack: Callable[..., tuple[int, ...]], frame: Frame, position: int) -> int:
    """Read a number where the frame is long enough to hold one."""
    try:
        return unpack(frame, position)[0]
    except struct.error:
        raise MalformedDicom("A compressed frame ends too early") from None


def segment_end(frame: Frame, marker: int, stop: int) -> int:
    """Find the end of the marker segment whose marker begins at ``marker``."""
    length = read_number(U16, frame, marker + 2)
    end = marker + 2 + length
    if length < 2 or end > stop:
        raise MalformedDicom("A marker segment of a compressed frame has a wrong length")
    return end

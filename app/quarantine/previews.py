"""Showing one frame of a held object: opened here, decoded in a child process.

Only the chunks that hold the header and the frame are opened, so memory is bounded by them. The
frame's bytes go to the child in a file without a name.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from app.dicom import part10
from app.dicom.source import Source, write_all
from app.dicom.tokens import Limits
from app.errors import GatewayError, HeldObjectDamaged, PixelWorkFailed, PreviewUnavailable
from app.pixels.model import Mark, Picture
from app.pixels.placing import frames_of
from app.pixels.wire import picture_to_json
from app.quarantine.sealing import HeldSource, ObjectCipher
from app.quarantine.shelf import Shelf
from app.storage.nameless import open_nameless

TIMEOUT_S: Final = 30.0
MAX_EDGE: Final = 4096
_COPY_BYTES: Final = 1 << 20


class Style(StrEnum):
    """How marks are shown."""

    DRAW = "draw"  # outlined
    FILL = "fill"  # as they will be
    NONE = "none"  # not at all


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be seen.

    Attributes:
        frame: from 0.
        style: how marks are shown.
        max_edge: longest edge in pixels; larger images are made smaller.
    """

    frame: int = 0
    style: Style = Style.DRAW
    max_edge: int = 1024


class Children(Protocol):
    """Processes that decode what nobody has looked at yet."""

    async def ask(
        self, task: dict[str, Any], fds: Sequence[int] = (), timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Have one task done; raise PixelWorkFailed where that does not work."""


class Previews:
    """Draws frames of held objects.

    Args:
        shelf: where the sealed objects lie.
        children: decode and draw; made when the first preview is asked for.
        spool: private directory of files without a name.
        limits: bounds on one object's header.
    """

    def __init__(
        self, shelf: Shelf, children: Callable[[], Children], *, spool: Path, limits: Limits
    ) -> None:
        self._shelf = shelf
        self._children = children
        self._spool = spool
        self._limits = limits

    async def png(
        self, cipher: ObjectCipher, picture: Picture, marks: Sequence[Mark], look: Look
    ) -> bytes:
        """Return one frame as PNG.

        Raises:
            HeldObjectDamaged: the object is gone or was altered.
            PreviewUnavailable: there is no such frame, or it does not decode.
            StorageUnavailable: the spool cannot be written.
        """
        with self._nameless() as frame, self._nameless() as drawn:
            size = await asyncio.to_thread(self._copy, cipher, picture, look.frame, frame)
            # Its place among the frames tells where a frame of single bits begins.
            frames: list[list[list[int]]] = [*([] for _ in range(look.frame)), [[0, size]]]
            task = {
                "kind": "render",
                "picture": picture_to_json(picture),
                "frames": frames,
                "frame": look.frame,
                "marks": [] if look.style is Style.NONE else [asdict(mark) for mark in marks],
                "style": "outline" if look.style is Style.DRAW else "fill",
                "max_edge": min(look.max_edge, MAX_EDGE),
            }
            try:
                answer = await self._children().ask(task, (frame, drawn), TIMEOUT_S)
            except PixelWorkFailed:
                raise PreviewUnavailable from None
            if "error" in answer:
                raise PreviewUnavailable
            return os.pread(drawn, os.fstat(drawn).st_size, 0)

    def _copy(self, cipher: ObjectCipher, picture: Picture, number: int, target: int) -> int:
        """Copy the bytes of one frame to a file; return how many."""
        with self._shelf.opened(cipher.place.object_id) as sealed:
            source, pieces = self._frame(HeldSource(sealed, cipher), picture, number)
            for offset, size in pieces:
                for start in range(0, size, _COPY_BYTES):
                    part = min(_COPY_BYTES, size - start)
                    write_all(target, source.read(offset + start, part))
            return sum(size for _, size in pieces)

    def _frame(
        self, held: HeldSource, picture: Picture, number: int
    ) -> tuple[Source, list[tuple[int, int]]]:
        try:
            tokens = part10.read(held, self._limits)
            if tokens.pixels is None:
                raise PreviewUnavailable("The object has no pixels")
            frames = frames_of(tokens.source, tokens.pixels, picture)
        except HeldObjectDamaged:
            raise
        except GatewayError:
            raise PreviewUnavailable from None
        if number >= len(frames):
            raise PreviewUnavailable("There is no frame of that number")
        return tokens.source, frames[number]

    @contextmanager
    def _nameless(self) -> Iterator[int]:
        descriptor = open_nameless(self._spool)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

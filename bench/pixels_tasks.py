"""Tasks of the child processes, done in this process: what one rung costs by itself."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from app.dicom import part10
from app.dicom.elements import key_tag
from app.dicom.source import MemorySource, Source, write_all
from app.dicom.tokens import Limits
from app.pipeline.picturing import picture_of
from app.pipeline.root import RootValues
from app.pixels.model import Mark, Picture
from app.pixels.placing import Pieces, frames_of
from app.pixels.wire import picture_to_json

_SOP_CLASS = 0x00080016


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """An instance as far as the tasks need it.

    Attributes:
        source: what the pieces of frames refer to: not the file where that was inflated or turned.
    """

    source: Source
    picture: Picture
    frames: list[Pieces]

    @classmethod
    def of(cls, data: bytes) -> "Opened":
        """Read a header and find the frames."""
        tokens = part10.read(MemorySource(data), Limits())
        places = {key_tag(key): index for index, key in enumerate(tokens.root.keys)}
        root = RootValues(tokens, places)
        picture = picture_of(root, root.text(_SOP_CLASS))
        if tokens.pixels is None:
            raise ValueError("an instance without pixels")
        return cls(tokens.source, picture, frames_of(tokens.source, tokens.pixels, picture))

    def task(self, kind: str, marks: Sequence[Mark] = (), **more: object) -> dict[str, Any]:
        """Return a task as the pipeline gives it to a child process."""
        return {
            "kind": kind,
            "picture": picture_to_json(self.picture),
            "frames": [list(map(list, pieces)) for pieces in self.frames],
            "marks": [asdict(mark) for mark in marks],
            **more,
        }

    @contextmanager
    def descriptors(self) -> Iterator[list[int]]:
        """Lend a descriptor of the source and one to write to."""
        fds = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("source", "written")]
        try:
            write_all(fds[0], self.source.view(0, self.source.size))
            yield fds
        finally:
            for fd in fds:
                os.close(fd)

"""What an instance is de-identified with, and what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.deid.planning import Plan, Remark
from app.deid.profile import Profile
from app.deid.rules.text import Recognizer
from app.dicom.frames import Segment, read_into, size_of, view_of
from app.dicom.source import Source, write_all
from app.dicom.tokens import Limits
from app.pipeline.output import ResultSource
from app.pipeline.side_work import PixelParts, Work
from app.vault.mapping import Originals, Replacements
from app.vault.pseudonyms import Pseudonyms


@dataclass(frozen=True, slots=True)
class Context:
    """What one instance is de-identified with.

    Attributes:
        organization: id of the organisation whose pseudonyms are used.
        profile: the confidentiality profile.
        pseudonyms: the organisation's.
        limits: bounds on the instance.
        recognize: finds persons and places in text that is cleaned, beside the built-in rules.
        domain: of the pseudonyms, for a destination that has its own; empty for the common one.
        pixels: what pixels are worked on with; None where there is nothing of the kind.
    """

    organization: str
    profile: Profile
    pseudonyms: Pseudonyms
    limits: Limits = field(default_factory=Limits)
    recognize: Recognizer | None = None
    domain: str = ""
    pixels: PixelParts | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Deidentified:
    """One de-identified SOP Instance, verified, not yet written.

    Attributes:
        plan: what was decided and why.
        originals: the identifiers it came with; sealed by the vault, nothing else reads them.
        replacements: the pseudonyms it goes out with.
        warnings: codes and places for the receiver.
        size: length in bytes.
        sop_class_uid: of the result, which is that of the original.
        modality: Modality of the result; empty where it has none.
        work: what was done to its pixels; None where the profile does not ask.
        codes: of CID 7050, those that are true of it.
    """

    plan: Plan
    originals: Originals
    replacements: Replacements
    warnings: tuple[Remark, ...]
    size: int
    sop_class_uid: str
    modality: str
    work: Work | None
    codes: tuple[tuple[str, str], ...]
    _source: Source
    _segments: tuple[Segment, ...]

    def chunks(self, max_bytes: int = 1 << 20) -> Iterator[bytes | memoryview]:
        """Yield the object's bytes; pixel bytes are read from the source as they are needed."""
        for segment in self._segments:
            if isinstance(segment, bytes):
                yield segment
                continue
            for start in range(0, segment.size, max_bytes):
                size = min(max_bytes, segment.size - start)
                yield view_of(segment, self._source, start, size)

    def fill(self, buffer: memoryview) -> Iterator[int]:
        """Fill a buffer with the object's bytes again and again; yield how many are in it.

        All but the last time it is full.
        """
        at = 0
        for segment in self._segments:
            start, left = 0, size_of(segment)
            while left:
                size = min(left, len(buffer) - at)
                read_into(segment, self._source, start, buffer[at : at + size])
                at, start, left = at + size, start + size, left - size
                if at == len(buffer):
                    yield at
                    at = 0
        if at:
            yield at

    def as_source(self) -> ResultSource:
        """Return the object as one that can be read at any place, while its source is open."""
        return ResultSource(self._source, self._segments)

    def write_to(self, fd: int) -> None:
        """Append the object to a file descriptor, piece by piece.

        Reading and writing large pieces is faster than `sendfile`, which moves single pages.
        """
        for piece in self.chunks():
            write_all(fd, piece)

"""What the pipeline's own thread cannot do, and what comes back: requests and work.

Pixels are opened in child processes and doubtful objects wait for people; neither can be done while
a header is written. So the first pass asks, and the second one uses what was done.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from app.deid.overlays import Overlay
from app.deid.rules.identifiers import Identifier
from app.dicom.source import Source
from app.pipeline.document_work import Document, DocumentPart
from app.pixels.ladder import Planned
from app.pixels.model import Decision, Picture
from app.pixels.placing import Pieces
from app.pixels.rules import RuleSet
from app.pixels.rulings import Case, Ruling


class Workers(Protocol):
    """A pool of child processes: ``app.pixels.children.Children``."""

    async def ask(
        self, task: dict[str, Any], fds: Sequence[int] = (), timeout_s: float = 60.0
    ) -> dict[str, Any]:
        """Have one task done; raise PixelWorkFailed where it cannot be done."""


class Quarantine(Protocol):
    """Where doubtful objects wait for people: ``app.quarantine.service.Quarantine``."""

    def digest(self, organization: str, source: Source) -> bytes:
        """Return what these very bytes are known by; reads all of them."""

    async def decided(self, organization: str, profile: str, digest: bytes) -> Ruling | None:
        """Return what a person decided about these very bytes; None while nobody has."""

    async def hold(self, source: Source, case: Case) -> UUID:
        """Hold an object back and return what it is called."""

    def has_room(self, size: int) -> bool:
        """Tell whether so many bytes, which it refused, would fit by now; in a thread."""

    async def remembered(self, organization: str) -> Sequence[Any]:
        """Return the mask rules that people of an organisation approved."""


@dataclass(frozen=True, slots=True)
class PixelParts:
    """What pixels are worked on with; put together once per process.

    Attributes:
        workers: mask and show images, and clean documents.
        readers: read text in images; None where nothing is installed that could.
        rules: the mask rules of an organisation, those that its people approved among them.
        quarantine: None where nobody can review.
        scratch: opens a private file without a name that takes so many bytes.
        timeout_s: how long one object may keep a child busy.
    """

    workers: Workers
    readers: Workers | None
    rules: Callable[[str], Awaitable[RuleSet]]
    quarantine: Quarantine | None
    scratch: Callable[[int], int]
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What an instance needs before it can be written.

    Attributes:
        source: what the pieces of frames refer to.
        picture: what the header says of the image; None where only overlays are asked about.
        planned: what the first rungs say of it.
        rules_version: of the rules that they went by.
        frames: the pieces of each frame; None where they could not be told apart.
        must_clean: whether there is something beside the values of pixels that has to go.
        overlays: those that would stay if nothing identifying is written in them.
        document: the one that is to be cleaned, if there is one.
        header: what the places of overlays and documents refer to.
        identifiers: what must not be read in pixels.
        cloud_study_id, cloud_patient_id: under which an object is held.
    """

    source: Source
    picture: Picture | None
    planned: Planned | None
    rules_version: str
    frames: tuple[Pieces, ...] | None
    must_clean: bool
    overlays: tuple[Overlay, ...]
    document: DocumentPart | None
    header: bytes
    identifiers: tuple[Identifier, ...]
    cloud_study_id: str
    cloud_patient_id: str


class Wanted(Exception):
    """The first pass ends here; it is done again when the work is done."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request


@dataclass(frozen=True, slots=True, repr=False)
class Masked:
    """Frames that a child process wrote.

    Attributes:
        source: holds them, one behind the other, for as long as this lives.
        lengths: of each frame in bytes.
        is_lossy_again: whether pixels outside of the masks went through a lossy codec once more.
        photometric: what the frames mean now, where it is not what they meant.
        used_entries: of a palette, first and last of those that some pixel still uses, in runs;
            None where there is none.
    """

    source: Source
    lengths: tuple[int, ...]
    is_lossy_again: bool = False
    photometric: str = ""
    used_entries: tuple[tuple[int, int], ...] | None = None

    @property
    def size(self) -> int:
        """Length of all frames in bytes."""
        return sum(self.lengths)


@dataclass(frozen=True, slots=True, repr=False)
class Work:
    """What was done for one instance.

    Attributes:
        decision: about its pixels; None where there was nothing to decide.
        masked: its frames, where they are not as they were.
        overlays: groups in which nothing identifying is written.
        document: what became of the document, where it was to be cleaned.
        rules_version: of the rules that decided.
        quarantine_id: where a person decided.
    """

    decision: Decision | None = None
    masked: Masked | None = None
    overlays: frozenset[int] = frozenset()
    document: Document | None = None
    rules_version: str = ""
    quarantine_id: str = ""

    def record(self) -> Mapping[str, Any]:
        """Return what a report tells of it; nothing in it identifies anybody."""
        if self.document is not None:
            return {"document": self.document.treated.to_json()}
        if self.decision is None:
            return {}
        told = self.decision.to_json()
        told["marks"] = [mark.pop("box") | mark for mark in told["marks"]]
        held = {"quarantine_id": self.quarantine_id} if self.quarantine_id else {}
        return {**told, **held, "rules_version": self.rules_version}

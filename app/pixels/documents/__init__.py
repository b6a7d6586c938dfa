"""Encapsulated documents, cleaned instead of replaced.

What is in this module goes between processes. The modules beside it open documents, which are
hostile input: only child processes import them. No text of a document leaves those processes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

#: Longer documents are replaced.
MAX_DOCUMENT_BYTES: Final = 64 << 20
#: No cleaned document is longer: it is part of the header, which is held in memory.
MAX_CLEANED_BYTES: Final = 48 << 20
#: MIME types that have a cleaner; whatever else is encapsulated gets a notice at once.
#: Source: PS3.3 2026d, C.24.2.
CLEANABLE: Final = frozenset(
    (
        *("application/pdf", "text/xml", "application/xml", "application/hl7-cda+xml"),
        *("model/stl", "application/sla", "model/obj", "model/mtl"),
    )
)
_KIND: Final = re.compile(r"[a-z-]{1,20}")


class Outcome(StrEnum):
    """What became of a document."""

    CLEANED = "cleaned"
    REPLACED = "replaced"


class Why(StrEnum):
    """Why a document is replaced by a notice."""

    NO_CLEANER = "no-cleaner"  # its MIME type has none
    CONTRADICTORY = "contradictory"  # it is not what its MIME type says
    ENCRYPTED = "encrypted"
    BROKEN = "broken"
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    UNKNOWN_CONTENT = "unknown-content"  # something in it that no rule covers
    NOT_READ = "not-read"  # images or letters that nothing could read
    RESIDUE = "residue"  # the check of the result found something
    EMPTY = "empty"
    NOT_INSTALLED = "not-installed"  # the extra that opens or reads such documents
    FAILED = "failed"


class Doubt(Exception):
    """A document cannot be cleaned for sure."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True, slots=True)
class Treated:
    """What the process that opened a document says of it; nothing of its content.

    Attributes:
        why: empty for a cleaned document.
        findings: kinds of what was taken out, in alphabetical order.
        pages: of a cleaned PDF.
    """

    outcome: Outcome
    why: str = ""
    findings: tuple[str, ...] = ()
    pages: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "outcome": self.outcome.value,
            "reason": self.why,
            "findings": list(self.findings),
            "pages": self.pages,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Treated":
        """Read what ``to_json`` wrote; nothing else that a child may say is passed on.

        Raises:
            TypeError, ValueError: it is not understood.
        """
        if content.get("outcome") != Outcome.CLEANED:
            return cls(Outcome.REPLACED, Why(content.get("reason", "")))
        findings = tuple(map(str, content.get("findings", ())))
        if not all(map(_KIND.fullmatch, findings)):
            raise ValueError
        return cls(Outcome.CLEANED, "", findings, int(content.get("pages", 0)))

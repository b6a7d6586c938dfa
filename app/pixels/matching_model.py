"""What is known of an instance, what was read in its image, and what a line is. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

FREE_TEXT: Final = "free-text"
DOUBTFUL: Final = "doubtful"
KINDS: Final = ("patient-name", "date", "id", "person", "institution", "phone", "address")
# What the engine calls the kinds of values.
_KIND_OF_VALUE: Final[Mapping[str, str]] = {
    "name": "person",
    "birth-date": "date",
    "phrase": "institution",
}


@dataclass(frozen=True, slots=True, repr=False)
class Known:
    """One identifying value of the instance: hidden from ``repr``.

    Attributes:
        kind: one of ``KINDS``; the kinds of ``app.deid.rules.identifiers`` are taken too.
    """

    kind: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Return plain data for a task."""
        return {"kind": self.kind, "text": self.text}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        kind = str(content["kind"])
        return cls(_KIND_OF_VALUE.get(kind, kind), str(content["text"]))


@dataclass(frozen=True, slots=True, repr=False)
class Reading:
    """One line as it was read: hidden from ``repr``.

    Attributes:
        score: how sure the reader is of the text, 0 to 1.
        found: how sure the finder is that there is text, 0 to 1.
        width: of the line in pixels of the image, along the text.
        height: across the text.
        is_cut: whether a mask may have cut off its first or last word.
    """

    text: str
    score: float
    found: float
    width: float
    height: float
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """What a line is: a kind and how sure that is."""

    kind: str
    confidence: float

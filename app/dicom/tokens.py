"""What the tokeniser finds: bounds, spans, items and the pixel value's place. No value in sight."""

from dataclasses import dataclass, field

from app.dicom.elements import SHORT_CODES
from app.dicom.source import Source


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one instance; what passes one is refused.

    Args:
        max_header_bytes: everything but the pixel value.
        max_elements: elements and items together, also pixel fragments.
        max_depth: nested sequences.
        max_converted_bytes: size of a data set after inflation or conversion.
    """

    max_header_bytes: int = 64 * 1024 * 1024
    max_elements: int = 1_000_000
    max_depth: int = 32
    max_converted_bytes: int = 512 * 1024 * 1024


class Dataset:
    """The elements of one data set or item, as places in the buffer.

    Attributes:
        keys: one key per element, in the order of the stream.
        starts: where each element begins; it ends where the next begins, the last at ``stop``.
        sequences: element index → its items, for elements that hold items.
        stop: end of the last element.
        explicit: whether element headers carry a VR.
        begin: for an item, where its item tag begins.
        after: for an item, the first byte behind it, its delimiter included.
        delimited: for an item, whether its length is undefined.
    """

    __slots__ = ("after", "begin", "delimited", "explicit", "keys", "sequences", "starts", "stop")

    def __init__(self, *, explicit: bool) -> None:
        self.keys: list[int] = []
        self.starts: list[int] = []
        self.sequences: dict[int, Items] = {}
        self.stop = 0
        self.explicit = explicit
        self.begin = 0
        self.after = 0
        self.delimited = False

    def span(self, index: int) -> tuple[int, int]:
        """Return begin and end of an element, header included."""
        following = index + 1
        starts = self.starts
        return starts[index], starts[following] if following < len(starts) else self.stop

    def value_span(self, index: int) -> tuple[int, int]:
        """Return begin and end of an element's value."""
        start, stop = self.span(index)
        long_header = self.explicit and self.keys[index] >> 32 not in SHORT_CODES
        return start + (12 if long_header else 8), stop


class Items:
    """The items of one sequence; ``delimited`` says that its length is undefined."""

    __slots__ = ("datasets", "delimited", "explicit")

    def __init__(self, *, explicit: bool, delimited: bool) -> None:
        self.datasets: list[Dataset] = []
        self.delimited = delimited
        self.explicit = explicit


@dataclass(slots=True)
class PixelValue:
    """Where the pixel value lies in the source.

    Attributes:
        key: tag and VR of the element.
        start: first byte of the element's header.
        value: first byte of the value; for encapsulated data, of its first item.
        length: length of a native value in bytes; None when encapsulated.
        fragments: offset and length of each fragment's content, the Basic Offset Table first.
        stop: first byte behind the element.
    """

    key: int
    start: int
    value: int
    length: int | None
    fragments: list[tuple[int, int]] = field(default_factory=list)
    stop: int = 0


@dataclass(slots=True, repr=False)
class Tokens:
    """One SOP Instance, tokenised.

    Attributes:
        source: where the pixel value is to be read; not the caller's after a conversion.
        buffer: the source's bytes from its beginning to at least the end of the header.
        transfer_syntax: UID of the encoding of ``source``.
        meta: File Meta values by tag, padding included.
        root: the data set up to Pixel Data.
        pixels: the pixel value, if there is one.
        tail_buffer, tail: what follows the pixel value.
        anomalies: codes of tolerated faults.
    """

    source: Source
    buffer: bytes
    transfer_syntax: str
    meta: dict[int, bytes]
    root: Dataset
    anomalies: list[str]
    pixels: PixelValue | None = None
    tail_buffer: bytes = b""
    tail: Dataset | None = None

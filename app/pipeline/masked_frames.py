"""Frames that a child process wrote, in the place of those that came."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.dicom.frame_sizes import FrameSize
from app.dicom.frames import CleanFrames, Lent, Range, Segment, clean_frames, lent_frames, size_of
from app.dicom.tokens import PixelValue
from app.pipeline.output import ResultSource
from app.pipeline.side_work import Masked

_ITEM_HEADER = 8


def masked_frames(
    masked: Masked, transfer_syntax: str, *, has_table: bool, frame_size: FrameSize
) -> CleanFrames:
    """Return encapsulated frames; what hides inside of them goes as it does from others.

    Args:
        masked: the frames.
        transfer_syntax: theirs.
        has_table: whether a Basic Offset Table is written.
        frame_size: what the instance says of their pixels.
    """
    lent = lent_frames(masked.source, masked.lengths, has_table=has_table)
    segments = lent.segments or []
    whole = ResultSource(masked.source, segments)
    pixels = PixelValue(
        key=0, start=0, value=0, length=None, fragments=list(_items(segments)), stop=whole.size
    )
    cleaned = clean_frames(
        whole,
        pixels,
        transfer_syntax,
        frame_count=len(masked.lengths),
        frame_size=frame_size,
    )
    if cleaned is None or cleaned.segments is None:
        return lent
    return replace(
        cleaned,
        segments=[
            Lent(whole, one.offset, one.size) if isinstance(one, Range) else one
            for one in cleaned.segments
        ],
    )


def _items(segments: Sequence[Segment]) -> Iterator[tuple[int, int]]:
    """Yield where the content of each item lies: the offset table, then a fragment per frame."""
    table = size_of(segments[0])
    yield _ITEM_HEADER, table - _ITEM_HEADER
    position = table
    for header, content in zip(segments[1:-1:2], segments[2:-1:2], strict=True):
        position += size_of(header)
        yield position, size_of(content)
        position += size_of(content)

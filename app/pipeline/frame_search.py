"""The last look into compressed frames, whose bytes nobody decodes: for identifying values.

Where the last pixel's bits end is not known without decoding, so text may stand behind them. It is
looked for at the end of each frame; JPEG XL and video are looked through as a whole.
"""

import struct
from collections.abc import Iterator
from typing import Final

from app.deid.substitutes import Originals
from app.deid.verifying import check_stream
from app.dicom.codestreams import Codestream, codestream_of
from app.dicom.frames import CleanFrames, size_of
from app.dicom.source import Source
from app.dicom.tokens import PixelValue
from app.pipeline.output import ResultSource

_WHOLE: Final = (Codestream.JPEG_XL, Codestream.VIDEO)
_TAILS: Final = (Codestream.JPEG, Codestream.JPEG_2000)
_TAIL_BYTES, _PIECE, _OVERLAP = 4096, 1 << 20, 2048
# By chance a shorter text stands in so many bytes now and then.
_LEAST, _LEAST_IN_MUCH = 6, 8
_DELIMITER_BYTES = 8


def search_frames(
    source: Source,
    pixels: PixelValue,
    frames: CleanFrames,
    transfer_syntax: str,
    originals: Originals,
) -> None:
    """Refuse compressed frames in which an identifying value stands as plain text.

    Args:
        source: the instance.
        pixels: its pixel value.
        frames: as they are about to leave.
        transfer_syntax: theirs.
        originals: what must not be found.

    Raises:
        ResidualIdentifier: a value was found.
    """
    kind = codestream_of(transfer_syntax)
    if kind not in _WHOLE and kind not in _TAILS:
        return
    if frames.segments is None:
        offset, size = pixels.fragments[0]
        base, stop, where = offset + size, pixels.stop, source
    else:
        result = ResultSource(source, frames.segments)
        base, stop, where = size_of(frames.segments[0]), result.size, result
    for start, end in _spans(frames, base, stop - _DELIMITER_BYTES):
        if kind in _TAILS:
            first = max(start, end - _TAIL_BYTES)
            check_stream(where.read(first, end - first), originals, _LEAST)
            continue
        least = _LEAST if end - start <= _PIECE else _LEAST_IN_MUCH
        for at in range(start, end, _PIECE):
            size = min(_PIECE + _OVERLAP, end - at)
            check_stream(where.read(at, size), originals, least)


def _spans(frames: CleanFrames, base: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield where each frame begins and ends, headers of its items included."""
    starts = [base + start for (start,) in struct.iter_unpack("<Q", frames.offsets)]
    yield from zip(starts, [*starts[1:], stop], strict=True)

"""Units of H.264 and H.265 streams: which of them are needed to decode pictures.

Source: ISO/IEC 14496-10, table 7-1; ISO/IEC 23008-2, table 7-1.
"""

from collections.abc import Callable
from typing import Final

#: Returns so many bytes of the stream from an offset.
Reader = Callable[[int, int], bytes]

# Unit types that carry pictures and what is needed to decode them; all others are filler to us.
H_264_NEEDED: Final = frozenset((1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 19, 20))
H_265_NEEDED: Final = frozenset((*range(10), *range(16, 22), *range(32, 38)))


def is_needed(unit: bytes, *, is_h_265: bool) -> bool:
    """Say whether a unit, by its first byte, is needed to decode pictures."""
    if is_h_265:
        return unit[0] >> 1 & 0x3F in H_265_NEEDED
    return unit[0] & 0x1F in H_264_NEEDED

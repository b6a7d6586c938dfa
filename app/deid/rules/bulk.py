"""How long waveforms and look-up tables can be by what stands beside them.

What lies behind the last sample or entry is nothing that a reader shows, and can be anything.
"""

from collections.abc import Sequence

_WAVEFORM_DATA = 0x54001010
#: Attribute → those of the same item that say how long its value is.
MEASURES: dict[int, tuple[int, ...]] = {
    # Number of Waveform Channels and Samples, Waveform Bits Allocated. Source: PS3.3 2026d,
    # C.10.9.1.
    _WAVEFORM_DATA: (0x003A0005, 0x003A0010, 0x54001004),
    # LUT Data and palettes with their descriptors. Source: PS3.3 2026d, C.11.1.1 and C.7.6.3.1.5.
    0x00283006: (0x00283002,),
    **{0x00281201 + n: (0x00281101 + n,) for n in range(4)},
}
_MOST_ENTRIES, _ENTRY_BYTES = 65_536, 2


def longest(tag: int, measures: Sequence[bytes]) -> int | None:
    """Return how many bytes a value can have at most, padding included.

    Args:
        tag: one of ``MEASURES``.
        measures: values of its measures, little endian.

    Returns:
        ``None`` where they say nothing.
    """
    if not all(measures):
        return None
    numbers = [int.from_bytes(value[:4], "little") for value in measures]
    if tag == _WAVEFORM_DATA:
        channels, samples, bits = numbers
        size = channels * samples * bits // 8
    else:
        # The first of three numbers; an entry of eight bits may take two bytes as well.
        size = (numbers[0] & 0xFFFF or _MOST_ENTRIES) * _ENTRY_BYTES
    return size + size % 2 or None

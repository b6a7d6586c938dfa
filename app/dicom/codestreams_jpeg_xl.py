"""Codestreams of JPEG XL: where they end, as their headers say.

Read are images of one frame without what images in DICOM do not have: previews, animation, extra
channels, colour profiles, crops, blending, sections out of order. Of others nobody knows the end.

Source: ISO/IEC 18181-1, annexes B to F.
"""

from app.dicom.edits import Frame
from app.errors import MalformedDicom, UndecidableElement

JPEG_XL_START = b"\xff\x0a"
_START_BITS = 16
_EDGE = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))
_COORDINATE = ((19, 0), (19, 524_288), (20, 1_048_576), (21, 2_097_152))
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SECTION = ((10, 0), (14, 1024), (22, 17_408), (30, 4_211_712))
_NAME = ((0, 0), (4, 0), (5, 16), (10, 48))
_GREY, _XYB = 1, 2
_CUSTOM, _USES_DC_FRAME = 2, 32
_MOST_SECTIONS = 1 << 20
_Choices = tuple[tuple[int, int], ...]


class _Unread(Exception):  # a signal, not an error
    """The codestream has something that is not read here."""


def end_of_codestream(frame: Frame, start: int, stop: int) -> int | None:
    """Return where the codestream in ``frame[start:stop]`` ends; None where that is not known.

    Raises:
        MalformedDicom: it does not begin like one, or ends too early.
        UndecidableElement: its frame has a name, which can be any text.
    """
    if bytes(frame[start : start + 2]) != JPEG_XL_START:
        raise MalformedDicom("A compressed frame does not begin like its format")
    bits = _Bits(frame, start, stop)
    try:
        size = _size(bits)
        is_xyb = _metadata(bits)
        _expect(bits.flag())  # no transform of its own
        bits.align()
        count = _frame(bits, size, is_xyb=is_xyb)
        end = _end(bits, count)
    except _Unread:
        return None
    return end if end <= stop else None


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, frame: Frame, start: int, stop: int) -> None:
        self.frame = frame
        self.at = 8 * start + _START_BITS
        self.stop = stop

    def number(self, size: int) -> int:
        first, last = self.at >> 3, (self.at + size + 7) >> 3
        if last > self.stop:
            raise MalformedDicom("A compressed frame ends too early")
        value = int.from_bytes(self.frame[first:last], "little") >> (self.at & 7)
        self.at += size
        return value & ((1 << size) - 1)

    def flag(self) -> bool:
        return self.number(1) == 1

    def one_of(self, choices: _Choices) -> int:
        size, offset = choices[self.number(2)]
        return self.number(size) + offset

    def long(self) -> int:
        """Read a number of up to 64 bits; one of more than 12 is no longer told from others."""
        size, offset = ((0, 0), (4, 1), (8, 17), (12, 0))[self.number(2)]
        if size == 12:
            raise _Unread
        return self.number(size) + offset

    def align(self) -> None:
        self.at = (self.at + 7) & ~7


def _expect(condition: object) -> None:
    if not condition:
        raise _Unread


def _size(bits: _Bits) -> tuple[int, int]:
    """Read height and width."""
    is_small = bits.flag()

    def edge() -> int:
        return 8 * (bits.number(5) + 1) if is_small else bits.one_of(_EDGE)

    height = edge()
    ratio = bits.number(3)
    if not ratio:
        return height, edge()
    across, down = _RATIOS[ratio - 1]
    return height, height * across // down


def _metadata(bits: _Bits) -> bool:
    """Read what is said of the image; return whether its colours are XYB."""
    if bits.flag():
        return True
    has_more = bits.flag()
    if has_more:
        bits.number(3)  # orientation
        if bits.flag():
            _size(bits)
        _expect(not bits.number(2))  # preview, animation
    _depth(bits)
    bits.flag()  # whether 16 bits suffice
    _expect(not bits.one_of(((0, 0), (0, 1), (4, 2), (12, 1))))  # extra channels
    is_xyb = bits.flag()
    _colours(bits)
    if has_more and not bits.flag():
        bits.number(16 + 16 + 1 + 16)  # tone mapping
    _expect(not bits.long())
    return is_xyb


def _depth(bits: _Bits) -> None:
    if bits.flag():
        bits.one_of(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.number(4)
    else:
        bits.one_of(((0, 8), (0, 10), (0, 12), (6, 1)))


def _colours(bits: _Bits) -> None:
    if bits.flag():
        return
    _expect(not bits.flag())  # a colour profile
    space = bits.one_of(_ENUM)
    if space != _XYB:
        _chromaticities(bits, 1)
        if space != _GREY:
            _chromaticities(bits, 3)
        if bits.flag():
            bits.number(24)
        else:
            bits.one_of(_ENUM)
    bits.one_of(_ENUM)


def _chromaticities(bits: _Bits, count: int) -> None:
    if bits.one_of(_ENUM) == _CUSTOM:
        for _ in range(2 * count):
            bits.one_of(_COORDINATE)


def _frame(bits: _Bits, size: tuple[int, int], *, is_xyb: bool) -> int:
    """Read the header of the only frame; return how many sections it has."""
    if bits.flag():
        _expect(is_xyb)
        return _sections(size, 256, 1)
    _expect(not bits.number(2))  # a regular frame
    is_modular = bits.flag()
    _expect(not bits.long() & _USES_DC_FRAME)
    if not is_xyb and bits.flag():
        bits.number(6)
    upsampling = bits.one_of(((0, 1), (0, 2), (0, 4), (0, 8)))
    edge = 128 << bits.number(2) if is_modular else 256
    if not is_modular and is_xyb:
        bits.number(6)
    passes = _passes(bits)
    _expect(not bits.flag())  # a crop
    _expect(not bits.number(2))  # blending
    _expect(bits.flag())  # the last one
    if bits.one_of(_NAME):
        raise UndecidableElement("A JPEG XL frame has a name")
    _filter(bits, is_modular=is_modular)
    _expect(not bits.long())
    height, width = (-(-one // upsampling) for one in size)
    return _sections((height, width), edge, passes)


def _passes(bits: _Bits) -> int:
    passes = bits.one_of(((0, 1), (0, 2), (0, 3), (3, 4)))
    if passes == 1:
        return 1
    steps = bits.one_of(((0, 0), (0, 1), (0, 2), (1, 3)))
    bits.number(2 * (passes - 1))
    for _ in range(steps):
        bits.number(2)
    for _ in range(steps):
        bits.one_of(((0, 0), (0, 1), (0, 2), (3, 0)))
    return passes


def _filter(bits: _Bits, *, is_modular: bool) -> None:
    if bits.flag():
        return
    if bits.flag():
        _expect(not bits.flag())  # weights of its own
    if bits.number(2):
        _expect(is_modular or not bits.flag())
        _expect(not bits.number(2))
        if is_modular:
            bits.number(16)
    _expect(not bits.long())


def _sections(size: tuple[int, int], edge: int, passes: int) -> int:
    """Count the sections: one for a small frame, else one for all, groups of groups, groups."""
    groups, coarse = (-(-size[0] // length) * -(-size[1] // length) for length in (edge, 8 * edge))
    return 1 if groups == passes == 1 else 2 + coarse + groups * passes


def _end(bits: _Bits, count: int) -> int:
    """Read the sizes of the sections; return where the last one ends."""
    _expect(count <= _MOST_SECTIONS and not bits.flag())
    bits.align()
    total = sum(bits.one_of(_SECTION) for _ in range(count))
    bits.align()
    return bits.at // 8 + total

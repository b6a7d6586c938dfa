"""Headers of a JPEG or JPEG-LS frame and of its scans: where they end, which tables they select.

Every value is coded once: a scan that codes values again shows nothing, and anything may stand
in it.

Source: ISO/IEC 10918-1, B.2.2, B.2.3 and G.1.1; ISO/IEC 14495-1, C.2.2 and C.2.3.
"""

from dataclasses import dataclass
from typing import Final

from app.dicom.codestreams_jpeg_tables import (
    AC,
    HUFFMAN,
    MAP,
    OVERSIZE,
    PRESETS,
    QUANTISATION,
    THRESHOLDS,
    Tables,
)
from app.errors import MalformedDicom, UndecidableElement

_LS: Final = 0xF7
_SEQUENTIAL: Final = frozenset((0xC0, 0xC1, 0xC9))
_PROGRESSIVE: Final = frozenset((0xC2, 0xCA))
_LOSSLESS: Final = frozenset((0xC3, 0xCB))
_ARITHMETIC: Final = frozenset((0xC9, 0xCA, 0xCB))
#: Markers of frame headers.
FRAME_HEADERS: Final = _SEQUENTIAL | _PROGRESSIVE | _LOSSLESS | {_LS}
_MOST_IN_SCAN, _COEFFICIENTS = 4, 64


@dataclass(frozen=True, slots=True)
class _Scan:
    """One scan: components with the tables they select, first and last coefficient, bits."""

    components: tuple[tuple[int, int], ...]
    first: int
    last: int
    bits_before: int
    bits: int


class Scans:
    """The frame header and the scans of one frame.

    Args:
        tables: those of the frame.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._marker = 0
        # How many components have an id, and which quantisation tables they select.
        self._components: dict[int, list[int]] = {}
        self._left: dict[int, int] = {}
        # How many bits of a coefficient of a component are still to come.
        self._missing: dict[tuple[int, int], int] = {}

    @property
    def is_ls(self) -> bool:
        """Whether the frame is one of JPEG-LS."""
        return self._marker == _LS

    def frame(self, marker: int, body: bytes) -> int:
        """Take in the frame header; return how many bytes it has.

        Raises:
            MalformedDicom: it is not whole, or there was one before.
        """
        count = body[5] if len(body) > 5 else 0
        size = 6 + 3 * count
        if self._marker or not count or len(body) < size:
            raise MalformedDicom("A compressed frame does not have one frame header")
        self._marker = marker
        for at in range(6, size, 3):
            self._components.setdefault(body[at], []).append(body[at + 2])
        self._left = {number: len(found) for number, found in self._components.items()}
        return size

    def scan(self, body: bytes) -> int:
        """Take in the header of a scan; return how many bytes it has.

        Raises:
            MalformedDicom: it is not whole, or not one of this frame.
        """
        count = body[0] if body else 0
        size = 4 + 2 * count
        if not 0 < count <= _MOST_IN_SCAN or len(body) < size:
            raise _wrong()
        places = range(1, 1 + 2 * count, 2)
        components = tuple((body[at], body[at + 1]) for at in places)
        bits = body[size - 1]
        scan = _Scan(components, body[size - 3], body[size - 2], bits >> 4, bits & 15)
        self._check(scan)
        self._select(scan)
        return size

    def _check(self, scan: _Scan) -> None:
        """See to it that nothing is coded twice."""
        if any(number not in self._components for number, _ in scan.components):
            raise _wrong()
        if self._marker in _PROGRESSIVE:
            self._check_progress(scan)
            return
        for number, _ in scan.components:
            self._left[number] -= 1
            if self._left[number] < 0:
                raise _wrong()

    def _check_progress(self, scan: _Scan) -> None:
        """See to it that each scan adds bits to coefficients that had not more of them yet."""
        if not scan.first <= scan.last < _COEFFICIENTS:
            raise _wrong()
        for number, _ in scan.components:
            for coefficient in range(scan.first, scan.last + 1):
                place = number, coefficient
                if self._missing.get(place, 0) != scan.bits_before:
                    raise _wrong()
                if place in self._missing and not scan.bits_before:
                    raise _wrong()
                self._missing[place] = scan.bits

    def _select(self, scan: _Scan) -> None:
        tables = self._tables
        tables.use_restart(is_ls=self.is_ls)
        if self._marker in _ARITHMETIC:
            tables.use_conditioning()
        if self.is_ls:
            tables.use(PRESETS, THRESHOLDS)
            tables.use(PRESETS, OVERSIZE)
        for number, selected in scan.components:
            if self.is_ls:
                tables.use(PRESETS, MAP | selected)
                continue
            self._select_codes(scan, selected)
            if self._marker not in _LOSSLESS:
                for quantisation in self._components[number]:
                    tables.use(QUANTISATION, quantisation)

    def _select_codes(self, scan: _Scan, selected: int) -> None:
        """Use the Huffman tables that decoders read: for values, for coefficients, for both."""
        if self._marker in _ARITHMETIC:
            return
        is_progressive = self._marker in _PROGRESSIVE
        has_dc = not is_progressive or (not scan.first and not scan.bits_before)
        has_ac = scan.first > 0 if is_progressive else self._marker not in _LOSSLESS
        if has_dc:
            self._tables.use(HUFFMAN, selected >> 4)
        if has_ac:
            self._tables.use(HUFFMAN, AC | selected & 15)


def refuse_hierarchy(marker: int) -> None:
    """Refuse a marker of frames that build on each other, which no reader shows."""
    if marker in _HIERARCHICAL:
        raise UndecidableElement("A hierarchical JPEG frame is not understood")


_HIERARCHICAL: Final = frozenset((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF))


def _wrong() -> MalformedDicom:
    return MalformedDicom("A compressed frame has a scan that is not one of its own")

"""Metadata inside frames of JPEG and JPEG-LS.

Source: ISO/IEC 10918-1, annex B; ISO/IEC 14495-1, annex C.
"""

import re

from app.dicom.edits import U16, Edit, Frame, finish, segment_end
from app.errors import MalformedDicom

_SOI, _EOI, _SOS, _COM, _SOF_LS = 0xD8, 0xD9, 0xDA, 0xFE, 0xF7
_APP_FIRST, _APP_LAST = 0xE0, 0xEF
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_NEEDED = frozenset(range(0xC0, 0xD0)) - {0xC8} | {_SOS, *range(0xDB, 0xE0), _SOF_LS, 0xF8, 0xF9}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# In entropy-coded data FF is stuffed: with a zero byte, or in JPEG-LS with a zero bit.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER_IN_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JFIF = b"\xff\xe0\x00\x10JFIF\x00"
_JFIF_DEFAULT = b"\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_MAX_DENSITY = 4800


class JpegWalk:
    """Walks the marker segments of one frame and collects edits."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.position = 2
        self.is_ls = False
        self.found: list[Edit] = []

    def edits(self) -> list[Edit]:
        """Walk from SOI to EOI."""
        pattern, scanned = _MARKER, False
        while True:
            match = pattern.search(self.frame, self.position)
            if match is None:
                raise MalformedDicom("A compressed frame has no end marker")
            start = match.start()
            if pattern is _MARKER and start > self.position:
                self.found.append(Edit(self.position, start))
            marker = self.frame[start + 1]
            if marker == _EOI and scanned:
                return finish(self.found, start + 2, self.frame)
            self._segment(start, marker)
            pattern = self._scan_pattern() if marker == _SOS else _MARKER
            scanned = scanned or marker == _SOS

    def _scan_pattern(self) -> re.Pattern[bytes]:
        return _MARKER_IN_LS_SCAN if self.is_ls else _MARKER_IN_SCAN

    def _segment(self, start: int, marker: int) -> None:
        if marker in _NO_LENGTH:
            self.position = start + 2
            return
        is_metadata = marker == _COM or _APP_FIRST <= marker <= _APP_LAST
        if not is_metadata and marker not in _NEEDED:
            raise MalformedDicom("A compressed frame has an unknown marker")
        self.position = segment_end(self.frame, start, len(self.frame))
        self.is_ls = self.is_ls or marker == _SOF_LS
        if is_metadata:
            present = bytes(self.frame[start : min(self.position, start + 24)])
            canonical = _canonical_segment(present, self.position - start)
            if canonical != present or len(canonical) != self.position - start:
                self.found.append(Edit(start, self.position, canonical))


def _canonical_segment(segment: bytes, size: int) -> bytes:
    """Give what a decoder needs of an APPn or COM segment: nothing, for most.

    JFIF and Adobe's segment decide the colour space, "mrfx" the colour transform of JPEG-LS.
    """
    marker, body = segment[1], segment[4:]
    if marker == 0xE0 and body.startswith(b"JFIF\x00") and size >= 18:
        return _canonical_jfif(body)
    if marker == 0xEE and body.startswith(b"Adobe") and size >= 16:
        transform = body[11] if body[11] <= 2 else 1
        return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes((transform,))
    if marker == 0xE8 and body.startswith(b"mrfx") and size >= 9:
        return b"\xff\xe8\x00\x07mrfx" + body[4:5]
    return b""


def _canonical_jfif(body: bytes) -> bytes:
    """Drop the thumbnail; a version or density that no encoder writes gives way to defaults."""
    version, units = body[5:7], body[7]
    densities = U16(body, 8)[0], U16(body, 10)[0]
    is_usual = version in {b"\x01\x00", b"\x01\x01", b"\x01\x02"} and units <= 2
    if is_usual and max(densities) <= _MAX_DENSITY:
        return _JFIF + body[5:12] + b"\x00\x00"
    return _JFIF + _JFIF_DEFAULT

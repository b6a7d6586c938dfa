"""Metadata inside frames of JPEG and JPEG-LS.

Source: ISO/IEC 10918-1, annex B; ISO/IEC 14495-1, annex C.
"""

import re

from app.dicom.codestreams_jpeg_scans import FRAME_HEADERS, Scans, refuse_hierarchy
from app.dicom.codestreams_jpeg_tables import HOLDERS, Tables
from app.dicom.edits import U16, Edit, Frame, finish, segment_end
from app.errors import MalformedDicom

_EOI, _SOS, _DNL, _COM = 0xD9, 0xDA, 0xDC, 0xFE
_APP_FIRST, _APP_LAST = 0xE0, 0xEF
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_LINES_BYTES = 2
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
        self.found: list[Edit] = []
        self.tables = Tables()
        self.scans = Scans(self.tables)
        self.has_lines = False

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
                self.found += self.tables.edits(self.frame)
                self.found.sort(key=lambda edit: edit.start)
                return finish(self.found, start + 2, self.frame)
            self._segment(start, marker)
            pattern = self._scan_pattern() if marker == _SOS else _MARKER
            scanned = scanned or marker == _SOS

    def _scan_pattern(self) -> re.Pattern[bytes]:
        return _MARKER_IN_LS_SCAN if self.scans.is_ls else _MARKER_IN_SCAN

    def _segment(self, start: int, marker: int) -> None:
        """Judge one segment; a marker of a restart or of no meaning has no place outside scans."""
        if marker in _NO_LENGTH:
            self.position = start + 2
            self.found.append(Edit(start, self.position))
            return
        self.position = segment_end(self.frame, start, len(self.frame))
        if marker == _COM or _APP_FIRST <= marker <= _APP_LAST:
            self._metadata(start)
        elif marker in HOLDERS:
            self.tables.add(marker, start, bytes(self.frame[start + 4 : self.position]))
        else:
            self._header(start, marker)

    def _metadata(self, start: int) -> None:
        present = bytes(self.frame[start : min(self.position, start + 24)])
        canonical = _canonical_segment(present, self.position - start)
        if canonical != present or len(canonical) != self.position - start:
            self.found.append(Edit(start, self.position, canonical))

    def _header(self, start: int, marker: int) -> None:
        """Cut a header of the frame or a scan to the length that its content has."""
        refuse_hierarchy(marker)
        body = bytes(self.frame[start + 4 : self.position])
        if marker in FRAME_HEADERS:
            size = self.scans.frame(marker, body)
        elif marker == _SOS:
            size = self.scans.scan(body)
        elif marker == _DNL and len(body) >= _LINES_BYTES:
            size = _LINES_BYTES
        else:
            raise MalformedDicom("A compressed frame has an unknown marker")
        if marker == _DNL and self.has_lines:
            self.found.append(Edit(start, self.position))
        elif size < len(body):
            self.found.append(Edit(start + 2, start + 4, (size + 2).to_bytes(2, "big")))
            self.found.append(Edit(start + 4 + size, self.position))
        self.has_lines = self.has_lines or marker == _DNL


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

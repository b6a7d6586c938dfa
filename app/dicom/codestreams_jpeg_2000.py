"""Metadata inside codestreams of JPEG 2000 and High-Throughput JPEG 2000.

What goes from a tile-part's header is blanked in place, so that no length in the codestream
changes; from the main header it is cut out.

Source: ISO/IEC 15444-1, annex A; ISO/IEC 15444-2, annex A; ISO/IEC 15444-15.
"""

import re
from dataclasses import dataclass

from app.dicom.codestreams_jpeg_2000_segments import (
    COM,
    NEEDLESS,
    PLT,
    QCC,
    QCD,
    SIZ,
    TLM,
    Image,
    are_lengths,
    are_tile_parts,
    blank_comment,
    content_bytes,
    identity,
    image_of,
    levels_of,
    quantisation_bytes,
)
from app.dicom.edits import U16, U32, Edit, Frame, finish, read_number, segment_end
from app.errors import MalformedDicom

JPEG_2000_START = b"\xff\x4f\xff\x51"
_SOT, _SOD, _EOC = 0xFF90, 0xFF93, 0xFFD9
_SEGMENTS = frozenset(
    {*range(0xFF50, 0xFF54), *range(0xFF55, 0xFF5A), *range(0xFF5C, 0xFF62), 0xFF63}
    | {COM, *range(0xFF72, 0xFF7A)}
)
_EOC_BYTES = re.compile(rb"\xff\xd9")


def jpeg_2000_edits(frame: Frame, start: int, stop: int, edits: list[Edit]) -> list[Edit]:
    """Add the edits of the codestream in ``frame[start:stop]`` to what stands before it."""
    return _Walk(frame, start, stop, edits).edits()


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    start: int
    end: int
    body: bytes


class _Walk:
    """Goes through the segments of one codestream."""

    def __init__(self, frame: Frame, start: int, stop: int, found: list[Edit]) -> None:
        self.frame = frame
        self.start = start
        self.stop = stop
        self.found = found
        end = segment_end(frame, start + 2, stop)
        self.image: Image = image_of(bytes(frame[start + 6 : end]))
        self._levels = 0
        self._quantisation: list[_Segment] = []
        self._pointers: list[_Segment] = []
        self._tile_parts: list[tuple[int, int]] = []
        # Tile → how many of its parts were met.
        self._met: dict[int, int] = {}

    def edits(self) -> list[Edit]:
        """Walk from SOC to EOC."""
        position = self._main_header()
        while read_number(U16, self.frame, position) == _SOT:
            position = self._tile_part(position)
        if read_number(U16, self.frame, position) != _EOC or position + 2 > self.stop:
            raise MalformedDicom("A JPEG 2000 codestream has no end marker")
        for segment in self._quantisation:
            size = quantisation_bytes(segment.marker, segment.body, self.image, self._levels)
            self._blank(segment.start + 4 + size, segment.end)
        if not are_tile_parts([one.body for one in self._pointers], self._tile_parts):
            self.found += [Edit(one.start, one.end) for one in self._pointers]
        self.found.sort(key=lambda edit: edit.start)
        return finish(self.found, position + 2, self.frame)

    def _main_header(self) -> int:
        """Judge the main header; return where the first tile-part begins."""
        segments, position = self._header(self.start + 2, _SOT)
        for segment in segments:
            if segment.marker in NEEDLESS:
                self.found.append(Edit(segment.start, segment.end))
            elif segment.marker == TLM:
                self._pointers.append(segment)
            else:
                self._keep(segment)
        return position

    def _header(self, position: int, last: int) -> tuple[list[_Segment], int]:
        """Read the segments up to the marker ``last``; each kind that is single once."""
        segments, seen = [], set()
        while (marker := read_number(U16, self.frame, position)) != last:
            if marker not in _SEGMENTS or (marker == SIZ and position != self.start + 2):
                raise MalformedDicom("A JPEG 2000 codestream has an unknown marker")
            end = segment_end(self.frame, position, self.stop)
            body = bytes(self.frame[position + 4 : end])
            kind = identity(marker, body, self.image)
            if kind in seen:
                raise MalformedDicom("A JPEG 2000 codestream says the same twice")
            if kind is not None:
                seen.add(kind)
            segments.append(_Segment(marker, position, end, body))
            position = end
        return segments, position

    def _keep(self, segment: _Segment) -> None:
        """Blank what a segment holds behind its content."""
        size = content_bytes(segment.marker, segment.body, self.image)
        self._levels = max(self._levels, levels_of(segment.marker, segment.body, self.image))
        if segment.marker in {QCD, QCC}:
            self._quantisation.append(segment)
        self._blank(segment.start + 4 + size, segment.end)

    def _blank(self, start: int, end: int) -> None:
        if bytes(self.frame[start:end]) != bytes(end - start):
            self.found.append(Edit(start, end, bytes(end - start)))

    def _tile_part(self, start: int) -> int:
        """Judge one tile-part; return its end."""
        if segment_end(self.frame, start, self.stop) != start + 12:
            raise MalformedDicom("A JPEG 2000 tile-part has a wrong header")
        segments, position = self._header(start + 12, _SOD)
        end = start + read_number(U32, self.frame, start + 6)
        if end == start:
            end = self._end_of_last_tile_part(position + 2)
        if not position + 2 <= end <= self.stop:
            raise MalformedDicom("A JPEG 2000 tile-part has a wrong length")
        self._count(start, end)
        self._tile_header(segments, end - position - 2)
        return end

    def _tile_header(self, segments: list[_Segment], size: int) -> None:
        """Judge the segments of a tile-part whose packets take so many bytes."""
        lengths = [one.body for one in segments if one.marker == PLT]
        needless = NEEDLESS if are_lengths(lengths, size) else NEEDLESS | {PLT}
        for one in segments:
            if one.marker in needless:
                self._replace(one)
            else:
                self._keep(one)

    def _replace(self, segment: _Segment) -> None:
        blank = blank_comment(segment.end - segment.start)
        if bytes(self.frame[segment.start : segment.end]) != blank:
            self.found.append(Edit(segment.start, segment.end, blank))

    def _count(self, start: int, end: int) -> None:
        """See to it that the parts of each tile follow each other, and are not too many.

        Encoders are known that count one too few.
        """
        tile = read_number(U16, self.frame, start + 4)
        part, parts = self.frame[start + 10], self.frame[start + 11]
        if tile >= self.image.tiles or part != self._met.get(tile, 0) or 0 < parts < part:
            raise MalformedDicom("A JPEG 2000 codestream has a tile-part that is not its own")
        self._met[tile] = part + 1
        self._tile_parts.append((tile, end - start))

    def _end_of_last_tile_part(self, position: int) -> int:
        match = _EOC_BYTES.search(self.frame, position)
        if match is None:
            raise MalformedDicom("A JPEG 2000 codestream has no end marker")
        return match.start()

"""Video inside of an MPEG transport stream: packets beside the pictures, blanked in place.

One program with one video stream passes. Whatever carries another stream, a table that is not
needed, or private data becomes a packet of no meaning, or refuses the video.

Source: ISO/IEC 13818-1, 2.4.3 (packets, PES), 2.4.4 (tables), 2.6 (descriptors).
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from app.dicom.edits import Edit
from app.dicom.video_units import Reader
from app.errors import LimitExceeded, MalformedDicom, UndecidableElement

PACKET: Final = 188
SYNC: Final = 0x47
_NULL_PID = 0x1FFF
_NOTHING = b"\x47\x1f\xff\x10" + b"\xff" * (PACKET - 4)
_PACKETS_AT_ONCE = 4096
_MAX_PACKETS = 1_000_000
_VIDEO_TYPES = frozenset((0x01, 0x02, 0x1B, 0x20, 0x24))
# Descriptors that say how video is coded, clocked and buffered; each is short.
_DESCRIPTORS = frozenset((0x02, 0x05, 0x06, 0x0B, 0x0C, 0x0E, 0x10, 0x11, 0x28, 0x2A, 0x38, 0x52))
_MAX_DESCRIPTOR = 8
_VIDEO_STREAMS = range(0xE0, 0xF0)
# Flags of an adaptation field: splicing, private data, extension.
_NOT_TAKEN = 0x07
_PROGRAMS_PID, _STREAMS_TABLE, _BEGINS = 0, 2, 0x40
_LEAST_SECTION = 5
_CLEAR = 0x80  # of a PES header: a fixed bit, nothing scrambled
# Flags of a PES header: only time stamps are taken.
_TIMES = 0xC0


class TransportStream:
    """The packets of one stream, and the video inside of them.

    Args:
        read: the whole stream.
        size: of it in bytes.

    Attributes:
        size: length of the video inside, in bytes.
        edits: of what is around the video, in order.

    Raises:
        MalformedDicom, UndecidableElement: see ``video_edits``.
    """

    def __init__(self, read: Reader, size: int) -> None:
        if size // PACKET > _MAX_PACKETS:
            raise LimitExceeded("A video has more packets than the bound allows")
        self._outer = read
        self._outer_size = size
        # Where each piece of the video begins and ends, and how much of it came before.
        self._starts, self._stops, self._bases = array("Q"), array("Q"), array("Q")
        self.size = 0
        self.edits: list[Edit] = []
        programs, self._programs_pid, self._video_pid = self._tables()
        self._sections = {_PROGRAMS_PID: programs[0], self._programs_pid: programs[1]}
        for start, packet in self._packets():
            self._take(start, packet)

    def read(self, start: int, size: int) -> bytes:
        """Return a part of the video."""
        pieces = self._pieces(start, min(start + size, self.size))
        return b"".join(self._outer(low, high - low) for low, high in pieces)

    def outside(self, edit: Edit) -> Iterator[Edit]:
        """Yield an edit of the video as edits of the packets that carry it."""
        done = 0
        for low, high in self._pieces(edit.start, edit.end):
            yield Edit(low, high, edit.replacement[done : done + high - low])
            done += high - low

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        number = max(bisect_right(self._bases, start) - 1, 0)
        while start < stop:
            low = self._starts[number] + start - self._bases[number]
            high = min(self._stops[number], low + stop - start)
            yield low, high
            start += high - low
            number += 1

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        step = PACKET * _PACKETS_AT_ONCE
        for base in range(0, self._outer_size, step):
            data = self._outer(base, min(step, self._outer_size - base))
            for at in range(0, len(data), PACKET):
                packet = data[at : at + PACKET]
                if len(packet) == PACKET:
                    yield base + at, packet
                elif packet.strip(b"\0"):  # zeros are padding to an even length
                    raise MalformedDicom("A packet of a video ends too early")

    def _tables(self) -> tuple[tuple[bytes, bytes], int, int]:
        """Return the tables of programs and of streams, and which packets carry what."""
        programs, pid = b"", -1
        for _, packet in self._packets():
            if _pid(packet) == _PROGRAMS_PID:
                programs = _section(packet, _payload(packet)[0])
                pid = _program(programs)
            elif _pid(packet) == pid:
                streams = _section(packet, _payload(packet)[0])
                return (programs, streams), pid, _stream(streams)
        raise MalformedDicom("A video has no table of its streams")

    def _take(self, start: int, packet: bytes) -> None:
        """Judge one packet."""
        pid = _pid(packet)
        if pid not in {_PROGRAMS_PID, self._programs_pid, self._video_pid}:
            if packet != _NOTHING:
                self.edits.append(Edit(start, start + PACKET, _NOTHING))
            return
        payload, stuffing = _payload(packet)
        self._fill(start, packet, *stuffing)
        if payload == PACKET:
            return
        if pid == self._video_pid:
            self._content(start, packet, payload)
        else:
            self._table(start, packet, payload)

    def _fill(self, start: int, packet: bytes, first: int, stop: int) -> None:
        """Make sure that stuffing is nothing else."""
        filler = b"\xff" * (stop - first)
        if packet[first:stop] != filler:
            self.edits.append(Edit(start + first, start + stop, filler))

    def _table(self, start: int, packet: bytes, payload: int) -> None:
        section = _section(packet, payload)
        if section != self._sections[_pid(packet)]:
            raise UndecidableElement("The streams of a video change")
        self._fill(start, packet, payload + 1 + len(section), PACKET)

    def _content(self, start: int, packet: bytes, payload: int) -> None:
        if packet[1] & _BEGINS:
            first, stop = _pes_header(packet, payload)
            self._fill(start, packet, first, stop)
            payload = stop
        elif not self._starts:
            raise MalformedDicom("A video does not begin with a header")
        if payload < PACKET:
            self._starts.append(start + payload)
            self._stops.append(start + PACKET)
            self._bases.append(self.size)
            self.size += PACKET - payload


def _pid(packet: bytes) -> int:
    if packet[0] != SYNC or packet[1] & 0x80 or packet[3] & 0xC0:
        raise MalformedDicom("A packet of a video is damaged or scrambled")
    return (packet[1] & 0x1F) << 8 | packet[2]


def _payload(packet: bytes) -> tuple[int, tuple[int, int]]:
    """Return where the payload begins, and where the stuffing before it is."""
    control = packet[3] >> 4 & 3
    if not control:
        raise MalformedDicom("A packet of a video is damaged")
    if control == 1:
        return 4, (4, 4)
    stop = 5 + packet[4]
    if stop > PACKET or (control == 3 and stop == PACKET):
        raise MalformedDicom("A packet of a video is damaged")
    used = 5
    if packet[4]:
        flags = packet[5]
        if flags & _NOT_TAKEN:
            raise UndecidableElement("A packet of a video has private data")
        used = 6 + (6 if flags & 0x10 else 0) + (6 if flags & 0x08 else 0)
    if used > stop:
        raise MalformedDicom("A packet of a video is damaged")
    return (stop if control == 3 else PACKET), (used, stop)


def _section(packet: bytes, payload: int) -> bytes:
    """Return the one section that a packet holds, its check included."""
    if not packet[1] & _BEGINS or payload + 4 > PACKET or packet[payload]:
        raise UndecidableElement("A table of a video is longer than a packet")
    length = int.from_bytes(packet[payload + 2 : payload + 4], "big") & 0x0FFF
    section = packet[payload + 1 : payload + 4 + length]
    if len(section) != 3 + length or length < _LEAST_SECTION:
        raise MalformedDicom("A table of a video ends too early")
    return section


def _program(section: bytes) -> int:
    """Return which packets carry the table of the only program."""
    entries = section[8:-4]
    pairs = [
        (int.from_bytes(entries[at : at + 2], "big"), entries[at + 2 : at + 4])
        for at in range(0, len(entries), 4)
    ]
    pids = [int.from_bytes(pid, "big") & 0x1FFF for number, pid in pairs if number]
    if len(pids) != 1 or section[0]:
        raise UndecidableElement("A video has not just one program")
    return pids[0]


def _stream(section: bytes) -> int:
    """Return which packets carry the only stream, which has to be video."""
    clock = int.from_bytes(section[8:10], "big") & 0x1FFF
    about = int.from_bytes(section[10:12], "big") & 0x0FFF
    _check_descriptors(section[12 : 12 + about])
    entry = section[12 + about : -4]
    if section[0] != _STREAMS_TABLE or len(entry) < _LEAST_SECTION:
        raise UndecidableElement("A video has no stream")
    pid = int.from_bytes(entry[1:3], "big") & 0x1FFF
    length = int.from_bytes(entry[3:5], "big") & 0x0FFF
    if entry[0] not in _VIDEO_TYPES or len(entry) != 5 + length:
        raise UndecidableElement("A video has sound or other tracks")
    if clock not in {pid, _NULL_PID}:
        raise UndecidableElement("The clock of a video is in packets of its own")
    _check_descriptors(entry[5:])
    return pid


def _check_descriptors(data: bytes) -> None:
    """Refuse descriptors that may hold text."""
    at = 0
    while at < len(data):
        length = data[at + 1] if at + 1 < len(data) else len(data)
        if data[at] not in _DESCRIPTORS or length > _MAX_DESCRIPTOR:
            raise UndecidableElement("A table of a video holds more than how it is coded")
        at += 2 + length


def _pes_header(packet: bytes, payload: int) -> tuple[int, int]:
    """Return where the stuffing in the header before some pictures begins and ends."""
    head = packet[payload : payload + 9]
    if len(head) < 9 or head[:3] != b"\0\0\1" or head[3] not in _VIDEO_STREAMS:
        raise MalformedDicom("A header inside of a video is damaged")
    if head[6] & 0xF0 != _CLEAR or head[7] & ~_TIMES:
        raise UndecidableElement("A header inside of a video holds more than times")
    times = {0: 0, 0x80: 5, 0xC0: 10}.get(head[7])
    stop = payload + 9 + head[8]
    if times is None or times > head[8] or stop > PACKET:
        raise MalformedDicom("A header inside of a video is damaged")
    return payload + 9 + times, stop

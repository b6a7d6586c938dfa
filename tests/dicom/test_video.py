"""Metadata in video streams is blanked in place; pictures decode to the same."""

import struct
from pathlib import Path

import numpy as np
import pytest

from app.dicom.edits import Edit
from app.dicom.video import video_edits
from app.errors import MalformedDicom, UndecidableElement

MPEG_2, H_264, H_265 = (f"1.2.840.10008.1.2.4.{n}" for n in (100, 102, 107))
CANARY = b"Quillonbury"
MARK = b"\0\0\0\1"
SEI_264, SEI_265 = b"\x06\x05", b"\x4e\x01\x05"


def blanked(data: bytes, syntax: str) -> bytes:
    edits = video_edits(lambda start, size: data[start : start + size], len(data), syntax)
    out = bytearray(data)
    for edit in edits:
        assert len(edit.replacement) == edit.end - edit.start
        out[edit.start : edit.end] = edit.replacement
    return bytes(out)


def annex_b(*units: bytes) -> bytes:
    return b"".join(MARK + unit for unit in units)


SPS, PPS, SLICE = b"\x67\x42\x00\x0a\xf8", b"\x68\xce\x38\x80", b"\x65\x88\x84\x00\x10\xff"
VPS_265, SLICE_265 = b"\x40\x01\x0c\x01", b"\x26\x01\xaf\x09"


def test_units_that_carry_no_picture_become_zeros() -> None:
    stream = annex_b(SPS, PPS, SEI_264 + CANARY, SLICE, b"\x0c" + CANARY, SLICE)

    cleaned = blanked(stream, H_264)

    assert CANARY not in cleaned
    assert len(cleaned) == len(stream)
    assert cleaned.startswith(MARK + SPS + MARK + PPS)
    assert cleaned.count(SLICE) == 2


def test_h_265_has_other_types_of_units() -> None:
    stream = annex_b(VPS_265, SEI_265 + CANARY, SLICE_265, b"\x60\x01" + CANARY)

    cleaned = blanked(stream, H_265)

    assert CANARY not in cleaned
    assert VPS_265 in cleaned
    assert SLICE_265 in cleaned


def test_a_stream_without_metadata_stays_as_it_is() -> None:
    stream = annex_b(SPS, PPS, SLICE)

    assert video_edits(lambda at, size: stream[at : at + size], len(stream), H_264) == []


def test_start_codes_across_pieces_are_found() -> None:
    stream = annex_b(SPS, SLICE + b"\x55" * ((1 << 20) - 24), SEI_264 + CANARY, SLICE)
    for shift in range(6):
        moved = annex_b(SPS, b"\x65" + b"\x55" * shift) + stream

        assert CANARY not in blanked(moved, H_264)


@pytest.fixture(scope="module")
def mpeg_2(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("video") / "made.m2v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MPG2"), 25, (64, 64))
    if not writer.isOpened():
        pytest.skip("no encoder for MPEG-2")
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        writer.write(np.kron(noise, np.ones((8, 8, 1), dtype=np.uint8)))
    writer.release()
    return path.read_bytes(), path.parent


def pictures(data: bytes, directory: Path) -> list[np.ndarray]:
    import cv2  # noqa: PLC0415 - where it is not installed the fixture has skipped

    path = directory / "read.m2v"
    path.write_bytes(data)
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(read[1])
    capture.release()
    return found


def test_an_mpeg_2_stream_decodes_to_the_same_pictures(mpeg_2: tuple[bytes, Path]) -> None:
    stream, directory = mpeg_2
    group = stream.index(b"\0\0\1\xb8")
    cleaned = blanked(stream[:group] + b"\0\0\1\xb2" + CANARY + stream[group:], MPEG_2)

    assert CANARY not in cleaned
    before, after = pictures(stream, directory), pictures(cleaned, directory)
    assert len(before) == len(after) >= 5
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


PICTURE = b"\0\0\1\0\x00\x0f\xff\xf8"


def test_the_time_of_a_group_of_pictures_is_blanked() -> None:
    sequence = b"\0\0\1\xb3\x04\x00\x40\x13\xff\xff\xe0\x20"

    cleaned = blanked(sequence + b"\0\0\1\xb8\x5a\x6b\xcd\xff" + PICTURE, MPEG_2)

    assert b"\0\0\1\xb8\x00\x08\x00\x60" in cleaned


# --- MP4 ----------------------------------------------------------------------------------------


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full(kind: bytes, *parts: bytes) -> bytes:
    return box(kind, bytes(4), *parts)


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def sample(*units: bytes) -> bytes:
    return b"".join(u32(len(unit)) + unit for unit in units)


SAMPLES = (sample(SEI_264 + CANARY, SLICE), sample(SLICE))
CONFIGURATION = (
    b"\x01\x42\x00\x0a\xff\xe1" + struct.pack(">H", len(SPS)) + SPS + b"\x01"
    + struct.pack(">H", len(PPS)) + PPS
)  # fmt: skip


AVC = (b"avc1", b"avcC", CONFIGURATION)


def mp4(
    *,
    handler: bytes = b"vide",
    extra: bytes = b"",
    surplus: bytes = b"",
    url: bytes = b"\0\0\0\1",
    coded: tuple[bytes, bytes, bytes] = AVC,
    samples: tuple[bytes, ...] = SAMPLES,
) -> bytes:
    """Return a file with two samples in one chunk, and texts wherever there is room for one."""
    head = box(b"ftyp", b"isom", u32(512), b"isomavc1")
    media = box(b"mdat", *samples, surplus)
    entry = box(
        coded[0], bytes(6), b"\0\1", bytes(34), bytes([len(CANARY)]) + CANARY.ljust(31, b"\0"),
        b"\0\x18\xff\xff", box(*coded[1:]), box(b"uuid", CANARY),
    )  # fmt: skip
    table = box(
        b"stbl",
        full(b"stsd", u32(1), entry),
        full(b"stts", u32(1, 2, 1)),
        full(b"stsc", u32(1, 1, 2, 1)),
        full(b"stsz", u32(0, 2, *map(len, samples))),
        full(b"stco", u32(1, len(head) + 8)),
    )
    reference = box(b"dinf", full(b"dref", u32(1), box(b"url ", url)))
    information = box(b"minf", full(b"vmhd", bytes(8)), reference, table)
    media_part = box(
        b"mdia",
        full(b"mdhd", u32(3_700_000_000, 3_700_000_000, 25, 2), bytes(4)),
        full(b"hdlr", bytes(4), handler, bytes(12), CANARY + b"\0"),
        information,
    )
    track = box(b"trak", full(b"tkhd", u32(3_700_000_000, 3_700_000_000), bytes(72)), media_part)
    movie = box(
        b"moov",
        full(b"mvhd", u32(3_700_000_000, 3_700_000_000), bytes(88)),
        track,
        box(b"udta", box(b"\xa9nam", CANARY)),
    )
    return head + media + movie + box(b"free", CANARY) + extra


def test_texts_and_times_of_an_mp4_file_are_blanked_in_place() -> None:
    original = mp4()
    assert original.count(CANARY) >= 5

    cleaned = blanked(original, H_264)

    assert CANARY not in cleaned
    assert u32(3_700_000_000) not in cleaned
    assert len(cleaned) == len(original)
    assert cleaned.count(SLICE) == 2
    assert CONFIGURATION in cleaned


def test_a_unit_beside_pictures_becomes_filler_of_the_same_length() -> None:
    cleaned = blanked(mp4(), H_264)

    start = cleaned.index(b"mdat") + 4
    length = int.from_bytes(cleaned[start : start + 4], "big")
    assert cleaned[start + 4] == 0x0C
    assert cleaned[start + 4 + length - 1] == 0x80


def test_text_among_the_parameters_of_h_265_is_blanked() -> None:
    units = (VPS_265, SEI_265 + CANARY)
    arrays = b"".join(
        bytes([unit[0] >> 1]) + struct.pack(">HH", 1, len(unit)) + unit for unit in units
    )
    configuration = b"\x01" + bytes(20) + b"\x03" + bytes([len(units)]) + arrays
    samples = (sample(SEI_265 + CANARY, SLICE_265), sample(SLICE_265))

    cleaned = blanked(mp4(coded=(b"hvc1", b"hvcC", configuration), samples=samples), H_265)

    assert CANARY not in cleaned
    assert VPS_265 in cleaned
    assert cleaned.count(SLICE_265) == 2


@pytest.mark.parametrize("kind", [b"sgpd", b"sbgp", b"subs", b"stdp", b"tapt", b"load"])
def test_boxes_that_decide_no_picture_become_free_space(kind: bytes) -> None:
    cleaned = blanked(mp4(extra=full(kind, CANARY)), H_264)

    assert cleaned.endswith(full(b"free", bytes(len(CANARY))))


def test_what_no_sample_holds_is_blanked() -> None:
    assert CANARY not in blanked(mp4(surplus=b"behind " + CANARY), H_264)


def test_padding_behind_the_last_box_is_allowed() -> None:
    assert CANARY not in blanked(mp4() + b"\0", H_264)


@pytest.mark.parametrize(
    "data",
    [
        mp4(handler=b"soun"),
        mp4(extra=box(b"moof", CANARY)),
        mp4(extra=box(b"abcd", CANARY)),
        mp4(url=b"\0\0\0\0http://" + CANARY),
        b"\0\0\1\xba" + bytes(20),
        b"RIFF" + bytes(20),
    ],
    ids=["sound", "fragments", "unknown-box", "other-file", "ps", "avi"],
)
def test_a_stream_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(UndecidableElement):
        blanked(data, H_264)


@pytest.mark.parametrize(
    "data", [mp4()[:-20], mp4().replace(b"stsz", b"stss")], ids=["cut", "no-sizes"]
)
def test_a_file_that_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedDicom):
        blanked(data, H_264)


def test_a_stream_under_the_wrong_transfer_syntax_is_refused() -> None:
    with pytest.raises(UndecidableElement):
        blanked(mp4(), MPEG_2)
    with pytest.raises(UndecidableElement):
        blanked(mp4(), H_265)


def test_an_edit_says_what_it_replaces() -> None:
    stream = annex_b(SPS, SEI_264, SLICE)

    edits = video_edits(lambda at, size: stream[at : at + size], len(stream), H_264)

    start = stream.index(b"\0\0\1" + SEI_264)
    assert edits == [Edit(start, start + 6, bytes(6))]


# --- Transport streams ---------------------------------------------------------------------------


def packet(pid: int, payload: bytes, *, begins: bool = False, adaptation: bytes = b"") -> bytes:
    """Return a packet; what is too short for it gets stuffing in an adaptation field."""
    room = 184 - len(payload)
    field = b""
    if adaptation or room:
        body = adaptation or (b"\0" if room > 1 else b"")
        field = bytes([room - 1]) + body.ljust(room - 1, b"\xff")
    control = 0x30 if field else 0x10
    head = bytes([0x47, (0x40 if begins else 0) | pid >> 8, pid & 0xFF, control])
    made = head + field + payload
    assert len(made) == 188
    return made


def table(pid: int, table_id: int, body: bytes, surplus: bytes = b"") -> bytes:
    section = bytes([table_id]) + struct.pack(">H", 0xB000 | len(body) + 9) + b"\0\1\xc1\0\0" + body
    return packet(pid, (b"\0" + section + b"CRC!" + surplus).ljust(184, b"\xff"), begins=True)


def pes(data: bytes, stuffing: bytes = b"\xff\xff") -> bytes:
    return (
        b"\0\0\1\xe0\0\0\x80\x80" + bytes([5 + len(stuffing)]) + b"\x21\0\1\0\1" + stuffing + data
    )


VIDEO_PID, PMT_PID = 0x100, 0x1000
PAT = table(0, 0, struct.pack(">HH", 1, 0xE000 | PMT_PID))


def pmt(
    kind: int = 0x1B, descriptors: bytes = b"", more: bytes = b"", surplus: bytes = b""
) -> bytes:
    entry = bytes([kind]) + struct.pack(">HH", 0xE000 | VIDEO_PID, 0xF000 | len(descriptors))
    body = struct.pack(">HH", 0xE000 | VIDEO_PID, 0xF000) + entry + descriptors + more
    return table(PMT_PID, 2, body, surplus)


LONG_SLICE = b"\x65\x88" + bytes(range(1, 200)) * 3


def ts(
    *, streams: bytes | None = None, first: bytes = b"", adaptation: bytes = b"",
    stuffing: bytes = b"\xff\xff",
) -> bytes:  # fmt: skip
    """Return a stream with one picture in several packets, and a text across two of them."""
    inside = pes(annex_b(SPS, PPS, b"\x06\x05" + CANARY * 20, LONG_SLICE), stuffing)
    pieces = [inside[at : at + 150] for at in range(0, len(inside), 150)]
    packets = [packet(VIDEO_PID, pieces[0], begins=True, adaptation=adaptation)]
    packets += [packet(VIDEO_PID, piece) for piece in pieces[1:]]
    service = packet(0x11, (b"\0" + CANARY).ljust(184, b"\xff"), begins=True)
    return first + PAT + (streams or pmt()) + service + b"".join(packets)


def inside_of(data: bytes) -> bytes:
    """Return the payload of the packets that carry video, headers included."""
    found = b""
    for at in range(0, len(data), 188):
        one = data[at : at + 188]
        if one[1:3] in {b"\x41\0", b"\x01\0"}:
            found += one[5 + one[4] if one[3] & 0x20 else 4 :]
    return found


def test_a_transport_stream_keeps_its_pictures_and_nothing_else() -> None:
    original = ts(streams=pmt(surplus=CANARY), stuffing=CANARY, adaptation=b"\0" + CANARY)
    assert CANARY in original

    cleaned = blanked(original, H_264)

    assert CANARY[:6] not in cleaned
    assert len(cleaned) == len(original)
    assert MARK + LONG_SLICE in inside_of(cleaned)
    assert MARK + SPS + MARK + PPS in inside_of(cleaned)


def test_mpeg_2_in_a_transport_stream_decodes_to_the_same_pictures(
    mpeg_2: tuple[bytes, Path],
) -> None:
    stream, directory = mpeg_2
    group = stream.index(b"\0\0\1\xb8")
    told = pes(stream[:group] + b"\0\0\1\xb2" + CANARY * 30 + stream[group:])
    pieces = [told[at : at + 184] for at in range(0, len(told), 184)]
    packets = [packet(VIDEO_PID, p, begins=not n) for n, p in enumerate(pieces)]

    cleaned = blanked(PAT + pmt(0x02) + b"".join(packets), MPEG_2)

    assert CANARY[:6] not in cleaned
    before = pictures(stream, directory)
    after = pictures(inside_of(cleaned)[16:], directory)
    assert len(before) == len(after) >= 5
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "descriptor",
    [
        b"\x0b\x02\x80\x3f",
        b"\x0c\x04\x80\xb4\x81\x68",
        b"\x0e\x03\xc0\x01\x02",
        b"\x10\x06\xc0\x01\x02\xc0\x01\x02",
        b"\x11\x01\xfe",
    ],
    ids=["clock", "multiplex", "bit-rate", "smoothing", "leak"],
)
def test_what_a_table_says_of_buffers_stays(descriptor: bytes) -> None:
    streams = pmt(descriptors=descriptor)

    assert streams in blanked(ts(streams=streams), H_264)


AUDIO = b"\x0f" + struct.pack(">HH", 0xE101, 0xF000)


@pytest.mark.parametrize(
    "data",
    [
        ts(streams=pmt(more=AUDIO)),
        ts(streams=pmt(0x0F)),
        ts(streams=pmt(descriptors=b"\x05\x0b" + CANARY)),
        ts(streams=pmt(descriptors=b"\x0a\x04abc\0")),
        ts(adaptation=b"\x02\x05" + CANARY[:5]),
        ts() + pmt(0x24),
    ],
    ids=["sound", "only-sound", "long-text", "language", "private-data", "changes"],
)
def test_a_transport_stream_with_more_than_video_is_refused(data: bytes) -> None:
    with pytest.raises(UndecidableElement):
        blanked(data, H_264)


@pytest.mark.parametrize(
    "data",
    [ts() + b"\x47abc", b"\x47" + bytes(187), ts(first=b"\x47\x80".ljust(188, b"\0")), PAT * 3],
    ids=["cut", "empty", "damaged", "no-streams"],
)
def test_a_transport_stream_that_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedDicom):
        blanked(data, H_264)

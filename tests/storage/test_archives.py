"""ZIP archives as study sources: read in place, within bounds, and never unpacked by name."""

import hashlib
import os
import stat
import struct
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.source import MemorySource
from app.dicom.tokens import Limits
from app.errors import (
    AmbiguousName,
    ArchiveTooLarge,
    GatewayError,
    InvalidArchive,
    MissingReferencedFile,
    NotARegularFile,
    SourceNotAllowed,
    StorageUnavailable,
    SymbolicLink,
    TooLarge,
    UnreadableFile,
)
from app.storage.archives import ArchiveBounds, ArchiveSource, Contents
from app.storage.lending import LentFile
from tests.storage.archives import (
    ATTRIBUTES,
    CRC,
    FLAGS,
    METHOD,
    PACKED,
    SIZE,
    START,
    archive,
    entry,
    falsified,
    source_of,
)
from tests.storage.media import dicomdir, record
from tests.storage.trees import content, found, names, read

TEXT = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(79))[:5000].encode()
FILES = {"b/2.dcm": b"two", "a.b": TEXT, "a/1": b"", "b/1": b"one" * 900, ".hidden": b"h"}
SMALL = ArchiveBounds(memory_bytes=100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def error_of(source: ArchiveSource, name: str) -> type[GatewayError]:
    with pytest.raises(GatewayError) as refused, source.lend(name):
        pass
    assert "PLANTED" not in str(refused.value)
    return type(refused.value)


def opening_error(path: Path, data: bytes, bounds: ArchiveBounds | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        source_of(path, data, bounds)
    assert "PLANTED" not in str(refused.value)
    return refused.value


# --- Honest archives ---------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [None, SMALL], ids=["in memory", "spooled"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "data descriptors"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_member_is_found_and_read(path, method, stream, bounds):
    source = source_of(path, archive(FILES, method, stream=stream), bounds)

    listed = found(source)

    assert {name: one.size for name, one in listed.items()} == {
        name: len(data) for name, data in FILES.items()
    }
    assert {name: read(source, name) for name in listed} == FILES


def test_members_come_in_the_order_of_their_names_and_a_listing_resumes(path):
    source = source_of(path, archive(FILES))
    listed = names(source)

    assert listed == sorted(FILES)
    assert [names(source, name) for name in listed] == [listed[at:] for at in range(1, 6)]
    assert names(source, "a/") == ["a/1", "b/1", "b/2.dcm"]


def test_an_archive_of_large_fields_is_read(path):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in FILES.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)

    source = source_of(path, with_zip64_end(buffer.getvalue()))

    assert {name: read(source, name) for name in names(source)} == FILES


def with_zip64_end(data: bytes) -> bytes:
    """Give the end of the archive in zip64 records alone, as archives beyond 4 GiB have it."""
    end = data.rindex(b"PK\5\6")
    _, _, _, _, count, length, start, _ = struct.unpack("<4s4H2LH", data[end:])
    record64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return (
        data[:end]
        + record64
        + locator
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )


def test_an_archive_with_a_comment_or_something_before_it_is_read(path):
    data = archive(FILES)
    commented = data[:-2] + struct.pack("<H", 7) + b"comment"

    source = source_of(path, b"#!/bin/sh\n" * 9 + commented)

    assert {name: read(source, name) for name in names(source)} == FILES


def test_folders_are_no_files(path):
    source = source_of(path, archive({"study/": b"", "study/IM1": b"1"}))

    assert names(source) == ["study/IM1"]


def test_an_empty_archive_is_an_empty_source(path):
    assert names(source_of(path, archive({}))) == []


def test_an_archive_in_an_archive_is_a_file_like_any_other(path):
    inner = archive(FILES)
    source = source_of(path, archive({"inner.zip": inner}))

    assert names(source) == ["inner.zip"]
    assert read(source, "inner.zip") == inner


@pytest.mark.parametrize(
    ("raw", "flags", "name"),
    [
        ("Müller".encode(), 0x800, "Müller"),
        ("Müller".encode(), 0, "Müller"),
        (b"M\x81ller", 0, "Müller"),  # code page 437
        (b"line\nbreak", 0, "line\nbreak"),
    ],
)
def test_names_are_read_in_the_encodings_that_systems_write(path, raw, flags, name):
    data = archive({"x" * len(raw): b"1"}).replace(b"x" * len(raw), raw)
    source = source_of(path, falsified(data, FLAGS, flags, form="<H"))

    assert names(source) == [name]
    assert read(source, name) == b"1"


def test_large_members_are_lent_from_a_nameless_file_or_in_place(path):
    deflated = source_of(path, archive({"big": TEXT}), SMALL)
    with deflated.lend("big") as lent:
        assert isinstance(lent, LentFile)
        assert list((path.parent / "spool").iterdir()) == []
    stored = source_of(path, archive({"big": TEXT}, zipfile.ZIP_STORED), SMALL)
    with stored.lend("big") as lent:
        assert isinstance(lent, LentFile)
        assert lent.view(10, 4000) == TEXT[10:4010]


def test_small_members_are_lent_from_memory(path):
    with source_of(path, archive(FILES)).lend("a.b") as lent:
        assert isinstance(lent, MemorySource)


def test_a_large_member_needs_little_memory(path):
    source = source_of(path, archive({"big": bytes(64 << 20)}), SMALL)

    tracemalloc.start()
    with source.lend("big") as lent:
        size = lent.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert size == 64 << 20
    assert peak < 8 << 20


def test_the_last_bytes_of_a_member_are_unpacked_when_its_packed_bytes_are_all_read(path):
    # A match of deflate is up to 258 bytes long: it can reach over the end of a piece.
    sizes = range(1 << 20, (1 << 20) + 300, 7)
    source = source_of(path, archive({str(size): bytes(size) for size in sizes}))

    assert all(read(source, str(size)) == bytes(size) for size in sizes)


def test_many_threads_read_from_one_archive(path):
    files = {f"{number}": str(number).encode() * number for number in range(150)}
    source = source_of(path, archive(files), SMALL)

    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda name: read(source, name), list(files) * 3))

    assert contents == list(files.values()) * 3


def test_what_is_lent_outlives_its_source_and_nothing_stays_open(path):
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    source = source_of(path, archive({"big": TEXT}, zipfile.ZIP_STORED), SMALL)

    with source.lend("big") as lent:
        source.close()
        assert content(lent) == TEXT

    assert error_of(source, "big") is StorageUnavailable
    del lent
    # What other tests left open may be closed meanwhile.
    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} <= before


def test_a_spool_that_cannot_be_written_is_not_the_members_fault(path):
    source = source_of(path, archive({"big": TEXT}), SMALL)
    (path.parent / "spool").rmdir()

    assert error_of(source, "big") is StorageUnavailable


# --- Names, kinds and encryption ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("../PLANTED", "a/../../PLANTED", "/etc/PLANTED", "//host/PLANTED", "a//PLANTED"),
        *("C:/PLANTED", "c:PLANTED", "..\\PLANTED", "a\\PLANTED", "\\\\host\\PLANTED"),
        *("./PLANTED", "a/./PLANTED", "PLANTED/..", "..", "."),
    ],
)
def test_a_name_that_is_no_relative_path_is_refused_and_the_rest_is_read(path, name):
    source = source_of(path, archive({name: b"x", "IM1": b"1"}))

    listed = found(source)
    refused = [one for one in listed.values() if one.error]

    assert [one.error for one in refused] == [SourceNotAllowed]
    assert refused[0].name.startswith(name)
    assert error_of(source, refused[0].name) is SourceNotAllowed
    assert read(source, "IM1") == b"1"


def test_a_name_with_a_zero_byte_is_refused(path):
    data = archive({"IM1xPLANTED": b"x"}).replace(b"IM1x", b"IM1\0")

    assert [one.error for one in source_of(path, data).list()] == [SourceNotAllowed]


def test_of_members_with_the_same_name_none_is_taken(path):
    data = archive({"IM1": b"1", "IM2": b"2", "IM3": b"3"}).replace(b"IM2", b"IM1")

    listed = list(source_of(path, data).list())

    assert [one.error for one in listed] == [AmbiguousName, AmbiguousName, None]
    assert len({one.name for one in listed}) == 3


def test_a_name_that_is_not_allowed_and_comes_twice_is_not_allowed(path):
    data = archive({"../1": b"1", "../2": b"2"}).replace(b"../2", b"../1")

    assert [one.error for one in source_of(path, data).list()] == [SourceNotAllowed] * 2


def test_a_listing_resumes_among_what_is_refused(path):
    members = {"../a": b"", "IM1": b"", "IM2": b"", "IM2//x": b"", "DICOMDIR": dicomdir()}
    source = source_of(path, archive(members).replace(b"IM2", b"IM1"))
    listed = names(source)

    assert len(listed) == 5
    assert [names(source, name) for name in listed] == [listed[at:] for at in range(1, 6)]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (stat.S_IFLNK, SymbolicLink),
        (stat.S_IFIFO, NotARegularFile),
        (stat.S_IFSOCK, NotARegularFile),
        (stat.S_IFCHR, NotARegularFile),
        (stat.S_IFBLK, NotARegularFile),
        (stat.S_IFDIR, NotARegularFile),
    ],
)
def test_links_and_devices_are_reported_and_not_read(path, kind, error):
    data = falsified(archive({"PLANTED": b"/etc/passwd"}), ATTRIBUTES, (kind | 0o777) << 16)
    source = source_of(path, data)

    assert found(source)["PLANTED"].error is error
    assert error_of(source, "PLANTED") is error


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2001, 0x20])
def test_an_encrypted_member_is_reported_and_the_rest_is_read(path, flag):
    data = falsified(archive({"PLANTED": b"x", "a": b"1"}), FLAGS, flag, form="<H")
    source = source_of(path, data)

    assert found(source)["PLANTED"].error is UnreadableFile
    assert error_of(source, "PLANTED") is UnreadableFile
    assert read(source, "a") == b"1"


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 95, 97, 98, 99, 0xFFFF])
def test_a_member_packed_in_another_way_is_reported(path, method):
    source = source_of(path, falsified(archive({"x": b"x"}), METHOD, method, form="<H"))

    assert found(source)["x"].error is UnreadableFile


# --- Bombs -------------------------------------------------------------------------------------


def test_more_members_than_the_bound_are_refused_as_a_whole(path):
    data = archive({str(number): b"" for number in range(11)})

    assert names(source_of(path, data, ArchiveBounds(max_files=11)))
    refused = opening_error(path, data, ArchiveBounds(max_files=10))
    assert type(refused) is ArchiveTooLarge


def test_a_number_of_members_that_is_a_lie_changes_nothing(path):
    data = bytearray(archive({str(number): b"" for number in range(11)}))
    struct.pack_into("<HH", data, len(data) - 14, 3, 3)

    assert type(opening_error(path, data, ArchiveBounds(max_files=10))) is ArchiveTooLarge


def test_a_table_of_contents_without_end_is_not_read_into_memory(path):
    start = 4 << 20
    table = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xFFFF, 0, 0, 0, 0
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, start, 0, 0)

    refused = opening_error(path, table.ljust(start, b"x") + end, ArchiveBounds(max_files=10))

    assert type(refused) is ArchiveTooLarge


def test_more_bytes_than_the_bound_are_refused_as_a_whole(path):
    data = archive({"a": bytes(6000), "b": bytes(6000)})

    assert names(source_of(path, data, ArchiveBounds(max_bytes=12000))) == ["a", "b"]
    refused = opening_error(path, data, ArchiveBounds(max_bytes=11999))
    assert type(refused) is ArchiveTooLarge


def test_a_member_beyond_the_bound_is_reported_and_the_rest_is_read(path):
    source = source_of(
        path, archive({"a": bytes(6000), "b": b"1"}), ArchiveBounds(max_file_bytes=5999)
    )

    assert found(source)["a"].error is TooLarge
    assert error_of(source, "a") is TooLarge
    assert read(source, "b") == b"1"


@pytest.mark.parametrize("bounds", [None, ArchiveBounds(memory_bytes=10)])
def test_a_member_that_is_longer_than_it_says_is_not_unpacked_further(path, bounds):
    source = source_of(path, falsified(archive({"bomb": bytes(64 << 20)}), SIZE, 70_000), bounds)

    tracemalloc.start()
    error = error_of(source, "bomb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert error is UnreadableFile
    assert peak < 6 << 20


@pytest.mark.parametrize("bounds", [None, ArchiveBounds(memory_bytes=10)])
@pytest.mark.parametrize("size", [4999, 5001, 0, 60_000])
def test_a_member_that_is_not_as_long_as_it_says_is_unreadable(path, size, bounds):
    source = source_of(path, falsified(archive({"x": TEXT}), SIZE, size), bounds)

    assert error_of(source, "x") is UnreadableFile


def test_a_stored_member_whose_two_lengths_differ_is_reported(path):
    data = falsified(archive({"x": TEXT}, zipfile.ZIP_STORED), SIZE, 4000)

    assert found(source_of(path, data))["x"].error is UnreadableFile


def test_packed_bytes_that_unpack_to_nothing_do_not_keep_the_reader_busy(path):
    # Empty blocks, of which deflate allows any number.
    packed = b"\0\0\0\xff\xff" * 100_000 + b"\3\0"
    data = archive({"x": packed}, zipfile.ZIP_STORED)
    data = falsified(data, METHOD, zipfile.ZIP_DEFLATED, form="<H")
    source = source_of(path, falsified(falsified(data, SIZE, 0), CRC, 0))

    assert zlib.decompress(packed, -15) == b""
    assert found(source)["x"].error is UnreadableFile


def test_members_that_share_their_bytes_are_refused_as_a_whole(path):
    data = archive({"a": bytes(10_000), "b": bytes(10_000)})
    table = falsified(data, START, 0, number=1)

    assert type(opening_error(path, table)) is InvalidArchive


def test_a_member_in_a_member_is_refused_as_a_whole(path):
    data = archive({"a": archive({"x": b"1"}), "b": b"2"}, zipfile.ZIP_STORED)
    inside = data.index(b"PK\3\4", 4)

    assert type(opening_error(path, falsified(data, START, inside, number=1))) is InvalidArchive


def test_a_member_that_reaches_over_the_table_of_contents_is_refused_as_a_whole(path):
    data = archive({"a": b"1"}, zipfile.ZIP_STORED)
    longer = falsified(falsified(data, PACKED, 60), SIZE, 60)

    assert type(opening_error(path, longer)) is InvalidArchive


def test_a_local_header_that_reaches_into_the_next_member_is_unreadable(path):
    data = bytearray(archive({"a": b"1" * 500, "b": b"2"}, zipfile.ZIP_STORED))
    struct.pack_into("<H", data, 28, 400)  # length of the extra field
    source = source_of(path, data)

    assert error_of(source, "a") is UnreadableFile
    assert read(source, "b") == b"2"


@pytest.mark.parametrize("offset", [0, 8])
def test_a_local_header_that_contradicts_the_table_is_unreadable(path, offset):
    data = bytearray(archive({"a": b"1", "b": b"2"}))
    data[offset] ^= 1
    source = source_of(path, data)

    assert error_of(source, "a") is UnreadableFile
    assert read(source, "b") == b"2"


# --- Damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [None, SMALL], ids=["in memory", "spooled"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_unreadable_and_the_rest_is_read(path, method, bounds):
    data = bytearray(archive({"a": TEXT, "b": b"1"}, method))
    data[600] ^= 0x10
    source = source_of(path, data, bounds)

    assert error_of(source, "a") is UnreadableFile
    assert read(source, "b") == b"1"


def test_a_wrong_checksum_makes_a_member_unreadable(path):
    source = source_of(path, falsified(archive({"a": TEXT}), CRC, 1))

    assert error_of(source, "a") is UnreadableFile


def test_bytes_behind_the_end_of_a_packed_member_make_it_unreadable(path):
    deflate = zlib.compressobj(wbits=-15)
    packed = deflate.compress(TEXT) + deflate.flush()
    data = archive({"a": packed + b"PLANTED"}, zipfile.ZIP_STORED)
    data = falsified(data, METHOD, zipfile.ZIP_DEFLATED, form="<H")
    data = data[:8] + b"\x08" + data[9:]
    source = source_of(path, falsified(falsified(data, SIZE, len(TEXT)), CRC, zlib.crc32(TEXT)))

    assert error_of(source, "a") is UnreadableFile


@pytest.mark.parametrize("cut", range(0, 540, 12))
def test_an_archive_that_is_cut_short_is_refused_as_a_whole(path, cut):
    data = archive({"PLANTED": b"1" * 50, "b": TEXT[:300]}, zipfile.ZIP_STORED)

    assert len(data) > cut
    refused = opening_error(path, data[:cut])
    assert type(refused) is InvalidArchive


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive" * 500, b"PK\5\6" + bytes(18)[:-1]])
def test_what_is_no_archive_is_refused(path, data):
    assert type(opening_error(path, data)) is InvalidArchive


def test_a_table_of_contents_that_is_damaged_is_refused(path):
    data = bytearray(archive(FILES))
    data[entry(data, 2)] ^= 1

    assert type(opening_error(path, data)) is InvalidArchive


def test_a_name_that_is_not_the_utf8_it_claims_is_refused(path):
    data = archive({"xxx": b""}).replace(b"xxx", b"\xff\xfe\xfd")

    assert type(opening_error(path, falsified(data, FLAGS, 0x800, form="<H"))) is InvalidArchive


HONEST = archive(FILES) + archive(FILES, zipfile.ZIP_STORED, stream=True)


@given(st.data())
def test_no_damage_gets_past_the_errors_of_the_gateway(tmp_path_factory, data):
    kind = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    damaged = bytearray(archive(FILES, kind, stream=data.draw(st.booleans())))
    table = entry(damaged)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(
            st.one_of(st.integers(0, len(damaged) - 1), st.integers(table, len(damaged) - 1))
        )
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        source = source_of(tmp_path_factory.getbasetemp() / "damaged", damaged, SMALL)
    except GatewayError:
        return

    for one in source.list():
        try:
            assert len(read(source, one.name)) == one.size
            assert one.error is None
        except GatewayError:
            continue


@pytest.mark.parametrize("name", ["", "nothing", "../upload", "a/../a.b", "a.b///0", "\ud800"])
def test_a_name_that_no_listing_gives_is_refused(path, name):
    assert issubclass(error_of(source_of(path, archive(FILES)), name), GatewayError)


# --- Media -------------------------------------------------------------------------------------


def test_what_a_dicomdir_references_and_is_not_in_the_archive_is_reported(path):
    data = dicomdir(record("IMAGES", "IM1"), record("IMAGES", "IM2"), record("..", "x"))
    source = source_of(path, archive({"cd/DICOMDIR": data, "cd/images/im2.;1": b"", "x": b""}))

    listed = [(one.name, one.error) for one in source.list()]

    assert listed == [
        ("cd/DICOMDIR", None),
        ("cd/DICOMDIR//../x", MissingReferencedFile),
        ("cd/DICOMDIR//IMAGES/IM1", MissingReferencedFile),
        ("cd/images/im2.;1", None),
        ("x", None),
    ]
    assert error_of(source, "cd/DICOMDIR//IMAGES/IM1") is MissingReferencedFile
    assert names(source, "cd/DICOMDIR//../x") == [name for name, _ in listed[2:]]


def test_a_dicomdir_that_is_damaged_or_too_large_references_nothing(path):
    data = dicomdir(*(record(f"IM{number}") for number in range(200)))
    few = ArchiveBounds(limits=Limits(max_elements=50))

    assert names(source_of(path, archive({"DICOMDIR": data}), few)) == ["DICOMDIR"]
    broken = falsified(archive({"DICOMDIR": data}), CRC, 1)
    assert names(source_of(path, broken)) == ["DICOMDIR"]


def test_names_are_in_no_representation(path):
    source = source_of(path, archive({"PLANTED": b""}))

    assert "PLANTED" not in repr(list(source.list()))
    assert "PLANTED" not in repr(source)


def test_opening_reads_the_table_of_contents_alone(path):
    path.write_bytes(archive(FILES))
    fd = os.open(path, os.O_RDONLY)

    contents = Contents(fd, ArchiveBounds())
    os.close(fd)

    assert contents.order == sorted(FILES)

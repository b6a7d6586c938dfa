"""Bodies: exact bytes in memory and in the spool, bounds, and nothing left behind."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.types import Message, Receive

from app import errors
from app.api import spool
from app.api.multipart import FilePart, boundary_of, receive_multipart
from app.api.spool import Body, BodyLimits, Disconnected
from app.storage import nameless

LIMITS = BodyLimits(max_bytes=1 << 20, memory_bytes=1000, inline_bytes=100, idle_timeout_s=5)
BOUNDARY = b"----boundary"
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "spool"
    spool.prepare_directory(place)
    return place


def open_below(directory: Path) -> list[str]:
    """Files of a directory, those without a name as well, that this process holds open."""
    held = []
    for descriptor in OPEN_FILES.iterdir():
        with suppress(FileNotFoundError):  # one that another thread has closed meanwhile
            held.append(str(descriptor.readlink()))
    return [target for target in held if target.startswith(str(directory))]


def names_in(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def remove(directory: Path) -> None:
    directory.rmdir()


def receiving(*pieces: bytes, complete: bool = True) -> Receive:
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    last: Message = {"type": "http.request", "body": b"", "more_body": False}
    messages.append(last if complete else {"type": "http.disconnect"})
    queue = iter(messages)

    async def receive() -> Message:
        return next(queue)

    return receive


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[first : first + size] for first in range(0, len(data), size)]


def multipart(*parts: tuple[bytes, bytes], end: bytes = b"--\r\n") -> bytes:
    body = b"".join(
        b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return body + b"--" + BOUNDARY + end


FILE = b'Content-Disposition: form-data; name="file"; filename="PLANTED.dcm"'


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 200_000])
async def test_a_raw_body_arrives_byte_for_byte(
    size: int, directory: Path, executor: ThreadPoolExecutor
) -> None:
    data = os.urandom(size)
    with Body(LIMITS, directory, executor) as body:
        await spool.receive_raw(receiving(*pieces_of(data, 777)), body, LIMITS)
        source = await body.source()

        assert source.read(0, size) == data
        assert body.is_spooled == (size > LIMITS.memory_bytes)


async def test_a_body_sent_byte_by_byte_arrives_whole(
    directory: Path, executor: ThreadPoolExecutor
) -> None:
    data = os.urandom(900)
    with Body(LIMITS, directory, executor) as body:
        await spool.receive_raw(receiving(*pieces_of(data, 1)), body, LIMITS)

        assert (await body.source()).read(0, 900) == data


async def test_a_spooled_body_has_no_name(directory: Path, executor: ThreadPoolExecutor) -> None:
    with Body(LIMITS, directory, executor) as body:
        await spool.receive_raw(receiving(os.urandom(50_000)), body, LIMITS)
        await body.source()

        assert not names_in(directory)


async def test_without_nameless_files_the_name_is_taken_away_at_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")

    fd = nameless.open_nameless(directory)

    assert not names_in(directory)
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)


async def test_a_disconnect_gives_the_spool_file_back(
    directory: Path, executor: ThreadPoolExecutor
) -> None:
    with pytest.raises(Disconnected), Body(LIMITS, directory, executor) as body:
        await spool.receive_raw(receiving(os.urandom(50_000), complete=False), body, LIMITS)

    assert not open_below(directory)
    assert not names_in(directory)


async def test_a_body_beyond_the_bound_is_refused_while_it_arrives(
    directory: Path, executor: ThreadPoolExecutor
) -> None:
    pieces = [bytes(100_000)] * 11

    with pytest.raises(errors.TooLarge), Body(LIMITS, directory, executor) as body:
        await spool.receive_raw(receiving(*pieces), body, LIMITS)


async def test_a_caller_who_stops_sending_is_refused(
    directory: Path, executor: ThreadPoolExecutor
) -> None:
    impatient = BodyLimits(1 << 20, 1000, 100, idle_timeout_s=0.01)

    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.request"}

    with pytest.raises(errors.BodyTimeout), Body(impatient, directory, executor) as body:
        await spool.receive_raw(receive, body, impatient)


async def test_a_spool_that_cannot_be_written_is_an_unavailable_storage(
    directory: Path, executor: ThreadPoolExecutor
) -> None:
    remove(directory)

    with pytest.raises(errors.StorageUnavailable), Body(LIMITS, directory, executor) as body:
        await spool.receive_raw(receiving(bytes(5000)), body, LIMITS)


def test_the_spool_directory_is_private(tmp_path: Path) -> None:
    open_to_all = tmp_path / "spool"
    open_to_all.mkdir(mode=0o777)

    spool.prepare_directory(open_to_all)

    assert open_to_all.stat().st_mode & 0o777 == 0o700


def test_a_spool_directory_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(errors.Misconfigured):
        spool.prepare_directory(tmp_path / "spool")


@pytest.mark.parametrize("step", [1, 7, 64, 100_000])
async def test_the_file_part_arrives_byte_for_byte(
    step: int, directory: Path, executor: ThreadPoolExecutor
) -> None:
    data = b"\r\n--" + BOUNDARY[:-1] + os.urandom(3000) + b"\r\n--\r\n" + b"\r"
    message = multipart((FILE, data))
    with Body(LIMITS, directory, executor) as body:
        await receive_multipart(
            receiving(*pieces_of(message, step)), body, LIMITS, boundary=BOUNDARY
        )

        assert (await body.source()).read(0, body.size) == data


@pytest.mark.parametrize(
    "message",
    [
        multipart((b'Content-Disposition: form-data; name="wrong"', b"x")),
        multipart((FILE, b"x"), (FILE, b"y")),
        multipart((FILE, b"x"), (b'Content-Disposition: form-data; name="organization"', b"OTHER")),
        multipart((b"Content-Type: application/dicom", b"x")),
        multipart(),
        multipart((FILE, b"x"), end=b""),
        multipart((FILE, b"x"))[:-30],
        b"this is no multipart message",
    ],
    ids=[
        "wrong-name",
        "two-files",
        "further-field",
        "nameless",
        "no-part",
        "no-end",
        "cut",
        "not-multipart",
    ],
)
async def test_a_form_that_is_not_one_whole_file_is_refused(
    message: bytes, directory: Path, executor: ThreadPoolExecutor
) -> None:
    with pytest.raises(errors.InvalidRequest), Body(LIMITS, directory, executor) as body:
        await receive_multipart(receiving(message), body, LIMITS, boundary=BOUNDARY)


async def test_an_encoded_part_is_refused(directory: Path, executor: ThreadPoolExecutor) -> None:
    message = multipart((FILE + b"\r\nContent-Transfer-Encoding: base64", b"AAAA"))

    with pytest.raises(errors.UnsupportedMediaType), Body(LIMITS, directory, executor) as body:
        await receive_multipart(receiving(message), body, LIMITS, boundary=BOUNDARY)


async def test_an_endless_epilogue_is_refused(
    directory: Path, executor: ThreadPoolExecutor
) -> None:
    pieces = [multipart((FILE, b"x"))] + [bytes(1 << 18)] * 5

    with pytest.raises(errors.TooLarge), Body(LIMITS, directory, executor) as body:
        await receive_multipart(receiving(*pieces), body, LIMITS, boundary=BOUNDARY)


@pytest.mark.parametrize(
    "content_type", [b"multipart/form-data", b"multipart/form-data; boundary="]
)
def test_a_form_without_a_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        boundary_of(content_type)


def test_the_part_keeps_no_file_name(directory: Path, executor: ThreadPoolExecutor) -> None:
    with Body(LIMITS, directory, executor) as body:
        part = FilePart(body, BOUNDARY)
        part.feed(multipart((FILE, b"x")))
        part.finish()

        assert body.size == 1

"""Archives that are uploaded: streamed into the staging area, bounded, gone if anything breaks.

Neither the archive's own name nor what it holds is looked at here.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from types import TracebackType
from typing import Final, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from app import errors
from app.api.batch_parts import BatchIntake
from app.api.spool import WRITE_BYTES, BodyLimits, Bytes, in_thread, next_piece
from app.dicom.source import write_all
from app.storage.staging_faults import storage_error

FILE_PART: Final = b"archive"
MAX_FIELD_BYTES: Final = 16 << 10
# Boundaries, part headers and all the fields of a form.
FORM_OVERHEAD_BYTES: Final = 256 << 10
_PLAIN_ENCODINGS: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})


class ArchiveUpload:
    """One archive being received; leaving the block removes it unless it is to be kept.

    Args:
        intake: where it goes, and its bounds.
        executor: runs what blocks.
        is_hashed: compute a SHA-256 of its bytes.
    """

    def __init__(self, intake: BatchIntake, executor: Executor, *, is_hashed: bool) -> None:
        self.size = 0
        self.is_kept = False
        self._intake = intake
        self._executor = executor
        self._hash = sha256() if is_hashed else None
        self._name = ""
        self._fd = -1
        self._pieces: list[Bytes] = []
        self._pending_bytes = 0

    async def __aenter__(self) -> Self:
        self._name, self._fd = await in_thread(self._executor, self._intake.uploads.create)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._pieces = []
        await in_thread(self._executor, self._leave)

    @property
    def name(self) -> str:
        """Its name among the uploads; made by the gateway."""
        return self._name

    def add(self, piece: Bytes) -> None:
        """Take the next bytes.

        Raises:
            errors.TooLarge: the archive passes the bound.
        """
        self.size += len(piece)
        if self.size > self._intake.max_archive_bytes:
            raise too_large(self._intake)
        self._pieces.append(piece)
        self._pending_bytes += len(piece)

    async def settle(self) -> None:
        """Write what is pending once it is enough.

        Raises:
            errors.StagingUnavailable: it cannot be written; StagingFull where there is no room.
        """
        if self._pending_bytes >= WRITE_BYTES:
            await self._write()

    async def finish(self, renamed: Callable[[str], str] | None = None) -> None:
        """Make the whole archive durable.

        Args:
            renamed: gives it another name, made of the SHA-256 of its bytes.

        Raises:
            errors.InvalidRequest: it is empty.
            errors.StagingUnavailable: it cannot be written; StagingFull where there is no room.
        """
        if not self.size:
            raise errors.InvalidRequest("The archive is empty")
        await self._write()
        await in_thread(self._executor, partial(self._finish, renamed))

    async def _write(self) -> None:
        pieces, self._pieces, self._pending_bytes = self._pieces, [], 0
        await in_thread(self._executor, partial(self._write_pieces, pieces))

    def _write_pieces(self, pieces: list[Bytes]) -> None:
        data = b"".join(pieces)
        try:
            space = os.fstatvfs(self._fd)
            if space.f_bavail * space.f_frsize < self._intake.min_free_bytes + len(data):
                raise errors.StagingFull
            write_all(self._fd, data)
        except OSError as error:
            raise storage_error(error) from None
        if self._hash is not None:
            self._hash.update(data)

    def _finish(self, renamed: Callable[[str], str] | None) -> None:
        uploads = self._intake.uploads
        if renamed is not None and self._hash is not None:
            name = renamed(self._hash.hexdigest())
            try:
                uploads.path(self._name).replace(uploads.path(name))
            except OSError as error:
                raise storage_error(error) from None
            self._name = name
            self.is_kept = True  # the first request's batch may be working on this very file
        uploads.keep(self._fd)

    def _leave(self) -> None:
        os.close(self._fd)
        if not self.is_kept:
            with suppress(errors.StagingUnavailable):  # Uploads.remove_unused will find it
                self._intake.uploads.remove(self._name)


class ArchiveForm:
    """Reads a form: text fields, and one part with the archive.

    Args:
        upload: takes the archive.
        boundary: of the parts.
        check: called with the fields that came before the archive, to refuse in time.
    """

    def __init__(
        self, upload: ArchiveUpload, boundary: bytes, check: Callable[[Mapping[str, str]], object]
    ) -> None:
        self.fields: dict[str, str] = {}
        self._upload = upload
        self._check = check
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._part = b""
        self._value = bytearray()
        self._has_archive = False
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_header_name,
                "on_header_value": self._take_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_content,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the message.

        Raises:
            errors.InvalidRequest: the message is malformed, or a field comes twice.
            errors.TooLarge: the archive passes the bound.
        """
        try:
            self._parser.write(piece)
        except FormParserError:
            raise errors.InvalidRequest("The multipart body is malformed") from None

    def finish(self) -> None:
        """Check that the message came to its end with an archive in it.

        Raises:
            errors.InvalidRequest: it did not.
        """
        if not self._has_ended:
            raise errors.InvalidRequest("The multipart body is incomplete")
        if not self._has_archive:
            raise errors.InvalidRequest("The multipart body has no part named 'archive'")

    def _begin(self) -> None:
        self._headers, self._value = {}, bytearray()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _begin_content(self) -> None:
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _PLAIN_ENCODINGS:
            raise errors.UnsupportedMediaType("Parts must be sent as plain binary")
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"")
        if self._part == FILE_PART:
            if self._has_archive:
                raise errors.InvalidRequest("The multipart body has two parts named 'archive'")
            self._has_archive = True
            self._check(self.fields)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE_PART:
            whole = start == 0 and end == len(data)
            self._upload.add(data if whole else memoryview(data)[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise errors.InvalidRequest("A field of the form is too long")

    def _end_part(self) -> None:
        if self._part == FILE_PART:
            return
        try:
            name, value = self._part.decode("utf-8"), self._value.decode("utf-8")
        except UnicodeDecodeError:
            raise errors.InvalidRequest("A field of the form is not UTF-8") from None
        if name in self.fields:
            raise errors.InvalidRequest("A field of the form comes twice")
        self.fields[name] = value

    def _end(self) -> None:
        self._has_ended = True


async def receive_archive(receive: Receive, upload: ArchiveUpload, limits: BodyLimits) -> None:
    """Take a request whose body is the archive itself."""
    more = True
    while more:
        piece, more = await next_piece(receive, limits)
        if piece:
            upload.add(piece)
            await upload.settle()


async def receive_form(
    receive: Receive, upload: ArchiveUpload, form: ArchiveForm, limits: BodyLimits
) -> None:
    """Take a request whose body is a form with the archive in it.

    Raises:
        errors.TooLarge: the archive passes its bound, or everything beside it does.
    """
    received, more = 0, True
    while more:
        piece, more = await next_piece(receive, limits)
        received += len(piece)
        if piece:
            form.feed(piece)
            if received - upload.size > FORM_OVERHEAD_BYTES:
                raise errors.TooLarge("The fields of the form are too large")
            await upload.settle()
    form.finish()


async def receive_text(receive: Receive, limits: BodyLimits, *, max_bytes: int) -> bytes:
    """Take a small body whole.

    Raises:
        errors.TooLarge: it is not small.
    """
    pieces: list[bytes] = []
    received, more = 0, True
    while more:
        piece, more = await next_piece(receive, limits)
        received += len(piece)
        if received > max_bytes:
            raise errors.TooLarge(f"The body is larger than {max_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def too_large(intake: BatchIntake) -> errors.TooLarge:
    """Say how large an archive may be."""
    return errors.TooLarge(f"The archive is larger than {intake.max_archive_bytes} bytes")

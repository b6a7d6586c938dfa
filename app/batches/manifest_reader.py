"""Reads a manifest of any size and form in constant memory, and checks it against the schema.

Pretty printing and another order of members change nothing: what is read is put into canonical
form again, and that is what the signature is over. Signature and objects are checked elsewhere.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, Protocol, Self

from app.batches.imaging_study import IMAGING_STUDY_NAME
from app.batches.manifest_schema import INSTANCE, MANIFEST, SERIES, STUDY, Shape, canonical

_NO_SERIES: Final = "no-series"
_READ_BYTES: Final = 1 << 20
# Longest member in characters that is not one of the lists; so much of the text is at hand always.
_AT_HAND: Final = 65_536
_SPOOL_BYTES: Final = 4 << 20
_SPACE: Final = re.compile(r"[ \t\n\r]*")


class NotAManifest(ValueError):
    """The text is no manifest; says where and why, and nothing of its values."""


class Sink(Protocol):
    """Takes the canonical text: a hash, or a file for what has to wait."""

    def update(self, data: bytes, /) -> object:
        """Take the next part."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One file that a manifest lists.

    Attributes:
        file: path below the manifest's directory; plain names, whatever was read.
        sha256: in hexadecimal.
        is_object: it is a DICOM object, and not the FHIR resource of a study.
    """

    file: str
    size: int
    sha256: str
    is_object: bool = True


@dataclass(frozen=True, slots=True)
class Summary:
    """What a manifest says as a whole.

    Attributes:
        content: its members without lists and signature.
        digest: SHA-256 of its canonical form without its signature.
    """

    content: dict[str, Any]
    key_id: str
    signature: str
    digest: bytes


@dataclass(slots=True)
class _Counts:
    """How much was read so far."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    bytes: int = 0


class ManifestReader:
    """Reads one manifest from its beginning to its end, once.

    Args:
        file: at its beginning.

    Attributes:
        summary: there when ``listed`` came to its end.
    """

    summary: Summary

    def __init__(self, file: IO[bytes]) -> None:
        self._text = _Text(file)
        self._counts = _Counts()
        self._place: list[str] = []

    @property
    def studies(self) -> int:
        """How many studies were read to their end."""
        return self._counts.studies

    def listed(self) -> Iterator[Listed]:
        """Yield every file: the objects of each study, then its FHIR resource if there is one.

        Raises:
            NotAManifest: it does not fit the schema, or its parts contradict each other. What was
                yielded before is not to be relied on then.
            OSError: the file cannot be read.
        """
        digest = hashlib.sha256()
        try:
            content = yield from self._object(MANIFEST, self._studies, digest)
            self._text.expect_end()
            self._check_totals(content)
        except NotAManifest as fault:
            raise NotAManifest(f"{'.'.join(self._place) or 'manifest'}: {fault}") from None
        signature = content.pop("signature")
        self.summary = Summary(content, signature["key_id"], signature["value"], digest.digest())

    def _object(
        self, shape: Shape, read_list: Callable[[Sink], Generator[Listed, None, None]], sink: Sink
    ) -> Generator[Listed, None, dict[str, Any]]:
        """Read an object with its list, and pass its canonical text on.

        A list that comes earlier than canonical JSON would have it waits in a nameless file.
        """
        content: dict[str, Any] = {}
        texts: dict[str, bytes] = {}
        is_waiting = False
        with _Waiting() as waiting:
            for key in self._text.members():
                if key != shape.list_key and key not in shape.patterns:
                    raise NotAManifest("a member is not known")
                self._place.append(key)
                if key in texts:
                    raise NotAManifest("stands there twice")
                if key != shape.list_key:
                    content[key], texts[key] = self._member(shape, key)
                else:
                    texts[key] = b""
                    is_waiting = not texts.keys() >= set(shape.before)
                    if not is_waiting:
                        sink.update(_head(shape, texts))
                    yield from read_list(waiting if is_waiting else sink)
                self._place.pop()
            _check_complete(shape, texts)
            if is_waiting:
                sink.update(_head(shape, texts))
                waiting.pour(sink)
        sink.update(_tail(shape, texts))
        return content

    def _member(self, shape: Shape, key: str) -> tuple[Any, bytes]:
        value, text = self._text.value()
        if shape.patterns[key].fullmatch(text) is None:
            raise NotAManifest("does not fit the schema")
        return value, text.encode()

    def _studies(self, sink: Sink) -> Generator[Listed, None, None]:
        for is_first in self._elements():
            if not is_first:
                sink.update(b",")
            yield from self._study(sink)
            self._counts.studies += 1

    def _study(self, sink: Sink) -> Generator[Listed, None, None]:
        before = self._counts.instances
        directories: set[str] = set()

        def read(sink: Sink) -> Generator[Listed, None, None]:
            for is_first in self._elements():
                if not is_first:
                    sink.update(b",")
                directories.add((yield from self._series(sink)))
                self._counts.series += 1

        study = yield from self._object(STUDY, read, sink)
        if not directories:
            raise NotAManifest("it lists no series")
        if study["image_count"] != self._counts.instances - before:
            raise NotAManifest("image_count is not the number of its instances")
        if directories - {study["cloud_study_id"]}:
            raise NotAManifest("a file lies in the directory of another study")
        if resource := study["imaging_study"]:
            file = f"{study['cloud_study_id']}/{IMAGING_STUDY_NAME}"
            yield Listed(file, resource["size"], resource["sha256"], is_object=False)

    def _series(self, sink: Sink) -> Generator[Listed, None, str]:
        """Read one series; return the study's part of its files' paths."""
        directory = ""

        def read(sink: Sink) -> Generator[Listed, None, None]:
            nonlocal directory
            for is_first in self._elements():
                listed, text, found = self._instance()
                if is_first:
                    directory = found
                    sink.update(text.encode())
                else:
                    sink.update(b"," + text.encode())
                if found != directory:
                    raise NotAManifest("its file is not in the directory of its series")
                self._counts.instances += 1
                self._counts.bytes += listed.size
                yield listed

        series = yield from self._object(SERIES, read, sink)
        study, _, own = directory.partition("/")
        if directory == "":
            raise NotAManifest("it lists no instance")
        if own != (series["series_instance_uid"] or _NO_SERIES):
            raise NotAManifest("a file lies in the directory of another series")
        return study

    def _instance(self) -> tuple[Listed, str, str]:
        """Read one instance; return its canonical text and its file's directory with it."""
        match = self._text.match(INSTANCE)
        if match is None:
            match = INSTANCE.fullmatch(self._text.value()[1])
        if match is None:
            raise NotAManifest("does not fit the schema")
        file, size, sha256, uid = match.group("file", "size", "sha256", "sop_instance_uid")
        directory, _, name = file[1:-1].rpartition("/")
        if name != f"{uid[1:-1]}.dcm":
            raise NotAManifest("its file is not named by its SOP Instance UID")
        return Listed(file[1:-1], int(size), sha256[1:-1]), match[0], directory

    def _elements(self) -> Iterator[bool]:
        """Go through a list; yield whether it is the first element."""
        depth = len(self._place)
        for number, _ in enumerate(self._text.elements()):
            self._place[depth:] = [str(number)]
            yield number == 0
        del self._place[depth:]

    def _check_totals(self, content: dict[str, Any]) -> None:
        counts = self._counts
        expected = {
            "bytes": counts.bytes,
            "instances": counts.instances,
            "series": counts.series,
            "studies": counts.studies,
        }
        totals = (content["totals"], content["total_studies"], content["total_images"])
        if totals != (expected, counts.studies, counts.instances):
            raise NotAManifest("the totals are not those of what it lists")


class _Waiting:
    """Canonical text that may not be hashed yet."""

    def __enter__(self) -> Self:
        self._file = SpooledTemporaryFile(_SPOOL_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def update(self, data: bytes, /) -> None:
        self._file.write(data)

    def pour(self, sink: Sink) -> None:
        self._file.seek(0)
        while part := self._file.read(_READ_BYTES):
            sink.update(part)


class _Text:
    """A window over JSON text: what stands at its place is at hand whole, unless it is a list."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._buffer = ""
        self._at = 0
        self._is_ended = False

    def members(self) -> Iterator[str]:
        """Yield the keys of an object; whoever takes them reads each value before the next."""
        self._expect("{")
        if self._skip("}"):
            return
        while True:
            key, _ = self.value()
            if not isinstance(key, str):
                raise NotAManifest("this is not JSON")
            self._expect(":")
            yield key
            if self._skip("}"):
                return
            self._expect(",")

    def elements(self) -> Iterator[None]:
        """Yield at each element of a list; whoever goes through them reads each."""
        self._expect("[")
        if self._skip("]"):
            return
        while True:
            yield
            if self._skip("]"):
                return
            self._expect(",")

    def value(self) -> tuple[Any, str]:
        """Read one value; return its canonical text with it."""
        self._next()
        try:
            value, self._at = _DECODER.raw_decode(self._buffer, self._at)
            return value, canonical(value)
        except (ValueError, RecursionError):
            raise NotAManifest(
                "this is not JSON, ends too early, is too long, or has a member twice"
            ) from None

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what fits the pattern; it fits only what is a value and canonical."""
        self._next()
        match = pattern.match(self._buffer, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def expect_end(self) -> None:
        """Refuse anything but space."""
        if self._next():
            raise NotAManifest("something follows its end")

    def _expect(self, character: str) -> None:
        if not self._skip(character):
            raise NotAManifest(f"{character} should stand here")

    def _skip(self, character: str) -> bool:
        if self._next() != character:
            return False
        self._at += 1
        return True

    def _next(self) -> str:
        """Go to the next character that is no space, and return it; empty at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._is_ended or len(self._buffer) - self._at >= _AT_HAND:
                return self._buffer[self._at : self._at + 1]
            self._fill()

    def _fill(self) -> None:
        part = self._file.read(_READ_BYTES)
        self._is_ended = not part
        try:
            text = self._decoder.decode(part, final=self._is_ended)
        except UnicodeDecodeError:
            raise NotAManifest("this is not UTF-8") from None
        self._buffer = self._buffer[self._at :] + text
        self._at = 0


def _check_complete(shape: Shape, texts: dict[str, bytes]) -> None:
    for key in (*shape.patterns, shape.list_key):
        if key not in texts:
            raise NotAManifest(f"{key} is missing")


def _head(shape: Shape, texts: dict[str, bytes]) -> bytes:
    members = [b'"%b":%b,' % (key.encode(), texts[key]) for key in shape.before]
    return b'{%b"%b":[' % (b"".join(members), shape.list_key.encode())


def _tail(shape: Shape, texts: dict[str, bytes]) -> bytes:
    return b"]%b}" % b"".join(b',"%b":%b' % (key.encode(), texts[key]) for key in shape.after)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _number(text: str) -> float | int:
    """Read a number as RFC 8785 does: 5.0 and 5e0 are 5."""
    number = float(text)
    return int(number) if number.is_integer() else number


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_number)

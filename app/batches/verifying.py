"""Whether the objects of a batch are those that its manifest lists, all of them and no others."""

import asyncio
import hashlib
import operator
import re
import secrets
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import IO, Final

from app.batches.imaging_study import IMAGING_STUDY_NAME
from app.batches.manifest import MANIFEST_NAME, signed_message
from app.batches.manifest_reader import Listed, ManifestReader, NotAManifest, Summary
from app.batches.shelves import Fault, Finding, Shelf
from app.errors import StorageUnavailable
from app.vault.signing import PublicKeys, from_base64url

MAX_FINDINGS: Final = 1000
"""So many are kept one by one; all are counted."""
_TAKE_FILES: Final = 64
_TAKE_BYTES: Final = 32 << 20
_BUCKETS: Final = 1024
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Advance = Callable[[int, int], None]


class SignatureState(StrEnum):
    """What is known of a manifest's signature."""

    VALID = "valid"
    INVALID = "invalid"  # another key made it, or what is signed was changed
    UNKNOWN_KEY = "unknown-key"  # the key that it names is not among those given
    UNCHECKED = "unchecked"  # no keys were given


@dataclass(slots=True)
class Verification:
    """What came out.

    Attributes:
        problem: what is wrong with the manifest itself; objects were not looked at then.
        summary: of a manifest that could be read.
        faults: how many objects have each fault.
        findings: the first of them.
        unknown: files that are not listed, and no DICOM objects or FHIR resources.
        checked_files: objects that were compared.
        checked_bytes: their size by the manifest.
    """

    problem: str = ""
    signature: SignatureState = SignatureState.UNCHECKED
    summary: Summary | None = None
    faults: Counter[Fault] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    unknown: int = 0
    checked_files: int = 0
    checked_bytes: int = 0

    @property
    def is_complete(self) -> bool:
        """Everything listed is there, and nothing unexpected; the signature is no part of this."""
        return not self.problem and not self.faults

    @property
    def is_authentic(self) -> bool:
        """A trusted key signed the manifest as it is."""
        return self.signature is SignatureState.VALID

    def add(self, findings: Sequence[Finding]) -> None:
        """Take what was found."""
        for finding in findings:
            self.faults[finding.fault] += 1
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)


async def verify(
    shelf: Shelf, keys: PublicKeys | None, *, jobs: int, advance: Advance | None = None
) -> Verification:
    """Check a manifest, its signature and everything that it lists.

    Args:
        shelf: where they lie.
        keys: that the gateway may have signed with; None to leave the signature unchecked.
        jobs: objects that are read at once.
        advance: is told how many objects and bytes were compared since it was last told.

    Raises:
        StorageUnavailable: the place does not answer.
    """
    outcome = Verification()
    file = await shelf.open_manifest()
    if file is None:
        outcome.problem = f"there is no {MANIFEST_NAME}"
        return outcome
    with file:
        try:
            names, studies, summary = await asyncio.to_thread(_read, file)
            outcome.summary = summary
            outcome.problem = _problem(shelf.name, summary, names, studies)
            outcome.signature = _signature_state(summary, keys)
            if not outcome.problem:
                await _compare(shelf, file, outcome, jobs=jobs, advance=advance)
                await _look_for_others(shelf, names, outcome)
        except NotAManifest as fault:
            outcome.problem = str(fault)
        except OSError:
            raise StorageUnavailable("The manifest cannot be read") from None
    return outcome


def _read(file: IO[bytes]) -> tuple["_Names", "_Names", Summary]:
    """Return the names of the files and of the studies that are listed, and the rest."""
    reader = ManifestReader(file)
    names, studies = _Names(), _Names()
    begun = 0
    for listed in reader.listed():
        names.add(listed.file)
        if begun == reader.studies:  # the first of its study
            begun += 1
            studies.add(listed.file.partition("/")[0])
    names.add(MANIFEST_NAME)
    return names, studies, reader.summary


def _problem(name: str, summary: Summary, names: "_Names", studies: "_Names") -> str:
    batch_id = summary.content["batch_id"]
    if _UUID.fullmatch(name) and name.lower() != batch_id:
        return "this is the manifest of another batch than the directory is named for"
    if names.sort() | studies.sort():
        return "a study or an object is listed twice"
    return ""


def _signature_state(summary: Summary, keys: PublicKeys | None) -> SignatureState:
    if keys is None:
        return SignatureState.UNCHECKED
    if summary.key_id not in keys:
        return SignatureState.UNKNOWN_KEY
    try:
        signature = from_base64url(summary.signature)
    except ValueError:
        return SignatureState.INVALID
    is_valid = keys.verify(summary.key_id, signed_message(summary.digest), signature)
    return SignatureState.VALID if is_valid else SignatureState.INVALID


async def _compare(
    shelf: Shelf, file: IO[bytes], outcome: Verification, *, jobs: int, advance: Advance | None
) -> None:
    """Read the manifest again, and compare what it lists a few objects at a time.

    It must be the same one as before, or what was checked of it means nothing.
    """
    file.seek(0)
    reader = ManifestReader(file)
    portions = _portions(reader.listed())
    turn = asyncio.Lock()

    async def work() -> None:
        while True:
            async with turn:
                portion = await asyncio.to_thread(next, portions, None)
            if portion is None:
                return
            outcome.add(await shelf.check(portion))
            sizes = [listed.size for listed in portion if listed.is_object]
            outcome.checked_files += len(sizes)
            outcome.checked_bytes += sum(sizes)
            if advance is not None:
                advance(len(sizes), sum(sizes))

    tasks = [asyncio.ensure_future(work()) for _ in range(jobs)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if reader.summary != outcome.summary:
        raise NotAManifest("it changed while it was read")


def _portions(listed: Iterator[Listed]) -> Iterator[list[Listed]]:
    portion: list[Listed] = []
    size = 0
    for one in listed:
        portion.append(one)
        size += one.size
        if len(portion) == _TAKE_FILES or size >= _TAKE_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


async def _look_for_others(shelf: Shelf, names: "_Names", outcome: Verification) -> None:
    async for found in shelf.found():
        if found.name in names:
            continue
        fault = found.fault
        if fault is None and (_is_resource(found.name) or await shelf.is_dicom(found.name)):
            fault = Fault.UNEXPECTED
        if fault is None:
            outcome.unknown += 1
        else:
            outcome.add([Finding(fault, found.name)])


def _is_resource(name: str) -> bool:
    return name.rpartition("/")[2].lower() == IMAGING_STUDY_NAME


class _Names:
    """A set of names that takes eight bytes for each.

    It keeps hashes under a key of its own: nobody can make up names that meet in one, and by
    chance two of ten million do with a probability of 1 in 300,000.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._buckets = [array("Q") for _ in range(_BUCKETS)]

    def add(self, name: str) -> None:
        """Add a name; names that are added twice are found by ``sort``."""
        value = self._hash(name)
        self._buckets[value % _BUCKETS].append(value)

    def sort(self) -> bool:
        """Make the set ready to be asked; say whether a name was added twice."""
        is_twice = False
        for number, bucket in enumerate(self._buckets):
            values = sorted(bucket)
            is_twice |= any(map(operator.eq, values, islice(values, 1, None)))
            self._buckets[number] = array("Q", values)
        return is_twice

    def __contains__(self, name: str) -> bool:
        value = self._hash(name)
        bucket = self._buckets[value % _BUCKETS]
        place = bisect_left(bucket, value)
        return place < len(bucket) and bucket[place] == value

    def _hash(self, name: str) -> int:
        raw = name.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(raw, digest_size=8, key=self._key).digest(), "big")

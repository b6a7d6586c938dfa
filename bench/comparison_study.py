"""An ordinary study, and what is looked at in a tool's results of it: validity and references."""

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from tests.builders import INSTANCES, REFERENCED_IMAGE, Identity, part10
from tools.debian_tools import provide

_KINDS = ("ct", "mr", "enhanced-mr", "sr", "pr", "seg", "rtstruct", "ko")
_UID_ROOT = "1.2.826.0.1.3680043.10.998"
_SHARED = ("StudyInstanceUID", "PatientID")


def study() -> dict[str, bytes]:
    """Make one object of each kind in one study; reports and annotations refer to the CT image."""
    made = {}
    for number, kind in enumerate(_KINDS, start=100):
        dataset = INSTANCES[kind](Identity())
        dataset.SOPInstanceUID = REFERENCED_IMAGE if kind == "ct" else f"{_UID_ROOT}.{number}"
        if kind != "ct":  # a series holds one modality
            dataset.SeriesInstanceUID = f"{_UID_ROOT}.{number}.1"
        made[kind] = part10(dataset)
    return made


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the results of the study are worth.

    Attributes:
        objects: how many came out, of how many.
        new_errors: the validator's kinds of errors that the inputs had not.
        dangling: references that lead nowhere among the results, more than among the inputs.
        gone: references that are not there any more.
        together: whether all results have one Study Instance UID and one Patient ID.
        uids_left: original UIDs of the study that can still be read.
        unreadable: results that pydicom cannot read.
    """

    objects: tuple[int, int]
    new_errors: tuple[str, ...]
    dangling: int
    gone: int
    together: bool
    uids_left: int
    unreadable: int


def judge(inputs: Mapping[str, bytes], outputs: Mapping[str, bytes], scratch: Path) -> Verdict:
    """Look at a tool's results of the study."""
    before = {name: _read(data) for name, data in inputs.items()}
    after = {name: read for name, data in outputs.items() if (read := _read(data)) is not None}
    errors: set[str] = set()
    for name, data in outputs.items():
        errors |= _errors(data, scratch) - _errors(inputs[name], scratch)
    originals = {uid for read in before.values() if read for uid in _own_uids(read)}
    left = {uid for uid in originals for data in outputs.values() if uid.encode() in data}
    return Verdict(
        objects=(len(outputs), len(inputs)),
        new_errors=tuple(sorted(errors)),
        dangling=_dangling(after) - _dangling(before),
        gone=len(_references(before)) - len(_references(after)),
        together=all(_is_one(keyword, after) for keyword in _SHARED),
        uids_left=len(left),
        unreadable=len(outputs) - len(after),
    )


def _read(data: bytes) -> Dataset | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read = dcmread(io.BytesIO(data))
            list(read.iterall())
        except (InvalidDicomError, ValueError, KeyError, TypeError, AttributeError):
            return None
        else:
            return read


def _own_uids(read: Dataset) -> Iterator[str]:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if value := read.get(keyword):
            yield str(value)


def _references(reads: Mapping[str, Dataset | None]) -> list[str]:
    return [
        str(element.value)
        for read in reads.values()
        if read
        for element in read.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    ]


def _dangling(reads: Mapping[str, Dataset | None]) -> int:
    """Count the references that lead to no object among these."""
    present = {str(read.get("SOPInstanceUID")) for read in reads.values() if read}
    return sum(uid not in present for uid in _references(reads))


def _is_one(keyword: str, reads: Mapping[str, Dataset]) -> bool:
    values = {str(read.get(keyword) or "") for read in reads.values()}
    return len(values) == 1 and values != {""}


def _errors(data: bytes, scratch: Path) -> set[str]:
    """Return the kinds of errors that dciodvfy finds, without the values that it quotes."""
    path = scratch / "validated.dcm"
    path.write_bytes(data)
    said = provide("dicom3tools", "dciodvfy").run(str(path), check=False).stderr.splitlines()
    lines = (line for line in said if line.startswith("Error"))
    return set(Counter(re.sub(r"<[^>]*>|= <.*|UID [0-9.]+", "", line) for line in lines))

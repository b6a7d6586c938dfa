"""Instances explained, and the same told by pydicom, which knows nothing of plans."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from pydicom import config, dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from app.deid.explaining import Line
from app.deid.options import AVAILABLE_OPTIONS, Option
from app.deid.profile import BUILT_IN, Profile, with_version
from app.dicom.source import MemorySource
from app.pipeline import Context, deidentify
from app.pipeline.explaining import Explanation, explained
from app.vault.pseudonyms import Pseudonyms

# What retains or cleans most: every option that can be true together. Pixels are looked at in
# child processes, which have tests of their own.
NOT_HERE = {Option.FULL_DATES, Option.CLEAN_PIXEL_DATA}
EVERYTHING = with_version(
    Profile("everything", tuple(o for o in Option if o in AVAILABLE_OPTIONS - NOT_HERE))
)
REBUILT = {"dummy", "marker", "notice"}


def context(profile: str | Profile = "basic", key: bytes = bytes(range(32))) -> Context:
    chosen = BUILT_IN[profile] if isinstance(profile, str) else profile
    return Context("DEMO", chosen, Pseudonyms(key, "DEMO"))


def explain(data: bytes, profile: str | Profile = "basic") -> tuple[Explanation, bytes]:
    """Explain an object; return the explanation and what came out."""
    source, with_profile = MemorySource(data), context(profile)
    done = deidentify(source, with_profile)
    return explained(source, with_profile, done), b"".join(done.chunks())


def lines_of(data: bytes, profile: str | Profile = "basic", **options) -> dict[str, Line]:
    """Return path → line."""
    return {line.path: line for line in explain(data, profile)[0].lines(**options)}


@contextmanager
def quiet() -> Iterator[None]:
    """Let pydicom read what real files hold, private elements as they are encoded.

    What it makes of those depends on how their creator is spelled, which is corrected on the way.
    """
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with (
            warnings.catch_warnings(),
            patch("pydicom.hooks.private_dictionary_VR", side_effect=KeyError),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = before


Flat = dict[str, Any]


def flat(data: bytes) -> Flat:
    """Return path → value, as pydicom reads an object; of sequences the number of items."""
    dataset = dcmread(io.BytesIO(data), force=True)
    found: Flat = {}
    _flatten(dataset.file_meta, "", found)
    _flatten(dataset, "", found)
    return found


@dataclass(frozen=True, eq=False)
class Words:
    """A value of words, whose bytes change their order when big endian is converted."""

    data: bytes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Words):
            return NotImplemented
        return self.data == other.data or sorted(self.data) == sorted(other.data)

    __hash__ = None  # type: ignore[assignment]


def _flatten(dataset: Dataset, prefix: str, found: Flat) -> None:
    for tag in sorted(dataset.keys()):
        path = f"{prefix}({tag.group:04X},{tag.element:04X})"
        element = dataset[tag]
        if element.VR != "SQ":
            found[path] = _comparable(element)
            continue
        found[path] = len(element.value)
        for number, item in enumerate(element.value):
            _flatten(item, f"{path}[{number}].", found)


def _comparable(element: DataElement) -> object:
    value = element.value
    if element.VR == "OW" and value:
        return Words(value)
    if element.VR == "UN":
        return (value or b"").rstrip(b"\0 ")
    if isinstance(value, bytes):
        return value
    return str(value).rstrip("\0 ") if value else ""


def told_by_pydicom(before: Flat, after: Flat) -> dict[str, str]:
    """Return path → what became of it; a sequence in which something changed is changed."""
    found = {}
    for path in before.keys() | after.keys():
        if path not in after:
            found[path] = "removed"
        elif path not in before:
            found[path] = "inserted"
        else:
            found[path] = "kept" if before[path] == after[path] else "changed"
    for path in [path for path, told in found.items() if told != "kept"]:
        for sequence in _enclosing(path):
            if found[sequence] == "kept":
                found[sequence] = "changed"
    return found


def _enclosing(path: str) -> Iterator[str]:
    while "[" in path:
        path = path.rpartition("[")[0]
        yield path

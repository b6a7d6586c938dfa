"""Validity under every ready-made profile: what comes out is as sound as what went in.

The outside validator finds no error that it did not find before, highdicom and pydicom read the
result, and references inside a study resolve. Over what is always at hand: instances of our own
builders, the sample study, files in pydicom's wheel; and over some of the corpus if it is there.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.uid import UID

from app.deid.profile import BUILT_IN
from app.deid.standard import well_known_uid
from app.dicom.source import MemorySource
from app.errors import GatewayError
from app.pipeline import Context, Deidentified, deidentify
from app.samples import sample_study
from app.vault.pseudonyms import Pseudonyms
from tests.builders import INSTANCES, Identity, part10
from tests.dicom.files import BUNDLED, CORPUS, files_below

hd = pytest.importorskip("highdicom", reason="highdicom is the second reader")

# Of the files at hand, so many are enough in every run; all are tried by hand before a release.
_SAMPLE = 10
_TREES = {
    "Comprehensive 3D SR Storage": "Comprehensive3DSR",
    "Comprehensive SR Storage": "ComprehensiveSR",
    "Enhanced SR Storage": "EnhancedSR",
}
# The validator gives up on such inputs, so it cannot say what was wrong with them before.
_NOT_VALIDATED = ("Tags out of order", "dataset read failed", "Information Object Not found")
_WANTED = ("SR Storage", "Segmentation", "Presentation State", "RT ", "Key Object")


@cache
def instances() -> dict[str, bytes]:
    """Return what is always at hand, and a part of the corpus."""
    who = Identity()
    found = {f"built-{kind}": part10(made(who)) for kind, made in INSTANCES.items()}
    found |= {one.name: one.data for one in sample_study() if one.name in _ONE_OF_EACH}
    for folder in (BUNDLED, CORPUS):
        files = files_below(folder) if folder.is_dir() else {}
        chosen = [*list(files.items())[:: max(len(files) // _SAMPLE, 1)], *_rare(files)]
        found |= {name: path.read_bytes() for name, path in chosen}
    return found


_ONE_OF_EACH = {"ct-1-1.dcm", "report.dcm"}


def _rare(files: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield one file of each SOP Class that is no image."""
    met = set()
    for name, path in files.items():
        kind = _sop_class(path.read_bytes())
        if kind not in met and any(word in kind for word in _WANTED):
            met.add(kind)
            yield name, path


def _sop_class(data: bytes) -> str:
    try:
        return UID(str(read(data, header=True).SOPClassUID)).name
    except Exception:  # noqa: BLE001 - whatever is wrong with a file that is to be refused
        return ""


def read(data: bytes, *, header: bool = False) -> Dataset:
    with warnings.catch_warnings():  # pydicom warns of faults that the input had already
        warnings.simplefilter("ignore")
        return dcmread(io.BytesIO(data), force=header, stop_before_pixels=header)


def attempt(data: bytes, profile: str) -> Deidentified | None:
    context = Context("DEMO", BUILT_IN[profile], Pseudonyms(bytes(range(32)), "DEMO"))
    try:
        return deidentify(MemorySource(data), context)
    except GatewayError:
        return None


def results(profile: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield name, original and result of every instance that is not refused."""
    for name, data in instances().items():
        made = attempt(data, profile)
        if made is not None:
            yield name, data, b"".join(made.chunks())


def kinds(errors: list[str]) -> frozenset[str]:
    """Return the validator's findings without the values that they quote."""
    return frozenset(re.sub(r"<[^>]*>|= <.*|UID [0-9.]+", "", line) for line in errors)


@pytest.fixture(scope="module")
def found_before(
    dciodvfy: Callable[[Path], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, bytes], list[str]]:
    """What the validator says of an original; asked once for all profiles."""
    folder = tmp_path_factory.mktemp("originals")
    known: dict[str, list[str]] = {}

    def ask(name: str, data: bytes) -> list[str]:
        if name not in known:
            path = folder / name
            path.write_bytes(data)
            known[name] = dciodvfy(path)
        return known[name]

    return ask


@pytest.mark.parametrize("profile", BUILT_IN)
def test_the_validator_finds_nothing_that_it_did_not_find_before(
    profile: str,
    dciodvfy: Callable[[Path], list[str]],
    found_before: Callable[[str, bytes], list[str]],
    tmp_path: Path,
) -> None:
    new = {}
    count = 0
    for name, original, result in results(profile):
        before = found_before(name, original)
        if any(word in line for line in before for word in _NOT_VALIDATED):
            continue
        path = tmp_path / name
        path.write_bytes(result)
        count += 1
        new[name] = sorted(kinds(dciodvfy(path)) - kinds(before))

    assert {name: lines for name, lines in new.items() if lines} == {}
    assert count > len(INSTANCES)


def parsed(dataset: Dataset) -> str:
    """Let highdicom read a document; return how it was read, or that it could not be."""
    name = UID(dataset.SOPClassUID).name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name == "Segmentation Storage":
                return type(hd.seg.Segmentation.from_dataset(dataset)).__name__
            if "Key Object" in name:
                return type(hd.ko.KeyObjectSelectionDocument.from_dataset(dataset)).__name__
            if name in _TREES:
                return type(getattr(hd.sr, _TREES[name]).from_dataset(dataset)).__name__
    except Exception:  # noqa: BLE001 - a library's opinion of a damaged original
        return "unreadable"
    return ""


@pytest.mark.parametrize("profile", BUILT_IN)
def test_documents_are_read_by_pydicom_and_by_highdicom_where_the_original_was(
    profile: str,
) -> None:
    lost = []
    seen = set()
    for name, original, result in results(profile):
        made = read(result)
        kind = _sop_class(result)
        seen |= {word for word in _WANTED if word in kind}
        elements = sum(1 for _ in made.iterall())
        before = parsed(read(original, header=True)) if any(w in kind for w in _WANTED) else ""
        if not elements or (before not in {"", "unreadable"} and parsed(made) != before):
            lost.append((name, kind))

    assert lost == []
    assert seen == set(_WANTED)


def referenced(dataset: Dataset) -> set[str]:
    return {
        str(element.value)
        for element in dataset.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }


@pytest.mark.parametrize("profile", BUILT_IN)
def test_references_inside_a_study_resolve(profile: str) -> None:
    study = [read(one.data) for one in sample_study()]
    made = [attempt(one.data, profile) for one in sample_study()]
    outputs = [read(b"".join(one.chunks())) for one in made if one is not None]
    own = {str(dataset.SOPInstanceUID) for dataset in study}

    before = set().union(*map(referenced, study)) & own
    after = set().union(*map(referenced, outputs))

    assert len(outputs) == len(study)
    assert len({str(dataset.StudyInstanceUID) for dataset in outputs}) == 1
    assert before
    assert after <= {str(dataset.SOPInstanceUID) for dataset in outputs}
    assert len(after) == len(before)


@pytest.mark.parametrize("profile", BUILT_IN)
@pytest.mark.parametrize("kind", ["seg", "ko", "pr", "sr"])
def test_a_reference_to_another_instance_follows_it(kind: str, profile: str) -> None:
    original = INSTANCES[kind](Identity())
    context = Context("DEMO", BUILT_IN[profile], Pseudonyms(bytes(range(32)), "DEMO"))

    made = attempt(part10(original), profile)

    assert made is not None
    expected = {context.pseudonyms.uid(uid) for uid in referenced(original)}
    left = {uid for uid in referenced(read(b"".join(made.chunks()))) if not well_known_uid(uid)}
    assert left
    assert left <= expected

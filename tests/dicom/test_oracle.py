"""pydicom is the oracle: on every file that it reads the tokens say the same, or are refused."""

import pytest
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from app.dicom import part10
from app.dicom.source import MemorySource
from app.dicom.tokens import Limits, Tokens
from app.errors import GatewayError
from tests.dicom.building import Outline, Outlined
from tests.dicom.files import BUNDLED, CORPUS, all_files, files_below
from tests.dicom.oracle import (
    differences,
    meta_differences,
    pydicom_outline,
    read_with_pydicom,
    tokens_outline,
)
from tests.dicom.oracle_exceptions import EXCEPTIONS
from tests.dicom.rewriting import Lengths, rewrite, rewrite_dataset

FILES = all_files()
LIMITS = Limits()


def tokens_of(data: bytes) -> Tokens:
    return part10.read(MemorySource(data), LIMITS)


def pydicom_reads(data: bytes) -> FileDataset | None:
    """What pydicom reads; without the preamble only if the tokeniser reads it too."""
    try:
        return read_with_pydicom(data)
    except InvalidDicomError:
        return None
    except Exception:  # noqa: BLE001 - pydicom fails in many ways on what is no DICOM
        return None


def disagreement(data: bytes) -> list[str]:
    """Say in what tokens and pydicom disagree about a file; empty where both read the same."""
    theirs = pydicom_reads(data)
    try:
        tokens = tokens_of(data)
    except GatewayError as error:
        return [] if theirs is None else [f"refused: {error.code}"]
    theirs = theirs or read_with_pydicom(data, force=True)
    return differences(pydicom_outline(theirs), tokens_outline(tokens)) + meta_differences(
        theirs, tokens.meta
    )


def without_lengths(outline: Outline) -> Outline:
    """The outline without the bytes of sequences, in which lengths stand."""
    return {
        place: element if element.items is None else Outlined(element.vrs, None, element.items)
        for place, element in outline.items()
    }


@pytest.mark.parametrize("name", FILES)
def test_tokens_agree_with_pydicom_on_a_real_file(name):
    found = disagreement(FILES[name].read_bytes())

    assert bool(found) == (name in EXCEPTIONS), EXCEPTIONS.get(name, found[:10])


def readable() -> list[str]:
    return [name for name in FILES if name not in EXCEPTIONS]


@pytest.mark.parametrize("name", readable())
def test_tokens_of_a_real_file_written_back_are_the_same_to_pydicom(name):
    data = FILES[name].read_bytes()
    try:
        tokens = tokens_of(data)
    except GatewayError:
        return  # that it is refused rightly is the test above
    before = without_lengths(tokens_outline(tokens))

    for lengths in Lengths:
        again = read_with_pydicom(rewrite(tokens, lengths))
        assert differences(pydicom_outline(again), before) == [], lengths


@pytest.mark.parametrize("name", readable())
def test_a_real_file_written_back_with_its_own_lengths_has_its_own_bytes(name):
    data = FILES[name].read_bytes()
    try:
        tokens = tokens_of(data)
    except GatewayError:
        return  # that it is refused rightly is the test above
    begin = min([*tokens.root.starts[:1], *([tokens.pixels.start] if tokens.pixels else [])])
    source = tokens.source.read(0, tokens.source.size)

    written = rewrite_dataset(tokens)

    # Only padding and what is no element may be missing behind the end.
    assert source[begin:].startswith(written)
    if "trailing-bytes-removed" not in tokens.anomalies:
        assert source[begin:] == written


def test_there_are_real_files_to_read():
    assert len(files_below(BUNDLED)) > 150


def test_the_corpus_is_read_where_it_lies_beside_the_checkout():
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real files does not lie beside this checkout")
    assert len(files_below(CORPUS)) > 100


def test_the_list_of_exceptions_is_short_and_every_entry_has_a_reason():
    assert len(EXCEPTIONS) <= 10
    assert all(len(reason) > 20 for reason in EXCEPTIONS.values())

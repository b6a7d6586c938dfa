"""Real files: pydicom's bundled ones, and the corpus beside the checkout when it is there.

Each is de-identified or refused; what comes out reads back, decodes to the same pixels, and the
outside validator finds nothing in it that it did not find before.
"""

import io
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.deid.options import AVAILABLE_OPTIONS, Option
from app.deid.profile import BUILT_IN, Profile, with_version
from app.dicom.source import MemorySource
from app.errors import GatewayError
from app.pipeline import Context, Deidentified, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.dicom.files import all_files

# The validator gives up on these inputs (elements out of order, odd values in big endian), so it
# cannot say what was wrong with them before.
NOT_VALIDATED_BEFORE = ("Tags out of order", "dataset read failed", "Information Object Not found")


# What retains or cleans most: every option that can be true together. Pixels are looked at in
# child processes, which have tests of their own.
NOT_HERE = {Option.FULL_DATES, Option.CLEAN_PIXEL_DATA}
EVERYTHING = tuple(o for o in Option if o in AVAILABLE_OPTIONS - NOT_HERE)
PROFILES = {
    "basic": BUILT_IN["basic"],
    "teleradiology": BUILT_IN["teleradiology"],
    "everything": with_version(Profile("everything", EVERYTHING)),
}


def attempt(path: Path, profile: str) -> Deidentified | str:
    context = Context("DEMO", PROFILES[profile], Pseudonyms(bytes(range(32)), "DEMO"))
    try:
        return deidentify(MemorySource(path.read_bytes()), context)
    except GatewayError as error:
        return error.code


def read(data: bytes, *, force: bool = False) -> Dataset:
    with warnings.catch_warnings():  # pydicom warns of faults that the input had already
        warnings.simplefilter("ignore")
        return dcmread(io.BytesIO(data), force=force)


def pixels_of(data: bytes) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(data, force=True).pixel_array
    except Exception:  # noqa: BLE001 - whatever a codec says of a damaged or pixel-less object
        return None


def kinds(errors: list[str]) -> Counter[str]:
    """Count the validator's findings without the values they quote."""
    return Counter(re.sub(r"<[^>]*>|= <.*|UID [0-9.]+", "", line) for line in errors)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("path", all_files().values(), ids=all_files())
def test_a_real_file_leaves_whole_or_not_at_all(
    path: Path, profile: str, dciodvfy, tmp_path: Path
) -> None:
    made = attempt(path, profile)
    if isinstance(made, str):
        return
    data = b"".join(made.chunks())
    target = tmp_path / "out.dcm"
    target.write_bytes(data)

    before, after = pixels_of(path.read_bytes()), pixels_of(data)
    found_before, found_after = dciodvfy(path), dciodvfy(target)

    assert len(data) == made.size
    assert read(data).PatientIdentityRemoved == "YES"
    assert before is None or np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
    if not any(word in line for line in found_before for word in NOT_VALIDATED_BEFORE):
        assert sorted(kinds(found_after).keys() - kinds(found_before).keys()) == []

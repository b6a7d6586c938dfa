"""Real files under a profile that cleans pixels: masked where a rule says so, valid as before."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from app.deid.profile import profile_from_text
from app.errors import GatewayError
from app.pipeline import Deidentified
from app.pipeline.pixel_work import Sender
from app.pixels.children import Children
from app.pixels.model import Verdict
from tests.builders import everything
from tests.canaries.search import found, searchable
from tests.deid.test_validity import kinds
from tests.dicom.files import all_files
from tests.pipeline.echo import BANNER, WHO, cleaned, echo, encoded, parts, rule

ANY = """
format: 1
rules:
  - id: every-image
    match: {rows: {min: 1}}
    mask: [{top: 0, height: "10%"}]
    complete: true
"""
PROFILE = profile_from_text("{name: corpus, options: [basic, clean_pixel_data, clean_descriptors]}")
PER_SYNTAX = 3
_SYNTAXES = 6  # as many are in pydicom's wheel
# Masks of JPEG reach to the ends of their blocks, and decoders smooth colours across those.
_BLOCK, _SMOOTHED = 16, 2
_NOT_VALIDATED = ("Tags out of order", "dataset read failed", "Information Object Not found")


def read(data: bytes, *, header: bool = False) -> Dataset:
    with warnings.catch_warnings():  # pydicom warns of faults that the input had already
        warnings.simplefilter("ignore")
        return dcmread(io.BytesIO(data), force=True, stop_before_pixels=header)


def frames(dataset: Dataset) -> np.ndarray | None:
    """Return pixels with a frame axis; None where the oracle cannot decode them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = dataset.pixel_array
    except Exception:  # noqa: BLE001 - whatever a codec says
        return None
    samples = 1 if dataset.SamplesPerPixel > 1 else 0
    return values.reshape(-1, *values.shape[values.ndim - 2 - samples :])


def syntax_of(path: Path) -> str:
    """Return the transfer syntax of an image; empty for anything else."""
    try:
        dataset = read(path.read_bytes(), header=True)
        return str(dataset.file_meta.TransferSyntaxUID) if "Rows" in dataset else ""
    except Exception:  # noqa: BLE001 - whatever is wrong with a file that is to be refused
        return ""


def chosen() -> dict[str, Path]:
    """Return a few images of each transfer syntax."""
    met: dict[str, int] = {}
    found = {}
    for name, path in all_files().items():
        syntax = syntax_of(path)
        if syntax and path.stat().st_size < 1 << 20 and met.get(syntax, 0) < PER_SYNTAX:
            met[syntax] = met.get(syntax, 0) + 1
            found[name] = path
    return found


FILES = chosen()


async def attempt(data: bytes, pool: Children) -> Deidentified | None:
    try:
        return await cleaned(data, parts(pool, rules=rule(ANY)), PROFILE, Sender("corpus"))
    except GatewayError:
        return None


@pytest.mark.parametrize("name", FILES)
async def test_a_real_image_is_masked_and_as_valid_as_it_was(
    name: str, children: Children, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    original = FILES[name].read_bytes()
    done = await attempt(original, children)
    if done is None:
        return
    data = b"".join(done.chunks())
    (tmp_path / "before").write_bytes(original)
    (tmp_path / "after").write_bytes(data)

    assert done.work is not None
    assert done.work.decision is not None
    assert done.work.decision.verdict in {Verdict.MASK, Verdict.PASS}
    old_errors = dciodvfy(tmp_path / "before")
    if not any(word in line for line in old_errors for word in _NOT_VALIDATED):
        assert sorted(kinds(dciodvfy(tmp_path / "after")) - kinds(old_errors)) == []
    before, after = read(original), read(data)
    assert after.BurnedInAnnotation == "NO"
    old, new = frames(before), frames(after)
    if old is None or any(mark.rule != "every-image" for mark in done.work.decision.marks):
        return
    assert new is not None
    assert new.shape == old.shape
    top = -(-before.Rows // 10)
    is_compressed = before.file_meta.TransferSyntaxUID.is_compressed
    stays = -(-top // _BLOCK) * _BLOCK + _SMOOTHED if is_compressed else top
    assert (new[:, stays:] == old[:, stays:]).all()
    assert len(np.unique(new[:, : top // 2].reshape(-1, *new.shape[3:]), axis=0)) <= 1


def test_images_of_many_transfer_syntaxes_are_at_hand() -> None:
    assert len(set(map(syntax_of, FILES.values()))) >= _SYNTAXES


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
async def test_masks_are_the_same_in_every_encoding_of_the_header(
    syntax: UID, children: Children
) -> None:
    source = echo()

    done = await cleaned(encoded(source, syntax), parts(children, rules=rule()))
    made = read(b"".join(done.chunks()))

    assert not made.pixel_array[: BANNER.bottom].any()
    old = read(encoded(source)).pixel_array
    assert (made.pixel_array[BANNER.bottom :] == old[BANNER.bottom :]).all()
    assert made.DerivationCodeSequence[0].CodeValue == "113047"
    assert WHO.family not in str(made)


@pytest.mark.parametrize("kind", ["ct", "us-jpeg"])
async def test_no_planted_value_survives_in_a_masked_object(kind: str, children: Children) -> None:
    data, canaries = everything(kind, ExplicitVRLittleEndian if kind == "ct" else JPEGBaseline8Bit)

    done = await cleaned(data, parts(children, rules=rule(ANY)))

    texts = {canary.text: canary.place for canary in canaries}
    assert done.work is not None
    assert done.work.masked is not None
    assert found(texts, searchable(b"".join(done.chunks()))) == []

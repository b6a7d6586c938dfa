"""Where only numbers may stay, a text does not pass for one."""

import io

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.deid.options import Option
from app.deid.profile import BUILT_IN, Profile, with_version
from app.deid.rules.numbers import is_number
from app.dicom.source import MemorySource
from app.pipeline import Context, Deidentified, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10, raw_element
from tests.canaries.search import found, searchable

WHO = Identity()
TEXT = "ZQWXYTRBNM"
CHARACTERISTICS = with_version(Profile("one", (Option.BASIC, Option.PATIENT_CHARACTERISTICS)))
SAFE = with_version(Profile("two", (Option.BASIC, Option.SAFE_PRIVATE)))


def made(data: bytes, profile: Profile) -> Deidentified:
    context = Context("wobble", profile, Pseudonyms(bytes(range(32)), "wobble"))
    return deidentify(MemorySource(data), context)


def output(data: bytes, profile: Profile) -> bytes:
    return b"".join(made(data, profile).chunks())


def with_element(tag: int, vr: str, value: str) -> bytes:
    return part10(ct(WHO), extra={tag: raw_element(tag, vr, value.encode())})


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00101010, "AS"), (0x00101020, "DS"), (0x00101030, "DS")]
)
def test_a_text_in_the_place_of_a_retained_number_goes(tag: int, vr: str) -> None:
    data = with_element(tag, vr, TEXT)

    result = made(data, CHARACTERISTICS)

    assert found([TEXT], searchable(b"".join(result.chunks()))) == []
    warnings = {str(warning).split()[0] for warning in result.warnings}
    assert "number-unreadable-emptied" in warnings


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        *(("AS", "093Y"), ("AS", "45"), ("AS", "3 m"), ("DS", "70.5"), ("DS", "-1.2e-3\\.5")),
        *(
            ("DS", "70 kg"),
            ("DS", "1,72"),
            ("DS", " 3 \0"),
            ("IS", "+12"),
            ("IS", "1.0"),
            ("IS", ""),
        ),
    ],
)
def test_numbers_as_people_and_devices_write_them_are_numbers(vr: str, value: str) -> None:
    assert is_number(value.encode(), vr)


@pytest.mark.parametrize("vr", ["AS", "DS", "IS"])
@pytest.mark.parametrize("value", ["Smith", "12 Main", "1\\Smith", "1931-04-17", "12.3.4", "kg"])
def test_words_are_no_numbers(vr: str, value: str) -> None:
    assert not is_number(value.encode(), vr)


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00180050, "DS"), (0x00181150, "IS"), (0x00280030, "DS")]
)
def test_the_strict_profile_leaves_numbers_and_no_text_in_their_place(tag: int, vr: str) -> None:
    strict = BUILT_IN["strict"]

    kept = dcmread(io.BytesIO(output(with_element(tag, vr, "12"), strict)))

    assert found([TEXT], searchable(output(with_element(tag, vr, TEXT), strict))) == []
    assert str(kept[tag].value) == "12"


def private(**elements: tuple[str, bytes]) -> bytes:
    dataset = ct(WHO)
    dataset.add_new(0x00190010, "LO", "GEMS_ACQU_01")
    extra = {
        0x00191000 | int(name[1:], 16): raw_element(0x00191000 | int(name[1:], 16), vr, value)
        for name, (vr, value) in elements.items()
    }
    return part10(dataset, extra=extra)


@pytest.mark.parametrize("vr", ["DS", "UN", "OB", "LO"])
def test_a_safe_private_number_is_a_number(vr: str) -> None:
    data = private(e23=(vr, TEXT.encode()), e24=("DS", b"12.5"))

    result = output(data, SAFE)

    assert found([TEXT], searchable(result)) == []
    assert dcmread(io.BytesIO(result))[0x00191024].value == 12.5


def test_a_safe_private_element_of_another_vr_than_listed_goes() -> None:
    data = private(e23=("OB", bytes(range(1, 33))), e24=("FD", b"12345678"))

    read: Dataset = dcmread(io.BytesIO(output(data, SAFE)))

    assert 0x00191023 not in read
    assert 0x00191024 not in read

"""What identifies nobody stays as it is, however much it looks like somebody's name or number."""

import io
import struct
import unicodedata

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.deid.profile import BUILT_IN
from app.deid.rules.identifiers import Identifier as Value
from app.deid.rules.identifiers import Kind
from app.deid.rules.text import TextCleaner
from app.dicom.source import MemorySource
from app.errors import ResidualIdentifier
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import INSTANCES, Identity, ct, part10

WHO = Identity()
CONTEXT = Context("DEMO", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "DEMO"))
RAMP = bytes(range(256))
WIDE_RAMP = b"".join(struct.pack("<H", n) for n in range(256))


def result(dataset: Dataset) -> Dataset:
    output = b"".join(deidentify(MemorySource(part10(dataset)), CONTEXT).chunks())
    return dcmread(io.BytesIO(output))


@pytest.mark.parametrize("number", ["000000", "00000000", "19000101", "900010", "0000"])
@pytest.mark.parametrize("kind", ["sr", "enhanced-mr", "encapsulated-pdf"])
def test_an_id_that_equals_a_dummy_is_no_reason_to_refuse(kind: str, number: str) -> None:
    dataset = INSTANCES[kind](WHO)
    dataset.PatientID = number

    assert result(dataset).PatientID != number


@pytest.mark.parametrize("name", ["Parent", "Document", "Helvetica", "Section", "Encoding"])
@pytest.mark.parametrize("kind", ["encapsulated-pdf", "encapsulated-cda"])
def test_the_notice_for_a_document_may_hold_a_word_that_is_a_name(kind: str, name: str) -> None:
    dataset = INSTANCES[kind](WHO)
    dataset.PatientName = f"{name}^Zed"

    assert name not in str(result(dataset).PatientName)


@pytest.mark.parametrize("number", ["123456", "345678", "ABCDEF"])
@pytest.mark.parametrize("table", [RAMP, WIDE_RAMP, RAMP[::-1]], ids=["8", "16", "falling"])
def test_rising_values_of_a_table_are_nobodys_number(number: str, table: bytes) -> None:
    dataset = ct(WHO)
    dataset.PatientID = number
    dataset.add_new(0x00281201, "OW", table)

    assert result(dataset)[0x00281201].value == table


def test_a_number_in_a_table_that_is_no_ramp_is_still_refused() -> None:
    dataset = ct(WHO)
    dataset.PatientID = "123456"
    dataset.add_new(0x00281201, "OW", bytes(8) + b"123456" + bytes(2))

    with pytest.raises(ResidualIdentifier):
        result(dataset)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Norma^Kim", "Normal dose, IEC_NORMAL, abnormal"),
        ("Costa^Rui", "intercostal view"),
        ("Patel^Vik", "PATELLA left"),
        ("Lee^Philip", "Philips Medical Systems"),
        ("Corona^Zed", "coronary angiography, CORONAL"),
        ("Test^Patient", "phantom for a test of patient positions"),
    ],
)
def test_an_ordinary_word_stays_though_it_holds_a_name(name: str, text: str) -> None:
    dataset = ct(WHO)
    dataset.PatientName = name
    dataset.Manufacturer = dataset.InterventionDescription = text

    read = result(dataset)

    assert read.Manufacturer == text
    assert read.InterventionDescription == text


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_korean_word_stays_though_its_syllables_begin_like_a_name(form: str) -> None:
    cleaner = TextCleaner([Value(Kind.NAME, "Hong^Gildong=洪^吉洞=홍^길동")], frozenset())
    text = unicodedata.normalize(form, "흉부 검사, 홍길동 골다공증, 황 기도")

    assert cleaner.clean(text, vr="LO") == "흉부 검사, 골다공증, 황 기도"


def test_a_name_beside_an_ordinary_word_still_goes() -> None:
    cleaner = TextCleaner([Value(Kind.NAME, "Costa^Norma")], frozenset())

    cleaned = cleaner.clean("intercostal Costa, normal Norma xNormax", vr="LO")

    assert cleaned == "intercostal , normal x x"


def test_a_measured_number_is_no_spelling_of_an_id() -> None:
    cleaner = TextCleaner([Value(Kind.ID, "120000"), Value(Kind.ID, "77.1234")], frozenset())

    assert cleaner.clean("120.000\\12.0000\\120000\\77.1234", vr="DS") == "120.000\\12.0000\\0\\0"

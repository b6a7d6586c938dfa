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
RAMP = bytes(range(256))
WIDE_RAMP = b"".join(struct.pack("<H", n) for n in range(256))


def result(dataset: Dataset, profile: str = "basic") -> Dataset:
    context = Context("DEMO", BUILT_IN[profile], Pseudonyms(bytes(range(32)), "DEMO"))
    output = b"".join(deidentify(MemorySource(part10(dataset)), context).chunks())
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
        ("Conti^Stern", "continuous, sternum, parasternal"),
        ("Mitra^Spina", "mitral valve, cerebrospinal fluid"),
        ("Matos^Tomas", "neurofibromatosis, hematomas"),
        ("Inger^Thora", "THORAX and finger"),
        ("Linea^Paris", "linear, in comparison"),
        ("Klein^Stein", "Kleinhirn, Nierenstein, verkleinert"),
        ("Droit^Petit", "hanche droite, petite masse"),
        ("Test^Patient", "phantom for a test of patient positions"),
        ("Trauma^Outside", "trauma, films from outside"),
        ("Emergency^Radiology", "emergency: neuroradiology"),
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


def test_an_id_that_is_a_mere_word_is_nobodys() -> None:
    dataset = ct(WHO)
    dataset.StudyID, dataset.DetectorID = "CHEST", "FLAT PANEL"
    dataset.RequestedProcedureID = "CT-HEAD"
    dataset.InterventionDescription = "CT of head and chest, flat panel"

    assert result(dataset).InterventionDescription == "CT of head and chest, flat panel"


def test_an_id_of_a_word_and_a_number_still_goes() -> None:
    cleaner = TextCleaner([Value(Kind.ID, "CHEST77"), Value(Kind.ID, "PLUM")], frozenset())

    assert cleaner.clean("chest: CHEST-77, plum", vr="LO") == "chest: ,"


def test_a_name_beside_an_ordinary_word_still_goes() -> None:
    cleaner = TextCleaner([Value(Kind.NAME, "Costa^Norma")], frozenset())

    cleaned = cleaner.clean("intercostal Costa, normal Norma xNormax", vr="LO")

    assert cleaned == "intercostal , normal x x"


@pytest.mark.parametrize(
    ("keyword", "value", "name"),
    [
        ("PhotometricInterpretation", "MONOCHROME2", "Mono^Chrome"),
        ("ImageType", ["DERIVED", "SECONDARY", "AXIAL", "MAX_IP"], "Max^Tollgate"),
        ("VolumeBasedCalculationTechnique", "MIN_IP", "Kim^Min"),
        ("Modality", "ANN", "Tollgate^Ann"),
        ("InPlanePhaseEncodingDirection", "ROW", "Row^Zed"),
        ("VOILUTFunction", "LINEAR", "Linear^Zed"),
        ("SeriesType", ["WHOLE BODY", "IMAGE"], "Whole^Zed"),
        ("GraphicType", "POINT", "Point^Zed"),
        ("FilterMaterial", "SILVER", "Silver^Zed"),
    ],
)
@pytest.mark.parametrize("profile", ["basic", "strict"])
def test_a_term_of_the_standard_stays_though_somebody_is_called_so(
    keyword: str, value: object, name: str, profile: str
) -> None:
    dataset = ct(WHO)
    dataset.PatientName = name
    setattr(dataset, keyword, value)

    assert result(dataset, profile)[keyword].value == value


@pytest.mark.parametrize("profile", ["teleradiology", "research"])
def test_a_patient_may_be_called_like_what_is_said_of_dates(profile: str) -> None:
    dataset = ct(WHO)
    dataset.PatientName = "Modified^Zed"

    assert result(dataset, profile).LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Doe^Mae", "do not move, 200 mA"),
        ("Haas^Jan", "patient has left"),
        ("Coen^Noe", "con contraste, no movement"),
        ("Chloe^Zed", "chloride"),
        ("Aaron^Zed", "baron"),
        ("Miller^H", "Mill here"),
        ("Goodman^Armstrong", "a good man, right arm strong"),
        ("Legrand^Lebras", "le grand trochanter, Le bras gauche, LE BRAS"),
        ("Testa^Costa", "test_a cost a"),
        ("Pak^Zed", "\u0440\u0430\u043a"),
        ("Noel^Nora", "leon aron"),
        ("Reedman^Zed", "TE=80 TR=3000 50%AV R&D; &amp; 100%"),
    ],
    ids=lambda value: value[:4] if value.isascii() else "other",
)
def test_a_word_stays_that_is_a_name_only_when_read_wrongly(name: str, text: str) -> None:
    dataset = ct(WHO)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = name
    dataset.InterventionDescription = f"{text}; \u00fc"

    assert result(dataset).InterventionDescription == f"{text}; \u00fc"


def test_an_initial_is_not_the_first_letter_of_the_next_word() -> None:
    cleaner = TextCleaner([Value(Kind.NAME, "Quillonbury^H")], frozenset())

    assert cleaner.clean("Quillonbury here, Quillonbury H here", vr="LO") == "here, here"


def test_six_figures_in_a_number_or_a_time_are_no_date() -> None:
    cleaner = TextCleaner([Value(Kind.BIRTH_DATE, "19310417")], frozenset())

    assert cleaner.clean("170431\\0.170431", vr="DS") == "170431\\0.170431"
    for text in ("0.170431 mm", "1,170431", "1170431", "17:04:31", "170431.5"):
        assert cleaner.clean(text, vr="LO") == text


def test_a_name_in_a_code_string_that_is_no_term_still_goes() -> None:
    dataset = ct(WHO)
    dataset.PatientName = "Max^Tollgate"
    dataset.ScanOptions = ["TOLLGATE", "MAX MODE"]

    assert result(dataset).ScanOptions == ["REMOVED", "REMOVED"]


@pytest.mark.parametrize("unit", ["min", "ml/min", "{H.B.}/min", "ml/min/m2", "mmol/l", "/min"])
def test_a_unit_stays_though_somebody_is_called_so(unit: str) -> None:
    dataset = ct(WHO)
    dataset.PatientName = "Min^Mmol"
    dataset.ViewCodeSequence = [_unit(unit)]

    assert result(dataset).ViewCodeSequence[0].CodeValue == unit


@pytest.mark.parametrize("written", ["Min", "MIN-1", "Min/Mmol", "x min"])
def test_a_name_in_a_code_value_that_is_no_unit_still_goes(written: str) -> None:
    dataset = ct(WHO)
    dataset.PatientName = "Min^Mmol"
    dataset.ViewCodeSequence = [_unit(written)]

    assert "min" not in result(dataset).ViewCodeSequence[0].CodeValue.lower()


def _unit(value: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "UCUM", "unit"
    return code


def test_a_measured_number_is_no_spelling_of_an_id() -> None:
    cleaner = TextCleaner([Value(Kind.ID, "120000"), Value(Kind.ID, "77.1234")], frozenset())

    assert cleaner.clean("120.000\\12.0000\\120000\\77.1234", vr="DS") == "120.000\\12.0000\\0\\0"

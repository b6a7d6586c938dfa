"""What is searched for in kept text: names of places and numbers of every attribute that goes."""

import pytest
from pydicom.dataset import Dataset

from app.deid.rules.identifiers import Identifier as Value
from app.deid.rules.identifiers import Kind
from app.deid.rules.text import TextCleaner
from tests.builders import Identity, ct, part10, sr
from tests.canaries.test_canaries import deidentified, read_back
from tests.canaries.test_structured import COMMENT, code, item, output

WHO = Identity()


def left_of(text: str, source: Dataset) -> str:
    source.SpecificCharacterSet = "ISO_IR 192"
    source.InterventionDescription = f"at {text} today"
    return str(read_back(deidentified(part10(source))).InterventionDescription)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00081000, "AE", "PLUMNET1"),
        (0x00081040, "LO", "Onkologie Virchow"),
        (0x00120010, "LO", "Plumtree Pharma"),
        (0x00120021, "LO", "PLUM-7 Trial"),
        (0x00120081, "LO", "Plumtree Board"),
        (0x00181801, "SH", "ntp.plumtree"),
        (0x00181803, "LO", "ntp.plumtree"),
        (0x00189373, "ST", "Plumtree left"),
        (0x00203401, "CS", "PLUM_77412"),
        (0x00320012, "LO", "Plumtree PACS"),
        (0x00321020, "LO", "Annex Plumtree"),
        (0x0038001E, "LO", "Haus Plumtree"),
        (0x00380300, "LO", "Ward 7B"),
        (0x00380300, "LO", "Zimmer 204"),
        (0x00380400, "LO", "Haus Plumtree"),
        (0x00400011, "SH", "Plumtree 2"),
        (0x00400243, "SH", "Annex Plumtree"),
        (0x00402009, "SH", "Plumtree OPD"),
        (0x00401006, "SH", "QX884421"),
        (0x00402007, "SH", "QX884421"),
        (0x0040A353, "ST", "Plumtree Lane 5"),
        (0x0040A354, "LO", "089 1234567"),
        (0x00720008, "LO", "Plumtree^Zed"),
        (0x0074100C, "LO", "Plumtree^Zed"),
        (0x00880130, "SH", "PLUM77412"),
        (0x04000563, "LO", "Plumtree Router"),
        (0x04000564, "LO", "Plumtree PACS"),
        (0x21000160, "SH", "PLUM77412"),
        (0x30020020, "SH", "LINAC-PLUM"),
        (0x300A00B2, "SH", "LINAC-PLUM"),
        (0x3010002D, "LO", "Plumtree 3"),
        (0x40080042, "LO", "Plumtree RIS"),
        (0x4008011A, "LO", "Plumtree Lane 5"),
    ],
)
def test_what_an_attribute_of_a_place_or_a_number_holds_goes(tag: int, vr: str, value: str) -> None:
    source = ct(WHO)
    source.add_new(tag, vr, value)

    assert left_of(value.replace("^", " "), source) == "at today"


@pytest.mark.parametrize("keyword", ["LocalNamespaceEntityID", "UniversalEntityID"])
def test_the_issuer_of_a_number_goes_from_text(keyword: str) -> None:
    issuer = Dataset()
    setattr(issuer, keyword, "ids.plumtree.example")
    source = ct(WHO)
    source.IssuerOfAccessionNumberSequence = [issuer]

    assert left_of("ids.plumtree.example", source) == "at today"


@pytest.mark.parametrize(
    ("keyword", "value", "written"),
    [
        ("InstitutionName", "St. Mary's Hospital, Springfield", "St Mary's Hospital"),
        ("PatientAddress", "Plumtree Lane 5, 12345 Springfield", "12345 Springfield"),
        ("PatientAddress", "Plumtree Lane 5^^Springfield", "Plumtree Lane 5"),
        ("PatientTelephoneNumbers", "+49 89 1234567", "+4989/1234-567"),
        ("PatientTelecomInformation", "mailto:zeb@plumtree.example", "zeb@plumtree.example"),
        ("PatientTelecomInformation", "Email: zeb@plum.example; tel:089 99", "zeb@plum.example"),
        ("ReferringPhysicianTelephoneNumbers", "089-1234567", "(089) 1234567"),
    ],
)
def test_a_part_of_an_address_and_a_number_grouped_otherwise_go(
    keyword: str, value: str, written: str
) -> None:
    source = ct(WHO)
    setattr(source, keyword, value)

    assert not any(sign.isalnum() for sign in left_of(written, source)[3:-6])


@pytest.mark.parametrize(
    "value",
    [
        "Radiology",
        "HEAD",
        "CT Head",
        "Nuclear Medicine",
        "MR 3T",
        "Station 1",
        "Bed 2",
        "CT-2",
        "Emergency Dept.",
        "Institut",
        "Scanner 12",
        "FMRI",
        "Cath Lab",
        "Tomographie",
    ],
)
def test_what_stands_in_many_texts_is_nobodys_place(value: str) -> None:
    cleaner = TextCleaner([Value(Kind.PHRASE, value)], frozenset())
    text = f"{value} of Radiology, Nuclear Medicine; MR 3T HEAD, Station 1, Bed 2"

    assert cleaner.clean(text, vr="LO") == text


def test_a_place_called_as_many_does_not_refuse_an_object() -> None:
    source = ct(WHO)
    source.InstitutionName = source.StationName = source.InstitutionalDepartmentName = "Radiology"

    assert left_of("Radiology", source) == "at Radiology today"


@pytest.mark.parametrize("maker", ["GE Healthcare", "Siemens Healthineers", "Philips", "TrueBeam"])
def test_a_maker_stays_though_a_machine_or_a_sponsor_is_called_so(maker: str) -> None:
    source = ct(WHO)
    source.Manufacturer = source.ManufacturerModelName = maker
    source.ClinicalTrialSponsorName = source.SourceOfPreviousValues = maker
    source.StationName = source.TreatmentMachineName = "TrueBeam"

    made = read_back(deidentified(part10(source)))

    assert (made.Manufacturer, made.ManufacturerModelName) == (maker, maker)


def test_a_removed_sequence_is_read_in_its_own_character_set() -> None:
    physician = Dataset()
    physician.SpecificCharacterSet = "ISO_IR 144"
    physician.PersonName = "\u041f\u043b\u044e\u0449\u0435\u0432^\u0417\u0435\u0434"
    source = ct(WHO)
    source.ReferringPhysicianIdentificationSequence = [physician]

    assert left_of("\u041f\u043b\u044e\u0449\u0435\u0432", source) == "at today"


def test_names_of_observers_and_content_items_go_from_the_texts_of_a_report() -> None:
    source = sr(WHO)
    source.VerifyingObserverSequence[0].VerifyingObserverName = "Snodgrass^Tiberius"
    source.VerifyingObserverSequence[0].VerifyingOrganization = "Plumtree Clinic"
    source.ContentSequence = [
        item("PNAME", code("121008"), PersonName="Thimblewick^Ottoline"),
        item("TEXT", COMMENT, TextValue="read by Snodgrass, Thimblewick, Plumtree Clinic; well"),
    ]

    text = read_back(output(source, "clean_descriptors")).ContentSequence[1].TextValue

    assert "well" in text
    assert not {"Snodgrass", "Thimblewick", "Plumtree"} & set(text.replace(",", " ").split())


def test_names_of_requests_and_referenced_patients_go_from_text() -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP-774121"
    request.RequestingPhysician = "Snodgrass^Tiberius"
    other = Dataset()
    other.PatientName, other.PatientID = "Thimblewick^Ottoline", "QX884421"
    source = ct(WHO)
    source.RequestAttributesSequence = [request]
    source.OtherPatientIDsSequence = [other]

    left = left_of("Snodgrass, Thimblewick, QX-884421, RP 774121", source)

    assert not any(sign.isalnum() for sign in left[3:-6])


@pytest.mark.parametrize(
    ("concept", "value"),
    [
        *(("121022", "AX-88421"), ("121030", "QX884421"), ("121020", "QX884421")),
        *(("113871", "plumtree7"), ("128774", "plumtree7"), ("113880", "SN-77412")),
        *(("121009", "Plumtree Clinic"), ("113873", "Plumtree Clinic"), ("121121", "Room Plum")),
        *(("110119", "PLUMTREE_AE"), ("110190", "ids.plumtree"), ("113877", "Plumtree scanner")),
    ],
)
def test_what_one_item_of_a_report_names_goes_from_the_text_of_another(
    concept: str, value: str
) -> None:
    source = sr(WHO)
    source.ContentSequence = [
        item("TEXT", COMMENT, TextValue=f"known as {value} today"),
        item("TEXT", code(concept), TextValue=value),
    ]

    made = read_back(output(source, "clean_descriptors")).ContentSequence

    assert [one.TextValue for one in made] == ["known as today", "REMOVED"]


def test_the_name_of_a_device_that_is_retained_stays_in_its_item() -> None:
    source = sr(WHO)
    source.ContentSequence = [
        item("TEXT", code("113877"), TextValue="Plumtree scanner"),
        item("TEXT", code("121009"), TextValue="Plumtree Clinic"),
    ]

    made = read_back(output(source, "retain_device_identity")).ContentSequence

    assert [one.TextValue for one in made] == ["Plumtree scanner", "REMOVED"]

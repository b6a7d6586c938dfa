"""A site's own rules: what they reach, which one decides, and what of them is refused."""

import io

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.deid.linting import weaknesses
from app.deid.profile import Profile, profile_from_text
from app.dicom.source import MemorySource
from app.errors import InvalidProfile, ResidualIdentifier
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10
from tests.canaries.search import found, searchable

WHO = Identity()


def profile(*rules: str, options: str = "[basic]") -> Profile:
    listed = "\n".join(f"  - {rule}" for rule in rules)
    return profile_from_text(f"name: x\noptions: {options}\noverrides:\n{listed}\n")


def output(dataset: Dataset, *rules: str, options: str = "[basic]") -> bytes:
    made = profile(*rules, options=options)
    context = Context("DEMO", made, Pseudonyms(bytes(range(32)), "DEMO"))
    return b"".join(deidentify(MemorySource(part10(dataset)), context).chunks())


def result(dataset: Dataset, *rules: str, options: str = "[basic]") -> Dataset:
    return dcmread(io.BytesIO(output(dataset, *rules, options=options)))


def described(**attributes: str) -> Dataset:
    dataset = ct(WHO)
    dataset.StudyDescription, dataset.StationName = "CT Thorax", "CT3"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    "target", ["tag: '(0008,1030)'", "tag: '00081030'", "keyword: StudyDescription"]
)
def test_an_attribute_is_named_by_tag_or_keyword(target: str) -> None:
    assert result(described(), f"{{{target}, action: K}}").StudyDescription == "CT Thorax"


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("K", "CT Thorax for Zork"),
        ("Z", ""),
        ("D", "REMOVED"),
        ("X", None),
        ("replace-with, value: CT", "CT"),
    ],
)
def test_every_action_does_what_its_letter_says(action: str, expected: str | None) -> None:
    dataset = described(StudyDescription="CT Thorax for Zork")

    read = result(dataset, f"{{keyword: StudyDescription, action: {action}}}")

    assert read.get("StudyDescription") == expected


def test_what_is_kept_is_still_cleaned_of_the_identity() -> None:
    dataset = described(StudyDescription=f"CT Thorax {WHO.given} {WHO.patient_id}")

    made = output(dataset, "{keyword: StudyDescription, action: K}")

    assert found(WHO.texts, searchable(made)) == []
    assert dcmread(io.BytesIO(made)).StudyDescription == "CT Thorax"


def test_cleaning_takes_out_what_identifies_by_its_form_too() -> None:
    dataset = described(StudyDescription="CT Thorax, Dr. Thimblewick, 0171-555 1234")

    read = result(dataset, "{keyword: StudyDescription, action: C}")

    assert read.StudyDescription == "CT Thorax"


def test_a_person_may_be_kept_by_name_in_one_attribute_only() -> None:
    dataset = described(InterventionDescription="asked by Grizzlewick")

    read = result(dataset, "{keyword: ReferringPhysicianName, action: K}")

    assert read.ReferringPhysicianName == WHO.referring
    assert read.InterventionDescription == "asked by"


def test_a_date_that_is_kept_has_to_be_one() -> None:
    read = result(described(), "{keyword: StudyDate, action: K}")
    other = result(described(), "{vr: TM, action: K}")

    assert read.StudyDate == "20240229"
    assert (other.StudyDate, other.StudyTime) == ("", "101112")


def test_a_uid_that_is_kept_stays_and_one_that_is_mapped_follows() -> None:
    dataset, same = described(), described()
    same.FrameOfReferenceUID = same.StudyInstanceUID

    kept = result(dataset, "{keyword: FrameOfReferenceUID, action: K}")
    mapped = result(same, "{keyword: FrameOfReferenceUID, action: U}")

    assert kept.FrameOfReferenceUID == dataset.FrameOfReferenceUID
    assert mapped.FrameOfReferenceUID == mapped.StudyInstanceUID


def test_a_kept_uid_that_is_mapped_elsewhere_is_refused() -> None:
    dataset = described()
    dataset.FrameOfReferenceUID = dataset.StudyInstanceUID

    with pytest.raises(ResidualIdentifier):
        result(dataset, "{keyword: FrameOfReferenceUID, action: K}")


def nested() -> Dataset:
    dataset, item, inner = described(), Dataset(), Dataset()
    item.StudyDescription = inner.StudyDescription = "inside"
    item.ContainerComponentSequence = [inner]
    dataset.AnatomicRegionSequence = [item]
    return dataset


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        ("any", {"root", "first", "second"}),
        ("root", {"root"}),
        ("AnatomicRegionSequence", {"first"}),
        ("'(0008,2218)/(0050,0012)'", set()),
        ("AnatomicRegionSequence/ContainerComponentSequence", {"second"}),
        ("ContainerComponentSequence", set()),
    ],
)
def test_a_rule_holds_at_any_depth_or_at_one_path(at: str, kept: set[str]) -> None:
    read = result(nested(), f"{{keyword: StudyDescription, action: K, at: {at}}}")

    first = read.AnatomicRegionSequence[0]
    second = first.ContainerComponentSequence[0]
    places = {"root": read, "first": first, "second": second}
    assert {name for name, where in places.items() if "StudyDescription" in where} == kept


def test_a_repeating_group_is_named_by_its_pattern() -> None:
    dataset = described()
    dataset.add_new(0x60020010, "US", 8)
    dataset.add_new(0x60020022, "LO", "drawn")

    read = result(dataset, "{tag: '(60XX,0022)', action: K}", "{tag: '60xx0010', action: K}")

    assert read[0x60020022].value == "drawn"


def test_a_vr_reaches_all_of_its_attributes_and_a_tag_decides_before_it() -> None:
    dataset = described(ContentDate="20240301")

    read = result(dataset, "{keyword: StudyDate, action: Z}", "{vr: DA, action: K}")

    assert (read.ContentDate, read.StudyDate) == ("20240301", "")


def test_of_two_rules_the_more_particular_and_then_the_later_decides() -> None:
    by_path = result(
        nested(),
        "{keyword: StudyDescription, action: Z, at: root}",
        "{keyword: StudyDescription, action: K}",
    )
    later = result(
        nested(),
        "{keyword: StudyDescription, action: Z}",
        "{keyword: StudyDescription, action: K}",
    )

    assert (by_path.StudyDescription, later.StudyDescription) == ("", "CT Thorax")


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{modality: CT}", True),
        ("{modality: [MR, ct]}", True),
        ("{modality: MR}", False),
        ("{sop_class: 1.2.840.10008.5.1.4.1.1.2}", True),
        ("{sop_class: 1.2.840.10008.5.1.4.1.1.4}", False),
        ("{manufacturer: ACME, modality: CT}", True),
        ("{manufacturer: ACME, model: Flux 2}", False),
    ],
)
def test_a_rule_may_be_for_some_instances_only(when: str, holds: bool) -> None:
    read = result(described(), f"{{keyword: StudyDescription, action: K, when: {when}}}")

    assert ("StudyDescription" in read) is holds


def test_private_elements_are_kept_or_removed_by_creator_and_element() -> None:
    dataset = described()
    dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    dataset.add_new(0x0019100C, "IS", "1000")
    dataset.add_new(0x00990011, "LO", "Acme Flux")
    dataset.add_new(0x00991101, "LO", "flux")
    keep = "{private: {creator: ACME FLUX, group: '0099', element: '01'}, action: K}"
    drop = "{private: {creator: SIEMENS MR HEADER, group: '0019', element: 0C}, action: X}"

    kept = result(dataset, keep)
    both = result(dataset, keep, drop, options="[basic, retain_safe_private]")

    for read in (kept, both):
        privates = [int(e.tag) for e in read if e.tag.is_private]
        assert privates == [0x00990011, 0x00991101]
        assert read[0x00990011].value == "ACME FLUX"


def test_a_removed_sequence_stays_removed_whatever_is_kept_inside() -> None:
    dataset = described()
    item = Dataset()
    item.StudyDescription = "inside"
    dataset.OtherPatientIDsSequence = [item]

    read = result(dataset, "{keyword: StudyDescription, action: K}")

    assert "OtherPatientIDsSequence" not in read


def test_the_plan_names_the_rule() -> None:
    made = profile("{keyword: StudyDescription, action: K}")
    context = Context("DEMO", made, Pseudonyms(bytes(range(32)), "DEMO"))
    steps = deidentify(MemorySource(part10(described())), context).plan.steps()

    because = {step.path: step.because for step in steps}["(0008,1030)"]
    assert because == "the profile's rule for (0008,1030) StudyDescription: K"


def test_a_profile_that_is_weaker_than_the_table_claims_no_code() -> None:
    weaker = result(described(), "{keyword: StationName, action: K}")
    stricter = result(described(), "{keyword: BodyPartExamined, action: X}")

    assert "DeidentificationMethodCodeSequence" not in weaker
    assert weaker.DeidentificationMethod.startswith("deid-gateway x ")
    assert stricter.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_every_weaker_rule_is_named_with_its_row() -> None:
    made = profile(
        "{keyword: StudyDescription, action: K}",
        "{keyword: StationName, action: Z}",
        "{tag: '(60XX,3000)', action: K}",
        "{vr: UR, action: K}",
        "{private: {creator: ACME, group: '0099', element: '01'}, action: K}",
        "{keyword: KVP, action: X}",
    )

    named = [str(weakness) for weakness in weaknesses(made.options, made.overrides)]

    assert named[0] == (
        "override 1, (0008,1030) StudyDescription: K is weaker than "
        "Table E.1-1 (0008,1030) StudyDescription: X (clean_descriptors C)"
    )
    assert {text.split(",")[0] for text in named} == {f"override {n}" for n in (1, 3, 4, 5)}
    assert "60XX3000 OverlayData: X" in " ".join(named)
    assert "GGGGEEEE PrivateAttributes: X" in " ".join(named)


def test_what_an_option_retains_is_no_weakness_of_an_override() -> None:
    made = profile("{keyword: StationName, action: K}", options="[basic, retain_device_identity]")

    assert weaknesses(made.options, made.overrides) == ()


@pytest.mark.parametrize(
    "rule",
    [
        "x",
        "{}",
        "{action: K}",
        "{keyword: StudyDescription}",
        "{keyword: StudyDescription, action: Q}",
        "{keyword: StudyDescription, tag: '00081030', action: K}",
        "{keyword: NoSuchKeyword, action: K}",
        "{keyword: StudyDescription, action: K, colour: red}",
        "{keyword: StudyDescription, action: K, value: x}",
        "{keyword: StudyDescription, action: replace-with}",
        "{keyword: StudyDescription, action: replace-with, value: 'é'}",
        "{keyword: StudyDescription, action: replace-with, value: 'a\\b'}",
        "{keyword: StudyDate, action: replace-with, value: yesterday}",
        "{keyword: Rows, action: replace-with, value: '7'}",
        "{keyword: StudyDescription, action: U}",
        "{keyword: StudyDescription, action: K, at: nowhere}",
        "{keyword: StudyDescription, action: K, at: StudyDate}",
        "{keyword: StudyDescription, action: K, when: {colour: red}}",
        "{keyword: StudyDescription, action: K, when: {modality: []}}",
        "{keyword: StudyInstanceUID, action: K}",
        "{keyword: SOPClassUID, action: X}",
        "{keyword: PatientIdentityRemoved, action: X}",
        "{keyword: PixelData, action: X}",
        "{keyword: SpecificCharacterSet, action: X}",
        "{tag: '(0002,0010)', action: X}",
        "{tag: '(0009,1010)', action: K}",
        "{tag: '(00XX,0010)', action: K}",
        "{tag: '(0008,103)', action: K}",
        "{tag: '(0008,FFFE)', action: K}",
        "{vr: SQ, action: K}",
        "{vr: ZZ, action: K}",
        "{private: {creator: A, group: '0010', element: '01'}, action: K}",
        "{private: {creator: A, group: '0011', element: '01'}, action: D}",
        "{private: {creator: A, group: '0011'}, action: K}",
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_number(rule: str) -> None:
    with pytest.raises(InvalidProfile, match=r"^override 2: "):
        profile("{keyword: StationName, action: K}", rule)


def test_rules_make_another_version() -> None:
    one = profile("{keyword: StationName, action: K}")
    other = profile("{keyword: StationName, action: Z}")

    assert one.version != other.version


@pytest.mark.parametrize(
    "rule",
    ["{vr: US, action: X}", "{vr: CS, action: D}", "{vr: UI, action: X}", "{vr: UI, action: D}"],
)
def test_a_rule_for_a_vr_passes_over_what_no_rule_reaches(rule: str) -> None:
    dataset = ct(Identity())
    dataset.SpecificCharacterSet = "ISO_IR 192"

    made = result(dataset, rule)

    assert (made.Rows, made.BitsAllocated) == (dataset.Rows, dataset.BitsAllocated)
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert made.PhotometricInterpretation == dataset.PhotometricInterpretation
    assert made.SOPClassUID == dataset.SOPClassUID
    assert made.SOPInstanceUID.startswith("2.25.")
    assert made.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("keyword", ["Rows", "BitsAllocated", "PhotometricInterpretation"])
def test_no_rule_says_how_pixels_are_laid_out(keyword: str) -> None:
    with pytest.raises(InvalidProfile):
        profile(f"{{keyword: {keyword}, action: D}}")

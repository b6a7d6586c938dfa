"""Clean Graphics: annotations and regions stay, identifying text in them goes."""

import io

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.deid.options import Option
from app.deid.profile import Profile, with_version
from app.dicom.source import MemorySource
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10, pr
from tests.canaries.search import found, searchable

WHO = Identity()
GRAPHICS = with_version(Profile("graphics", (Option.BASIC, Option.CLEAN_GRAPHICS)))
BITS = bytes(range(32))


def output(dataset: Dataset, profile: Profile = GRAPHICS) -> bytes:
    context = Context("wobble", profile, Pseudonyms(bytes(range(32)), "wobble"))
    return b"".join(deidentify(MemorySource(part10(dataset)), context).chunks())


def result(dataset: Dataset, profile: Profile = GRAPHICS) -> Dataset:
    return dcmread(io.BytesIO(output(dataset, profile)))


def overlaid(kind: str = "R", data: bytes = BITS, group: int = 0x6000) -> Dataset:
    dataset = ct(WHO)
    base = group << 16
    dataset.add_new(base | 0x0010, "US", 16)
    dataset.add_new(base | 0x0011, "US", 16)
    dataset.add_new(base | 0x0022, "LO", f"lung of {WHO.given}")
    dataset.add_new(base | 0x0040, "CS", kind)
    dataset.add_new(base | 0x0050, "SS", [1, 1])
    dataset.add_new(base | 0x0100, "US", 1)
    dataset.add_new(base | 0x0102, "US", 0)
    dataset.add_new(base | 0x1500, "LO", f"{WHO.family} 1")
    dataset.add_new(base | 0x3000, "OW", data)
    dataset.add_new(base | 0x4000, "LT", "drawn by Dr. Thimblewick, right")
    return dataset


def overlay_tags(dataset: Dataset) -> set[int]:
    return {int(element.tag) for element in dataset if element.tag.group & 0xFF00 == 0x6000}


def test_a_presentation_state_keeps_its_objects_and_loses_the_identity() -> None:
    source = pr(WHO)
    point = Dataset()
    point.GraphicAnnotationUnits, point.GraphicDimensions = "PIXEL", 2
    point.NumberOfGraphicPoints, point.GraphicData = 1, [3.5, 4.5]
    point.GraphicType = "POINT"
    source.GraphicAnnotationSequence[0].GraphicObjectSequence = [point]

    made = output(source)

    annotation = dcmread(io.BytesIO(made)).GraphicAnnotationSequence[0]
    assert found(WHO.texts, searchable(made)) == []
    assert annotation.TextObjectSequence[0].UnformattedTextValue == "left"
    assert annotation.TextObjectSequence[0].AnchorPoint == [1.0, 1.0]
    assert annotation.GraphicObjectSequence[0].GraphicData == [3.5, 4.5]
    assert annotation.GraphicLayer == "LAYER"


def test_a_text_object_of_which_nothing_is_left_says_so() -> None:
    source = pr(WHO)
    text = source.GraphicAnnotationSequence[0].TextObjectSequence[0]
    text.UnformattedTextValue = f"{WHO.family}, {WHO.patient_id}, 17.04.1931"

    annotation = result(source).GraphicAnnotationSequence[0]

    assert annotation.TextObjectSequence[0].UnformattedTextValue == "REMOVED"


def test_references_of_annotations_follow() -> None:
    source = pr(WHO)
    image = source.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    source.GraphicAnnotationSequence[0].ReferencedImageSequence = [image]

    read = result(source)

    listed = read.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    annotated = read.GraphicAnnotationSequence[0].ReferencedImageSequence[0]
    assert annotated.ReferencedSOPInstanceUID == listed.ReferencedSOPInstanceUID
    assert annotated.ReferencedSOPInstanceUID != image.ReferencedSOPInstanceUID


@pytest.mark.parametrize("group", [0x6000, 0x601E])
def test_a_region_stays_bit_for_bit_and_its_text_is_cleaned(group: int) -> None:
    made = output(overlaid(group=group))

    read = dcmread(io.BytesIO(made))
    base = group << 16
    assert read[base | 0x3000].value == BITS
    assert read[base | 0x0022].value == "lung of"
    assert read[base | 0x1500].value == "1"
    assert read[base | 0x4000].value == "drawn by , right"
    assert (read[base | 0x0010].value, read[base | 0x0050].value) == (16, [1, 1])
    assert found(WHO.texts, searchable(made)) == []


@pytest.mark.parametrize(
    ("kind", "data"),
    [("G", BITS), ("", BITS), ("R", BITS + b"ZQSURPLUS."), ("R", BITS[:-2])],
    ids=["graphics", "no type", "surplus", "short"],
)
def test_a_picture_and_what_is_no_whole_region_goes(kind: str, data: bytes) -> None:
    assert overlay_tags(result(overlaid(kind, data))) == set()


def test_groups_beyond_the_standards_and_curves_go() -> None:
    dataset = overlaid(group=0x6020)
    dataset.add_new(0x50003000, "OW", b"ZQCURVES")

    made = output(dataset)

    assert overlay_tags(dcmread(io.BytesIO(made))) == set()
    assert found(["ZQCURVES"], searchable(made)) == []


def test_the_basic_profile_alone_removes_them() -> None:
    basic = with_version(Profile("plain"))

    assert overlay_tags(result(overlaid(), basic)) == set()
    assert "TextObjectSequence" not in result(pr(WHO), basic).GraphicAnnotationSequence[0]


def test_the_code_of_the_option_is_written() -> None:
    codes = [item.CodeValue for item in result(pr(WHO)).DeidentificationMethodCodeSequence]

    assert codes == ["113100", "113103"]

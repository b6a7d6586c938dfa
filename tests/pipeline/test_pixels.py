"""Clean Pixel Data from one end of the pipeline to the other, with real child processes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from app.deid.profile import Profile, profile_from_text
from app.dicom.source import MemorySource
from app.errors import (
    BurnedInAnnotationSuspected,
    LabelImage,
    PixelsNeedReview,
    PixelWorkFailed,
    Quarantined,
    RejectedInReview,
)
from app.pipeline import Context, deidentify
from app.pipeline.pixel_step import MOST_FRAMES
from app.pipeline.pixel_work import Sender
from app.pixels.children import Children
from app.pixels.model import Box, Mark, Rung, Verdict
from app.pixels.rulings import Act, Ruling
from tests.builders import ct
from tests.pipeline.echo import (
    BANNER,
    CLEANING,
    COLUMNS,
    PSEUDONYMS,
    ROWS,
    WHO,
    Reader,
    Ward,
    cleaned,
    echo,
    encoded,
    parts,
    read,
    rule,
    with_region,
)

MASKING = profile_from_text(
    "{name: masking, options: [basic, clean_pixel_data], pixels: {found: mask}}"
)
DESCRIBING = profile_from_text(
    "{name: describing, options: [basic, clean_pixel_data, clean_descriptors]}"
)
SENDER = Sender("viewer")
CLAIM = "113101"


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(size=1) as pool:
        yield pool


def result(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def codes(dataset: Dataset) -> set[str]:
    return {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence}


def pixels(dataset: Dataset) -> np.ndarray:
    return dataset.pixel_array.reshape(-1, ROWS, COLUMNS)


# --- Nothing to do -----------------------------------------------------------------------------


async def test_an_image_without_risk_passes_and_the_claim_is_true_of_it(children: Children) -> None:
    source = ct(WHO)

    done = await cleaned(encoded(source), parts(children))
    made = result(b"".join(done.chunks()))

    assert made.PixelData == source.PixelData
    assert made.BurnedInAnnotation == "NO"
    assert made.ImageType == source.ImageType
    assert CLAIM in codes(made)
    assert "DerivationCodeSequence" not in made


async def test_an_object_without_pixels_claims_nothing_of_pixels(children: Children) -> None:
    source = ct(WHO)
    del source.PixelData

    made = result(b"".join((await cleaned(encoded(source), parts(children))).chunks()))

    assert CLAIM not in codes(made)
    assert "BurnedInAnnotation" not in made


def test_without_the_option_the_refusal_says_which_rung_would_help() -> None:
    data = encoded(with_region(echo(BurnedInAnnotation="YES"), 10, 20, 60, 50))
    plain = Context("DEMO", profile_from_text("{name: plain}"), PSEUDONYMS)

    with pytest.raises(BurnedInAnnotationSuspected, match=r"clean_pixel_data.*regions"):
        deidentify(MemorySource(data), plain)


async def test_an_image_inside_of_another_element_goes(children: Children) -> None:
    inside, source = ct(WHO), ct(WHO)
    item = Dataset()
    item.Rows, item.PixelData = inside.Rows, inside.PixelData
    item["PixelData"].VR = "OW"
    source.AnatomicRegionSequence = [item]

    made = result(b"".join((await cleaned(encoded(source), parts(children))).chunks()))

    assert "PixelData" not in made.AnatomicRegionSequence[0]
    assert made.PixelData == source.PixelData


async def test_pixels_that_are_floating_point_numbers_pass_as_they_are(children: Children) -> None:
    source = ct(WHO)
    del source.PixelData
    source.SOPClassUID, source.Modality = "1.2.840.10008.5.1.4.1.1.30", "MR"
    source.BitsAllocated = 32
    source.FloatPixelData = np.linspace(0, 1, 256, dtype="<f4").tobytes()

    made = result(b"".join((await cleaned(encoded(source), parts(children))).chunks()))

    assert made.FloatPixelData == source.FloatPixelData


async def test_floating_point_numbers_that_a_rule_wants_masked_wait_for_a_person(
    children: Children,
) -> None:
    source, ward = echo(), Ward()
    del source.PixelData
    source.BitsAllocated = 32
    source.FloatPixelData = np.zeros(ROWS * COLUMNS, "<f4").tobytes()

    with pytest.raises(Quarantined):
        await cleaned(encoded(source), parts(children, rules=rule(), ward=ward), sender=SENDER)


# --- Masks -------------------------------------------------------------------------------------


async def test_a_rule_masks_its_rectangle_and_no_other_pixel(children: Children) -> None:
    source = echo(samples=1, BurnedInAnnotation="YES")

    done = await cleaned(encoded(source), parts(children, rules=rule()))
    made = result(b"".join(done.chunks()))

    before, after = pixels(source_of(source)), pixels(made)
    assert not after[:, : BANNER.bottom].any()
    assert (after[:, BANNER.bottom :] == before[:, BANNER.bottom :]).all()
    assert made.BurnedInAnnotation == "NO"
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "ABDOMINAL", "0001"]
    assert [item.CodeValue for item in made.DerivationCodeSequence] == ["113047"]
    assert CLAIM in codes(made)
    assert "LossyImageCompression" not in made
    assert done.work is not None
    assert done.work.decision is not None
    assert [mark.rule for mark in done.work.decision.marks] == ["acme-echo"]


def source_of(dataset: Dataset) -> Dataset:
    return result(encoded(dataset))


async def test_what_lies_outside_of_the_regions_is_black_after_a_reading(
    children: Children,
) -> None:
    source = with_region(echo(frames=3), 10, 20, 59, 49)
    reader = Reader([read(frames=3)])

    done = await cleaned(encoded(source), parts(children, reader=reader))
    made = result(b"".join(done.chunks()))

    before, after = pixels(source_of(source)), pixels(made)
    kept = np.zeros((ROWS, COLUMNS), bool)
    kept[20:50, 10:60] = True
    assert (after[:, kept] == before[:, kept]).all()
    assert not after[:, ~kept].any()
    assert {one["kind"] for one in reader.tasks} == {"examine"}
    assert len(reader.tasks[0]["marks"]) == len(done.work.decision.marks)  # type: ignore[union-attr]
    names = {one["text"] for one in reader.tasks[0]["identifiers"]}
    assert any(WHO.family in name for name in names)


async def test_compressed_frames_keep_their_syntax_and_get_new_offsets(children: Children) -> None:
    source = echo(frames=3)
    packed = source_of(source)
    packed.compress(RLELossless, generate_instance_uid=False)
    starts = b"".join(n.to_bytes(8, "little") for n in (0, 10, 20))
    packed.ExtendedOffsetTable, packed.ExtendedOffsetTableLengths = starts, starts
    buffer = io.BytesIO()
    packed.save_as(buffer, enforce_file_format=True)

    done = await cleaned(buffer.getvalue(), parts(children, rules=rule()))
    made = result(b"".join(done.chunks()))

    assert made.file_meta.TransferSyntaxUID == RLELossless
    assert not pixels(made)[:, : BANNER.bottom].any()
    assert (pixels(made)[:, BANNER.bottom :] == pixels(source_of(source))[:, BANNER.bottom :]).all()
    lengths = np.frombuffer(made.ExtendedOffsetTableLengths, "<u8")
    offsets = np.frombuffer(made.ExtendedOffsetTable, "<u8")
    assert list(offsets) == [0, lengths[0] + 8, lengths[0] + lengths[1] + 16]


async def test_a_derivation_that_was_described_stays_described(children: Children) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113085", "DCM", "Resampled"
    source = echo(
        DerivationDescription=f"resampled for {WHO.family}", DerivationCodeSequence=[code]
    )

    done = await cleaned(encoded(source), parts(children, rules=rule()), DESCRIBING)
    made = result(b"".join(done.chunks()))

    assert made.DerivationDescription.startswith("resampled for")
    assert made.DerivationDescription.endswith("burned-in text masked")
    assert WHO.family not in made.DerivationDescription
    assert [item.CodeValue for item in made.DerivationCodeSequence] == ["113085", "113047"]


async def test_unused_bits_go_without_anything_being_masked(children: Children) -> None:
    source = ct(WHO)
    source.BitsStored, source.HighBit = 12, 11
    values = np.frombuffer(source.PixelData, "<u2") & 0x0FFF
    source.PixelData = (values | 0x4000).astype("<u2").tobytes()

    made = result(b"".join((await cleaned(encoded(source), parts(children))).chunks()))

    assert made.PixelData == values.astype("<u2").tobytes()
    assert made.ImageType == source.ImageType


async def test_entries_of_a_palette_that_no_pixel_uses_any_more_are_overwritten(
    children: Children,
) -> None:
    source = echo(PhotometricInterpretation="PALETTE COLOR")
    values = np.full((ROWS, COLUMNS), 7, np.uint8)
    values[: BANNER.bottom] = 200
    source.PixelData = values.tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(source, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        entries = (np.arange(256) * 257 % 65536).astype("<u2").tobytes()
        setattr(source, f"{colour}PaletteColorLookupTableData", entries)

    made = result(
        b"".join((await cleaned(encoded(source), parts(children, rules=rule()))).chunks())
    )

    red = np.frombuffer(made.RedPaletteColorLookupTableData, "<u2")
    assert red[7] == 7 * 257
    assert red[200] == 0xFFFF  # zeros would contradict the descriptor's number of bits
    assert np.count_nonzero(red != 0xFFFF) <= 2


READING = profile_from_text(
    "{name: reading, options: [basic, clean_pixel_data], pixels: {read: all}}"
)


async def test_a_profile_may_have_images_without_risk_read(children: Children) -> None:
    reader, source = Reader([read()]), ct(WHO)

    done = await cleaned(encoded(source), parts(children, reader=reader), READING)

    assert [task["kind"] for task in reader.tasks] == ["examine"]
    assert result(b"".join(done.chunks())).PixelData == source.PixelData


async def test_text_in_an_image_without_risk_is_met_where_all_are_read(children: Children) -> None:
    ward, reader = Ward(), Reader([read(Box(0, 0, 8, 8))])

    with pytest.raises(Quarantined):
        await cleaned(encoded(ct(WHO)), parts(children, reader=reader, ward=ward), READING, SENDER)


# --- Doubt -------------------------------------------------------------------------------------


async def test_a_device_without_a_rule_waits_for_a_person(children: Children) -> None:
    ward = Ward()

    with pytest.raises(Quarantined) as held:
        await cleaned(encoded(echo()), parts(children, ward=ward), sender=SENDER)

    (case,) = ward.held
    assert held.value.quarantine_id == str(ward.named)
    assert (case.organization, case.profile, case.actor) == ("DEMO", "cleaning", "viewer")
    assert case.decision.verdict is Verdict.QUARANTINE
    assert case.cloud_study_id
    assert WHO.family not in str(held.value)


async def test_without_a_quarantine_the_refusal_says_what_would_help(children: Children) -> None:
    with pytest.raises(PixelsNeedReview, match=r"extra .ocr.*mask rule"):
        await cleaned(encoded(echo()), parts(children), sender=SENDER)


async def test_an_explanation_holds_nothing_back(children: Children) -> None:
    ward = Ward()

    with pytest.raises(PixelsNeedReview):
        await cleaned(encoded(echo()), parts(children, ward=ward))

    assert not ward.held


async def test_text_beside_the_masks_waits_for_a_person_with_the_place_proposed(
    children: Children,
) -> None:
    ward, found = Ward(), Box(5, 40, 50, 52)
    pixels_of = parts(children, rules=rule(), reader=Reader([read(found)]), ward=ward)

    with pytest.raises(Quarantined):
        await cleaned(encoded(echo()), pixels_of, sender=SENDER)

    assert [mark.box for mark in ward.held[0].decision.marks] == [BANNER, found]


async def test_a_profile_may_mask_what_was_read_and_has_it_read_again(children: Children) -> None:
    found, source = Box(5, 40, 50, 52), echo()
    reader = Reader([read(found), read()])

    done = await cleaned(
        encoded(source), parts(children, rules=rule(), reader=reader), MASKING, SENDER
    )
    made = pixels(result(b"".join(done.chunks())))

    assert not made[0, 40:52, 5:50].any()
    assert made[0, 53].any()
    assert [len(task["marks"]) for task in reader.tasks] == [1, 2]


async def test_what_is_still_read_after_masking_waits_for_a_person(children: Children) -> None:
    ward, found = Ward(), Box(5, 40, 50, 52)
    reader = Reader([read(found), read(found)])

    with pytest.raises(Quarantined):
        await cleaned(
            encoded(echo()),
            parts(children, rules=rule(), reader=reader, ward=ward),
            MASKING,
            SENDER,
        )

    assert any(one.code == "still-readable" for one in ward.held[0].decision.reasons)


async def test_a_reader_that_crashes_never_lets_an_image_pass(children: Children) -> None:
    source = with_region(echo(), 10, 20, 59, 49)

    with pytest.raises(PixelsNeedReview, match="not-read"):
        await cleaned(encoded(source), parts(children, reader=Reader([])))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty"),
        pytest.param({"findings": [], "is_complete": "yes"}, id="no-truth"),
        pytest.param({"findings": [{"box": 1}], "is_complete": True}, id="no-mark"),
        pytest.param({"findings": None, "is_complete": True}, id="no-list"),
    ],
)
async def test_a_reader_that_was_taken_over_never_lets_an_image_pass(
    children: Children, answer: dict[str, object]
) -> None:
    source = with_region(echo(), 10, 20, 59, 49)

    with pytest.raises(PixelsNeedReview):
        await cleaned(encoded(source), parts(children, reader=Reader([answer])))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty"),
        pytest.param(
            {"lengths": [6144], "is_lossy_again": False, "changed_outside": 0}, id="nothing-written"
        ),
        pytest.param({"lengths": [0], "is_lossy_again": False, "changed_outside": 3}, id="changed"),
        pytest.param({"lengths": [], "is_lossy_again": False, "changed_outside": 0}, id="no-frame"),
        pytest.param({"lengths": "x", "is_lossy_again": False}, id="no-numbers"),
    ],
)
async def test_a_mask_that_was_not_written_as_asked_waits_for_a_person(
    answer: dict[str, object],
) -> None:
    ward = Ward()

    with pytest.raises(Quarantined):
        await cleaned(
            encoded(echo()), parts(Reader([answer]), rules=rule(), ward=ward), sender=SENDER
        )

    assert ward.held[0].decision.reasons[-1].code == "mask-failed"


async def test_a_damaged_frame_waits_for_a_person(children: Children) -> None:
    packed = source_of(echo())
    packed.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    packed.save_as(buffer, enforce_file_format=True)
    data = buffer.getvalue()[:-200] + bytes(192) + buffer.getvalue()[-8:]
    ward = Ward()

    with pytest.raises(Quarantined):
        await cleaned(data, parts(children, rules=rule(), ward=ward), sender=SENDER)

    assert ward.held[0].decision.reasons[-1].code == "mask-failed"


async def test_fewer_pixels_than_the_header_says_wait_for_a_person(children: Children) -> None:
    source, ward = echo(), Ward()
    source.PixelData = source.PixelData[:1000]

    with pytest.raises(Quarantined):
        await cleaned(encoded(source), parts(children, rules=rule(), ward=ward), sender=SENDER)


async def test_a_few_bytes_that_claim_very_many_frames_wait_for_a_person(
    children: Children,
) -> None:
    source, ward = ct(WHO), Ward()
    source.Rows = source.Columns = 1
    source.BitsAllocated, source.BitsStored, source.HighBit = 8, 7, 6
    source.NumberOfFrames = MOST_FRAMES + 1
    source.PixelData = bytes(MOST_FRAMES + 2)
    source["PixelData"].VR = "OB"

    with pytest.raises(Quarantined):
        await cleaned(encoded(source), parts(children, ward=ward), sender=SENDER)


async def test_a_description_that_is_full_keeps_no_room_for_what_stood_there(
    children: Children,
) -> None:
    source = echo(DerivationDescription="x" * 1020)

    made = result(
        b"".join(
            (await cleaned(encoded(source), parts(children, rules=rule()), DESCRIBING)).chunks()
        )
    )

    assert made.DerivationDescription == "burned-in text masked"


async def test_a_killed_child_never_lets_an_image_pass_and_the_next_one_does_its_work() -> None:
    with Children(size=1, memory_bytes=1 << 20) as starved, Children(size=1) as healthy:
        ward = Ward()
        with pytest.raises(Quarantined):
            await cleaned(encoded(echo()), parts(starved, rules=rule(), ward=ward), sender=SENDER)

        done = await cleaned(encoded(echo()), parts(healthy, rules=rule(), ward=ward))

    assert ward.held[0].decision.reasons[-1].code == "mask-failed"
    assert not pixels(result(b"".join(done.chunks())))[:, : BANNER.bottom].any()


async def test_a_label_is_dropped_without_being_opened() -> None:
    source = echo(samples=3)
    source.SOPClassUID, source.Modality = "1.2.840.10008.5.1.4.1.1.77.1.6", "SM"
    source.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]

    with pytest.raises(LabelImage):
        await cleaned(encoded(source), parts(Reader([])))


# --- People ------------------------------------------------------------------------------------


async def decided(children: Children, ruling: Ruling, profile: Profile = CLEANING) -> Dataset:
    ward = Ward(ruling)
    done = await cleaned(encoded(echo()), parts(children, ward=ward), profile, SENDER)
    assert not ward.held
    return result(b"".join(done.chunks()))


async def test_what_a_person_released_passes_as_it_is(children: Children) -> None:
    made = await decided(children, Ruling(Act.RELEASE, quarantine_id="q-1"))

    assert (pixels(made) == pixels(source_of(echo()))).all()
    assert made.BurnedInAnnotation == "NO"
    assert CLAIM in codes(made)


async def test_what_a_person_marked_is_masked_in_its_frames_only(children: Children) -> None:
    mark = Mark(Box(0, 50, COLUMNS, 64), Rung.REVIEW)

    made = await decided(children, Ruling(Act.MASK, (mark,), "q-1"))

    assert not pixels(made)[:, 50:].any()
    assert (pixels(made)[:, :50] == pixels(source_of(echo()))[:, :50]).all()
    assert made.ImageType[0] == "DERIVED"


async def test_what_a_person_rejected_is_refused(children: Children) -> None:
    with pytest.raises(RejectedInReview):
        await decided(children, Ruling(Act.REJECT, quarantine_id="q-1"))


async def test_what_a_person_decided_holds_whatever_rules_say_later_and_is_not_read_again(
    children: Children,
) -> None:
    ward, reader = Ward(Ruling(Act.REJECT, quarantine_id="q-1")), Reader([read(), read()])
    pixels_of = parts(children, rules=rule(), reader=reader, ward=ward)

    with pytest.raises(RejectedInReview):
        await cleaned(encoded(echo()), pixels_of, sender=SENDER)
    ward.ruling = Ruling(Act.RELEASE, quarantine_id="q-1")
    done = await cleaned(encoded(echo()), pixels_of, sender=SENDER)

    made = pixels(result(b"".join(done.chunks())))
    assert (made == pixels(source_of(echo()))).all()
    assert not reader.tasks


async def test_large_and_long_images_have_more_time_up_to_a_bound(children: Children) -> None:
    given = []

    class Watch(Reader):
        async def ask(
            self, task: dict[str, Any], fds: Sequence[int] = (), timeout_s: float = 60.0
        ) -> dict[str, Any]:
            given.append((timeout_s, task["budget_s"] < timeout_s))
            return await super().ask(task, fds, timeout_s)

    for frames in (1, 2_000, 20_000):
        source = echo()
        source.NumberOfFrames = frames
        source.PixelData = bytes(ROWS * COLUMNS * frames)
        reader = Watch([read(frames=frames)])
        with suppress(Quarantined):
            await cleaned(
                encoded(source), parts(children, reader=reader, ward=Ward()), sender=SENDER
            )

    assert [time for time, _ in given] == [60.0, 60.0 * 2_000 * ROWS * COLUMNS / 3_000_000, 600.0]
    assert all(is_less for _, is_less in given)


async def test_what_a_person_decided_and_cannot_be_done_is_refused() -> None:
    mark = Mark(Box(0, 50, COLUMNS, 64), Rung.REVIEW)
    ward = Ward(Ruling(Act.MASK, (mark,), "q-1"))

    with pytest.raises(PixelWorkFailed):
        await cleaned(encoded(echo()), parts(Reader([]), ward=ward), sender=SENDER)


async def test_a_rule_that_people_remembered_masks_the_next_image(children: Children) -> None:
    ward = Ward(rules=rule())

    done = await cleaned(encoded(echo()), parts(children, ward=ward), sender=SENDER)

    assert not pixels(result(b"".join(done.chunks())))[:, : BANNER.bottom].any()


# --- Overlays ----------------------------------------------------------------------------------

DRAWING = profile_from_text("{name: drawing, options: [basic, clean_pixel_data, clean_graphics]}")


def overlaid(dataset: Dataset, *groups: tuple[int, str]) -> Dataset:
    for group, kind in groups:
        base = group << 16
        for element, vr, value in (
            (0x0010, "US", 16),
            (0x0011, "US", 16),
            (0x0040, "CS", kind),
            (0x0050, "SS", [1, 1]),
            (0x0100, "US", 1),
            (0x0102, "US", 0),
            (0x1500, "LO", WHO.family),
            (0x3000, "OW", bytes([group & 0xFF]) * 32),
        ):
            dataset.add_new(base | element, vr, value)
    return dataset


def overlay_groups(dataset: Dataset) -> set[int]:
    return {element.tag.group for element in dataset if element.tag.group & 0xFF00 == 0x6000}


async def test_an_overlay_stays_where_nothing_identifying_was_read_in_its_bits(
    children: Children,
) -> None:
    source = overlaid(ct(WHO), (0x6000, "G"), (0x6002, "G"), (0x6004, "R"), (0x6006, "R"))
    reader = Reader([{"clean": [0x6000, 0x6004, 0x6010], "found": {"24578": ["patient-name"]}}])

    done = await cleaned(encoded(source), parts(children, reader=reader), DRAWING)
    data = b"".join(done.chunks())

    assert overlay_groups(result(data)) == {0x6000, 0x6004}
    assert result(data)[0x60003000].value == source[0x60003000].value
    assert WHO.family.encode() not in data
    (task,) = reader.tasks
    assert [one["group"] for one in task["overlays"]] == [0x6000, 0x6002, 0x6004, 0x6006]


@pytest.mark.parametrize(
    "answers", [pytest.param([], id="crashed"), pytest.param([{"clean": "x"}], id="taken-over")]
)
async def test_no_overlay_stays_where_nobody_could_look_into_it(
    children: Children, answers: list[dict[str, object]]
) -> None:
    source = overlaid(ct(WHO), (0x6000, "G"), (0x6002, "R"))

    done = await cleaned(encoded(source), parts(children, reader=Reader(answers)), DRAWING)

    assert overlay_groups(result(b"".join(done.chunks()))) == set()


async def test_without_a_reader_no_overlay_stays_and_the_image_passes(children: Children) -> None:
    source = overlaid(ct(WHO), (0x6000, "G"))

    made = result(b"".join((await cleaned(encoded(source), parts(children), DRAWING)).chunks()))

    assert overlay_groups(made) == set()
    assert made.PixelData == source.PixelData


async def test_a_label_is_masked_as_a_whole_where_the_profile_lets_it_pass(
    children: Children,
) -> None:
    profile = profile_from_text(
        "{name: labels, options: [basic, clean_pixel_data], pixels: {labels: mask}}"
    )
    source = echo(samples=3)
    source.SOPClassUID, source.Modality = "1.2.840.10008.5.1.4.1.1.77.1.6", "SM"
    source.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]

    made = result(b"".join((await cleaned(encoded(source), parts(children), profile)).chunks()))

    assert not made.pixel_array.any()
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "LABEL", "NONE"]

"""Clean Pixel Data from one end of the pipeline to the other, with real child processes."""

import io

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from app.deid.profile import profile_from_text
from app.dicom.source import MemorySource
from app.errors import BurnedInAnnotationSuspected, LabelImage, Quarantined
from app.pipeline import Context, deidentify
from app.pixels.children import Children
from app.pixels.model import Box
from tests.builders import ct
from tests.pipeline.echo import (
    BANNER,
    CLAIM,
    COLUMNS,
    DESCRIBING,
    PSEUDONYMS,
    ROWS,
    SENDER,
    WHO,
    Reader,
    Ward,
    cleaned,
    codes,
    echo,
    encoded,
    parts,
    pixels,
    read,
    result,
    rule,
    source_of,
    with_region,
)

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


async def test_a_label_is_dropped_without_being_opened() -> None:
    source = echo(samples=3)
    source.SOPClassUID, source.Modality = "1.2.840.10008.5.1.4.1.1.77.1.6", "SM"
    source.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]

    with pytest.raises(LabelImage):
        await cleaned(encoded(source), parts(Reader([])))


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

"""Overlays stay where nothing identifying was read in their bits."""

import pytest
from pydicom.dataset import Dataset

from app.deid.profile import profile_from_text
from app.pixels.children import Children
from tests.builders import ct
from tests.pipeline.echo import WHO, Reader, cleaned, encoded, parts, result

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

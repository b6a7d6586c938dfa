"""What is doubtful about pixels waits for a person, whatever child processes do or say."""

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from pydicom.uid import RLELossless

from app.errors import PixelsNeedReview, Quarantined
from app.pipeline.pixel_step import MOST_FRAMES
from app.pixels.children import Children
from app.pixels.model import Box, Verdict
from tests.builders import ct
from tests.pipeline.echo import (
    BANNER,
    COLUMNS,
    MASKING,
    ROWS,
    SENDER,
    WHO,
    Reader,
    Ward,
    cleaned,
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


async def test_a_killed_child_never_lets_an_image_pass_and_the_next_one_does_its_work() -> None:
    with Children(size=1, memory_bytes=1 << 20) as starved, Children(size=1) as healthy:
        ward = Ward()
        with pytest.raises(Quarantined):
            await cleaned(encoded(echo()), parts(starved, rules=rule(), ward=ward), sender=SENDER)

        done = await cleaned(encoded(echo()), parts(healthy, rules=rule(), ward=ward))

    assert ward.held[0].decision.reasons[-1].code == "mask-failed"
    assert not pixels(result(b"".join(done.chunks())))[:, : BANNER.bottom].any()


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

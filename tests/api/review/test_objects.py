"""Held objects on the review page: the list, the image, decisions, and what is said about them."""

import io
import json
from uuid import UUID

import pytest
from PIL import Image

from app import errors
from app.api.review import forms
from app.api.review.words import BY
from app.audit.events import AuditEvent
from app.pixels.model import Box, Mark, Picture, Rung
from app.pixels.rulings import Act
from app.quarantine.records import State, Wanted
from tests import builders
from tests.api.conftest import House
from tests.api.review.desk import COLUMNS, MARKS, ROWS, TEXT, Browser, Desk, picture

pytestmark = pytest.mark.db
SHAPE = {"rows": ROWS, "columns": COLUMNS, "frames": 3}
BOX = {"left": 20, "top": 30, "right": 110, "bottom": 44}


def masks(*boxes: dict[str, int], frames: list[int] | None = None) -> str:
    return json.dumps([{"box": box, "frames": frames} for box in boxes])


async def states(house: House) -> list[State]:
    return [held.state for held in await house.gateway.review.listed("DEMO", Wanted())]


def address(object_id: object, organization: str = "DEMO") -> str:
    return f"/review/objects/{organization}/{object_id}"


async def test_an_empty_quarantine_says_so(reviewer: Browser) -> None:
    assert "Nothing waits." in (await reviewer.get("/review")).text


async def test_the_list_says_what_waits_and_why(reviewer: Browser, desk: Desk) -> None:
    object_id = await desk.hold(frames=3)

    page = (await reviewer.get("/review")).text

    assert address(object_id) in page
    assert f"US, 160 {BY} 120, 3 frames" in page
    assert "single upload" in page
    assert "Identifying text was read outside of the masks: " in page
    assert "a patient&#39;s name, frame 1, 93 % sure" in page


async def test_a_long_list_has_pages(reviewer: Browser, desk: Desk) -> None:
    held = [await desk.hold() for _ in range(27)]

    first = (await reviewer.get("/review")).text
    further = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    second = (await reviewer.get(further)).text

    assert [str(one) in first for one in held] == [True] * 25 + [False] * 2
    assert [str(one) in second for one in held] == [False] * 25 + [True] * 2
    assert 'rel="next"' not in second


async def test_one_object_shows_reasons_and_masks(reviewer: Browser, desk: Desk) -> None:
    page = (await reviewer.get(address(await desk.hold(frames=3)))).text

    assert f"90 {BY} 14 at 20, 30, all frames, a patient&#39;s name, 93 % sure" in page
    assert "said by the text reader" in page
    assert "&#34;left&#34;: 20" in page


async def test_the_frame_is_shown_without_masks(reviewer: Browser, desk: Desk) -> None:
    object_id = await desk.hold(frames=2)

    answer = await reviewer.get(f"{address(object_id)}/frames/2")
    shown = Image.open(io.BytesIO(answer.content))

    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Cache-Control"] == "no-store"
    assert shown.size == (COLUMNS, ROWS)
    assert max(shown.convert("L").crop((20, 30, 110, 44)).tobytes()) > 200


@pytest.mark.parametrize("number", ["0", "3", "99999", "9" * 5000, "x", "-1"])
async def test_a_frame_that_is_not_there_is_no_fault(
    reviewer: Browser, desk: Desk, number: str
) -> None:
    answer = await reviewer.get(f"{address(await desk.hold(frames=2))}/frames/{number}")

    assert answer.status_code == 422
    assert "The image cannot be shown" in answer.text


async def test_masks_are_what_the_form_says(reviewer: Browser, desk: Desk, house: House) -> None:
    object_id = await desk.hold(frames=3)
    await reviewer.get(address(object_id))

    answer = await reviewer.post(address(object_id), action="mask", marks=masks(BOX, frames=[1, 1]))
    held = (await house.gateway.review.listed("DEMO", Wanted()))[0]

    assert answer.headers["Location"] == "/review?organization=DEMO&done=mask"
    assert (held.state, held.decided_by) == (State.MASKED, "reviewer")
    assert held.marks == (Mark(Box(20, 30, 110, 44), Rung.REVIEW, frames=(1, 1)),)
    assert "quarantine-mask" in [row["action"] for row in house.audit()]


async def test_after_a_decision_the_next_object_is_shown(reviewer: Browser, desk: Desk) -> None:
    waiting, decided = await desk.hold(), await desk.hold()
    await reviewer.get(address(decided))

    answer = await reviewer.post(address(decided), action="reject")
    page = (await reviewer.get(answer.headers["Location"])).text

    assert answer.headers["Location"] == f"{address(waiting)}?done=reject"
    assert "Rejected. Nothing of the object leaves." in page


async def test_objects_that_are_left_come_again_at_the_end(reviewer: Browser, desk: Desk) -> None:
    first, second = await desk.hold(), await desk.hold()

    after_first = await reviewer.get(f"{address('next')}?after={first}")
    after_second = await reviewer.get(f"{address('next')}?after={second}")

    assert after_first.headers["Location"] == address(second)
    assert after_second.headers["Location"] == address(first)


async def test_behind_an_object_that_is_gone_the_first_one_comes_next(
    reviewer: Browser, desk: Desk
) -> None:
    first = await desk.hold()

    following = await reviewer.get(f"{address('next')}?after={UUID(int=7)}")
    listed = await reviewer.get(f"/review?organization=DEMO&after={UUID(int=7)}")

    assert following.headers["Location"] == address(first)
    assert listed.status_code == 404


async def test_a_release_is_asked_for_twice(reviewer: Browser, desk: Desk, house: House) -> None:
    object_id = await desk.hold()
    await reviewer.get(address(object_id))

    asked = await reviewer.post(address(object_id), action="release")
    before = await states(house)
    await reviewer.post(address(object_id), action="release", confirmed="yes")

    assert "Release the image as it is?" in asked.text
    assert (before, await states(house)) == ([State.HELD], [State.RELEASED])


async def test_nobody_lets_pass_what_was_sent_by_the_same_person(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    object_id = await desk.hold(actor="reviewer")
    await reviewer.get(address(object_id))

    answer = await reviewer.post(address(object_id), action="release", confirmed="yes")

    assert answer.status_code == 422
    assert "another person must let it pass" in answer.text
    assert await states(house) == [State.HELD]


@pytest.mark.parametrize(
    "marks",
    [
        "{}",
        "null",
        "nonsense",
        "[1]",
        "[" * 20_000,
        masks({**BOX, "right": COLUMNS + 1}),
        masks({**BOX, "left": 110}),
        masks({**BOX, "top": -1}),
        masks({**BOX, "top": 1.5}),
        masks({**BOX, "top": True}),
        masks(BOX, frames=[0, 9]),
        masks(BOX, frames=[1, 0]),
        masks(BOX, frames=[1]),
        json.dumps([{"box": BOX}]),
        json.dumps([{"box": BOX, "frames": None}] * 1001),
    ],
    ids=range(15),
)
def test_masks_that_are_not_fit_are_refused(marks: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        forms.marks_of(marks, SHAPE, ())


async def test_masks_that_are_not_fit_change_nothing(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    object_id = await desk.hold()
    await reviewer.get(address(object_id))

    answers = [
        await reviewer.post(address(object_id), action="mask", marks=marks)
        for marks in ("[]", "nonsense", masks({**BOX, "right": COLUMNS + 1}))
    ]

    assert [answer.status_code for answer in answers] == [422, 400, 400]
    assert await states(house) == [State.HELD]


def test_a_proposal_that_nobody_changed_stays_one() -> None:
    drawn = {**BOX, "left": 21}

    kept, changed = forms.marks_of(masks(BOX, drawn), SHAPE, MARKS)

    assert kept == MARKS[1]
    assert changed == Mark(Box(21, 30, 110, 44), Rung.REVIEW)


async def test_masks_that_were_drawn_are_kept_when_the_decision_is_refused(
    reviewer: Browser, desk: Desk
) -> None:
    object_id = await desk.hold(frames=3)
    await reviewer.get(address(object_id))
    drawn = {"left": 1, "top": 2, "right": 33, "bottom": 44}

    answer = await reviewer.post(
        address(object_id), action="remember", marks=masks(drawn, frames=[0, 0])
    )

    assert answer.status_code == 422
    assert "A rule holds for every frame" in answer.text
    assert f"32 {BY} 42 at 1, 2, frame 1, drawn" in answer.text


async def test_who_comes_second_is_told_that_somebody_was_faster(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    object_id = await desk.hold()
    await reviewer.get(address(object_id))
    await decided_by_another(house, object_id)

    answer = await reviewer.post(address(object_id), action="mask", marks=masks(BOX))
    shown = await reviewer.get(address(object_id))
    image = await reviewer.get(f"{address(object_id)}/frames/1")

    assert "It was rejected by another." in answer.text
    assert "This object no longer waits" in shown.text
    assert image.status_code == 409


async def decided_by_another(house: House, object_id: object) -> None:
    event = AuditEvent(action="", organization="DEMO", actor="another")
    await house.gateway.review.decide(event, object_id, Act.REJECT)


@pytest.mark.parametrize("wrong", ["not-a-uuid", str(UUID(int=1))])
async def test_an_object_that_is_not_there_is_said_to_be_so(reviewer: Browser, wrong: str) -> None:
    answer = await reviewer.get(address(wrong))

    assert answer.status_code == 404
    assert "There is no held object by that id" in answer.text


async def test_other_organisations_are_out_of_reach(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    await house.gateway.organizations.ensure("OTHER")
    object_id = await desk.hold(organization="OTHER")

    answers = [
        await reviewer.get("/review?organization=OTHER"),
        await reviewer.get(address(object_id, "OTHER")),
        await reviewer.get(f"{address(object_id, 'OTHER')}/frames/1"),
        await reviewer.post(address(object_id, "OTHER"), action="reject"),
        await reviewer.get(address(object_id)),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 403, 404]


async def test_a_key_for_several_organisations_chooses_among_them(
    anybody: Browser, desk: Desk, house: House
) -> None:
    await house.gateway.organizations.ensure("OTHER")
    object_id = await desk.hold(organization="OTHER")
    await anybody.sign_in(await desk.key(organizations=["OTHER"]))

    first = (await anybody.get("/review")).text
    second = (await anybody.get("/review?organization=OTHER")).text

    assert "Nothing waits." in first
    assert 'href="/review?organization=OTHER"' in first
    assert address(object_id, "OTHER") in second


async def test_what_is_remembered_waits_for_a_second_person(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    object_id = await desk.hold()
    await reviewer.get(address(object_id))
    await reviewer.post(address(object_id), action="remember", marks=masks(BOX))

    own = (await reviewer.get("/review/rules")).text
    decide = own.partition('action="/review/rules/')[2].partition('"')[0]
    refused = await reviewer.post(f"/review/rules/{decide}", action="approve")
    before = await house.gateway.quarantine.remembered("DEMO")
    await reviewer.sign_in_anew(await desk.key("second"))
    theirs = (await reviewer.get("/review/rules")).text
    approved = await reviewer.post(f"/review/rules/{decide}", action="approve")

    assert "You proposed it: another person must approve it." in own
    assert refused.headers["Location"].endswith("done=own")
    assert "Example Invented 1" in theirs
    assert 'value="approve"' in theirs
    assert approved.headers["Location"].endswith("done=approve")
    assert before == ()
    assert "No rule waits." in (await reviewer.get("/review/rules")).text


async def test_an_object_without_an_image_can_be_rejected_or_released(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    object_id = await desk.hold(marks=[], shown=Picture(sop_class="1.2", transfer_syntax="1.2"))

    page = (await reviewer.get(address(object_id))).text
    await reviewer.post(address(object_id), action="release", confirmed="yes")

    assert "no image that can be shown" in page
    assert 'value="mask"' not in page
    assert "review.js" not in page
    assert await states(house) == [State.RELEASED]


async def test_an_image_without_a_device_makes_no_rule(reviewer: Browser, desk: Desk) -> None:
    object_id = await desk.hold(shown=picture(model=""))
    await reviewer.get(address(object_id))

    answer = await reviewer.post(address(object_id), action="remember", marks=masks(BOX))

    assert answer.status_code == 422
    assert "names no manufacturer and model" in answer.text


async def test_a_rule_that_somebody_decided_about_is_said_to_be_so(
    reviewer: Browser, desk: Desk
) -> None:
    object_id = await desk.hold()
    await reviewer.get(address(object_id))
    await reviewer.post(address(object_id), action="remember", marks=masks(BOX))
    page = (await reviewer.get("/review/rules")).text
    decide = "/review/rules/" + page.partition('action="/review/rules/')[2].partition('"')[0]

    answers = [await reviewer.post(decide, action="deny") for _ in range(2)]

    assert [one.headers["Location"].rpartition("=")[2] for one in answers] == ["deny", "faster"]


async def test_nothing_identifying_is_in_addresses_titles_and_logs(
    reviewer: Browser, desk: Desk, house: House
) -> None:
    who = builders.Identity()
    object_id = await desk.hold()
    page = await reviewer.get(address(object_id))
    await reviewer.get(f"{address(object_id)}/frames/1")
    answer = await reviewer.post(address(object_id), action="mask", marks=masks(BOX))

    said = page.text + answer.headers["Location"] + house.logs.getvalue()
    for value in (TEXT, who.family, who.patient_id, who.accession):
        assert value not in said


def test_proposals_are_shown_as_far_as_they_lie_in_the_image() -> None:
    outside = Mark(Box(150, 100, 500, 500), Rung.OCR)
    nowhere = Mark(Box(200, 200, 300, 300), Rung.OCR)
    shown = forms.within([*MARKS, outside, nowhere, MARKS[0]], SHAPE)

    assert [mark.box for mark in shown] == [
        MARKS[0].box,
        MARKS[1].box,
        Box(150, 100, COLUMNS, ROWS),
    ]

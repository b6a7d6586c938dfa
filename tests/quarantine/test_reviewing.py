"""The reviewer's side: one decision wins, everything is in the audit, rules need two people."""

import asyncio
import os
import struct
import zlib

import pytest

from app.audit.repository import AuditTrail
from app.errors import (
    AlreadyDecided,
    Conflict,
    DatabaseUnavailable,
    HeldObjectDamaged,
    InvalidRequest,
    InvalidRules,
    MaskRuleNotFound,
    OwnObject,
    OwnRequest,
    PreviewUnavailable,
    QuarantineNotFound,
)
from app.pixels.model import Box, Mark, Rung
from app.pixels.rules import RuleSet, marks_for
from app.pixels.rulings import Act
from app.quarantine.previews import Look, Style
from app.quarantine.records import State, Wanted
from app.quarantine.remembering import RuleState, WantedRules
from app.quarantine.service import RULES_FRESH_S
from tests import builders
from tests.quarantine.images import GREY, PLAIN, SHOWN
from tests.quarantine.ward import BOX, DECISION, NORTH, PICTURE, SOUTH, Ward, marks, who

pytestmark = pytest.mark.db
DATA = b"DICM " * 1000
APPROVED, DENIED, REVOKED = RuleState.APPROVED, RuleState.DENIED, RuleState.REVOKED


async def test_what_is_held_is_shown_with_its_reasons_and_marks(ward: Ward) -> None:
    object_id = await ward.hold(DATA)

    held = await ward.review.show(who(), object_id)

    assert held.decision == DECISION
    assert (held.state, held.sent_by, held.size) == (State.HELD, "viewer", len(DATA))
    assert (held.shape["rows"], held.shape["columns"], held.shape["frames"]) == (480, 640, 4)
    assert ward.audit()[-1] == ("quarantine-look", "success", "reviewer")


async def test_what_came_last_is_listed_first_page_by_page(ward: Ward) -> None:
    ids = [await ward.hold(bytes([number])) for number in range(5)]
    await ward.review.decide(who(), ids[0], Act.REJECT)

    first = await ward.review.listed(NORTH, Wanted(limit=3))
    second = await ward.review.listed(NORTH, Wanted(limit=3, before=first[-1].object_id))
    waiting = await ward.review.listed(NORTH, Wanted(state=State.HELD))

    assert [one.object_id for one in (*first, *second)] == ids[::-1]
    assert [one.object_id for one in waiting] == ids[:0:-1]
    assert await ward.review.listed(NORTH, Wanted(profile="other")) == []
    assert await ward.review.listed(SOUTH, Wanted()) == []


@pytest.mark.parametrize("act", Act)
async def test_a_decision_destroys_what_was_held_and_is_in_the_audit(ward: Ward, act: Act) -> None:
    object_id = await ward.hold(DATA)

    held = await ward.review.decide(who(), object_id, act, marks() if act is Act.MASK else ())

    assert held.decided_by == "reviewer"
    assert held.decided_at is not None
    assert ward.files() == []
    assert ward.query("SELECT sealed FROM quarantine") == [{"sealed": None}]
    [event] = ward.query("SELECT * FROM audit_events WHERE action = %s", f"quarantine-{act}")
    assert event["detail"]["quarantine"] == str(object_id)
    assert event["detail"]["sent-by"] == "viewer"
    assert event["cloud_study_id"] == "7QM2X-9THV4-CBK8"


async def test_of_reviewers_at_the_same_moment_one_wins(ward: Ward) -> None:
    object_id = await ward.hold(DATA)
    acts = [Act.RELEASE, Act.REJECT, Act.RELEASE, Act.REJECT]

    outcomes = await asyncio.gather(
        *[ward.review.decide(who(f"r{n}"), object_id, act) for n, act in enumerate(acts)],
        return_exceptions=True,
    )

    won = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(won) == 1
    assert [type(one) for one in outcomes if one not in won] == [AlreadyDecided] * 3
    ruling = await ward.ruling(DATA)
    assert ruling is not None
    assert won[0].decided_by == f"r{outcomes.index(won[0])}"
    assert acts[outcomes.index(won[0])] is ruling.action
    said = [
        row[:2] for row in ward.audit() if row[0] in {"quarantine-release", "quarantine-reject"}
    ]
    assert sorted(outcome for _, outcome in said) == ["already-decided"] * 3 + ["success"]


@pytest.mark.parametrize("act", [Act.RELEASE, Act.MASK])
@pytest.mark.parametrize("name", ["viewer", "VIEWER"])
async def test_who_sent_an_object_cannot_let_it_pass(ward: Ward, act: Act, name: str) -> None:
    object_id = await ward.hold(DATA)

    with pytest.raises(OwnObject):
        await ward.review.decide(who(name), object_id, act, marks() if act is Act.MASK else ())

    assert ward.audit()[-1][:2] == (f"quarantine-{act}", "own-object")
    assert (await ward.review.decide(who(name), object_id, Act.REJECT)).state is State.REJECTED


async def test_the_database_itself_refuses_that_a_sender_releases(ward: Ward) -> None:
    await ward.hold(DATA)

    with pytest.raises(Exception, match="quarantine_four_eyes_check"):
        ward.query(
            "UPDATE quarantine SET state = 'released', sealed = NULL, decided_at = now(),"
            " decider = sender, decided_by = 'somebody' RETURNING id"
        )


async def test_ids_of_others_and_of_nobody_are_not_found(ward: Ward) -> None:
    object_id = await ward.hold(DATA)

    with pytest.raises(QuarantineNotFound):
        await ward.review.show(who(organization=SOUTH), object_id)
    with pytest.raises(QuarantineNotFound):
        await ward.review.decide(who(organization=SOUTH), object_id, Act.RELEASE)
    with pytest.raises(QuarantineNotFound):
        await ward.review.preview(who(organization=SOUTH), object_id, Look())
    assert await ward.ruling(DATA) is None
    assert [row[1] for row in ward.audit()[-3:]] == ["quarantine-not-found"] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [Mark(Box(640, 0, 700, 10), Rung.REVIEW)],
        [Mark(Box(5, 5, 5, 9), Rung.REVIEW)],
        [Mark(BOX, Rung.REVIEW, frames=(0, 4))],
        [Mark(BOX, Rung.REVIEW, frames=(2, 1))],
        [Mark(BOX, Rung.REVIEW)] * 1001,
    ],
    ids=["none", "outside", "empty", "frames outside", "frames backwards", "too many"],
)
async def test_marks_that_mask_nothing_are_refused(ward: Ward, wrong: list[Mark]) -> None:
    object_id = await ward.hold(DATA)

    with pytest.raises(InvalidRequest):
        await ward.review.decide(who(), object_id, Act.MASK, wrong)

    assert (await ward.review.show(who(), object_id)).state is State.HELD


async def test_marks_are_kept_within_the_image_and_as_a_persons(ward: Ward) -> None:
    object_id = await ward.hold(DATA)
    given = [Mark(Box(600, 400, 9999, 9999), Rung.OCR, "patient-name", 0.4, (1, 2))]

    await ward.review.decide(who(), object_id, Act.MASK, given)

    ruling = await ward.ruling(DATA)
    assert ruling is not None
    assert ruling.marks == (Mark(Box(600, 400, 640, 480), Rung.REVIEW, frames=(1, 2)),)


async def test_a_release_with_marks_is_a_slip(ward: Ward) -> None:
    object_id = await ward.hold(DATA)

    with pytest.raises(InvalidRequest):
        await ward.review.decide(who(), object_id, Act.RELEASE, marks())


async def test_without_its_audit_row_nothing_is_decided(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_id = await ward.hold(DATA)

    async def fails(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(AuditTrail, "append", fails)
    with pytest.raises(DatabaseUnavailable):
        await ward.review.decide(who(), object_id, Act.RELEASE)
    monkeypatch.undo()

    assert (await ward.review.show(who(), object_id)).state is State.HELD
    assert len(ward.files()) == 1
    assert await ward.ruling(DATA) is None


# Looking


async def test_a_preview_is_a_png_and_is_in_the_audit_before_it_is_seen(ward: Ward) -> None:
    object_id = await ward.hold(SHOWN, picture=GREY)

    png = await ward.review.preview(who(), object_id, Look(style=Style.NONE))

    assert size_of(png) == (64, 48)
    assert pixels_of(png)[0][:3] == PLAIN[:3]
    assert ward.audit()[-1] == ("quarantine-preview", "success", "reviewer")


async def test_marks_are_filled_or_outlined_or_left_out(ward: Ward) -> None:
    box = Mark(Box(0, 0, 32, 16), Rung.OCR, "date")
    decision = DECISION.from_json({**DECISION.to_json(), "marks": []})
    held = type(decision)(decision.verdict, decision.risk, (box,), decision.reasons)
    object_id = await ward.hold(SHOWN, picture=GREY, decision=held)

    pictures = {
        style: await ward.review.preview(who(), object_id, Look(style=style)) for style in Style
    }

    assert len(set(pictures.values())) == 3
    assert pixels_of(pictures[Style.FILL])[0][:3] == [0, 0, 0]
    assert pixels_of(pictures[Style.NONE])[0][:3] == PLAIN[:3]


async def test_a_large_image_is_shown_smaller(ward: Ward) -> None:
    object_id = await ward.hold(SHOWN, picture=GREY)

    png = await ward.review.preview(who(), object_id, Look(max_edge=32, style=Style.NONE))

    assert size_of(png) == (32, 24)


async def test_a_frame_that_is_not_there_cannot_be_shown(ward: Ward) -> None:
    object_id = await ward.hold(SHOWN, picture=GREY)

    with pytest.raises(PreviewUnavailable):
        await ward.review.preview(who(), object_id, Look(frame=1))


@pytest.mark.parametrize(
    "data", [b"no DICOM at all", SHOWN[:-200], builders.part10(builders.sr(builders.Identity()))]
)
async def test_what_does_not_decode_cannot_be_shown_and_is_still_held(
    ward: Ward, data: bytes
) -> None:
    object_id = await ward.hold(data, picture=GREY)

    with pytest.raises(PreviewUnavailable):
        await ward.review.preview(who(), object_id, Look())

    assert (await ward.review.decide(who(), object_id, Act.REJECT)).state is State.REJECTED


async def test_a_file_that_was_altered_is_not_shown(ward: Ward) -> None:
    object_id = await ward.hold(SHOWN, picture=GREY)
    [file] = ward.files()
    altered = bytearray(file.read_bytes())
    altered[len(altered) // 2] ^= 1
    file.write_bytes(altered)

    with pytest.raises(HeldObjectDamaged):
        await ward.review.preview(who(), object_id, Look())

    assert ward.audit()[-1][:2] == ("quarantine-preview", "held-object-damaged")


async def test_a_file_that_belongs_to_another_object_is_not_shown(ward: Ward) -> None:
    first = await ward.hold(SHOWN, picture=GREY)
    second = await ward.hold(SHOWN, SOUTH, picture=GREY)
    directory = ward.shelf.directory
    (directory / str(first)).write_bytes((directory / str(second)).read_bytes())

    with pytest.raises(HeldObjectDamaged):
        await ward.review.preview(who(), first, Look())


@pytest.mark.parametrize("is_cut", [True, False])
async def test_what_was_lost_is_given_up_and_the_same_bytes_are_held_anew(
    ward: Ward, is_cut: bool
) -> None:
    held = await ward.hold(SHOWN, picture=GREY)
    (file,) = ward.files()
    os.truncate(file, 100) if is_cut else file.unlink()

    for act in (Act.RELEASE, Act.MASK):
        with pytest.raises(HeldObjectDamaged):
            await ward.review.decide(
                who(), held, act, marks(Box(0, 0, 9, 9)) if act is Act.MASK else ()
            )
    assert await ward.ruling(SHOWN) is None
    given_up = await ward.review.decide(who(), held, Act.REJECT)

    assert given_up.state is State.EXPIRED
    assert ward.audit()[-1] == ("quarantine-reject", "success", "reviewer")
    anew = await ward.hold(SHOWN, picture=GREY)
    assert anew != held
    assert await ward.review.preview(who(), anew, Look())


async def test_what_was_decided_about_cannot_be_seen_any_more(ward: Ward) -> None:
    object_id = await ward.hold(SHOWN, picture=GREY)
    await ward.review.decide(who(), object_id, Act.RELEASE)

    with pytest.raises(AlreadyDecided):
        await ward.review.preview(who(), object_id, Look())


# Remembering


async def test_a_rule_masks_nothing_before_a_second_person_approved_it(ward: Ward) -> None:
    object_id = await ward.hold(DATA)

    held, rule = await ward.review.remember(who(), object_id, marks())

    assert held.state is State.MASKED
    assert rule.state is RuleState.PROPOSED
    assert await ward.quarantine.remembered(NORTH) == ()
    approved = await ward.review.decide_rule(who("second"), rule.rule_id, APPROVED)
    assert approved.decided_by == "second"
    actions = [
        row for row in ward.audit() if row[0] in {"quarantine-remember", "mask-rule-approve"}
    ]
    assert actions == [
        ("quarantine-remember", "success", "reviewer"),
        ("mask-rule-approve", "success", "second"),
    ]


async def test_an_approved_rule_masks_the_same_device_of_its_organisation(ward: Ward) -> None:
    _, rule = await ward.review.remember(who(), await ward.hold(DATA), marks())
    await ward.review.decide_rule(who("second"), rule.rule_id, APPROVED)

    rules = RuleSet().adding(await ward.quarantine.remembered(NORTH))

    assert [mark.box for mark in marks_for(PICTURE, rules).marks] == [BOX]
    assert marks_for(GREY, rules).marks == ()
    assert await ward.quarantine.remembered(SOUTH) == ()
    assert rules.version != RuleSet().version


async def test_a_revoked_rule_masks_nothing_after_some_seconds(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(ward.quarantine, "_clock", lambda: now[0])
    _, rule = await ward.review.remember(who(), await ward.hold(DATA), marks())
    await ward.review.decide_rule(who("second"), rule.rule_id, APPROVED)
    before = await ward.quarantine.remembered(NORTH)

    revoked = await ward.review.decide_rule(who("third"), rule.rule_id, REVOKED)
    at_once = await ward.quarantine.remembered(NORTH)
    now[0] += RULES_FRESH_S + 1

    assert len(before) == len(at_once) == 1
    assert await ward.quarantine.remembered(NORTH) == ()
    assert (revoked.state, revoked.revoked_by) == (REVOKED, "third")


@pytest.mark.parametrize("name", ["reviewer", "Reviewer"])
async def test_nobody_approves_a_rule_of_ones_own(ward: Ward, name: str) -> None:
    _, rule = await ward.review.remember(who(), await ward.hold(DATA), marks())

    with pytest.raises(OwnRequest):
        await ward.review.decide_rule(who(name), rule.rule_id, APPROVED)

    assert ward.audit()[-1][:2] == ("mask-rule-approve", "own-request")
    assert (await ward.review.decide_rule(who(name), rule.rule_id, DENIED)).state is DENIED


async def test_a_rule_is_decided_about_once(ward: Ward) -> None:
    _, rule = await ward.review.remember(who(), await ward.hold(DATA), marks())
    with pytest.raises(Conflict):
        await ward.review.decide_rule(who("second"), rule.rule_id, REVOKED)

    outcomes = await asyncio.gather(
        *[
            ward.review.decide_rule(who(f"r{number}"), rule.rule_id, state)
            for number, state in enumerate((APPROVED, DENIED, APPROVED))
        ],
        return_exceptions=True,
    )

    assert [type(one) for one in outcomes].count(AlreadyDecided) == 2


async def test_rules_of_others_are_not_found(ward: Ward) -> None:
    _, rule = await ward.review.remember(who(), await ward.hold(DATA), marks())

    with pytest.raises(MaskRuleNotFound):
        await ward.review.decide_rule(who(organization=SOUTH), rule.rule_id, APPROVED)
    assert await ward.review.rules(SOUTH, WantedRules()) == []
    [listed] = await ward.review.rules(NORTH, WantedRules(state=RuleState.PROPOSED))
    assert listed.rule == rule.rule


async def test_a_rule_of_an_unnamed_device_or_of_some_frames_is_not_remembered(ward: Ward) -> None:
    nameless = await ward.hold(SHOWN, picture=GREY)
    with pytest.raises(InvalidRules):
        await ward.review.remember(who(), nameless, marks(Box(0, 0, 9, 9)))
    with pytest.raises(InvalidRequest):
        await ward.review.remember(who(), nameless, [Mark(BOX, Rung.REVIEW, frames=(0, 0))])

    assert (await ward.review.show(who(), nameless)).state is State.HELD
    assert await ward.review.rules(NORTH, WantedRules()) == []


async def test_a_rule_that_was_moved_to_another_organisation_masks_nothing(ward: Ward) -> None:
    _, rule = await ward.review.remember(who(), await ward.hold(DATA), marks())
    await ward.review.decide_rule(who("second"), rule.rule_id, APPROVED)
    ward.query("UPDATE mask_rules SET organization = 2 RETURNING id")

    with pytest.raises(Exception, match="does not open"):
        await ward.quarantine.remembered(SOUTH)


def size_of(png: bytes) -> tuple[int, int]:
    """Columns and rows, out of the header."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    columns, rows = struct.unpack(">II", png[16:24])
    return columns, rows


def pixels_of(png: bytes) -> list[list[int]]:
    """Rows of bytes of a PNG without interlacing, whichever filters it uses."""
    columns, rows = size_of(png)
    channels = {0: 1, 2: 3}[png[25]]
    data, place = b"", 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += 12 + length
    raw, width = zlib.decompress(data), columns * channels
    found: list[list[int]] = []
    above = [0] * width
    for number in range(rows):
        line = raw[number * (width + 1) : (number + 1) * (width + 1)]
        above = unfiltered(line[0], list(line[1:]), above, channels)
        found.append(above)
    return found


def unfiltered(kind: int, line: list[int], above: list[int], step: int) -> list[int]:
    """Undo one line's filter. Source: PNG (ISO/IEC 15948), 9."""
    for place, value in enumerate(line):
        left = line[place - step] if place >= step else 0
        corner = above[place - step] if place >= step else 0
        guess = (
            0,
            left,
            above[place],
            (left + above[place]) // 2,
            paeth(left, above[place], corner),
        )
        line[place] = (value + guess[kind]) & 255
    return line


def paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    return min((left, up, corner), key=lambda one: abs(estimate - one))

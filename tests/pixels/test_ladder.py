"""What the rungs say together: nothing passes that was not found harmless."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deid.pixel_policy import Found, Labels, PixelPolicy, Video
from app.pixels.ladder import Examination, Planned, decide, plan
from app.pixels.model import Box, Decision, Mark, Picture, Reason, Risk, Rung, Verdict
from app.pixels.risk_tables import SOP_CLASSES, Group
from app.pixels.rules import NO_RULES, RuleSet
from app.pixels.rules_text import read_rule
from tests.pixels.pictures import CT, SEGMENTS, SLIDE, STORAGE, US, picture

STRICT = PixelPolicy()
MASKING = PixelPolicy(found=Found.MASK)
NAME = Mark(Box(10, 500, 90, 520), Rung.OCR, "patient-name", 0.93, (2, 2))
BLUR = Mark(Box(10, 540, 90, 560), Rung.OCR, "doubtful", 0.2)
TOP = read_rule({"id": "top", "match": {"model": "Echo 9"}, "mask": [{"height": 50}]})
ALL_TEXT = read_rule(
    {"id": "all", "match": {"model": "Echo 9"}, "mask": [{"height": 50}], "complete": True}
)
OUTSIDE = read_rule({"id": "out", "match": {"model": "Echo 9"}, "mask": [{"top": 900}]})
SECONDARY = picture(CT, image_type=("DERIVED", "SECONDARY", "MPR"))


def read(*findings: Mark, frames: int = 1, is_complete: bool = True, doubtful: int = 0):
    return Examination(findings, is_complete, frames_read=frames, doubtful=doubtful)


def decided(given: Picture, *rules, examination=None, policy=STRICT, is_second=False) -> Decision:
    planned = plan(given, RuleSet(rules), policy)
    return decide(given, planned, examination, policy, is_second=is_second)


def codes(decision: Decision) -> set[str]:
    return {reason.code for reason in decision.reasons}


def test_an_image_without_risk_passes_unread() -> None:
    planned = plan(CT, RuleSet((TOP,)), STRICT)

    assert planned.settled is Verdict.PASS
    assert not planned.must_read
    assert decide(CT, planned, None, STRICT).verdict is Verdict.PASS


def test_a_rule_for_a_device_makes_its_harmless_images_suspicious() -> None:
    slicer = read_rule({"id": "s", "match": {"model": "Slicer 64"}, "mask": [{"height": 9}]})

    planned = plan(CT, RuleSet((slicer,)), STRICT)

    assert planned.risk is Risk.HIGH
    assert planned.must_read
    assert decide(CT, planned, read(), STRICT).verdict is Verdict.MASK


def test_some_risk_passes_when_nothing_was_read() -> None:
    assert decided(SECONDARY, examination=read()).verdict is Verdict.PASS


def test_text_outside_of_all_rules_waits_for_a_person_with_its_place() -> None:
    decision = decided(US, TOP, examination=read(NAME, BLUR))

    assert decision.verdict is Verdict.QUARANTINE
    assert decision.marks[-2:] == (NAME, BLUR)
    assert Reason(Rung.OCR, "identifying-text", "patient-name", 2, 0.93) in decision.reasons
    assert Reason(Rung.OCR, "unreadable-text", "doubtful", None, 0.2) in decision.reasons


def test_a_profile_may_mask_what_was_read_but_only_once() -> None:
    first = decided(SECONDARY, examination=read(NAME), policy=MASKING)
    second = decided(SECONDARY, examination=read(BLUR), policy=MASKING, is_second=True)

    assert first.verdict is Verdict.MASK
    assert first.marks == (NAME,)
    assert second.verdict is Verdict.QUARANTINE
    assert "still-readable" in codes(second)


def test_what_was_masked_once_is_read_again_before_it_leaves() -> None:
    planned = plan(SECONDARY, NO_RULES, MASKING)
    marked = replace(planned, marks=(NAME,))

    assert decide(SECONDARY, marked, read(), MASKING, is_second=True).verdict is Verdict.MASK
    assert decide(SECONDARY, marked, None, MASKING, is_second=True).verdict is Verdict.QUARANTINE
    covered = plan(US, RuleSet((ALL_TEXT,)), MASKING)
    assert decide(US, covered, None, MASKING, is_second=True).verdict is Verdict.QUARANTINE


def test_doubtful_places_without_a_rectangle_are_never_masked() -> None:
    decision = decided(SECONDARY, examination=read(doubtful=1), policy=MASKING)

    assert decision.verdict is Verdict.QUARANTINE
    assert "unreadable-text" in codes(decision)


def test_high_risk_without_a_rule_and_without_text_is_a_contradiction() -> None:
    assert codes(decided(US, examination=read())) >= {"no-rule-for-device"}
    assert decided(US, examination=read()).verdict is Verdict.QUARANTINE


def test_two_weak_arguments_make_a_good_one() -> None:
    declared = picture(US, burned_in="NO")

    assert decided(declared, examination=read()).verdict is Verdict.PASS
    assert decided(declared, examination=read(NAME)).verdict is Verdict.QUARANTINE
    film = picture(declared, sop_class=STORAGE + "7", conversion="DF")
    assert decided(film, examination=read()).verdict is Verdict.QUARANTINE


@pytest.mark.parametrize(
    "examination",
    [None, read(is_complete=False), read(frames=0)],
    ids=["failed", "over-time", "too-few-frames"],
)
def test_without_a_full_reading_only_a_complete_rule_helps(examination) -> None:
    assert decided(US, TOP, examination=examination).verdict is Verdict.QUARANTINE
    assert decided(SECONDARY, examination=examination).verdict is Verdict.QUARANTINE
    covered = decided(US, ALL_TEXT, examination=examination)
    assert covered.verdict is Verdict.MASK
    assert codes(covered) & {"not-read", "not-read-to-the-end"}


def test_what_was_read_before_the_time_was_over_counts_against_a_complete_rule() -> None:
    decision = decided(US, ALL_TEXT, examination=read(NAME, is_complete=False))

    assert decision.verdict is Verdict.QUARANTINE


def test_a_rule_that_does_not_fit_the_screen_is_none() -> None:
    assert decided(US, OUTSIDE, examination=read()).verdict is Verdict.QUARANTINE
    assert decided(US, OUTSIDE, ALL_TEXT).verdict is Verdict.QUARANTINE


def test_outside_of_ultrasound_regions_all_is_masked() -> None:
    sector = picture(US, regions=(Box(100, 80, 700, 500),), has_regions=True)

    decision = decided(sector, examination=read())

    assert decision.verdict is Verdict.MASK
    assert sum(mark.box.area for mark in decision.marks) == 800 * 600 - 600 * 420
    assert "outside-regions" in codes(decision)


@pytest.mark.parametrize("burned_in", ["", "NO"])
def test_regions_that_cannot_be_wait_for_a_person(burned_in: str) -> None:
    impossible = picture(US, regions=(Box(0, 0, 900, 600),), has_regions=True, burned_in=burned_in)

    decision = decided(impossible, TOP, examination=read())

    assert decision.verdict is Verdict.QUARANTINE
    assert "invalid-regions" in codes(decision)


def test_regions_mean_nothing_outside_of_ultrasound() -> None:
    capture = picture(
        SECONDARY, regions=(Box(0, 0, 5, 5),), has_regions=True, rows=600, columns=800
    )

    decision = decided(capture, examination=read())

    assert decision.verdict is Verdict.QUARANTINE
    assert decision.marks == ()


def test_labels_of_slides_are_dropped_or_masked_whole() -> None:
    label = picture(SLIDE, image_type=("ORIGINAL", "PRIMARY", "LABEL", "NONE"))

    assert decided(label).verdict is Verdict.DROP
    masked = decided(label, policy=PixelPolicy(labels=Labels.MASK))
    assert masked.verdict is Verdict.MASK
    assert masked.marks[0].box == Box(0, 0, 256, 256)
    assert masked.marks[0].frames is None


def test_a_volume_of_a_slide_passes_unread() -> None:
    assert plan(SLIDE, NO_RULES, STRICT).settled is Verdict.PASS


def test_films_wait_unless_the_profile_takes_them() -> None:
    film = picture(US, transfer_syntax="1.2.840.10008.1.2.4.102", frames=100)

    assert decided(film).verdict is Verdict.QUARANTINE
    accepted = decided(film, policy=PixelPolicy(video=Video.ACCEPT))
    assert accepted.verdict is Verdict.PASS
    assert "video-accepted" in codes(accepted)


def test_the_marks_of_rules_are_proposed_where_nobody_can_judge() -> None:
    unknown = picture(US, recognizable="YES")

    decision = decided(unknown, TOP)

    assert decision.verdict is Verdict.QUARANTINE
    assert decision.marks[0].rule == "top"


def test_findings_outside_of_the_image_are_never_masked() -> None:
    wrong = Mark(Box(5000, 5000, 5010, 5010), Rung.OCR, "id")

    decision = decided(SECONDARY, examination=read(wrong), policy=MASKING)

    assert decision.verdict is Verdict.QUARANTINE
    assert "contradictory-reading" in codes(decision)


def test_what_a_child_leaves_out_counts_against_the_image() -> None:
    examination = Examination.from_json({"findings": [], "is_complete": 1})

    assert not examination.is_complete
    assert examination.frames_read == 0


def test_a_decision_comes_back_from_json() -> None:
    decision = decided(US, TOP, examination=read(NAME))

    assert Decision.from_json(decision.to_json()) == decision


PICTURES = st.builds(
    picture,
    st.sampled_from([CT, US, SLIDE, SEGMENTS, SECONDARY]),
    sop_class=st.sampled_from([*SOP_CLASSES, STORAGE + "88.11", "1.2.3"]),
    burned_in=st.sampled_from(["", "YES", "NO", "X"]),
    recognizable=st.sampled_from(["", "NO", "YES"]),
    conversion=st.sampled_from(["", "WSD", "SD", "DF", "X"]),
    modality=st.sampled_from(["CT", "US", "OT", "SEG", ""]),
    frames=st.integers(0, 3),
    has_regions=st.booleans(),
    regions=st.lists(st.builds(Box, *[st.integers(-5, 900) for _ in range(4)]), max_size=3).map(
        tuple
    ),
)
FINDINGS = st.sampled_from([NAME, BLUR])
EXAMINATIONS = st.none() | st.builds(
    Examination,
    st.lists(FINDINGS, max_size=2).map(tuple),
    st.booleans(),
    frames_read=st.integers(0, 3),
    doubtful=st.integers(0, 1),
)
RULES = st.sampled_from([(), (TOP,), (ALL_TEXT,), (OUTSIDE,), (TOP, ALL_TEXT)])


@given(given=PICTURES, examination=EXAMINATIONS, rules=RULES, is_second=st.booleans())
def test_nothing_passes_that_is_unknown_unread_or_carries_text(
    given: Picture, examination: Examination | None, rules, is_second: bool
) -> None:
    planned = plan(given, RuleSet(rules), STRICT)
    decision = decide(given, planned, examination, STRICT, is_second=is_second)

    assert decision.reasons
    if decision.verdict is Verdict.PASS:
        assert planned.risk is Risk.NONE or is_fully_read(given, examination)
        assert planned.risk is not Risk.UNKNOWN
        assert planned.settled or not is_second
        assert not planned.marks
    if decision.verdict is Verdict.MASK:
        assert decision.marks
        assert is_fully_read(given, examination) or planned.is_covered
    if planned.risk is Risk.UNKNOWN:
        assert decision.verdict is Verdict.QUARANTINE


def is_fully_read(given: Picture, examination: Examination | None) -> bool:
    return (
        examination is not None
        and examination.is_complete
        and examination.frames_read >= given.frames
        and not examination.findings
        and not examination.doubtful
    )


@given(given=PICTURES, examination=EXAMINATIONS, rules=RULES)
def test_masking_what_was_read_lets_nothing_pass_either(given, examination, rules) -> None:
    planned = plan(given, RuleSet(rules), MASKING)
    decision = decide(given, planned, examination, MASKING)

    if examination is not None and examination.findings and decision.verdict is Verdict.MASK:
        assert planned.settled or set(examination.findings) <= set(decision.marks)
    if decision.verdict is Verdict.PASS and planned.risk is not Risk.NONE:
        assert is_fully_read(given, examination)


def test_only_images_that_a_program_computed_or_that_say_nothing_pass_unread() -> None:
    calm = {one.group for one in SOP_CLASSES.values() if one.risk is Risk.NONE}

    assert calm == {Group.SECTIONS, Group.SLIDES, Group.COMPUTED}
    assert Planned(Risk.SOME, ()).settled is None

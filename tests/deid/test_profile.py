"""Profiles are data: checked when read, versioned by content."""

import itertools

import pytest

from app.deid.profile import BUILT_IN, BurnedInPolicy, profile_from_text
from app.errors import InvalidProfile

CUSTOM = """
name: night-readers
options: [basic]
identity:
  patient_id: "{organization}-{cloud_study_id}"
burned_in: accept-uncleaned-pixels
"""


def test_a_profile_is_read_from_yaml() -> None:
    profile = profile_from_text(CUSTOM)

    assert profile.name == "night-readers"
    assert profile.identity.patient_id == "{organization}-{cloud_study_id}"
    assert profile.identity.accession_number == "{cloud_study_id}"
    assert profile.burned_in is BurnedInPolicy.ACCEPT_UNCLEANED_PIXELS


def test_the_same_content_has_the_same_version_and_other_content_another() -> None:
    same = profile_from_text(CUSTOM + "description: other words\n")
    other = profile_from_text(CUSTOM.replace("accept-uncleaned-pixels", "refuse"))

    assert same.version == profile_from_text(CUSTOM).version
    assert other.version != same.version
    assert len(same.version) == 12


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "name: [",
        "options: [basic]",
        "{name: x, options: []}",
        "{name: x, options: [basic, clean_pixel_magic]}",
        "{name: x, options: [retain_uids]}",
        "{name: x, safe_private: x}",
        "{name: x, vocabulary: [x]}",
        "{name: x, vocabulary: {NoSuchKeyword: [x]}}",
        "{name: x, vocabulary: {SeriesDescription: x}}",
        "{name: x, safe_private: [{creator: A}]}",
        "{name: x, safe_private: [{creator: A, group: '0010', elements: {'01': LO}}]}",
        "{name: x, safe_private: [{creator: A, group: 0x11, elements: {'01': LO}}]}",
        "{name: x, safe_private: [{creator: A, group: '0011', elements: {'1': LO}}]}",
        "{name: x, safe_private: [{creator: A, group: '0011', elements: {'01': PN}}]}",
        "{name: x, safe_private: [{creator: A, group: '0011', elements: {}}]}",
        "{name: x, safe_private: [{creator: '', group: '0011', elements: {'01': LO}}]}",
        "{name: x, safe_private: [{creator: [], group: '0011', elements: {'01': LO}}]}",
        "{name: x, options: [basic, [retain_uids]]}",
        "{name: x, options: [basic, clean_recognizable_visual_features]}",
        "{name: x, pixels: {found: mask}}",
        "{name: x, options: [basic, clean_pixel_data], pixels: {found: pass}}",
        "{name: x, options: [basic, clean_pixel_data], pixels: {colour: red}}",
        "{name: x, options: [basic, clean_pixel_data], pixels: [mask]}",
        "{name: x, options: [basic, clean_pixel_data], burned_in: accept-uncleaned-pixels}",
        "{name: x, colour: red}",
        "{name: strict}",
        "{name: Has Spaces}",
        "{name: x, burned_in: maybe}",
        "{name: x, unlisted: perhaps}",
        "{name: x, unlisted: []}",
        "{name: x, identity: {patient_id: fixed}}",
        "{name: x, identity: {patient_id: '{patient_id}'}}",
        "{name: x, identity: {patient_id: '{cloud_study_id.__class__}'}}",
        "{name: x, identity: {accession_number: 'A-{cloud_study_id}'}}",
        "{name: x, identity: {patient_name: 'a\\\\b{cloud_patient_id}'}}",
        "{name: x, identity: {nickname: y}}",
        "{name: x, burned_in: refuse, burned_in: accept-uncleaned-pixels}",
        "{name: x, overrides: [{keyword: StudyDescription, action: X, action: K}]}",
        "{name: x, description: [&a [x, x], *a]}",
        "{name: x, overrides: &a [*a]}",
        "{name: x, [a]: b}",
        "{name: x, description: 2020-02-30}",
        "{name: x, options: [basic, " + "9" * 5000 + "]}",
        "{name: x, description: " + "[" * 5000,
        '{"name": "x", "description": ' + '{"a":' * 5000,
        "{name: x, description: '" + "x" * 2_000_000 + "'}",
    ],
    ids=itertools.count(),
)
def test_a_profile_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(InvalidProfile):
        profile_from_text(text)


def test_ready_made_profiles_carry_the_code_of_the_basic_profile() -> None:
    codes = {name: [code for code, _ in one.method_codes] for name, one in BUILT_IN.items()}

    assert codes == {
        "basic": ["113100"],
        "basic-per-study": ["113100"],
        "basic-pixels": ["113100", "113101"],
        "teleradiology": ["113100", "113105", "113107", "113108", "113109"],
        "research": ["113100", "113104", "113105", "113107", "113108", "113111"],
        "strict": ["113100"],
    }


def test_versions_that_were_given_stay_what_they_are() -> None:
    assert BUILT_IN["basic"].version == "ef3bfc26ad04"
    assert BUILT_IN["basic-per-study"].version == "81b76b7d7636"
    assert BUILT_IN["teleradiology"].version == "ef282c4459e7"

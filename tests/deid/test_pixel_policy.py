"""The section ``pixels`` of a profile."""

import jsonschema
import pytest
import yaml

from app.deid.pixel_policy import STRICT, Documents, Found, Labels, Lossy, PixelPolicy, Read, Video
from app.deid.profile import BUILT_IN, profile_from_text
from app.deid.profile_writing import profile_content, profile_text
from tests.deid.test_profile_schema import SCHEMA

LAX = """
name: x
options: [basic, clean_pixel_data]
pixels: {read: all, found: mask, lossy: allow, video: accept, labels: mask, documents: clean}
"""


def test_every_default_is_the_strict_choice_but_images_without_risk_are_not_read() -> None:
    assert profile_from_text("{name: x, options: [basic, clean_pixel_data]}").pixels == STRICT
    assert PixelPolicy() == PixelPolicy(
        Read.RISKY, Found.QUARANTINE, Lossy.REFUSE, Video.QUARANTINE, Labels.DROP, Documents.REPLACE
    )


def test_a_profile_says_what_may_be_done_to_pixels_and_is_written_as_it_was_read() -> None:
    profile = profile_from_text(LAX)

    written = profile_text(profile)

    assert profile.pixels == PixelPolicy(
        Read.ALL, Found.MASK, Lossy.ALLOW, Video.ACCEPT, Labels.MASK, Documents.CLEAN
    )
    assert profile_from_text(written) == profile
    jsonschema.validate(yaml.safe_load(written), SCHEMA)


def test_what_pixels_may_become_is_part_of_the_version() -> None:
    text = "{name: x, options: [basic, clean_pixel_data], pixels: {found: %s}}"
    strict, lax = (profile_from_text(text % term) for term in ("quarantine", "mask"))

    assert strict.version != lax.version


def test_versions_that_were_given_before_there_was_such_a_section_hold() -> None:
    plain = profile_from_text("{name: x}")

    assert profile_from_text("{name: x, pixels: {}}").version == plain.version
    assert "pixels" not in profile_content(plain)
    assert BUILT_IN["basic"].version == "ef3bfc26ad04"
    assert BUILT_IN["strict"].version == "5db2bc94368d"


@pytest.mark.parametrize("field", ["read", "found", "lossy", "video", "labels", "documents"])
def test_a_term_that_is_none_is_refused_by_the_schema_as_well(field: str) -> None:
    content = {"name": "x", "options": ["basic"], "pixels": {field: "perhaps"}}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)

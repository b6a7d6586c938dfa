"""Nothing survives in any kind of place under any ready-made profile but what its options name."""

import io
from functools import cache

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app.deid.options import AVAILABLE_OPTIONS, Option
from app.deid.profile import BUILT_IN, Profile, Unlisted, with_version
from app.dicom.source import MemorySource
from app.errors import PixelsNeedReview
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity
from tests.canaries.carriers import CARRIERS, Planted
from tests.canaries.lawful import Lawful
from tests.canaries.search import found, searchable

WHO = Identity()
PSEUDONYMS = Pseudonyms(bytes(range(32)), "wobble")
ALONE = [
    with_version(Profile(f"only-{number}", (Option.BASIC, option)))
    for number, option in enumerate(
        sorted(AVAILABLE_OPTIONS - {Option.BASIC, Option.CLEAN_PIXEL_DATA})
    )
]
# Its pixels have to be opened where they are cleaned.
LOOKED_AT = "JPEG frames"


@cache
def planted(name: str) -> Planted:
    return CARRIERS[name]()


def output(data: bytes, profile: Profile) -> bytes:
    context = Context("wobble", profile, PSEUDONYMS)
    return b"".join(deidentify(MemorySource(data), context).chunks())


def expectation(profile: Profile) -> Lawful:
    return Lawful(frozenset(profile.options), profile.unlisted is Unlisted.BY_VR)


def survivors(given: Planted, profile: Profile) -> set[str]:
    made = searchable(output(given.data, profile))
    places = {canary.text: canary.place for canary in given.canaries}
    return {places[text] for text in found(places, made, given.codec)}


@pytest.mark.parametrize("name", CARRIERS)
def test_every_canary_of_a_carrier_is_found_in_it(name: str) -> None:
    given = planted(name)
    texts = [canary.text for canary in given.canaries]

    assert found(texts, searchable(given.data), given.codec) == texts
    assert len(set(texts)) == len(texts)
    assert dcmread(io.BytesIO(given.data)).SOPClassUID


@pytest.mark.parametrize("profile", [*BUILT_IN.values(), *ALONE], ids=lambda p: p.options[-1])
@pytest.mark.parametrize("name", CARRIERS)
def test_exactly_what_the_options_name_survives(name: str, profile: Profile) -> None:
    expected = expectation(profile)
    if profile.cleans_pixels and name == LOOKED_AT:
        with pytest.raises(PixelsNeedReview):  # no children here: nothing of it leaves
            output(planted(name).data, profile)
        return

    left = survivors(planted(name), profile)

    places = {canary.place for canary in planted(name).canaries}
    assert {place for place in left if not expected.may_stay(place)} == set()
    assert {place for place in places if expected.must_stay(place)} - left == set()

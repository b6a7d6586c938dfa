"""What people decided about pixels is carried out, whatever the ladder would say."""

import pytest
from pydicom.dataset import Dataset

from app.deid.profile import Profile
from app.errors import PixelWorkFailed, RejectedInReview
from app.pixels.children import Children
from app.pixels.model import Box, Mark, Rung
from app.pixels.rulings import Act, Ruling
from tests.pipeline.echo import (
    BANNER,
    CLAIM,
    CLEANING,
    COLUMNS,
    SENDER,
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
)


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


async def test_what_a_person_decided_and_cannot_be_done_is_refused() -> None:
    mark = Mark(Box(0, 50, COLUMNS, 64), Rung.REVIEW)
    ward = Ward(Ruling(Act.MASK, (mark,), "q-1"))

    with pytest.raises(PixelWorkFailed):
        await cleaned(encoded(echo()), parts(Reader([]), ward=ward), sender=SENDER)


async def test_a_rule_that_people_remembered_masks_the_next_image(children: Children) -> None:
    ward = Ward(rules=rule())

    done = await cleaned(encoded(echo()), parts(children, ward=ward), sender=SENDER)

    assert not pixels(result(b"".join(done.chunks())))[:, : BANNER.bottom].any()

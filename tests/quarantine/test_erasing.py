"""Erasing a patient destroys what is held of that patient."""

from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from app.audit.repository import AuditTrail
from app.db.roles import DatabaseRole, ensure_user
from app.db.session import Database
from app.errors import PseudonymNotFound, QuarantineNotFound, SubjectErased
from app.vault.erasing import Eraser
from app.vault.pseudonyms import Pseudonyms
from tests.quarantine.ward import NORTH, SOUTH, Ward, who

pytestmark = pytest.mark.db
PASSWORD = "a-long-pass-phrase"


@pytest.fixture
def patients(ward: Ward) -> tuple[str, str]:
    pseudonyms = Pseudonyms(ward.keys.content().at(4e9).organization_root(NORTH), NORTH)
    first, second = (pseudonyms.cloud_patient_id(f"patient:0:{name}") for name in "AB")
    return first, second


async def test_what_is_held_of_an_erased_patient_opens_with_nothing(
    ward: Ward, patients: tuple[str, str]
) -> None:
    ours, other = patients
    erased = await ward.hold(b"one", cloud_patient_id=ours)
    kept = await ward.hold(b"two", cloud_patient_id=other)
    elsewhere = await ward.hold(b"one", SOUTH, cloud_patient_id=ours)
    name = f"erase_{uuid4().hex[:8]}"
    ensure_user(ward.url, DatabaseRole.ADMIN, name=name, password=PASSWORD)
    as_admin = Database(ward.url.replace("://postgres@", f"://{name}:{PASSWORD}@"))

    done = await Eraser(as_admin, AuditTrail).erase(
        organization=NORTH, pseudonym=ours, event=replace(who("privacy"), purpose="PATRQT")
    )

    await as_admin.close()
    with psycopg.connect(ward.url, autocommit=True) as owner:
        owner.execute(f"DROP OWNED BY {name}")
        owner.execute(f"DROP ROLE {name}")
    assert done.held_objects == 1
    with pytest.raises(QuarantineNotFound):
        await ward.review.show(who(), erased)
    assert (await ward.review.show(who(), kept)).object_id == kept
    assert (await ward.review.show(who(organization=SOUTH), elsewhere)).object_id == elsewhere
    [event] = ward.query("SELECT detail FROM audit_events WHERE action = 'erase-subject'")
    assert event["detail"]["held_objects"] == 1


async def test_a_patient_of_whom_nothing_is_held_or_known_is_not_found(
    ward: Ward, patients: tuple[str, str]
) -> None:
    await ward.hold(b"one", cloud_patient_id=patients[0])

    with pytest.raises(PseudonymNotFound):
        await Eraser(ward.database, AuditTrail).erase(
            organization=NORTH, pseudonym=patients[1], event=replace(who(), purpose="PATRQT")
        )


@pytest.mark.parametrize(("after", "is_held"), [("refuse", False), ("recreate", True)])
async def test_an_erased_patient_is_held_only_where_the_organisation_takes_new_objects(
    ward: Ward, patients: tuple[str, str], after: str, *, is_held: bool
) -> None:
    await ward.hold(b"one", cloud_patient_id=patients[0])
    ward.query("UPDATE organizations SET after_erasure = %s RETURNING id", after)
    await Eraser(ward.database, AuditTrail).erase(
        organization=NORTH, pseudonym=patients[0], event=replace(who(), purpose="PATRQT")
    )

    if is_held:
        await ward.hold(b"two", cloud_patient_id=patients[0])
    else:
        with pytest.raises(SubjectErased):
            await ward.hold(b"two", cloud_patient_id=patients[0])

    assert len(ward.query("SELECT id FROM quarantine")) == int(is_held)
    assert len(ward.files()) == 1 + int(is_held)  # that of the first one is swept an hour later

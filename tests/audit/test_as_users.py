"""What the audit does as the database users that it runs as, behind row-level security."""

from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from app.audit.events import AuditEvent
from app.audit.forwarding import Forwarder
from app.audit.reading import AuditReader, Filter
from app.audit.repository import record_alone
from app.audit.sealing import Sealer
from app.audit.syslog import Receiver
from app.audit.verifying import verify_all
from app.db.acting import acting_for
from app.db.roles import DatabaseRole, ensure_user
from app.db.session import Database
from app.errors import AuditReceiverUnavailable, DatabaseUnavailable
from app.vault.signing import Signer
from tests.mapping_house import NORTH, SOUTH, KeyPair, MappingHouse

pytestmark = pytest.mark.db
PASSWORD = "a long pass phrase"


@pytest.fixture
def url_as(database_url: str) -> Iterator[Callable[[DatabaseRole], str]]:
    """The URL of the database as a user with one role."""
    made: list[str] = []

    def url(role: DatabaseRole) -> str:
        name = f"audit_{role}_{uuid4().hex[:8]}"
        ensure_user(database_url, role, name=name, password=PASSWORD)
        made.append(name)
        netloc = f"{name}:{PASSWORD.replace(' ', '%20')}@"
        return urlunsplit(urlsplit(database_url)._replace(netloc=netloc))

    yield url
    with psycopg.connect(database_url, autocommit=True) as owner:
        for name in made:
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.fixture
async def auditor(url_as: Callable[[DatabaseRole], str]) -> AsyncIterator[Database]:
    database = Database(url_as(DatabaseRole.AUDITOR))
    yield database
    await database.close()


@pytest.fixture(autouse=True)
async def written(house: MappingHouse) -> None:
    for organization in (NORTH, SOUTH, None):
        await house.vault.audit(AuditEvent(action="a", organization=organization))


@pytest.mark.parametrize(
    "role", [DatabaseRole.ANONYMIZE, DatabaseRole.BATCH, DatabaseRole.REIDENTIFY]
)
async def test_every_serving_user_can_seal_every_chain(
    url_as: Callable[[DatabaseRole], str], pair: KeyPair, role: DatabaseRole
) -> None:
    database = Database(url_as(role))

    made = await Sealer(database, Signer(pair.keys)).seal()

    await database.close()
    assert [one.chain for one in made] == ["", NORTH, SOUTH]


async def test_the_user_that_verifies_sees_every_chain_and_seals_none(
    url_as: Callable[[DatabaseRole], str], pair: KeyPair
) -> None:
    database = Database(url_as(DatabaseRole.AUDIT))

    found = [one async for one in verify_all(database)]
    with pytest.raises(DatabaseUnavailable, match="42501"):
        await Sealer(database, Signer(pair.keys)).seal()

    await database.close()
    assert [(one.organization, one.events, one.is_intact) for one in found] == [
        (None, 1, True),
        (NORTH, 1, True),
        (SOUTH, 1, True),
    ]


async def test_the_auditor_acting_for_an_organisation_reads_its_events_alone(
    auditor: Database,
) -> None:
    reader = AuditReader(auditor)
    with acting_for(NORTH):
        own = await reader.page(NORTH, Filter())
        others = await reader.page(SOUTH, Filter())

    assert (len(own.events), len(others.events)) == (1, 0)


async def test_the_auditor_records_what_is_read_of_any_chain(
    auditor: Database, house: MappingHouse
) -> None:
    for organization in (NORTH, None):
        await record_alone(auditor, AuditEvent(action="read-audit", organization=organization))

    assert house.count("audit_events") == 5


async def test_the_auditor_keeps_how_far_a_receiver_has_come(
    auditor: Database, house: MappingHouse
) -> None:
    with pytest.raises(AuditReceiverUnavailable):
        await Forwarder(auditor, Receiver("127.0.0.1", 9)).forward()

    assert house.query("SELECT chain, seq, in_doubt FROM audit_forwards") == [
        {"chain": "", "seq": 0, "in_doubt": 1}
    ]

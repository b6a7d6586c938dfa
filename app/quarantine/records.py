"""Rows of held objects. Whoever calls holds the transaction and writes the audit in it."""

import datetime as dt
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import text

from app.db.session import Database, database_errors
from app.errors import AlreadyDecided, OrganizationNotFound, OwnObject, QuarantineNotFound
from app.pixels.model import Decision, Mark, Picture
from app.pixels.rulings import Act, Case, Ruling, SourceKind
from app.quarantine.sealing import Place, SealedKey

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class State(StrEnum):
    """Where a held object stands."""

    HELD = "held"
    RELEASED = "released"
    MASKED = "masked"
    REJECTED = "rejected"
    EXPIRED = "expired"  # nobody decided in time; the same bytes are held anew


STATES: Final = {
    Act.RELEASE: State.RELEASED,
    Act.MASK: State.MASKED,
    Act.REJECT: State.REJECTED,
}
_CODE: Final = re.compile(r"[A-Z0-9_ ]{1,16}|[0-9.]{1,64}")
_ACTS: Final = {state: act for act, state in STATES.items()}
_NUMBER: Final = "SELECT number FROM organizations WHERE id = %s"
_COLUMNS: Final = """
    id, state, source_kind, profile, profile_version, size, shape, decision, ruling, sender,
    sent_by, request_id, cloud_study_id, held_at, decided_at, decided_by, key_version
"""
_ADD: Final = """
INSERT INTO quarantine (
    id, organization, key_version, size, source_kind, profile, profile_version, digest, sealed,
    shape, decision, sender, sent_by, request_id, cloud_study_id, cloud_patient_id, held_at
) VALUES (
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp()
)
ON CONFLICT (organization, digest, profile) WHERE state <> 'expired' DO NOTHING
RETURNING id
"""
_OF_BYTES: Final = """
SELECT id, state, ruling FROM quarantine
WHERE organization = (SELECT number FROM organizations WHERE id = %s)
    AND digest = %s AND profile = %s AND state <> 'expired'
"""
_STATES: Final = """
SELECT id, state FROM quarantine
WHERE organization = (SELECT number FROM organizations WHERE id = %s) AND id = ANY(%s)
"""
_ONE: Final = f"SELECT {_COLUMNS} FROM quarantine WHERE organization = %s AND id = %s"  # noqa: S608 - constants
_MANY: Final = f"""
SELECT {_COLUMNS} FROM quarantine
WHERE organization = %s AND (%s::text IS NULL OR state = %s)
    AND (%s::text IS NULL OR profile = %s) AND (%s::text IS NULL OR source_kind = %s)
    AND (%s::uuid IS NULL OR (held_at, id) <
        (SELECT held_at, id FROM quarantine WHERE organization = %s AND id = %s))
ORDER BY held_at DESC, id DESC LIMIT %s
"""  # noqa: S608 - constants
_OLDEST: Final = _MANY.replace("(held_at, id) <", "(held_at, id) >").replace(" DESC", "")
_SEALED: Final = "SELECT key_version, sealed FROM quarantine WHERE organization = %s AND id = %s"
_DECIDE: Final = """
UPDATE quarantine SET state = %s, ruling = %s, decider = %s, decided_by = %s, sealed = NULL,
    decided_at = clock_timestamp()
WHERE organization = %s AND id = %s AND state = 'held'
"""
_EXPIRE: Final = """
UPDATE quarantine AS q SET state = 'expired', decider = %s, decided_by = %s, sealed = NULL,
    decided_at = clock_timestamp()
FROM organizations AS o WHERE o.number = q.organization AND q.state = 'held'
    AND q.held_at < clock_timestamp() - %s
RETURNING q.id, o.id
"""
_HELD: Final = "SELECT id FROM quarantine WHERE state = 'held'"
_BY_VERSION: Final = """
SELECT key_version, count(*) FROM quarantine WHERE state = 'held' GROUP BY key_version
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some bytes."""

    object_id: UUID
    state: State
    marks: tuple[Mark, ...]

    @property
    def ruling(self) -> Ruling | None:
        """What a person decided; None while nobody has."""
        act = _ACTS.get(self.state)
        return None if act is None else Ruling(act, self.marks, str(self.object_id))


@dataclass(frozen=True, slots=True)
class Held:
    """One held object and what became of it; nothing in it identifies anybody.

    Attributes:
        organization: id of the organisation that it belongs to.
        shape: what may be shown of the image: modality, rows, columns, frames and the like.
        decision: what the ladder found and proposes.
        marks: what a person let be masked.
        sender: who sent it, as quotas count callers; `sent_by` as the audit names them.
        key_version: of the review key that it is sealed to.
    """

    object_id: UUID
    organization: str
    state: State
    source_kind: SourceKind
    profile: str
    profile_version: str
    size: int
    shape: Mapping[str, Any]
    decision: Decision
    marks: tuple[Mark, ...]
    sender: str = field(repr=False)
    sent_by: str
    request_id: str | None
    cloud_study_id: str | None
    held_at: dt.datetime
    decided_at: dt.datetime | None
    decided_by: str | None
    key_version: int

    @property
    def place(self) -> Place:
        """What its bytes are bound to."""
        return Place(self.organization, self.object_id, self.size)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which held objects are listed.

    Attributes:
        before: the page begins behind this one, in the order of the list.
        oldest_first: those that wait longest first, instead of the newest.
    """

    state: State | None = None
    profile: str | None = None
    source_kind: SourceKind | None = None
    before: UUID | None = None
    limit: int = 50
    oldest_first: bool = False


async def number_of(connection: "_Connection", organization: str) -> int:
    """Return the number that tables know an organisation by.

    Raises:
        OrganizationNotFound: there is none by that id.
    """
    row = await (await connection.execute(_NUMBER, [organization])).fetchone()
    if row is None:
        raise OrganizationNotFound
    number: int = row[0]
    return number


async def add(
    connection: "_Connection", number: int, case: Case, place: Place, sealed: SealedKey
) -> bool:
    """Insert the row of a held object; False where the same bytes have one already."""
    added = await connection.execute(
        _ADD,
        [
            *(place.object_id, number, sealed.version, place.size, str(case.source_kind)),
            *(case.profile, case.profile_version, case.digest, sealed.sealed),
            *(json.dumps(_shape(case.picture)), json.dumps(case.decision.to_json())),
            *(case.api_key_id or case.actor, case.actor, case.request_id),
            *(case.cloud_study_id, case.cloud_patient_id),
        ],
    )
    return await added.fetchone() is not None


async def of_bytes(
    connection: "_Connection", organization: str, profile: str, digest: bytes
) -> Known | None:
    """Read what is known of some bytes; None where they are not held and never were."""
    row = await (await connection.execute(_OF_BYTES, [organization, digest, profile])).fetchone()
    return None if row is None else Known(row[0], State(row[1]), _marks(row[2]))


async def states(
    connection: "_Connection", organization: str, ids: Collection[UUID]
) -> dict[UUID, State]:
    """Read where held objects stand; those that are not there are left out."""
    rows = await (await connection.execute(_STATES, [organization, list(ids)])).fetchall()
    return {object_id: State(state) for object_id, state in rows}


async def find(
    connection: "_Connection", organization: str, object_id: UUID, *, is_locked: bool = False
) -> Held:
    """Read one held object; locked, nobody else decides about it meanwhile.

    Raises:
        QuarantineNotFound, OrganizationNotFound: the organisation has none by that id.
    """
    number = await number_of(connection, organization)
    statement = f"{_ONE} FOR NO KEY UPDATE" if is_locked else _ONE
    row = await (await connection.execute(statement, [number, object_id])).fetchone()
    if row is None:
        raise QuarantineNotFound
    return _held(organization, row)


async def listed(connection: "_Connection", organization: str, wanted: Wanted) -> list[Held]:
    """Read held objects in the order that is wanted.

    Raises:
        OrganizationNotFound: there is none by that id.
        QuarantineNotFound: there is none by the id that the page begins behind.
    """
    number = await number_of(connection, organization)
    if wanted.before is not None:  # behind one that is gone would look like the last page
        await find(connection, organization, wanted.before)
    filters = (wanted.state, wanted.profile, wanted.source_kind)
    doubled = [None if one is None else str(one) for one in filters for _ in range(2)]
    page = (wanted.before, number, wanted.before, wanted.limit)
    statement = _OLDEST if wanted.oldest_first else _MANY
    rows = await (await connection.execute(statement, [number, *doubled, *page])).fetchall()
    return [_held(organization, row) for row in rows]


async def sealed_key(connection: "_Connection", held: Held) -> SealedKey:
    """Read what opens a held object.

    Raises:
        AlreadyDecided: it was destroyed with the decision.
    """
    number = await number_of(connection, held.organization)
    row = await (await connection.execute(_SEALED, [number, held.object_id])).fetchone()
    if row is None or row[1] is None:
        raise AlreadyDecided("The object was decided about; its bytes are not kept")
    return SealedKey(row[0], bytes(row[1]))


async def decide(
    connection: "_Connection",
    held: Held,
    act: Act,
    marks: Sequence[Mark],
    *,
    who: tuple[str, str],
) -> None:
    """Let a person decide about a locked object; what opens it is destroyed with that.

    Raises:
        OwnObject: who sent it lets nothing of it pass.
        AlreadyDecided: somebody was faster.
    """
    caller, actor = who
    if held.state is not State.HELD:
        raise AlreadyDecided
    is_own = caller == held.sender or actor.lower() == held.sent_by.lower()
    if act is not Act.REJECT and is_own:
        raise OwnObject
    ruling = json.dumps([asdict(mark) for mark in marks]) if act is Act.MASK else None
    number = await number_of(connection, held.organization)
    done = await connection.execute(
        _DECIDE, [str(STATES[act]), ruling, caller, actor, number, held.object_id]
    )
    if done.rowcount != 1:
        raise AlreadyDecided


async def give_up(connection: "_Connection", held: Held, *, who: tuple[str, str]) -> None:
    """End a locked object that is held and was lost: nobody decided, the same bytes are new."""
    number = await number_of(connection, held.organization)
    await connection.execute(_DECIDE, [str(State.EXPIRED), None, *who, number, held.object_id])


async def expire(
    connection: "_Connection", after: dt.timedelta, *, actor: str
) -> list[tuple[UUID, str]]:
    """Reject what nobody decided about in time; return ids and whose they were."""
    found = await connection.execute(_EXPIRE, [actor, actor, after])
    return [(object_id, organization) for object_id, organization in await found.fetchall()]


async def held_ids(connection: "_Connection") -> set[UUID]:
    """Return the ids of everything that is held, of the organisations that are acted for."""
    return {row[0] for row in await (await connection.execute(_HELD)).fetchall()}


async def held_by_version(database: Database) -> dict[int, int]:
    """Count what is held, by the version of the review key that opens it.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    with database_errors():
        async with database.engine.connect() as connection:
            rows = (await connection.execute(text(_BY_VERSION))).all()
    return {row[0]: row[1] for row in rows}


def _shape(picture: Picture) -> dict[str, Any]:
    """Return what may stand in clear: nothing here tells a site or a person."""
    return {
        "sop_class": _plain(picture.sop_class),
        "transfer_syntax": _plain(picture.transfer_syntax),
        "modality": _plain(picture.modality),
        "rows": picture.rows,
        "columns": picture.columns,
        "frames": picture.frames,
        "photometric": _plain(picture.photometric),
    }


def _plain(code: str) -> str:
    """Return a code string or UID; nothing where it is none, since objects can say anything."""
    return code if _CODE.fullmatch(code) else ""


def _marks(content: Sequence[Mapping[str, Any]] | None) -> tuple[Mark, ...]:
    return tuple(Mark.from_json(mark) for mark in content or ())


def _held(organization: str, row: tuple[Any, ...]) -> Held:
    object_id, state, source_kind, profile, version, size, shape, decision, ruling = row[:9]
    sender, sent_by, request_id, study, held_at, decided_at, decided_by, key_version = row[9:]
    return Held(
        object_id=object_id,
        organization=organization,
        state=State(state),
        source_kind=SourceKind(source_kind),
        profile=profile,
        profile_version=version,
        size=size,
        shape=shape,
        decision=Decision.from_json(decision),
        marks=_marks(ruling),
        sender=sender,
        sent_by=sent_by,
        request_id=request_id,
        cloud_study_id=study,
        held_at=held_at,
        decided_at=decided_at,
        decided_by=decided_by,
        key_version=key_version,
    )

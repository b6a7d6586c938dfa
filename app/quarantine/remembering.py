"""Mask rules that reviewers remembered: rows, and what seals them.

Signatures of devices can tell a site, so a rule rests sealed under the key that every process of
the gateway holds. Whoever calls holds the transaction and writes the audit in it.
"""

import datetime as dt
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from app.errors import AlreadyDecided, Conflict, MaskRuleNotFound, OwnRequest
from app.pixels.rules import Rule
from app.pixels.rules_text import read_rule
from app.quarantine.records import number_of
from app.vault.workbox import WorkBox

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_COLUMNS: Final = """
    id, state, sealed, quarantine, proposer, proposed_by, proposed_at, decided_by, decided_at,
    revoked_by, revoked_at
"""
_ADD: Final = """
INSERT INTO mask_rules (
    id, organization, quarantine, sealed, proposer, proposed_by, proposed_at
) VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp())
"""
_ONE: Final = f"SELECT {_COLUMNS} FROM mask_rules WHERE organization = %s AND id = %s"  # noqa: S608 - constants
_MANY: Final = f"""
SELECT {_COLUMNS} FROM mask_rules
WHERE organization = %s AND (%s::text IS NULL OR state = %s)
    AND (%s::uuid IS NULL OR (proposed_at, id) <
        (SELECT proposed_at, id FROM mask_rules WHERE organization = %s AND id = %s))
ORDER BY proposed_at DESC, id DESC LIMIT %s
"""  # noqa: S608 - constants
_APPROVED: Final = """
SELECT id, sealed FROM mask_rules WHERE state = 'approved'
    AND organization = (SELECT number FROM organizations WHERE id = %s)
ORDER BY id
"""
_DECIDE: Final = """
UPDATE mask_rules SET state = %s, decider = %s, decided_by = %s, decided_at = clock_timestamp()
WHERE organization = %s AND id = %s AND state = 'proposed'
"""
_REVOKE: Final = """
UPDATE mask_rules SET state = 'revoked', revoked_by = %s, revoked_at = clock_timestamp()
WHERE organization = %s AND id = %s AND state = 'approved'
"""


class RuleState(StrEnum):
    """Where a remembered rule stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"  # the only one that masks anything
    DENIED = "denied"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, repr=False)
class Remembered:
    """One remembered rule and what became of it.

    Attributes:
        rule: in the form of rules files; its conditions name devices of the site.
        quarantine_id: the held object that it came of.
    """

    rule_id: UUID
    organization: str
    state: RuleState
    rule: Rule
    quarantine_id: UUID
    proposer: str
    proposed_by: str
    proposed_at: dt.datetime
    decided_by: str | None
    decided_at: dt.datetime | None
    revoked_by: str | None
    revoked_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class WantedRules:
    """Which remembered rules are listed."""

    state: RuleState | None = None
    before: UUID | None = None
    limit: int = 50


class RuleBox:
    """Seals and opens remembered rules.

    Args:
        box: the gateway's.
    """

    def __init__(self, box: WorkBox) -> None:
        self._box = box

    def seal(self, organization: str, rule_id: UUID, rule: Rule) -> bytes:
        """Seal a rule, bound to its organisation and id."""
        content = json.dumps(rule.content(), separators=(",", ":")).encode()
        return self._box.seal(organization, _purpose(rule_id), content)

    def open(self, organization: str, rule_id: UUID, sealed: bytes) -> Rule:
        """Open a rule.

        Raises:
            KeyUnavailable: it was altered or moved, or another gateway sealed it.
            InvalidRules: this release does not know its form.
        """
        return read_rule(json.loads(self._box.open(organization, _purpose(rule_id), sealed)))


async def propose(
    connection: "_Connection",
    organization: str,
    rule_id: UUID,
    *,
    quarantine_id: UUID,
    sealed: bytes,
    who: tuple[str, str],
) -> None:
    """Insert a rule that masks nothing until somebody else approves it."""
    number = await number_of(connection, organization)
    await connection.execute(_ADD, [rule_id, number, quarantine_id, sealed, *who])


async def approved(connection: "_Connection", organization: str, box: RuleBox) -> tuple[Rule, ...]:
    """Read the rules that hold for an organisation.

    Raises:
        KeyUnavailable, InvalidRules: one cannot be read; nothing is masked by half a set.
    """
    rows = await (await connection.execute(_APPROVED, [organization])).fetchall()
    return tuple(box.open(organization, rule_id, bytes(sealed)) for rule_id, sealed in rows)


async def find(
    connection: "_Connection",
    organization: str,
    rule_id: UUID,
    box: RuleBox,
    *,
    is_locked: bool = False,
) -> Remembered:
    """Read one rule; locked, nobody else decides about it meanwhile.

    Raises:
        MaskRuleNotFound, OrganizationNotFound: the organisation has none by that id.
        KeyUnavailable, InvalidRules: it cannot be read.
    """
    number = await number_of(connection, organization)
    statement = f"{_ONE} FOR NO KEY UPDATE" if is_locked else _ONE
    row = await (await connection.execute(statement, [number, rule_id])).fetchone()
    if row is None:
        raise MaskRuleNotFound
    return _remembered(organization, row, box)


async def listed(
    connection: "_Connection", organization: str, wanted: WantedRules, box: RuleBox
) -> list[Remembered]:
    """Read rules, the newest first.

    Raises:
        OrganizationNotFound: there is none by that id.
        MaskRuleNotFound: there is none by the id that the page begins behind.
        KeyUnavailable, InvalidRules: one cannot be read.
    """
    number = await number_of(connection, organization)
    if wanted.before is not None:  # behind one that is gone would look like the last page
        await find(connection, organization, wanted.before, box)
    state = None if wanted.state is None else str(wanted.state)
    page = (wanted.before, number, wanted.before, wanted.limit)
    rows = await (await connection.execute(_MANY, [number, state, state, *page])).fetchall()
    return [_remembered(organization, row, box) for row in rows]


async def decide(
    connection: "_Connection",
    remembered: Remembered,
    state: RuleState,
    *,
    who: tuple[str, str],
) -> None:
    """Let a second person approve or deny a locked rule.

    Raises:
        OwnRequest: it is no second person.
        AlreadyDecided: somebody was faster.
    """
    caller, actor = who
    if remembered.state is not RuleState.PROPOSED:
        raise AlreadyDecided
    is_own = caller == remembered.proposer or actor.lower() == remembered.proposed_by.lower()
    if state is RuleState.APPROVED and is_own:
        raise OwnRequest
    number = await number_of(connection, remembered.organization)
    changed = (str(state), caller, actor, number, remembered.rule_id)
    if (await connection.execute(_DECIDE, changed)).rowcount != 1:
        raise AlreadyDecided


async def revoke(connection: "_Connection", remembered: Remembered, *, actor: str) -> None:
    """Let a locked rule hold no longer.

    Raises:
        Conflict: it does not hold.
    """
    number = await number_of(connection, remembered.organization)
    done = await connection.execute(_REVOKE, [actor, number, remembered.rule_id])
    if done.rowcount != 1:
        raise Conflict("Only an approved rule can be revoked")


def _purpose(rule_id: UUID) -> str:
    return f"mask rule {rule_id}"


def _remembered(organization: str, row: tuple[Any, ...], box: RuleBox) -> Remembered:
    rule_id, state, sealed, *rest = row
    return Remembered(
        rule_id,
        organization,
        RuleState(state),
        box.open(organization, rule_id, bytes(sealed)),
        *rest,
    )

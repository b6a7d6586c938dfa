"""Organisations: whose pseudonyms, mapping, API keys and audit are kept apart."""

import re
from typing import Final

from app.access.principals import OrganizationPolicy
from app.access.repository import Organization, OrganizationRepository, Trail
from app.db.session import Database
from app.errors import AlreadyExists, InvalidRequest, OrganizationNotFound

ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,24}"
MAX_NAME_CHARACTERS: Final = 200
_HOW_TO_ADD: Final = (
    f"{OrganizationNotFound.title}; 'deid-gateway organizations list' shows them, "
    "'deid-gateway organizations add' makes one"
)


class Organizations:
    """The organisations of this gateway. They are never renamed or removed.

    Args:
        database: where they are kept.
        trail: appends audit rows; needed to make or change an organisation by hand.
    """

    def __init__(self, database: Database, trail: Trail | None = None) -> None:
        self._repository = OrganizationRepository(database)
        self._trail = trail

    async def create(self, organization: str, name: str = "", *, actor: str) -> None:
        """Add an organisation; its name for people is the id where none is given.

        Raises:
            InvalidRequest: id or name are not valid.
            AlreadyExists: the id is taken.
            DatabaseUnavailable: Postgres does not answer.
        """
        if not await self._add(organization, name, actor):
            raise AlreadyExists("There is an organisation by that id already")

    async def ensure(self, organization: str) -> bool:
        """Add an organisation unless it is there; True when it was added now.

        Raises:
            InvalidRequest: the id is not valid.
            DatabaseUnavailable: Postgres does not answer.
        """
        return not await self.exists(organization) and await self._add(organization, "", "gateway")

    async def exists(self, organization: str) -> bool:
        """Ask whether there is an organisation by that id.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        return await self._repository.exists(organization)

    async def require(self, organization: str) -> None:
        """Tell a mistyped id from an organisation that has nothing.

        Raises:
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        if not await self.exists(organization):
            raise OrganizationNotFound(_HOW_TO_ADD)

    async def policy(self, organization: str) -> OrganizationPolicy:
        """Return what an organisation allows.

        Raises:
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        found = await self._repository.policy(organization)
        if found is None:
            raise OrganizationNotFound
        return found

    async def change(self, organization: str, policy: OrganizationPolicy, *, actor: str) -> None:
        """Change what an organisation allows; processes follow within five seconds.

        Raises:
            InvalidRequest: a quota is negative.
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        if any((quota or 0) < 0 for quota in (policy.objects_per_day, policy.open_batches)):
            raise InvalidRequest("A quota is a whole number from 0")
        await self.policy(organization)
        if self._trail is None:
            raise TypeError("organisations are changed where there is an audit")
        await self._repository.change(organization, policy, self._trail, actor=actor)

    async def list(self) -> "list[Organization]":
        """List the organisations by id.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        return await self._repository.all()

    async def _add(self, organization: str, name: str, actor: str) -> bool:
        if not re.fullmatch(ID_PATTERN, organization):
            raise InvalidRequest("An organisation's id is 1 to 24 letters, digits, _ or -")
        if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise InvalidRequest(f"A name is printable, up to {MAX_NAME_CHARACTERS} characters")
        return await self._repository.add(
            organization, name or organization, self._trail, actor=actor
        )

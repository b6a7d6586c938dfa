"""Organisations: whose pseudonyms, mapping, API keys and audit are kept apart."""

import re
from typing import Final

from app.access.repository import Organization, OrganizationRepository
from app.db.session import Database
from app.errors import AlreadyExists, InvalidRequest

ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,24}"
MAX_NAME_CHARACTERS: Final = 200


class Organizations:
    """The organisations of this gateway. They are never renamed or removed.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._repository = OrganizationRepository(database)

    async def create(self, organization: str, name: str = "") -> None:
        """Add an organisation; its name for people is the id where none is given.

        Raises:
            InvalidRequest: id or name are not valid.
            AlreadyExists: the id is taken.
            DatabaseUnavailable: Postgres does not answer.
        """
        if not await self._add(organization, name):
            raise AlreadyExists("There is an organisation by that id already")

    async def ensure(self, organization: str) -> bool:
        """Add an organisation unless it is there; True when it was added now.

        Raises:
            InvalidRequest: the id is not valid.
            DatabaseUnavailable: Postgres does not answer.
        """
        return not await self.exists(organization) and await self._add(organization, "")

    async def exists(self, organization: str) -> bool:
        """Ask whether there is an organisation by that id.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        return await self._repository.exists(organization)

    async def list(self) -> "list[Organization]":
        """List the organisations by id.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        return await self._repository.all()

    async def _add(self, organization: str, name: str) -> bool:
        if not re.fullmatch(ID_PATTERN, organization):
            raise InvalidRequest("An organisation's id is 1 to 24 letters, digits, _ or -")
        if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise InvalidRequest(f"A name is printable, up to {MAX_NAME_CHARACTERS} characters")
        return await self._repository.add(organization, name or organization)

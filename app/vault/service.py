"""The mapping's service: make it durable, record the audit.

Which row says what is decided here; how it is sealed is in `sealing`, SQL in `repository`. The way
back is in `disclosure`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from app.db.groups import GroupCommitter
from app.db.session import Database
from app.errors import (
    KeyUnavailable,
    NotAuthenticated,
    PseudonymCollision,
    SubjectErased,
)
from app.vault.erasing_guard import SubjectChanged
from app.vault.keys import GatewayKeys
from app.vault.mapping import Originals, Replacements
from app.vault.pseudonyms import Pseudonyms
from app.vault.repository import Entry, MappingRepository, Trail
from app.vault.rows import RowBuilder
from app.vault.sealing import DataKey, Opener, SealedDataKey, Sealer

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

# While an erasure of the same patient is under way. The first time is for a process that has not
# heard of an earlier one.
_PAUSES_S: Final = (0.0, 0.05, 0.2, 1.0)


class Vault:
    """The mapping of one process.

    Args:
        database: where mapping and audit live.
        keys: what makes pseudonyms and seals.
        trail: appends audit rows in the vault's transactions (`app.audit.repository.AuditTrail`).
        opener: opens what was sealed; None in a process that only anonymises.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        database: Database,
        keys: GatewayKeys,
        *,
        trail: Trail,
        opener: Opener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._opener = opener
        self._sealer = Sealer(keys, clock)
        self._pseudonyms: dict[tuple[str, str], Pseudonyms] = {}
        self._builders: dict[tuple[str, str], RowBuilder] = {}
        self._repository = MappingRepository(database, trail)
        self._committer = GroupCommitter(self._repository.write)

    def renew(self, keys: GatewayKeys) -> None:
        """Seal with other keys from now on; pseudonyms stay what they are."""
        self._sealer.renew(keys)

    def pseudonyms(self, organization: str, domain: str = "") -> Pseudonyms:
        """Return the pseudonyms of one organisation, or of one domain of it."""
        known = self._pseudonyms.get((organization, domain))
        if known is None:
            # No id of an organisation has a slash: its domains are nobody else's roots.
            root = self._keys.organization_root("/".join(filter(None, (organization, domain))))
            known = Pseudonyms(root, organization)
            self._pseudonyms[organization, domain] = known
        return known

    def data_key(self, organization: str, cloud_patient_id: str) -> DataKey:
        """Return the data key that seals what belongs to one patient; its row is the caller's."""
        return self._sealer.data_key(organization, cloud_patient_id)

    def open_text(
        self, stored: SealedDataKey, sealed: bytes, *, table: str, pseudonym: str
    ) -> tuple[str, ...]:
        """Open one row's texts.

        Raises:
            KeyUnavailable: this process holds no private key, or none that opens the row.
        """
        if self._opener is None:
            raise KeyUnavailable
        return self._opener.open(stored, sealed, table=table, pseudonym=pseudonym)

    async def record(
        self,
        *,
        organization: str,
        originals: Originals,
        replacements: Replacements,
        event: "AuditEvent",
        domain: str = "",
    ) -> None:
        """Make the mapping of one instance and its audit row durable; committed on return.

        A refusal by the vault is in the audit before it is raised.

        Raises:
            OrganizationNotFound: there is none by that id.
            NotAuthenticated: the event's API key was revoked meanwhile.
            PseudonymCollision: a pseudonym stands for another original already.
            SubjectErased: the patient's originals were erased, and no new ones are taken.
            DatabaseUnavailable: nothing is known to be durable; trying again does no harm.
        """
        number = await self._repository.organization_number(organization)
        builder = self._builder(organization, number, domain)
        patient = replacements.cloud_patient_id
        for pause_s in (*_PAUSES_S, None):
            subject = self._repository.subject(number, patient)
            try:
                rows = builder.rows(originals, replacements)
                entry = Entry(event, rows, event.api_key_id is not None, subject)
                await self._committer.submit(entry)
            except (NotAuthenticated, PseudonymCollision, SubjectErased) as refusal:
                await self.audit(replace(event, outcome=refusal.code))
                raise
            except SubjectChanged as changed:
                if changed.generation is not None:  # both at once: nobody may seal in between
                    self._repository.note_erasure(subject, changed.generation)
                    self._sealer.forget(organization, patient)
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
            else:
                return

    async def audit(self, event: "AuditEvent") -> None:
        """Make an audit row durable; committed on return.

        Raises:
            DatabaseUnavailable: it is not known to be durable.
        """
        await self._committer.submit(Entry(event))

    async def close(self) -> None:
        """Finish what waits and close the connection."""
        await self._committer.drain()
        await self._repository.close()

    def _builder(self, organization: str, number: int, domain: str) -> RowBuilder:
        known = self._builders.get((organization, domain))
        if known is None:
            pseudonyms = self.pseudonyms(organization, domain)
            known = RowBuilder(number, pseudonyms, self._sealer, self._repository.known.get)
            self._builders[organization, domain] = known
        return known

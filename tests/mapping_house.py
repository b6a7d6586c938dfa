"""A vault on a database of its own, and made-up identifiers to put into it."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from app.access.api_keys import ApiKeys
from app.access.organizations import Organizations
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.db.session import Database
from app.vault.disclosure.approvals import Lifetimes
from app.vault.disclosure.asking import Asked, Limits
from app.vault.disclosure.notices import Notices, Receiver
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.questions import Question
from app.vault.disclosure.quotas import Bounds
from app.vault.disclosure.service import Disclosure
from app.vault.disclosure.transactions import Recorder
from app.vault.keys import GatewayKeys, ReidentifyKeys, ensure_key_files, load_keys
from app.vault.keys import load_reidentify_keys as load_private
from app.vault.mapping import Originals, Replacements
from app.vault.sealing import Opener
from app.vault.service import Vault

NORTH, SOUTH = "NORTH", "SOUTH"
REPORT = Purpose("TREAT", "TICKET-1", "report delivery")


@dataclass(frozen=True)
class KeyPair:
    keys: GatewayKeys
    private: ReidentifyKeys


@dataclass
class MappingHouse:
    """One process's vault with its database."""

    url: str
    database: Database
    pair: KeyPair
    vault: Vault
    api_keys: ApiKeys
    disclosure: Disclosure

    def replacements(
        self, originals: Originals, organization: str = NORTH, **given: str
    ) -> Replacements:
        pseudonyms = self.vault.pseudonyms(organization)
        patient = pseudonyms.cloud_patient_id(originals.subject)
        made = {
            "cloud_study_id": pseudonyms.cloud_study_id(originals.study_uid),
            "cloud_patient_id": patient,
            "patient_id": f"{organization}-{patient}",
            "study_uid": pseudonyms.uid(originals.study_uid),
            "series_uid": pseudonyms.uid(originals.series_uid),
            "sop_instance_uid": pseudonyms.uid(originals.sop_instance_uid),
        }
        return Replacements(**(made | given))

    async def record(
        self,
        originals: Originals,
        *,
        organization: str = NORTH,
        replacements: Replacements | None = None,
        api_key_id: str | None = None,
    ) -> Replacements:
        made = replacements or self.replacements(originals, organization)
        event = AuditEvent(
            action="anonymize",
            organization=organization,
            actor="tester",
            api_key_id=api_key_id,
            cloud_study_id=made.cloud_study_id,
            sop_instance_uid=made.sop_instance_uid,
        )
        await self.vault.record(
            organization=organization, originals=originals, replacements=made, event=event
        )
        return made

    async def reidentify(self, cloud_study_id: str, organization: str = NORTH, **given: object):
        """Ask whose a study is, as anybody who types its id."""
        [answer] = await self.ask(
            {"cloud_study_id": cloud_study_id}, organization=organization, **given
        )
        return answer.found

    async def ask(
        self,
        *questions: dict[str, str],
        organization: str = NORTH,
        actor: str = "reader",
        api_key_id: str | None = None,
        purpose: Purpose | None = REPORT,
        **given: object,
    ):
        asked = self.asked(organization, actor, api_key_id)
        wanted = {"purpose": purpose, "questions": tuple(map(Question.stated, questions))}
        return await self.disclosure.answer(replace(asked, **(wanted | given)))

    def asked(
        self, organization: str = NORTH, actor: str = "reader", api_key_id: str | None = None
    ) -> Asked:
        """What somebody asks, before it is said what."""
        return Asked(
            AuditEvent(
                action="reidentify", organization=organization, actor=actor, api_key_id=api_key_id
            )
        )

    def query(self, statement: str, *parameters: object) -> list[dict[str, object]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()

    def count(self, table: str) -> int:
        return self.query(f"SELECT count(*) AS n FROM {table}")[0]["n"]

    def outcomes(self) -> list[str]:
        rows = self.query("SELECT outcome FROM audit_events ORDER BY recorded_at, chain, seq")
        return [row["outcome"] for row in rows]


def originals(number: int = 1, **given: str) -> Originals:
    """Identifiers of the instance by that number; instances share study, series and patient."""
    made = {
        "patient_id": "PAT-4711",
        "issuer_of_patient_id": "ISSUER",
        "study_uid": "1.2.840.999.1",
        "accession_number": "ACC-0815",
        "series_uid": "1.2.840.999.1.1",
        "sop_instance_uid": f"1.2.840.999.1.1.{number}",
    } | given
    subject = f"patient:{made['issuer_of_patient_id']}:{made['patient_id']}"
    return Originals(**({"subject": subject} | made))


def make_keys(directory: Path) -> KeyPair:
    ensure_key_files(directory / "keys.json", directory / "private.json")
    return KeyPair(load_keys(directory / "keys.json"), load_private(directory / "private.json"))


def disclosing(
    database: Database,
    vault: Vault,
    opener: Opener | None,
    *,
    receiver: Receiver | None = None,
    **limits: object,
) -> Disclosure:
    """The way back with limits that nobody meets by chance."""
    recorder = Recorder(database, AuditTrail)
    return Disclosure(
        recorder,
        vault.pseudonyms,
        opener=opener,
        notices=Notices(recorder, receiver, _of_notice),
        limits=Limits(
            **(
                {
                    "looks": Bounds(0, 0),
                    "emergencies": Bounds(0, 0),
                    "max_batch": 100,
                    "lifetimes": Lifetimes(dt.timedelta(days=1), dt.timedelta(minutes=15)),
                }
                | limits
            )
        ),
    )


def _of_notice(organization: str, outcome: str, detail: Mapping[str, str | int]) -> AuditEvent:
    return AuditEvent(
        action="reidentify-notice",
        outcome=outcome,
        organization=organization,
        actor="gateway",
        detail=detail,
    )


@asynccontextmanager
async def opened(
    url: str, pair: KeyPair, *, can_open: bool = True, is_new: bool = True, **given: object
) -> AsyncIterator[MappingHouse]:
    """Open a process's parts; `given` goes to `disclosing`."""
    database = Database(url, pool_size=4)
    trail = AuditTrail()
    opener = Opener(pair.private) if can_open else None
    vault = Vault(database, pair.keys, trail=trail, opener=opener)
    try:
        if is_new:
            for organization in (NORTH, SOUTH):
                await Organizations(database).ensure(organization)
        disclosure = disclosing(database, vault, opener, **given)
        keys = ApiKeys(database, AuditTrail())
        yield MappingHouse(url, database, pair, vault, keys, disclosure)
    finally:
        await vault.close()
        await database.close()

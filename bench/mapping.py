"""Cost of the durable mapping alone: `python -m bench.mapping [records]`.

Every record is one SOP Instance with its own instance row and audit row; a series changes every
100 records, a study every 500, a patient every 1,000. Postgres is the embedded one with fsync.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from app.access.api_keys import ApiKeys
from app.access.organizations import Organizations
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.audit.verifying import verify
from app.db.embedded import EmbeddedPostgres
from app.db.migrate import upgrade
from app.db.session import Database
from app.vault.keys import ensure_key_files, load_keys
from app.vault.mapping import Originals, Replacements
from app.vault.service import Vault

ORGANIZATION = "DEMO"
CALLERS = (1, 8, 32, 64)


def originals(first: int = 0) -> Iterator[Originals]:
    """Make up identifiers without end."""
    for number in count(first):
        patient, study = f"PID{number // 1000:06}", f"1.2.840.99999.2.55.{number // 500}"
        series = f"{study}.{number // 100}"
        yield Originals(
            patient_id=patient,
            issuer_of_patient_id="HOSPITAL",
            study_uid=study,
            accession_number=f"ACC{number // 500}",
            series_uid=series,
            sop_instance_uid=f"{series}.{number}",
            subject=f"patient:8:HOSPITAL{patient}",
        )


async def record(
    vault: Vault,
    instance: Originals,
    api_key_id: str | None,
    *,
    organization: str = ORGANIZATION,
) -> None:
    """Do for one instance what the pipeline does after verification."""
    pseudonyms = vault.pseudonyms(organization)
    patient = pseudonyms.cloud_patient_id(instance.subject)
    replacements = Replacements(
        cloud_study_id=pseudonyms.cloud_study_id(instance.study_uid),
        cloud_patient_id=patient,
        patient_id=f"{organization}-{patient}",
        study_uid=pseudonyms.uid(instance.study_uid),
        series_uid=pseudonyms.uid(instance.series_uid),
        sop_instance_uid=pseudonyms.uid(instance.sop_instance_uid),
    )
    event = AuditEvent(
        action="anonymize",
        organization=organization,
        actor="bench",
        api_key_id=api_key_id,
        profile="basic",
        profile_version="0123456789ab",
        cloud_study_id=replacements.cloud_study_id,
        sop_instance_uid=replacements.sop_instance_uid,
        request_id="01234567890123456789",
    )
    await vault.record(
        organization=organization, originals=instance, replacements=replacements, event=event
    )


async def measure(vault: Vault, api_key_id: str, records: int) -> None:
    """Let more and more callers record at once."""
    source = originals()
    await record(vault, next(source), api_key_id)
    for callers in CALLERS:
        amount = records if callers > 1 else records // 10
        took: list[float] = []
        tickets = iter(range(amount))

        async def call(tickets: Iterator[int] = tickets, took: list[float] = took) -> None:
            for _ in tickets:
                started = time.perf_counter()
                await record(vault, next(source), api_key_id)
                took.append(time.perf_counter() - started)

        started, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*[call() for _ in range(callers)])
        elapsed, cpu = time.perf_counter() - started, time.process_time() - used
        took.sort()
        print(
            f"{callers:3} callers {amount / elapsed:8,.0f} records/s"
            f"   p50 {took[len(took) // 2] * 1e3:6.2f} ms"
            f"   p99 {took[len(took) * 99 // 100] * 1e3:6.2f} ms"
            f"   cpu {cpu / amount * 1e6:4.0f} us per record"
        )


async def main(url: str, directory: Path, records: int) -> None:
    """Measure on an empty database, then verify the audit that came of it."""
    await upgrade(url)
    ensure_key_files(directory / "keys.json", directory / "private.json")
    database = Database(url)
    vault = Vault(database, load_keys(directory / "keys.json"), trail=AuditTrail())
    await Organizations(database).ensure(ORGANIZATION)
    key, _ = await ApiKeys(database, AuditTrail()).create(
        name="bench", organization=ORGANIZATION, scopes=["anonymize"]
    )
    await measure(vault, key.id, records)
    started = time.perf_counter()
    found = await verify(database, ORGANIZATION)
    rate = found.events / (time.perf_counter() - started)
    print(f"audit verified: {found.is_intact}, {rate:,.0f} rows/s")
    await vault.close()
    await database.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="deid-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        server = EmbeddedPostgres(Path(name) / "postgres")
        try:
            started_url = server.start()
            asyncio.run(main(started_url, Path(name), int(sys.argv[1]) if sys.argv[1:] else 4000))
        finally:
            server.stop()

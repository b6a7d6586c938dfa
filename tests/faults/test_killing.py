"""The serving process is killed at every step of the way of an instance, under load."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.batches.test_kill import free_port
from tests.faults.driver import WHO, check, nothing_original_in
from tests.faults.gateway import Gateway

pytestmark = pytest.mark.db

INSTANCE = "app.pipeline.instance:Instance"
# The steps by their numbers in docs/explanation/pipeline.md; the third has a part that computes and
# one that commits. Each is hit while others are on their way.
STEPS = {
    "0-spool": ("app.api.spool:_write_all", "after", 10),
    "1-read": ("app.dicom.part10:read", "before", 10),
    "2-plan": (f"{INSTANCE}.__init__", "after", 10),
    "3-resolve": (f"{INSTANCE}._replacements", "after", 10),
    "4-apply": (f"{INSTANCE}._applied", "after", 10),
    "5-verify": (f"{INSTANCE}._verify", "after", 10),
    "5-before-the-commit": ("app.audit.repository:AuditTrail.append", "after", 4),
    "5-after-the-commit": ("app.vault.repository:MappingRepository.write", "after", 4),
    "6-before-the-answer": ("app.api.routes.anonymize:_answer", "before", 10),
    "6-in-the-answer": ("app.api.routes.anonymize:gathered", "after", 10),
}


async def test_killed_at_every_step_it_loses_nothing_and_mixes_up_nothing(
    database_url: str, tmp_path: Path
) -> None:
    gateway = Gateway(
        database_url,
        tmp_path / "data",
        free_port(),
        list(STEPS.values()),
        DEID_MEMORY_BODY_BYTES="1000",  # so that every object lies in the spool
    )
    try:
        await asyncio.to_thread(gateway.next_start)
        await gateway.until_ready()
        with nothing_original_in(gateway.log):
            async with gateway.driver() as driver:
                for _ in STEPS:  # each start is hit in its turn, and the next one comes by itself
                    async with asyncio.timeout(60):
                        await asyncio.to_thread(gateway.next_start)
                await driver.until_answered(50)
        found = await asked_back(gateway, driver.answers[-1][2])
    finally:
        gateway.close()

    check(driver, database_url)
    assert driver.figures.cut >= len(STEPS)
    assert gateway.spooled() == []
    assert found["original_patient_id"] == WHO.patient_id


async def asked_back(gateway: Gateway, study: str) -> dict[str, object]:
    token = gateway.token("development-reporting")
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"{gateway.url}/reidentify",
            params={"cloud_study_id": study, "purpose": "TREAT", "reference": "TICKET-1"},
            headers={"Authorization": f"Bearer {token}"},
        )
    return answer.raise_for_status().json()

"""``deid-gateway reidentify``: the way back, on the machine that holds the private key."""

import asyncio
import json
from typing import Any

import click

from app import bootstrap
from app.audit.events import Action, AuditEvent
from app.cli.options import Settings, operating_system_user, with_settings
from app.settings import Role
from app.telemetry import rfc3339
from app.vault.mapping import Reidentified


@click.command()
@click.argument("cloud_study_id")
@click.option("--purpose", required=True, help="Why you ask; kept in the audit.")
@click.option("--organization", help="Organisation to ask for (DEID_ORGANIZATION).")
@with_settings
def reidentify(
    settings: Settings, cloud_study_id: str, *, purpose: str, organization: str | None
) -> None:
    """Print the original identifiers of a study as JSON. The audit records it."""
    chosen = settings.model_copy(
        update={
            "roles": frozenset({Role.REIDENTIFY}),
            "organization": organization or settings.organization,
        }
    )
    found = asyncio.run(_find(chosen, cloud_study_id, purpose))
    click.echo(json.dumps(described(found), indent=2))


def described(found: Reidentified) -> dict[str, Any]:
    """Return what was found under the names that the HTTP interface uses."""
    return {
        "original_patient_id": found.patient_id,
        "original_issuer_of_patient_id": found.issuer_of_patient_id,
        "original_study_uid": found.study_uid,
        "original_accession_number": found.accession_number,
        "first_seen_at": rfc3339(found.first_seen_at),
        "other_identities": [described(other) for other in found.others],
    }


async def _find(settings: Settings, cloud_study_id: str, purpose: str) -> Reidentified:
    event = AuditEvent(
        action=Action.REIDENTIFY, actor=f"cli:{operating_system_user()}", purpose=purpose
    )
    async with bootstrap.opened(settings) as gateway:
        return await gateway.vault.reidentify(
            organization=settings.organization, cloud_study_id=cloud_study_id, event=event
        )

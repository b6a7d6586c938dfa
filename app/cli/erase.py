"""``deid-gateway erase``: destroys the originals of one patient."""

import json

import click

from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, operating_system_user, with_settings
from app.telemetry import rfc3339
from app.vault.disclosure.purposes import Purpose
from app.vault.erasing import Erased, Eraser


@click.command()
@click.argument("pseudonym")
@click.option("--purpose", required=True, help="Purpose of use, a code of HL7 such as PATRQT.")
@click.option("--reference", required=True, help="Ticket or order. Kept in the audit.")
@click.option("--reason", help="Why, in words. Kept in the audit; no patient's data.")
@click.option("--organization", help="Whose patient (DEID_ORGANIZATION).")
@click.option("--yes", is_flag=True, help="Do not ask; nobody can take it back.")
@with_settings
def erase(
    settings: Settings,
    pseudonym: str,
    *,
    organization: str | None,
    yes: bool,
    **why: str | None,
) -> None:
    """Destroy the originals of the patient behind a cloud patient id or a cloud study id.

    The de-identified objects that left stay what they are; nobody can find the patient again.
    """
    stated = Purpose.stated(why["purpose"], why["reference"], why["reason"])
    stated.require_planned()
    if not yes:
        click.confirm("Nobody will find this patient again. Destroy the originals?", abort=True)
    event = AuditEvent(
        action="",
        actor=f"cli:{operating_system_user()}",
        purpose=stated.audited,
        detail={"reference": stated.reference},
    )

    async def destroy(held: Administration) -> Erased:
        return await Eraser(held.database, AuditTrail).erase(
            organization=organization or settings.organization, pseudonym=pseudonym, event=event
        )

    erased = administer(settings, destroy)
    shown = {
        "cloud_patient_id": erased.cloud_patient_id,
        "erased_at": rfc3339(erased.erased_at),
        "destroyed": erased.counts(),
    }
    click.echo(json.dumps(shown, indent=2))

"""``deid-gateway report``: what a record of processing activities (GDPR, Article 30) needs."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import click

from app import telemetry
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, with_settings
from app.telemetry import rfc3339
from app.vault.erasing_report import Processing, processing

# Article 30(1)(b) to (g) where it is the same for every organisation.
FACTS: Final = {
    "purpose": "De-identification of imaging studies before they leave the hospital, and the way "
    "back for authorised reporting staff.",
    "data_subjects": "Patients whose studies are sent to the gateway.",
    "personal_data": "Patient ID, Issuer of Patient ID, Accession Number, Study, Series and SOP "
    "Instance UIDs, and names of files of batches: sealed. Everything else of an object is not "
    "kept once it was answered or published.",
    "recipients": "Authorised staff of the organisation, through re-identification; each look is "
    "in the audit. De-identified objects go to whoever sent them or to the configured destination.",
    "security": "Originals are sealed (HPKE, AES-256-GCM) to the key of the re-identification "
    "service; keyed pseudonyms; database users with least privileges; hash-chained audit.",
}
_TITLES: Final = {
    "purpose": "Purpose of the processing",
    "data_subjects": "Categories of data subjects",
    "personal_data": "Categories of personal data",
    "recipients": "Categories of recipients",
    "security": "Technical measures",
}


@click.group()
def report() -> None:
    """Report what is kept."""


@report.command("processing")
@click.option("--organization", help="Report this organisation alone.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "json"]),
    default="markdown",
    show_default=True,
    help="How it is written.",
)
@with_settings
def processing_report(settings: Settings, *, organization: str | None, form: str) -> None:
    """Write what a record of processing activities needs: counts and policies, no patient."""

    async def count(held: Administration) -> list[Processing]:
        if organization is not None:
            await held.organizations.require(organization)
        return await processing(held.database)

    found = [
        one
        for one in administer(settings, count)
        if organization is None or one.organization == organization
    ]
    made_at = rfc3339(telemetry.utc_now())
    if form == "json":
        document = {"made_at": made_at, **FACTS, "organizations": [_members(one) for one in found]}
        click.echo(json.dumps(document, indent=2))
        return
    for line in _markdown(found, made_at):
        click.echo(line)


def _members(one: Processing) -> dict[str, Any]:
    oldest = None if one.oldest is None else one.oldest.isoformat()
    return {**asdict(one), "after_erasure": str(one.after_erasure), "oldest": oldest}


def _markdown(found: list[Processing], made_at: str) -> Iterator[str]:
    yield "# Record of processing: DICOM de-identification"
    yield f"\nMade at {made_at}. Counts only; no patient is named.\n"
    yield "| | |\n|---|---|"
    for name, text in FACTS.items():
        yield f"| {_TITLES[name]} | {text} |"
    for one in found:
        yield f"\n## {_plain(one.name)} ({one.organization})\n"
        yield "| | |\n|---|---|"
        for title, value in _rows(one):
            yield f"| {title} | {value} |"


def _rows(one: Processing) -> Iterator[tuple[str, object]]:
    days = one.retention_days
    yield "Originals are kept", "until they are erased" if days is None else f"{days} days"
    refused = one.after_erasure == "refuse"
    yield "Later uploads of an erased patient", "are refused" if refused else "are taken"
    yield "Patients with sealed originals", one.patients
    yield "Studies", one.studies
    yield "Series", one.series
    yield "SOP Instances", one.instances
    yield "Oldest original of", one.oldest or "none"
    yield "Patients erased on request", one.erased_patients
    yield "Patients with expired originals", one.expired_patients


def _plain(name: str) -> str:
    """Keep a name from being read as Markdown."""
    return "".join([f"\\{sign}" if sign in "\\`*_{}[]<>#|" else sign for sign in name])

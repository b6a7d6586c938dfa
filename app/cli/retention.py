"""``deid-gateway retention``: how long originals are kept, and destroying what is older."""

import asyncio
from collections.abc import Mapping

import click

from app import bootstrap
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, operating_system_user, with_settings
from app.vault.erasing import Eraser
from app.vault.erasing_clock import apply_retention
from app.vault.erasing_policy import AfterErasure, RetentionPolicies, RetentionPolicy


@click.group()
def retention() -> None:
    """Say how long originals are kept, and destroy what is older."""


@retention.command("list")
@with_settings
def list_policies(settings: Settings) -> None:
    """List the policies of all organisations."""

    async def fetch(held: Administration) -> list[RetentionPolicy]:
        return await RetentionPolicies(held.database).all()

    for policy in administer(settings, fetch):
        days = policy.retention_days
        kept = "for ever" if days is None else f"{days} days"
        click.echo(f"{policy.organization:24}  {kept:12}  after an erasure: {policy.after_erasure}")


@retention.command("set")
@click.argument("organization_id")
@click.option("--days", type=int, help="Days after which originals are destroyed.")
@click.option("--forever", is_flag=True, help="Originals are kept until somebody erases them.")
@click.option(
    "--after-erasure",
    type=click.Choice([choice.value for choice in AfterErasure]),
    help="What later uploads of an erased patient meet.",
)
@with_settings
def set_policy(
    settings: Settings,
    organization_id: str,
    *,
    days: int | None,
    forever: bool,
    after_erasure: str | None,
) -> None:
    """Change an organisation's policy; what is not given stays as it is."""
    if forever and days is not None:
        raise click.UsageError("Give --days or --forever, not both")

    async def change(held: Administration) -> None:
        policies = RetentionPolicies(held.database)
        known = {policy.organization: policy for policy in await policies.all()}
        present = known.get(organization_id)
        kept = None if present is None else present.retention_days
        after = AfterErasure.REFUSE if present is None else present.after_erasure
        await policies.set(
            RetentionPolicy(
                organization_id,
                None if forever else (days if days is not None else kept),
                after if after_erasure is None else AfterErasure(after_erasure),
            ),
            AuditEvent(action="", actor=f"cli:{operating_system_user()}"),
            AuditTrail(),
        )

    administer(settings, change)
    click.echo(f"Changed the policy of {organization_id}.")


@retention.command()
@with_settings
def run(settings: Settings) -> None:
    """Destroy what is older than its organisation keeps it, now."""
    event = AuditEvent(action="", actor=f"cli:{operating_system_user()}")

    async def apply() -> Mapping[str, int] | None:
        async with bootstrap.administration(settings) as held:
            return await apply_retention(held.database, Eraser(held.database, AuditTrail), event)

    done = asyncio.run(apply())
    if done is None:
        click.echo("Another process is at it.")
        return
    for organization, patients in done.items():
        click.echo(f"{organization:24}  {patients} patients")
    if not done:
        click.echo("No organisation keeps originals for a time only.")

"""``deid-gateway organizations``: whose pseudonyms, mapping and audit are kept apart."""

import click

from app.access.repository import Organization
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, with_settings


@click.group()
def organizations() -> None:
    """Add and list organisations."""


@organizations.command()
@click.argument("organization_id")
@click.option("--name", default="", help="Name for people; the id where none is given.")
@with_settings
def add(settings: Settings, organization_id: str, *, name: str) -> None:
    """Add an organisation. Its id enters its pseudonyms and is never changed."""

    async def create(held: Administration) -> None:
        await held.organizations.create(organization_id, name)

    administer(settings, create)
    click.echo(f"Added the organisation {organization_id}.")


@organizations.command("list")
@with_settings
def list_organizations(settings: Settings) -> None:
    """List the organisations."""

    async def fetch(held: Administration) -> list[Organization]:
        return await held.organizations.list()

    for organization in administer(settings, fetch):
        click.echo(f"{organization.id:24}  {organization.name}")

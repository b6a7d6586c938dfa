"""``deid-gateway db``: the tables of the mapping and the audit."""

import asyncio

import click

from app import bootstrap
from app.cli.options import Settings, with_settings
from app.db import migrate, revision


@click.group()
def db() -> None:
    """Bring the database to this version's schema."""


@db.command()
@with_settings
def upgrade(settings: Settings) -> None:
    """Make or change the tables; nothing happens where they are right already."""
    with bootstrap.database(settings) as url:
        asyncio.run(migrate.upgrade(url))
    click.echo(f"The database is at revision {revision.NEEDED}.")


@db.command()
@with_settings
def status(settings: Settings) -> None:
    """Say which revision the database is at and which one this release needs."""
    with bootstrap.database(settings) as url:
        current = asyncio.run(revision.current_revision(url))
    wanted = revision.NEEDED
    click.echo(f"at revision {current or 'none'}, this release needs {wanted}")
    if current != wanted:
        raise click.exceptions.Exit(1)

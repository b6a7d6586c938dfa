"""``deid-gateway db``: the tables of the mapping and the audit."""

import asyncio
from pathlib import Path

import click

from app import bootstrap
from app.cli.options import Settings, with_settings
from app.db import migrate, revision
from app.db.roles import DatabaseRole, ensure_user


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


@db.command()
@click.argument("pairs", metavar="ROLE=USER…", nargs=-1, required=True)
@with_settings
def grant(settings: Settings, pairs: tuple[str, ...]) -> None:
    """Give database users exactly the rights of their roles.

    A role is one of anonymize, batch, worker, reidentify, review, audit, auditor, admin, scale. A
    user that is not there is made, without a password. Run it as the owner of the tables, after
    every upgrade.
    """
    named = [_role_and_user(pair) for pair in pairs]
    with bootstrap.database(settings) as url:
        for role, user in named:
            is_new = ensure_user(url, role, name=user, password=None)
            made = "was made, without a password, and " if is_new else ""
            click.echo(f"{user} {made}has the rights of {role}.")


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_settings
def dump(settings: Settings, file: Path) -> None:
    """Write mapping and audit into a new file, while the gateway runs. It holds no key."""
    from app.cli import dumping  # noqa: PLC0415 - other commands need nothing of it

    with bootstrap.database(settings) as url:
        dumping.dump(url, file, is_embedded=settings.database_url is None)
    click.echo(f"{file} holds the database; keep the key files elsewhere.")


@db.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def restore(settings: Settings, file: Path) -> None:
    """Fill an empty database from such a file, wholly or not at all."""
    from app.cli import dumping  # noqa: PLC0415 - other commands need nothing of it

    with bootstrap.database(settings) as url:
        dumping.restore(url, file, is_embedded=settings.database_url is None)
    click.echo("Restored. Now: the key files, deid-gateway db upgrade, deid-gateway audit verify.")


def _role_and_user(pair: str) -> tuple[DatabaseRole, str]:
    role, separator, user = pair.partition("=")
    if not separator or role not in set(DatabaseRole):
        raise click.UsageError(f"{pair!r} is not ROLE=USER with one of {', '.join(DatabaseRole)}")
    return DatabaseRole(role), user

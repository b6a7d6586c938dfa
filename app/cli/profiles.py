"""``deid-gateway profiles``: which confidentiality profiles there are and what they say."""

import json
from dataclasses import asdict

import click

from app import bootstrap
from app.cli.options import Settings, with_settings


@click.group()
def profiles() -> None:
    """List and show confidentiality profiles."""


@profiles.command("list")
@with_settings
def list_profiles(settings: Settings) -> None:
    """List the profiles by name, version and description."""
    for profile in bootstrap.Profiles(settings.profiles_dir).all():
        click.echo(f"{profile.name:32}  {profile.version}  {profile.description}")


@profiles.command("show")
@click.argument("name")
@with_settings
def show_profile(settings: Settings, name: str) -> None:
    """Print one profile as JSON, which is also how a profile file may be written."""
    profile = bootstrap.Profiles(settings.profiles_dir).get(name)
    click.echo(json.dumps(asdict(profile), indent=2))

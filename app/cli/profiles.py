"""``deid-gateway profiles``: which confidentiality profiles there are, and what they say."""

import json
from dataclasses import asdict
from pathlib import Path

import click
import yaml

from app import bootstrap
from app.cli.options import Settings, with_settings
from app.deid.linting import weaknesses
from app.deid.profile import BurnedInPolicy, Profile, profile_from_text
from app.deid.templates import read_template

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def profiles() -> None:
    """List, show, check and import confidentiality profiles."""


@profiles.command("list")
@with_settings
def list_profiles(settings: Settings) -> None:
    """List the profiles by name, version and description."""
    for profile in bootstrap.profiles_of(settings).all():
        click.echo(f"{profile.name:32}  {profile.version}  {profile.description}")


@profiles.command("show")
@click.argument("name")
@with_settings
def show_profile(settings: Settings, name: str) -> None:
    """Print one profile as JSON."""
    profile = bootstrap.profiles_of(settings).get(name)
    click.echo(json.dumps(asdict(profile), indent=2, default=sorted))


@profiles.command("check")
@click.argument("file", type=_FILE)
@click.option("--strict", is_flag=True, help="Fail where a rule is weaker than the table.")
def check_profile(file: Path, *, strict: bool) -> None:
    """Read a profile FILE and name every rule that is weaker than the table, with its row."""
    profile = profile_from_text(file.read_text(encoding="utf-8"))
    weak = _weak(profile)
    for line in weak:
        click.echo(line)
    claims = "claims its codes" if profile.method_codes else "claims no code"
    click.echo(f"{profile.name} {profile.version}: valid, {len(weak)} weaker, {claims}")
    if strict and weak:
        raise click.exceptions.Exit(1)


def _weak(profile: Profile) -> list[str]:
    lines = [str(weakness) for weakness in weaknesses(profile.options, profile.overrides)]
    if profile.burned_in is BurnedInPolicy.ACCEPT_UNCLEANED_PIXELS:
        lines.append("burned_in: declared text in pixels is passed on")
    return lines


@profiles.command("import")
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="Of the profile that is made.")
@click.option("--option", "options", multiple=True, help="An option of the profile; repeatable.")
def import_template(file: Path, name: str, options: tuple[str, ...]) -> None:
    """Turn a CSV, JSON or XML template of other products into a profile in YAML.

    The profile goes to standard output; rows that were left out are named on standard error.
    """
    text = file.read_text(encoding="utf-8-sig")
    made = read_template(text, name=name, options=("basic", *options))
    written = yaml.safe_dump(dict(made.content), sort_keys=False, allow_unicode=True)
    profile_from_text(written)
    for note in made.notes:
        click.echo(note, err=True)
    click.echo(written, nl=False)

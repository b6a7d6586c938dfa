"""``deid-gateway profiles``: which confidentiality profiles there are, and what they say."""

import json
from pathlib import Path

import click
import yaml

from app import __version__, bootstrap
from app.bootstrap.profiles import text_of
from app.cli.options import Settings, with_settings
from app.cli.profile_statement import html, markdown
from app.cli.runs import chosen_profile
from app.deid.conformance import statement
from app.deid.linting import weaknesses
from app.deid.profile import BurnedInPolicy, Profile, profile_from_text
from app.deid.profile_writing import profile_content, profile_text
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
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
@with_settings
def show_profile(settings: Settings, name: str, *, as_json: bool) -> None:
    """Print the profile NAME, or that of a file, as a profile file.

    What is printed is read by ``profiles check`` and has the same version.
    """
    profile = chosen_profile(settings, name)
    if as_json:
        click.echo(json.dumps(profile_content(profile), indent=2, ensure_ascii=False))
    else:
        click.echo(profile_text(profile), nl=False)


_LAYOUTS = {"markdown": markdown, "html": html}


@profiles.command("conformance")
@click.argument("name")
@click.option(
    "--format",
    "layout",
    type=click.Choice(tuple(_LAYOUTS)),
    default="markdown",
    show_default=True,
)
@with_settings
def state_conformance(settings: Settings, name: str, *, layout: str) -> None:
    """Print the de-identification section of a conformance statement.

    For the profile NAME, or that of a file; from the tables that the program works with.
    """
    profile = chosen_profile(settings, name)
    click.echo(_LAYOUTS[layout](statement(profile, gateway=__version__)), nl=False)


@profiles.command("check")
@click.argument("file", type=_FILE)
@click.option("--strict", is_flag=True, help="Fail where a rule is weaker than the table.")
def check_profile(file: Path, *, strict: bool) -> None:
    """Read a profile FILE and name every rule that is weaker than the table, with its row."""
    profile = profile_from_text(text_of(file))
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
    text = text_of(file)
    made = read_template(text, name=name, options=("basic", *options))
    written = yaml.safe_dump(dict(made.content), sort_keys=False, allow_unicode=True)
    profile_from_text(written)
    for note in made.notes:
        click.echo(note, err=True)
    click.echo(written, nl=False)

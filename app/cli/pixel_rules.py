"""``deid-gateway pixels rules``: where devices write into their images, as files."""

import json
import re
from pathlib import Path

import click

from app.cli.options import Settings, with_settings
from app.errors import InvalidRules
from app.pixels.ctp import read_script
from app.pixels.rules import RuleSet
from app.pixels.rules_loading import built_in, load_rules, rules_of, site_rules
from app.pixels.rules_schema import rules_schema
from app.pixels.rules_text import MAX_CHARACTERS, write_rules

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ANY = click.Path(exists=True, path_type=Path)


@click.group()
def rules() -> None:
    """List, check and import mask rules."""


@rules.command("list")
@click.option("--text", is_flag=True, help="The rules themselves, as a rules file.")
@with_settings
def list_rules(settings: Settings, *, text: bool) -> None:
    """List the rules of the program and of the site's directory, and the version of all."""
    chosen = load_rules(settings.pixel_rules_dir)
    if text:
        click.echo(write_rules(chosen.rules), nl=False)
        return
    own = {rule.id for rule in built_in()}
    for rule in chosen.rules:
        origin = "built-in" if rule.id in own else "site"
        cover = "complete" if rule.complete else "partial"
        click.echo(f"{rule.id:32}  {origin:8}  {cover:8}  {rule.source}")
    click.echo(f"{len(chosen.rules)} rules, version {chosen.version}")


@rules.command("check")
@click.argument("path", type=_ANY)
def check_rules(path: Path) -> None:
    """Read a rules FILE or a directory of them, together with the rules of the program."""
    found = site_rules(path) if path.is_dir() else rules_of(path)
    together = RuleSet((*built_in(), *found))
    complete = sum(rule.complete for rule in found)
    click.echo(f"{len(found)} rules: valid, {complete} complete, version {together.version}")


@rules.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of rules files."""
    click.echo(json.dumps(rules_schema(), indent=2))


@rules.group("import")
def import_rules() -> None:
    """Turn mask rules of other products into a rules file."""


@import_rules.command("ctp")
@click.argument("file", type=_FILE)
@click.option("--prefix", help="Beginning of the rules' ids; the file's name without it.")
def import_ctp(file: Path, prefix: str | None) -> None:
    """Turn a script of the CTP DicomPixelAnonymizer into a rules file on standard output.

    What cannot be imported is named with its line on standard error; the exit code is then 1.
    """
    imported = read_script(_text_of(file), prefix=_slug(prefix or file.stem))
    for problem in imported.problems:
        click.echo(f"line {problem.line}: not imported: {problem.message}", err=True)
    RuleSet(imported.rules)
    click.echo(write_rules(imported.rules), nl=False)
    click.echo(f"{len(imported.rules)} rules imported, {len(imported.problems)} problems", err=True)
    if imported.problems or not imported.rules:
        raise click.exceptions.Exit(1)


def _text_of(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="strict") as opened:
            return opened.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError):
        raise InvalidRules("The file cannot be read as UTF-8") from None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48] or "ctp"

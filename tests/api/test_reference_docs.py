"""The reference pages say what the code says: every setting, error code, command and endpoint."""

from pathlib import Path

import click
import pytest

from app import settings
from app.api import problems
from app.api.application import create_app
from app.cli import COMMANDS, LazyGroup
from app.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def setting_row(name: str) -> str:
    field = Settings.model_fields[name]
    variable = "DATABASE_URL" if name == "database_url" else f"{settings.PREFIX}{name.upper()}"
    default = field.default
    if isinstance(default, frozenset):
        default = ",".join(sorted(default))
    shown = "" if default in (None, ()) else f"`{default}`"
    return f"| `{variable}` | {shown} | {field.description} |"


def error_row(code: str) -> str:
    kind = problems.known_codes()[code]
    meaning = (kind.__doc__ or "").strip().splitlines()[0]
    return f"| `{code}` | {problems.status_of(kind)} | {kind.title} | {meaning} |"


def option_names(name: str) -> list[str]:
    command = LazyGroup().get_command(click.Context(LazyGroup()), name)
    assert command is not None
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    return [
        option
        for one in commands
        for parameter in one.params
        for option in parameter.opts
        if option.startswith("--") and not getattr(parameter, "hidden", False)
    ]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_reference(name: str) -> None:
    assert setting_row(name) in page("settings.md").splitlines()


@pytest.mark.parametrize("code", sorted(problems.known_codes()))
def test_every_error_code_stands_in_the_reference(code: str) -> None:
    assert error_row(code) in page("errors.md").splitlines()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_stands_in_the_reference(name: str) -> None:
    text = page("cli.md")

    assert f"deid-gateway {name}" in text
    assert [option for option in option_names(name) if option not in text] == []


def test_every_endpoint_stands_in_the_reference() -> None:
    text = page("api.md")

    assert [path for path in create_app().openapi()["paths"] if path not in text] == []

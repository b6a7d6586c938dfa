"""Options that several commands share."""

import functools
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app import errors, telemetry
from app import settings as settings_module
from app.settings import Settings

__all__ = ["Settings", "load_settings", "operating_system_user", "with_settings"]


def load_settings(**given: Any) -> Settings:  # noqa: ANN401 - any field of Settings
    """Read the settings, with what the command line gives standing above the environment.

    Raises:
        errors.Misconfigured: one is unknown, malformed or not safe.
    """
    try:
        return settings_module.load(**given)
    except settings_module.InvalidSettings as error:
        raise errors.Misconfigured(str(error)) from None


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--data-dir`` and the settings as its first argument.

    Commands talk to people: of the log they show errors only.
    """

    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Directory of keys and database (DEID_DATA_DIR; default ./data).",
    )
    @functools.wraps(command)
    def run(*arguments: Any, data_dir: Path | None, **options: Any) -> Any:  # noqa: ANN401 - click's
        loaded = load_settings(data_dir=data_dir)
        telemetry.configure("error")
        return command(loaded, *arguments, **options)

    return run


def operating_system_user() -> str:
    """Name who runs the command, for the audit."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run under numbers that have no name
        return str(os.getuid())

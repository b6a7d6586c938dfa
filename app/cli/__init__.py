"""The command line: names and one line each. A command's module is imported when it is called.

Nothing but click is imported here, so that ``deid-gateway --help`` answers at once.
"""

import importlib
import re
import sys
from collections.abc import Collection, Mapping
from importlib.abc import MetaPathFinder
from itertools import pairwise
from typing import Final

import click

from app import __version__, errors

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("app.cli.serve:serve", "Start the gateway."),
    "anonymize": ("app.cli.anonymize:anonymize", "De-identify files and folders without a server."),
    "explain": ("app.cli.explain:explain", "Show what a profile does to a file, and why."),
    "batch": ("app.cli.batch:batch", "De-identify a study directory or archive as one batch."),
    "worker": ("app.cli.worker:worker", "Work on batches."),
    "reidentify": ("app.cli.reidentify:reidentify", "Find the patient behind pseudonyms."),
    "approvals": ("app.cli.approvals:approvals", "Let a second person approve re-identifications."),
    "quarantine": ("app.cli.quarantine:quarantine", "Review what is held; decide about it."),
    "api-keys": ("app.cli.api_keys:api_keys", "Make, list and revoke the API keys of callers."),
    "organizations": ("app.cli.organizations:organizations", "Add and list organisations."),
    "keys": ("app.cli.keys:keys", "Make and check the key files of this gateway."),
    "manifest": ("app.cli.manifest:manifest", "Check published batches against their manifests."),
    "erase": ("app.cli.erase:erase", "Destroy the originals of a patient."),
    "retention": ("app.cli.retention:retention", "Say how long originals are kept."),
    "report": ("app.cli.processing:report", "Report what is kept."),
    "audit": ("app.cli.audit:audit", "Check the audit."),
    "db": ("app.cli.database:db", "Bring the database to this version's schema."),
    "profiles": ("app.cli.profiles:profiles", "List and show confidentiality profiles."),
    "pixels": (
        "app.cli.pixels:pixels",
        "Work with rules that mask text in images; explain one image.",
    ),
    "openapi": ("app.cli.openapi:openapi", "Print the OpenAPI document."),
}
# pydicom loads these where they happen to be installed. Commands use none of them (child processes
# alone decode pixels); they cost 29 MB of memory and a fifth of the start-up time.
UNUSED_LIBRARIES: Final = frozenset({"PIL", "gdcm", "numpy", "pylibjpeg", "requests"})
# Commands that draw nothing on a terminal do without these as well: structlog would load them.
SERVERS: Final = frozenset({"serve", "worker"})
UNUSED_BY_SERVERS: Final = frozenset({"pygments", "rich"})
EXIT_REFUSED: Final = 1
EXIT_BROKEN: Final = 70  # EX_SOFTWARE


class LeftOut(MetaPathFinder):
    """Says of the unused libraries that they are not installed."""

    def __init__(self, names: Collection[str] = UNUSED_LIBRARIES) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raise for them, and leave all others to the finders behind this one."""
        del path, target
        if fullname in self._names:
            raise ModuleNotFoundError(name=fullname)


# Whatever else is typed may be the number of a patient, and is not repeated.
_OPTION: Final = re.compile(r"-[a-z]|--[a-z]+(?:-[a-z]+)*")


def _name_of(typed: str) -> str:
    """Name what was left empty: an option, or no more than that it is an argument."""
    return typed if _OPTION.fullmatch(typed) else "An argument"


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse empty values for all commands: a variable that is not set, and not a choice.

        An empty path would be the working directory, an empty name the default.
        """
        for before, value in pairwise(["", *args]):
            name, equals, given = value.partition("=")
            if not value:
                raise click.UsageError(f"{_name_of(before)} is empty", ctx)
            if value.startswith("--") and equals and not given:
                raise click.UsageError(f"{_name_of(name)} is empty", ctx)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deid-gateway")
def group() -> None:
    """De-identify DICOM at the hospital's border, and guard the way back."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command; errors end in one line and an exit code, never in a traceback."""
    sys.meta_path.insert(0, LeftOut())
    given = sys.argv[1:] if arguments is None else arguments
    if not SERVERS.isdisjoint(given[:1]):
        sys.meta_path.insert(0, LeftOut(UNUSED_BY_SERVERS))
    try:
        group.main(args=arguments, prog_name="deid-gateway", standalone_mode=True)
    except errors.GatewayError as error:
        _complain(f"{error} ({error.code})")
        sys.exit(EXIT_REFUSED)
    except Exception as error:  # noqa: BLE001 - the outermost handler of the command line
        _complain(f"internal error: {type(error).__name__} in {_place_of(error)}")
        sys.exit(EXIT_BROKEN)


def _complain(line: str) -> None:
    click.echo(f"deid-gateway: {line}", err=True)


def _place_of(error: BaseException) -> str:
    from app.telemetry import place_of  # noqa: PLC0415 - only a failure pays for it

    return place_of(error)

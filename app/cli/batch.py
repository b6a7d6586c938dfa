"""``deid-gateway batch``: its options. What is done is in ``batch_local`` and ``batch_remote``."""

import sys
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import click

from app import errors
from app.api.batch_preferences import idempotency_key
from app.cli.batch_order import Order, SourceKind

EXIT_NOT_ALL: Final = 1
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130


class Priority(StrEnum):
    """As ``app.batches.states`` has it; not imported for the sake of a quick ``--help``."""

    ROUTINE = "ROUTINE"
    URGENT = "URGENT"
    STAT = "STAT"


@click.command()
@click.argument("source")
@click.option(
    "--to",
    "destination",
    metavar="URL|DIR|NAME",
    help="Object store or directory to publish to, or the name of a configured store; with "
    "--gateway a name. Default: the staging area.",
)
@click.option("--organization", help="Organisation to act for (DEID_ORGANIZATION).")
@click.option("--profile", help="Name of the profile; default basic, or the API key's own.")
@click.option(
    "--priority",
    type=click.Choice(list(Priority), case_sensitive=False),
    default=Priority.ROUTINE,
    show_default=True,
    help="More urgent batches overtake others.",
)
@click.option(
    "--on-error",
    type=click.Choice(["hold", "skip"]),
    default="hold",
    show_default=True,
    help="hold: publish nothing unless every object succeeded; skip: publish what succeeded.",
)
@click.option("--watch/--no-watch", default=True, help="Follow the batch to its end (default).")
@click.option("--fhir", is_flag=True, help="Write a FHIR ImagingStudy beside every study.")
@click.option("--callback", metavar="URL", help="Who is told when the batch has ended.")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="The same key again finds the same batch; default a random one, which is shown.",
)
@click.option(
    "--gateway",
    metavar="URL",
    help="Hand the batch to this gateway; without it, it is worked on here, without a server.",
)
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the API key for --gateway; or set GATEWAY_API_KEY.",
)
@click.option("--api-key", envvar="GATEWAY_API_KEY", hidden=True)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="Processes that work on it, without --gateway; default one for each core.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of keys, database and staging area, without --gateway.",
)
def batch(
    source: str,
    *,
    gateway: str | None,
    api_key: str | None,
    api_key_file: Path | None,
    concurrency: int | None,
    data_dir: Path | None,
    **asked: Any,  # noqa: ANN401 - click's
) -> None:
    """De-identify a study directory, a ZIP archive or a prefix of an object store as one batch.

    SOURCE is a directory, a ZIP file, s3://bucket/prefix (az://, gs://) or store://NAME/prefix.
    With --gateway a directory is one that the gateway sees, below one of its roots.

    Exit code: 0 everything is published, 1 not everything is, 2 wrong usage, 3 the gateway cannot
    be reached, 130 interrupted.
    """
    if gateway is None:
        order = _order(source, asked, must_exist=True)
        sys.exit(_here(order, concurrency, data_dir))
    if concurrency is not None or data_dir is not None:
        raise click.UsageError("--concurrency and --data-dir are for batches without --gateway")
    order = _order(source, asked, must_exist=False)
    key = _key_in(api_key_file) if api_key_file else api_key
    if not key:
        raise click.UsageError("--gateway needs --api-key-file or GATEWAY_API_KEY")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise click.UsageError("What was given as the API key is none")
    sys.exit(_there(order, gateway, key))


def _order(source: str, asked: dict[str, Any], *, must_exist: bool) -> Order:
    key = _idempotency_key(asked["idempotency_key"])
    asked = {**asked, "idempotency_key": key}
    return Order(source=source, kind=_kind_of(source, must_exist=must_exist), **asked)


def _idempotency_key(given: str | None) -> str:
    """Return a key that the interface would take as well."""
    if given is None:
        return str(uuid4())
    try:
        return idempotency_key([given]) or given
    except errors.InvalidRequest as error:
        raise click.UsageError(str(error)) from None


def _kind_of(source: str, *, must_exist: bool) -> SourceKind:
    path = Path(source)
    if "://" in source:
        return SourceKind.URL
    try:
        is_file, is_directory = path.is_file(), path.is_dir()
    except OSError as error:
        if must_exist:
            raise click.UsageError(f"SOURCE cannot be looked at: {error.strerror}") from None
        is_file = is_directory = False  # the gateway sees it otherwise
    if is_file:
        if not zipfile.is_zipfile(path):
            raise click.UsageError("SOURCE is a file, but no ZIP archive; name its directory")
        return SourceKind.ARCHIVE
    if must_exist and not is_directory:
        raise click.UsageError("SOURCE is neither a directory nor a file")
    return SourceKind.DIRECTORY


def _key_in(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise click.UsageError(f"The API key cannot be read: {error.strerror}") from None


def _here(order: Order, concurrency: int | None, data_dir: Path | None) -> int:
    from app.cli.batch_local import run  # noqa: PLC0415 - wrong usage is told before much is loaded

    return run(order, concurrency=concurrency, data_dir=data_dir)


def _there(order: Order, gateway: str, key: str) -> int:
    try:
        parts = urlsplit(gateway)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise click.UsageError("--gateway is http://host:port or https://host")
    from app.cli.batch_remote import run  # noqa: PLC0415 - as above

    return run(order, gateway.rstrip("/"), key)

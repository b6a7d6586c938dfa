"""``deid-gateway audit verify``: what is checked with what, and how it is told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from app.audit.checkpoints import MAX_FILE_BYTES, Checkpoint, read, signed_by_nobody_known
from app.audit.verifying import Verification, verify, verify_all
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings
from app.errors import GatewayError, InvalidRequest
from app.vault.signing import PublicKeys

EXIT_BROKEN: Final = 1
EXIT_NOT_CHECKED: Final = 2


def check(
    settings: Settings,
    *,
    organization: str | None,
    kept: Sequence[Path],
    keys: Path | None,
    as_json: bool,
) -> None:
    """Verify one chain or all, print the outcome, and end with the exit code that it means."""
    try:
        trusted = None if keys is None else PublicKeys.from_jwks(_bytes_of(keys))
        held = [one for path in kept for one in _trusted(path, trusted)]
        found = administer(settings, _verification(organization, trusted, held))
    except GatewayError as error:
        click.echo(f"deid-gateway: {error} ({error.code})", err=True)
        raise click.exceptions.Exit(EXIT_NOT_CHECKED) from None
    has_signatures = trusted is not None
    if as_json:
        click.echo(json.dumps(_report(found, has_signatures=has_signatures), indent=2))
    else:
        for one in found:
            click.echo(_line(one))
        if not has_signatures and any(one.checkpoints for one in found):
            click.echo("Signatures of checkpoints were not checked: give --keys.")
    if not all(one.is_intact for one in found):
        raise click.exceptions.Exit(EXIT_BROKEN)


def _verification(
    organization: str | None, keys: PublicKeys | None, held: Sequence[Checkpoint]
) -> Any:  # noqa: ANN401 - an act of administration
    async def derive(database: Administration) -> list[Verification]:
        if organization is not None:
            await database.organizations.require(organization)
            return [await verify(database.database, organization, keys=keys, held=held)]
        return [found async for found in verify_all(database.database, keys=keys, held=held)]

    return derive


def _trusted(path: Path, keys: PublicKeys | None) -> list[Checkpoint]:
    """Read a file of checkpoints.

    Raises:
        InvalidRequest: it is none, or holds a checkpoint that no trusted key signed.
    """
    found = read(_bytes_of(path))
    if keys is not None and signed_by_nobody_known(found, keys):
        raise InvalidRequest("A checkpoint of the file is not signed by a trusted key")
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"The file cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest("The file is too large")
    return content


def _line(found: Verification) -> str:
    whose = found.organization or "the gateway itself"
    if not found.is_intact:
        broken = f"BROKEN at row {found.broken_at} ({found.problem})"
        return f"{whose}: {broken}, {found.events} rows before"
    line = f"{whose}: intact, {found.events} rows"
    if not found.checkpoints:
        return f"{line}, no checkpoint"
    behind = found.events - found.sealed
    return f"{line}, {found.checkpoints} checkpoints agree, {behind} rows behind the last one"


def _report(found: Sequence[Verification], *, has_signatures: bool) -> dict[str, Any]:
    return {
        "intact": all(one.is_intact for one in found),
        "signatures_checked": has_signatures,
        "chains": [
            {
                "organization": one.organization,
                "intact": one.is_intact,
                "rows": one.events,
                "broken_at": one.broken_at,
                "problem": one.problem,
                "checkpoints": one.checkpoints,
                "sealed_rows": one.sealed,
            }
            for one in found
        ],
    }

"""What development mode makes by itself: API keys of a demonstration and lines to paste."""

import json
import os
import secrets
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from app import __version__, errors, samples
from app.access.api_keys import ANY_PROFILE
from app.access.scopes import Scope
from app.bootstrap import Gateway
from app.cli.options import operating_system_user
from app.settings.service import Role

SAMPLE_NAME: Final = "sample.dcm"
SAMPLE_STUDY: Final = "sample-study"
WAIT_S: Final = 30


@dataclass(frozen=True, slots=True)
class DevelopmentKey:
    """One API key that development mode makes and keeps."""

    name: str
    scopes: frozenset[Scope]

    def path(self, directory: Path) -> Path:
        """The file that keeps the token, for the owner alone."""
        return directory / f"{self.name}.token"


# Three keys, so that everybody sees it: who sends objects need not be able to find patients, and
# lets nothing pass that was held.
SENDING: Final = DevelopmentKey("development", frozenset({Scope.ANONYMIZE, Scope.BATCH}))
REPORTING: Final = DevelopmentKey(
    "development-reporting", frozenset({Scope.REIDENTIFY, Scope.AUDIT, Scope.ADMIN})
)
REVIEWING: Final = DevelopmentKey("development-review", frozenset({Scope.REVIEW}))


async def welcome(gateway: Gateway, address: str) -> None:
    """Make what is missing and print lines that can be pasted."""
    settings = gateway.settings
    directory = settings.data_dir / "keys"
    lines = [f"deid-gateway {__version__} at {address} (development mode)"]
    lines.append(f"organisation {settings.organization}, data in {shown(settings.data_dir)}")
    lines.append(f"key files in {shown(settings.key_path.parent)}: keep a copy in a safe place")
    for key in (SENDING, REPORTING, REVIEWING):
        fresh = await ensure_key(gateway, key, directory)
        kept = f"API key {key.name} ({', '.join(sorted(key.scopes))}): "
        lines.append(f"{kept}{fresh or 'as before'}, kept in {shown(key.path(directory))}")
    if Role.ANONYMIZE in settings.roles:
        lines += ["", "De-identify the sample object:", _anonymize_line(gateway, address)]
    if Role.BATCH in settings.roles and not settings.source_roots:
        lines += ["", "De-identify the sample study:", _batch_line(gateway, address)]
    if Role.REIDENTIFY in settings.roles:
        lines += ["", "Find its patient again:", _reidentify_line(gateway, address)]
    click.echo("\n".join(lines))


async def ensure_key(gateway: Gateway, key: DevelopmentKey, directory: Path) -> str | None:
    """Return the token of a key made just now, or None where the kept one is still valid."""
    path = key.path(directory)
    try:
        await gateway.api_keys.authenticate(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError, errors.NotAuthenticated):
        pass
    else:
        return None
    _, token = await gateway.api_keys.create(
        name=key.name,
        organization=gateway.settings.organization,
        scopes=key.scopes,
        profiles=[ANY_PROFILE],
        actor=f"cli:{operating_system_user()}",
    )
    write_private(path, f"{token}\n")
    return token


def _anonymize_line(gateway: Gateway, address: str) -> str:
    sample = gateway.settings.data_dir / SAMPLE_NAME
    if not sample.exists():
        sample.write_bytes(samples.sample_instance().data)
    token = shown(SENDING.path(gateway.settings.data_dir / "keys"))
    return (
        f'  curl -sS -D - -o anonymous.dcm -H "Authorization: Bearer $(cat {token})" '
        f"-H 'Content-Type: application/dicom' --data-binary @{shown(sample)} "
        f"{address}/anonymize-stream"
    )


def _batch_line(gateway: Gateway, address: str) -> str:
    study = _sample_study(gateway.settings.data_dir / "incoming")
    order = {"organization_id": gateway.settings.organization, "study_directory": str(study)}
    token = shown(SENDING.path(gateway.settings.data_dir / "keys"))
    return (
        f'  curl -sS -H "Authorization: Bearer $(cat {token})" '
        f"-H 'Content-Type: application/json' -H 'Prefer: wait={WAIT_S}' "
        f"--data {shlex.quote(json.dumps(order))} {address}/batch-prepare"
    )


def _sample_study(root: Path) -> Path:
    """Make the sample study unless it is there; it appears whole or not at all."""
    study = (root / SAMPLE_STUDY).absolute()
    if not study.exists():
        root.mkdir(parents=True, exist_ok=True)
        part = root / f".{SAMPLE_STUDY}.{secrets.token_hex(4)}"
        samples.write_sample_study(part)
        try:
            part.rename(study)
        except OSError:  # another gateway of the same directory was first
            shutil.rmtree(part)
    return study


def _reidentify_line(gateway: Gateway, address: str) -> str:
    """Name the sample's own study id: it follows from the keys, so it is known beforehand."""
    context = gateway.contexts.get(gateway.settings.organization, "basic")
    study = context.pseudonyms.cloud_study_id(samples.sample_study_uid())
    token = shown(REPORTING.path(gateway.settings.data_dir / "keys"))
    return (
        f'  curl -sS -H "Authorization: Bearer $(cat {token})" '
        f"'{address}/reidentify?cloud_study_id={study}&purpose=HTEST&reference=first-steps'"
    )


def shown(path: Path) -> str:
    """Write a path for a shell, short where it lies below the working directory."""
    whole = path.absolute()
    here = Path.cwd()
    return shlex.quote(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))


def write_private(path: Path, text: str) -> None:
    """Write a file that appears whole and that only the owner can read."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
    part.replace(path)

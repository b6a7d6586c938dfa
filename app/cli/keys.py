"""``deid-gateway keys``: the key files of this gateway. API keys of callers: ``api-keys``."""

import hashlib
import json

import click

from app.cli.options import Settings, with_settings
from app.errors import Misconfigured
from app.vault.keys import ensure_key_files, load_keys, load_reidentify_keys
from app.vault.signing import Signer


@click.group()
def keys() -> None:
    """Make and check the key files of this gateway."""


@keys.command()
@with_settings
def init(settings: Settings) -> None:
    """Make the key files unless they are there. Nothing is ever overwritten."""
    made = ensure_key_files(settings.key_path, settings.reidentify_key_path)
    if not made:
        click.echo(f"Kept the key file {settings.key_path}")
        return
    click.echo(f"Made the key file      {settings.key_path}")
    click.echo(f"and the private key    {settings.reidentify_key_path}")
    click.echo(
        "Keep a copy of both in a safe place: without the first, no pseudonym can be made again;\n"
        "without the second, nobody can be found again. Move the second to the machine that\n"
        "serves the role reidentify; a gateway that only de-identifies does not need it."
    )


@keys.command()
@with_settings
def public(settings: Settings) -> None:
    """Print the public key that manifests and callbacks are checked with, as JWKS."""
    signer = Signer(load_keys(settings.key_path))
    click.echo(json.dumps({"keys": [signer.public_jwk()]}, indent=2))


@keys.command()
@with_settings
def status(settings: Settings) -> None:
    """Say whether the key files can be used; exit code 1 where the first cannot."""
    held = load_keys(settings.key_path)
    fingerprint = hashlib.sha256(held.sealing_public_key).hexdigest()[:16]
    click.echo(f"pseudonym key file   usable   {settings.key_path}")
    click.echo(f"  seals to key version {held.sealing_key_version}, fingerprint {fingerprint}")
    try:
        private = load_reidentify_keys(settings.reidentify_key_path)
    except Misconfigured:
        state = "unusable" if settings.reidentify_key_path.exists() else "not here"
        click.echo(f"private key file     {state:8} {settings.reidentify_key_path}")
    else:
        versions = ", ".join(map(str, sorted(private.sealing_private_keys)))
        click.echo(f"private key file     usable   {settings.reidentify_key_path}")
        click.echo(f"  opens key versions {versions}")

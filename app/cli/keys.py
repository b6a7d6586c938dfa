"""``deid-gateway keys``: the keys of this gateway. API keys of callers: ``api-keys``."""

import asyncio
import json
import time

import click

from app import bootstrap
from app.cli.keys_resealing import (
    Figures,
    figures,
    reseal_everything,
    retire_review_version,
    retire_version,
    rotate_files,
)
from app.cli.keys_view import Counted, shown
from app.cli.options import Settings, with_settings
from app.errors import GatewayError, Misconfigured
from app.vault.keyrings.envelope import provider_of
from app.vault.keyrings.files import read_private
from app.vault.keys import Wrappers, ensure_key_files
from app.vault.keys_rotation import LATEST_ACTIVATION_S
from app.vault.keys_store import KeyFiles, KeySource
from app.vault.sealing_kems import Kem
from app.vault.signing import Signer

ACTIVATE_IN_S = 300
_kem = click.Choice([kem.value for kem in Kem])


@click.group()
def keys() -> None:
    """Make, check and rotate the keys of this gateway."""


@keys.command()
@click.option(
    "--kem", type=_kem, default=Kem.X25519.value, help="How data keys are sealed (default x25519)."
)
@with_settings
def init(settings: Settings, *, kem: str) -> None:
    """Make the key files unless they are there. No key is ever overwritten.

    A key file of an earlier release gets the review's key.
    """
    held = bootstrap.key_files(settings)
    made = ensure_key_files(held.path, held.reidentify_path, held.wrappers, Kem(kem))
    is_review_made = held.ensure_review(Kem(kem))
    if not made:
        click.echo(f"Kept the key file {settings.key_path}: it was there already")
        for path in (held.reidentify_path, held.review_path):
            if not path.exists():
                click.echo(f"Not here: {path}. Nothing can make it again; it may lie elsewhere.")
    if is_review_made:
        click.echo(f"Made the review key    {held.review_path}")
        click.echo("Move it to the machine that serves the role review; keep a copy as well.")
    if not made:
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
    """Print the public keys that manifests and callbacks are checked with, as JWKS."""
    signer = Signer(bootstrap.key_source(settings).content().at(time.time()))
    click.echo(json.dumps({"keys": signer.public_jwks()}, indent=2))


@keys.command()
@with_settings
def status(settings: Settings) -> None:
    """Say whether the keys can be used, and what is sealed with which; exit code 1 where not."""
    source = bootstrap.key_source(settings)
    for line in shown(source.content(), now=time.time()):
        click.echo(line)
    click.echo(_private_state(settings, source))
    click.echo(_review_state(settings, source))
    counted = _counted(settings, source)
    for line in [] if counted is None else counted.lines():
        click.echo(line)


@keys.command()
@click.option(
    "--activate-in",
    type=click.IntRange(0, LATEST_ACTIVATION_S),
    default=ACTIVATE_IN_S,
    help="Seconds until the new keys are used; every process must know them by then (default 300).",
)
@click.option("--kem", type=_kem, help="How data keys are sealed from then on (default: as now).")
@with_settings
def rotate(settings: Settings, *, activate_in: int, kem: str | None) -> None:
    """Make new versions of all keys but the pseudonym root. No pseudonym changes.

    It is in the audit before any file is written, so that this needs the database.
    """
    wanted = None if kem is None else Kem(kem)
    content = rotate_files(settings, _files(settings), activate_in_s=activate_in, kem=wanted)
    for line in shown(content, now=time.time()):
        click.echo(line)
    click.echo(
        f"The new keys come into use in {activate_in} s. Give both files to every machine that\n"
        "has a copy of them before that; then run 'deid-gateway keys reseal'."
    )


@keys.command()
@click.option(
    "--at-once", type=click.IntRange(1, 10_000), default=500, help="Rows of one transaction."
)
@with_settings
def reseal(settings: Settings, *, at_once: int) -> None:
    """Seal anew what older keys sealed, while the gateway runs. Start it again if it was ended."""
    done = asyncio.run(reseal_everything(settings, bootstrap.key_source(settings), at_once=at_once))
    click.echo(f"Sealed anew: {done.data_keys} data keys, {done.work} pieces of batches.")
    if done.unopenable:
        click.echo(f"{done.unopenable} do not open with the keys held here and stay.", err=True)
        raise click.exceptions.Exit(1)


@keys.command()
@click.argument("version", type=click.IntRange(min=1))
@click.option("--review", is_flag=True, help="A private key of the review instead.")
@with_settings
def retire(settings: Settings, *, version: int, review: bool) -> None:
    """Destroy an old private key that nothing is sealed to any more."""
    retired = retire_review_version if review else retire_version
    asyncio.run(retired(settings, _files(settings), version))
    click.echo(f"Destroyed the private key of version {version}. Destroy its copies as well.")


@keys.command()
@with_settings
def wrap(settings: Settings) -> None:
    """Let the provider of DEID_KEY_PROVIDER wrap the key files, or wrap them anew."""
    held = _files(settings)
    if held.wrappers.gateway is None:
        raise Misconfigured("DEID_KEY_PROVIDER names no provider")
    held.wrap(_present(held))
    click.echo(f"Wrapped by {settings.key_provider}: {settings.key_path}")
    click.echo("Destroy every copy that lies in clear, but the one in the safe.")


@keys.command()
@with_settings
def unwrap(settings: Settings) -> None:
    """Write the key files in clear, to keep them in a safe or to change the provider."""
    held = _files(settings)
    KeyFiles(held.path, held.reidentify_path, review_path=held.review_path).wrap(held.wrappers)
    click.echo(f"In clear now: {settings.key_path}")
    click.echo(f"          and {settings.reidentify_key_path}")


def _files(settings: Settings) -> KeyFiles:
    if settings.key_material is not None:
        raise Misconfigured("keys given in the environment are only read; change them there")
    return bootstrap.key_files(settings)


def _present(held: KeyFiles) -> Wrappers:
    """Say who wraps the files now: nobody, or the provider that is configured."""
    try:
        providers = [
            provider_of(read_private(path)) if path.exists() else None
            for path in (held.path, held.reidentify_path, held.review_path)
        ]
    except ValueError:
        raise Misconfigured("a key file is damaged") from None
    gateway, private, review = providers
    return Wrappers(
        None if gateway is None else held.wrappers.gateway,
        None if private is None else held.wrappers.reidentification,
        None if review is None else held.wrappers.review,
    )


def _private_state(settings: Settings, source: KeySource) -> str:
    try:
        private = source.private()
    except GatewayError as error:
        is_there = settings.reidentify_key_path.exists() and settings.key_material is None
        state = "unusable" if is_there else "not here"
        return f"private key file     {state:8} {settings.reidentify_key_path} ({error.code})"
    versions = ", ".join(map(str, sorted(private.sealing_private_keys)))
    return f"private key file     usable   opens key versions {versions}"


def _review_state(settings: Settings, source: KeySource) -> str:
    try:
        review = source.review()
    except GatewayError as error:
        is_there = settings.review_key_path.exists() and settings.key_material is None
        state = "unusable" if is_there else "not here"
        return f"review key file      {state:8} {settings.review_key_path} ({error.code})"
    versions = ", ".join(map(str, sorted(review.private_keys)))
    return f"review key file      usable   opens key versions {versions}"


def _counted(settings: Settings, source: KeySource) -> Counted | None:
    """Count what is in the database, where there is one already."""
    if settings.database_url is None and not (settings.data_dir / "postgres").exists():
        return None
    found: Figures = asyncio.run(figures(settings, source))
    return Counted(found.versions, found.old_work)

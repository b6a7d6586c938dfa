"""``deid-gateway manifest``: whether a published batch is complete, at the receiver's side too."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
import httpx

from app.batches.manifest_schema import SCHEMA_TEXT
from app.batches.shelves import DirectoryShelf, Shelf, StoreShelf
from app.batches.verifying import Verification, verify
from app.cli.manifest_report import progress, report_of, show
from app.cli.options import Settings, with_settings
from app.errors import GatewayError, InvalidRequest, StorageUnavailable
from app.storage.destinations import config_of_url, open_destination
from app.storage.staged import check_name
from app.storage.store_kinds import DiskConfig, StoreConfig
from app.storage.stores import Stores
from app.vault.signing import MAX_JWKS_BYTES, PublicKeys, Signer

EXIT_NOT_COMPLETE: Final = 1
EXIT_NOT_CHECKED: Final = 2
_KEYS_TIMEOUT_S: Final = 10.0


@click.group()
def manifest() -> None:
    """Check published batches against their manifests."""


@manifest.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of manifest.json."""
    click.echo(SCHEMA_TEXT, nl=False)


@manifest.command("verify")
@click.argument("place", metavar="DIR|URL")
@click.option("--keys", help="Public keys of the gateway (JWKS): a file or an https address.")
@click.option("--no-signature", is_flag=True, help="Do not check who signed the manifest.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=8, show_default=True, help="Objects at once."
)
@click.option(
    "--store", default="", help="The place is a path below this store (DEID_STORES_FILE)."
)
@click.option("--organization", help="Organisation that may use the store (DEID_ORGANIZATION).")
@with_settings
def verify_batch(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    place: str,
    *,
    keys: str | None,
    no_signature: bool,
    as_json: bool,
    jobs: int,
    store: str,
    organization: str | None,
) -> None:
    """Check manifest, signature and every object of one batch.

    The keys are those of this gateway where none are given. Exit code 0: everything is there as the
    gateway published it, and no other object. 1: it is not. 2: it could not be checked.
    """
    if keys and no_signature:
        raise click.UsageError("--keys and --no-signature contradict each other")
    try:
        trusted = None if no_signature else _trusted_keys(settings, keys)
        chosen = settings.model_copy(update={"organization": organization or settings.organization})
        where = _Place(chosen, place, store)
        outcome = asyncio.run(_verify(where, trusted, jobs=jobs, is_quiet=as_json))
    except GatewayError as error:
        click.echo(f"deid-gateway: {error} ({error.code})", err=True)
        raise click.exceptions.Exit(EXIT_NOT_CHECKED) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(EXIT_NOT_CHECKED) from None
    is_good = outcome.is_complete and (no_signature or outcome.is_authentic)
    if as_json:
        click.echo(json.dumps(report_of(outcome, is_good=is_good), indent=2))
    else:
        show(outcome, is_good=is_good)
    if not is_good:
        raise click.exceptions.Exit(EXIT_NOT_COMPLETE)


async def _verify(
    place: "_Place", keys: PublicKeys | None, *, jobs: int, is_quiet: bool
) -> Verification:
    async with place.opened() as shelf:
        with progress(is_quiet=is_quiet) as advance:
            return await verify(shelf, keys, jobs=jobs, advance=advance)


@dataclass(frozen=True, slots=True)
class _Place:
    """What the command line says of where a batch lies.

    Attributes:
        text: directory, URL, or path below a store.
        store: name of a store in the stores file; empty for none.
    """

    settings: Settings
    text: str
    store: str

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Shelf]:
        """Open it.

        Raises:
            InvalidRequest, DestinationNotFound, Misconfigured: it means nothing.
            StorageUnavailable: it does not answer.
        """
        config = self._config()
        if isinstance(config, Path):
            with _directory(config) as shelf:
                yield shelf
            return
        destination = open_destination(config)
        try:
            yield StoreShelf(destination, config.url.rstrip("/").rpartition("/")[2])
        finally:
            await destination.close()

    def _config(self) -> StoreConfig | Path:
        if not self.store and "://" not in self.text:
            return Path(self.text)
        config = self._store_config() if self.store else config_of_url(self.text)
        return config.path if isinstance(config, DiskConfig) else config

    def _store_config(self) -> StoreConfig:
        stores = Stores.from_file(self.settings.stores_file)
        config = stores.destination(self.settings.organization, self.store)
        url = f"{config.url.rstrip('/')}/{check_name(self.text.rstrip('/'))}"
        return config.model_copy(update={"url": url})


def _directory(path: Path) -> DirectoryShelf:
    try:
        return DirectoryShelf(path)
    except OSError as error:
        raise StorageUnavailable(f"The directory cannot be opened: {error.strerror}") from None


def _trusted_keys(settings: Settings, keys: str | None) -> PublicKeys:
    """Return the keys that are given, or else this gateway's own.

    Raises:
        InvalidRequest, StorageUnavailable: they cannot be read.
        Misconfigured: this gateway's own key file cannot be used.
    """
    if keys is not None:
        is_address = "://" in keys
        return PublicKeys.from_jwks(
            asyncio.run(_fetched(keys)) if is_address else _read(Path(keys))
        )
    if settings.key_material is not None or settings.key_path.exists():
        from app import bootstrap  # noqa: PLC0415 - a receiver, who has no such file, goes without

        return Signer(bootstrap.key_source(settings).content().at(time.time())).public_keys()
    raise InvalidRequest(
        "There is no key to check the signature with: give --keys, or --no-signature to do without"
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_JWKS_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"The file of the keys cannot be read: {error.strerror}") from None


async def _fetched(address: str) -> bytes:
    """Fetch a key set; whoever could change it on its way could sign manifests of his own."""
    if not _is_safe(address):
        raise InvalidRequest("Keys are fetched by https, or from this machine")
    body = b""
    try:
        # The whole answer has to come in this time, not only its next part.
        async with (
            asyncio.timeout(_KEYS_TIMEOUT_S),
            httpx.AsyncClient(timeout=_KEYS_TIMEOUT_S) as client,
            client.stream("GET", address) as answer,
        ):
            answer.raise_for_status()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MAX_JWKS_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError):
        raise StorageUnavailable("The keys cannot be fetched") from None
    return body


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # no address at all, or a name
        return address.startswith("https://")
    return parts.scheme == "https" or (parts.scheme == "http" and is_here)

"""How a configured object store is spoken to: address, credentials, patience.

Credentials come from the usual places; see docs/how-to/destinations.md. What is given in the
options stands alone and is never mixed with what the environment holds.
"""

import datetime as dt
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from app import errors
from app.storage.store_kinds import (
    AzureConfig,
    GcsConfig,
    ObjectConfig,
    S3Config,
    StoreConfig,
    Verification,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

ObjectStore: TypeAlias = S3Store | AzureStore | GCSStore
_ENCRYPTION: Final = {"sse-s3": "AES256", "sse-kms": "aws:kms", "dsse-kms": "aws:kms:dsse"}
# No bound on a request that moves: only silence ends it.
_WHOLE_REQUEST: Final = dt.timedelta(hours=6)
_CONNECT_S: Final = 10.0
# What the names of the library's variables begin with.
_ENVIRONMENT: Final[Mapping[type[ObjectConfig], str]] = {
    S3Config: "AWS",
    AzureConfig: "AZURE",
    GcsConfig: "GOOGLE",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long temporary faults are borne.

    Attributes:
        retries: further tries of one request, by the client library.
        attempts: tries of a whole object.
        first_wait_s: pause before the second try; doubles with each further one.
        longest_wait_s: no pause is longer.
        abort_s: what a cancelled upload gets to take back its parts.
    """

    retries: int = 3
    attempts: int = 3
    first_wait_s: float = 0.25
    longest_wait_s: float = 5.0
    abort_s: float = 10.0


def open_store(config: StoreConfig, patience: Patience, prefix: str = "") -> ObjectStore:
    """Open a client; nothing is sent yet.

    Args:
        config: which store.
        patience: of its requests.
        prefix: further prefix below the configured one.

    Raises:
        Misconfigured: the settings contradict each other or a file is missing.
    """
    if not isinstance(config, ObjectConfig):
        raise errors.Misconfigured("This store is not an object store")
    shared: dict[str, Any] = {
        "prefix": "/".join(part for part in (config.prefix, prefix) if part) or None,
        "client_options": _client_options(config),
        "retry_config": _retry_config(config, patience),
    }
    try:
        if isinstance(config, S3Config):
            return S3Store(config.bucket, **shared, **_s3(config))
        if isinstance(config, AzureConfig):
            return AzureStore(config.bucket, **shared, **_azure(config))
        return GCSStore(config.bucket, **shared, **_gcs(cast("GcsConfig", config)))
    except (BaseError, ValueError, OSError):
        # The library's text can quote a key file.
        raise errors.Misconfigured(
            "The store's client cannot be made: check its options and the files that they name"
        ) from None


def _client_options(config: ObjectConfig) -> "ClientConfig":
    silence = dt.timedelta(seconds=config.timeout_s)
    options: ClientConfig = {
        "allow_http": _allows_http(config),
        "connect_timeout": min(silence, dt.timedelta(seconds=_CONNECT_S)),
        "read_timeout": silence,
        "timeout": _WHOLE_REQUEST,
        "user_agent": "deid-gateway",
    }
    if config.ca_file is not None:
        try:
            options["root_certificate"] = config.ca_file.read_bytes()
        except OSError:
            raise errors.Misconfigured("ca_file cannot be read") from None
    return options


def _allows_http(config: ObjectConfig) -> bool:
    """Say whether requests may go without TLS.

    The client library finds an address in the environment by itself, but not that one, where it is
    given other options as well.
    """
    if config.allow_http is not None:
        return config.allow_http
    name = f"{_ENVIRONMENT[type(config)]}_ALLOW_HTTP"
    said = os.environ.get(name, "")  # noqa: TID251 - as the library does with all the others
    return said.strip().lower() in {"1", "true", "yes", "on"}


def _retry_config(config: ObjectConfig, patience: Patience) -> "RetryConfig":
    return {
        "max_retries": patience.retries,
        "retry_timeout": dt.timedelta(seconds=max(10.0, 2 * config.timeout_s)),
        "backoff": {
            "init_backoff": dt.timedelta(seconds=patience.first_wait_s),
            "max_backoff": dt.timedelta(seconds=patience.longest_wait_s),
            "base": 2,
        },
    }


def _s3(config: S3Config) -> dict[str, Any]:
    given = config.options.given()
    found: dict[str, Any] = {
        "region": config.region,
        "endpoint": config.endpoint,
        "server_side_encryption": _ENCRYPTION.get(config.encryption or ""),
        "sse_kms_key_id": config.kms_key_id,
        "sse_bucket_key_enabled": config.bucket_key,
        "checksum_algorithm": "SHA256" if config.verification is Verification.CHECKSUM else None,
        "virtual_hosted_style_request": None
        if config.addressing is None
        else config.addressing == "virtual",
        "skip_signature": True if config.credentials == "anonymous" else None,
    }
    if config.credentials == "profile":
        found["credential_provider"] = _profile_credentials(config.profile)
    elif "access_key_id" in given:
        found["credential_provider"] = _given_keys(given)
    return _set({**found, **given})


def _azure(config: AzureConfig) -> dict[str, Any]:
    given = config.options.given()
    kind = {"cli": "azure_cli", "managed-identity": "managed_identity"}.get(config.credentials)
    for option, of_option in (
        ("account_key", "access_key"),
        ("sas_key", "sas_token"),
        ("client_secret", "client_secret"),
        ("federated_token_file", "workload_identity"),
    ):
        if option in given:
            kind = of_option
    found: dict[str, Any] = {
        "account_name": config.account_name,
        "endpoint": config.endpoint,
        "credential_type": kind,
        "skip_signature": True if config.credentials == "anonymous" else None,
    }
    if config.credentials == "azure-identity":
        found["credential_provider"] = _of_library("azure", "AzureCredentialProvider")
    return _set({**found, **given})


def _gcs(config: GcsConfig) -> dict[str, Any]:
    found: dict[str, Any] = {
        "base_url": config.endpoint,
        "skip_signature": True if config.credentials == "anonymous" else None,
    }
    if config.credentials == "google-auth":
        found["credential_provider"] = _of_library("google", "GoogleCredentialProvider")
    return _set({**found, **config.options.given()})


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _given_keys(given: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
    """Take the keys out of the options and hand them over as they are.

    As options they would be joined by a session token that the environment happens to hold.
    """
    keys = {
        "access_key_id": given.pop("access_key_id"),
        "secret_access_key": given.pop("secret_access_key"),
        "token": given.pop("session_token", None),
        "expires_at": None,
    }
    return lambda: keys


def _profile_credentials(profile: str | None) -> Callable[[], Any]:
    """Ask boto3, which knows shared profiles, single sign-on and credential processes.

    Nothing is asked before the first request, and never in the event loop's thread.
    """
    made: list[Callable[[], Any]] = []

    def provide() -> Any:  # noqa: ANN401 - the library's own mapping
        if not made:
            session = import_module("boto3").Session(profile_name=profile)
            made.append(import_module("obstore.auth.boto3").Boto3CredentialProvider(session))
        return made[0]()

    return provide


def _of_library(module: str, name: str) -> Callable[[], Any]:
    """Ask the provider's own library, when the first request is made."""
    made: list[Callable[[], Any]] = []

    def provide() -> Any:  # noqa: ANN401 - the library's own mapping
        if not made:
            made.append(getattr(import_module(f"obstore.auth.{module}"), name)())
        return made[0]()

    return provide

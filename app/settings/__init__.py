"""Every setting: type, unit, default and one line; the only reader of the environment.

Names in the environment are the field names in capitals behind ``DEID_`` (``DEID_MAX_BODY_BYTES``);
the database alone is ``DATABASE_URL``. Each module holds the settings of one subject; here they are
put together, read and checked against each other. What a setting switches lives elsewhere.
"""

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings.audit import AuditSettings
from app.settings.batches import BatchSettings
from app.settings.bodies import BodySettings
from app.settings.database import DatabaseSettings
from app.settings.deidentification import DeidentificationSettings
from app.settings.instances import InstanceSettings
from app.settings.keys import KeySettings
from app.settings.limits import LimitSettings
from app.settings.oidc import OidcSettings
from app.settings.quarantine import QuarantineSettings
from app.settings.reidentification import ReidentificationSettings
from app.settings.retention import RetentionSettings
from app.settings.service import ServiceSettings

PREFIX = "DEID_"
# Passwords that stand in examples; none of them may guard a mapping of patients.
PLACEHOLDER_PASSWORDS = frozenset(
    {"", "change-me", "changeme", "example", "password", "placeholder", "postgres", "secret"}
)


class InvalidSettings(ValueError):
    """A setting is unknown, malformed or not safe; the text names it and never its value."""


# Fields, and so complaints about them, come in the order of the bases from the last to the first.
# No two of them may declare the same name, not even of a validator: one would hide the other.
class Settings(
    InstanceSettings,
    RetentionSettings,
    AuditSettings,
    ReidentificationSettings,
    QuarantineSettings,
    BatchSettings,
    BodySettings,
    LimitSettings,
    OidcSettings,
    KeySettings,
    DatabaseSettings,
    DeidentificationSettings,
    ServiceSettings,
    BaseSettings,
):
    """All settings of one process, checked when it starts."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )


def load(**given: Any) -> Settings:  # noqa: ANN401 - any field of Settings
    """Read the environment, with what the command line gives standing above it.

    Raises:
        InvalidSettings: a setting is unknown, malformed or not safe in this mode.
    """
    unknown = sorted(set(_own_names(os.environ)) - {f"{PREFIX}{n.upper()}" for n in _names()})
    if unknown:
        raise InvalidSettings(f"unknown setting {', '.join(unknown)}")
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InvalidSettings("; ".join(_complaints(error))) from None
    _check_listening(settings)
    _check_tls(settings)
    _check_identity(settings)
    if settings.is_production:
        _check_production(settings)
    return settings


def _names() -> Iterator[str]:
    return (name for name in Settings.model_fields if name != "database_url")


def _own_names(environment: Mapping[str, str]) -> Iterator[str]:
    return (name for name in environment if name.startswith(PREFIX))


def _complaints(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(fault["loc"][0]) if fault["loc"] else "settings"
        name = "DATABASE_URL" if field.lower() == "database_url" else f"{PREFIX}{field.upper()}"
        yield f"{name}: {fault['msg']}"


def _check_listening(settings: Settings) -> None:
    """Development keys lie in the open beside the data: they must not face a network."""
    if not settings.is_production and not _is_loopback(settings.host):
        raise InvalidSettings(
            "DEID_HOST: development mode listens on the loopback interface only; "
            "set DEID_MODE=production to listen elsewhere"
        )


def _check_tls(settings: Settings) -> None:
    """Half of it would mean plain HTTP, or callers who need show nothing."""
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        raise InvalidSettings(
            "DEID_TLS_CERTIFICATE_FILE and DEID_TLS_KEY_FILE: both are needed, or none"
        )
    if settings.tls_client_ca_file is not None and settings.tls_certificate_file is None:
        raise InvalidSettings("DEID_TLS_CLIENT_CA_FILE: needs DEID_TLS_CERTIFICATE_FILE")


def _check_identity(settings: Settings) -> None:
    if settings.oidc_issuer is not None and not settings.oidc_audience:
        raise InvalidSettings("DEID_OIDC_AUDIENCE: a token is for somebody; name for whom")
    if settings.oidc_issuer is None and settings.oidc_audience:
        raise InvalidSettings("DEID_OIDC_ISSUER: is missing beside DEID_OIDC_AUDIENCE")
    if settings.oidc_keys_max_age_s < settings.oidc_keys_fresh_s:
        raise InvalidSettings("DEID_OIDC_KEYS_MAX_AGE_S: must not be less than ..._KEYS_FRESH_S")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_production(settings: Settings) -> None:
    if settings.database_url is not None:
        parts = urlsplit(settings.database_url.get_secret_value())
        if parts.password is not None and parts.password.lower() in PLACEHOLDER_PASSWORDS:
            raise InvalidSettings("DATABASE_URL: the password is a placeholder")
    provider = urlsplit(settings.key_provider_url or "")
    if provider.scheme == "http" and not _is_loopback(provider.hostname or ""):
        raise InvalidSettings("DEID_KEY_PROVIDER_URL: must start with https://")

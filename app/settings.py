"""Every setting: type, unit, default and one line; the only reader of the environment.

Names in the environment are the field names in capitals behind ``DEID_`` (``DEID_MAX_BODY_BYTES``);
the database alone is ``DATABASE_URL``. What a setting switches lives elsewhere.
"""

import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1 << 20
GIB = 1 << 30
PREFIX = "DEID_"
# Passwords that stand in examples; none of them may guard a mapping of patients.
PLACEHOLDER_PASSWORDS = frozenset(
    {"", "change-me", "changeme", "example", "password", "placeholder", "postgres", "secret"}
)


class InvalidSettings(ValueError):
    """A setting is unknown, malformed or not safe; the text names it and never its value."""


class Mode(StrEnum):
    """How strict the start is."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Role(StrEnum):
    """What one process serves."""

    ANONYMIZE = "anonymize"
    BATCH = "batch"
    REIDENTIFY = "reidentify"


class LogLevel(StrEnum):
    """The least severe event that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    """All settings of one process, checked when it starts."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    # Process
    mode: Mode = Field(
        Mode.DEVELOPMENT,
        description="development makes keys and a demonstration organisation by itself; "
        "production makes nothing and refuses what is missing or unsafe.",
    )
    data_dir: Path = Field(
        Path("data"), description="Directory for key files, the embedded database and the spool."
    )
    roles: Annotated[frozenset[Role], NoDecode] = Field(
        frozenset(Role), description="Endpoints that this process serves, separated by commas."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one."
    )
    shutdown_grace_s: int = Field(
        30, ge=0, description="Time that running requests get to finish when the gateway stops."
    )
    log_level: LogLevel = Field(LogLevel.INFO, description="Least severe event that is logged.")
    organization: str = Field(
        "DEMO",
        pattern=r"^[A-Za-z0-9_-]{1,24}$",
        description="Organisation of the command line where --organization is not given; "
        "development mode creates it.",
    )
    profiles_dir: Path | None = Field(
        None, description="Directory of further profiles (*.yaml, *.yml, *.json)."
    )

    # Database and keys
    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("database_url", "DATABASE_URL"),
        description="PostgreSQL of your own; without it the embedded server is started.",
    )
    database_pool_size: int = Field(
        8, ge=1, le=200, description="Most connections to PostgreSQL that one process holds."
    )
    key_file: Path | None = Field(
        None,
        description="Pseudonym key file, mode 0600; default keys/gateway-keys.json in data_dir.",
    )
    reidentify_key_file: Path | None = Field(
        None,
        description="Private key that opens the mapping, mode 0600, held by the role reidentify "
        "alone; default keys/reidentification-key.json in data_dir.",
    )

    # Bodies
    max_body_bytes: int = Field(
        4 * GIB, ge=1024, description="Largest body that is accepted, in bytes."
    )
    memory_body_bytes: int = Field(
        8 * MIB,
        ge=0,
        description="Bodies up to this many bytes stay in memory, others are spooled.",
    )
    inline_body_bytes: int = Field(
        MIB,
        ge=0,
        description="Bodies up to this many bytes are treated in the event loop, others in a "
        "thread.",
    )
    spool_dir: Path | None = Field(
        None,
        description="Private directory of the nameless spool files; default spool in data_dir.",
    )
    body_idle_timeout_s: float = Field(
        60.0, gt=0, description="Longest pause between two parts of a body, in seconds."
    )
    max_concurrent_uploads: int = Field(
        64, ge=1, description="Uploads that are taken at once; further ones wait."
    )

    # Batches
    source_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Directories below which study directories may lie, separated by colons; "
        "in development incoming in data_dir.",
    )
    stores_file: Path | None = Field(
        None, description="YAML file that names object stores as destinations and sources."
    )
    staging_dir: Path | None = Field(
        None,
        description="Directory where batches are staged, and published when no destination is "
        "named; workers that share it work on the same batches; default staging in data_dir.",
    )
    staging_max_bytes: int = Field(
        0, ge=0, description="Most bytes that wait in the staging area; 0 for no such bound."
    )
    staging_min_free_bytes: int = Field(
        GIB, ge=0, description="Free space of the staging area below which work waits, in bytes."
    )
    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Worker processes for batches that serve starts beside itself; 0 where "
        "deid-gateway worker runs elsewhere.",
    )
    worker_lost_after_s: float = Field(
        10.0,
        ge=2,
        description="Silence after which a worker's chunks are given to others, in seconds.",
    )
    chunk_files: int = Field(
        256, ge=1, le=10_000, description="Most files of one chunk, the unit of a worker's work."
    )
    chunk_bytes: int = Field(
        64 * MIB, ge=1, description="Bytes of files at which a chunk is closed."
    )
    max_batch_files: int = Field(
        50_000_000, ge=1, description="Most files of one batch; more are refused as a whole."
    )
    max_archive_bytes: int = Field(
        16 * GIB, ge=1024, description="Largest ZIP upload, and most bytes that it may unpack to."
    )
    max_archive_files: int = Field(100_000, ge=1, description="Most files in one ZIP upload.")
    callback_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Hosts (host or host:port) that callbacks may go to, separated by commas; "
        "in development loopback addresses as well.",
    )
    batch_kept_days: int = Field(
        90, ge=1, description="Days after its end that a batch's record and staged files are kept."
    )

    # Bounds on one instance
    max_header_bytes: int = Field(
        64 * MIB, ge=1024, description="Largest header (all but pixel data) of one instance."
    )
    max_elements: int = Field(
        1_000_000, ge=1, description="Most elements in one instance, nested ones counted."
    )
    max_depth: int = Field(32, ge=1, le=256, description="Deepest nesting of sequences.")
    max_converted_bytes: int = Field(
        512 * MIB,
        ge=1024,
        description="Largest data set that is inflated or converted (in memory), in bytes.",
    )

    @field_validator("roles", mode="before")
    @classmethod
    def _split_roles(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("source_roots", "callback_hosts", mode="before")
    @classmethod
    def _split_list(cls, value: object, info: ValidationInfo) -> object:
        separator = ":" if info.field_name == "source_roots" else ","
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(separator) if part.strip())
        return value

    @field_validator("roles")
    @classmethod
    def _some_role(cls, value: frozenset[Role]) -> frozenset[Role]:
        if not value:
            raise ValueError("name at least one role")
        return value

    @field_validator("database_url")
    @classmethod
    def _postgres_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            scheme = value.get_secret_value().partition("://")[0]
            if scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
                raise ValueError("must start with postgresql://")
        return value

    @property
    def is_production(self) -> bool:
        """Nothing is made by itself and nothing unsafe is accepted."""
        return self.mode is Mode.PRODUCTION

    @property
    def key_path(self) -> Path:
        """The pseudonym key file."""
        return self.key_file or self.data_dir / "keys" / "gateway-keys.json"

    @property
    def reidentify_key_path(self) -> Path:
        """The private key of the re-identification service."""
        return self.reidentify_key_file or self.data_dir / "keys" / "reidentification-key.json"

    @property
    def staging_path(self) -> Path:
        """The staging area of batches."""
        return self.staging_dir or self.data_dir / "staging"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The directories below which study directories may lie."""
        if self.source_roots or self.is_production:
            return self.source_roots
        return (self.data_dir / "incoming",)

    @property
    def spool_path(self) -> Path:
        """The directory of the spool files."""
        return self.spool_dir or self.data_dir / "spool"


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

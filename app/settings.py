"""Every setting: type, unit, default and one line; the only reader of the environment.

Names in the environment are the field names in capitals behind ``DEID_`` (``DEID_MAX_BODY_BYTES``);
the database alone is ``DATABASE_URL``. What a setting switches lives elsewhere.
"""

import os
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_address, ip_network
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
_ORGANIZATION = re.compile(r"[A-Za-z0-9_-]{1,24}")
# Passwords that stand in examples; none of them may guard a mapping of patients.
PLACEHOLDER_PASSWORDS = frozenset(
    {"", "change-me", "changeme", "example", "password", "placeholder", "postgres", "secret"}
)


# With a shared secret the provider's public key would be one; "none" signs nothing.
ASYMMETRIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519"}
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
    REVIEW = "review"
    AUDIT = "audit"
    ADMIN = "admin"


class KeyProvider(StrEnum):
    """Who wraps the content of the key files."""

    NONE = "none"
    TRANSIT = "vault-transit"
    KMS = "aws-kms"
    HSM = "pkcs11"


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
    tls_certificate_file: Path | None = Field(
        None,
        description="Certificate chain (PEM) that is shown to callers; with it only TLS is spoken.",
    )
    tls_key_file: Path | None = Field(
        None,
        description="Private key (PEM, without a password) of that certificate, mode 0600.",
    )
    tls_client_ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) of which every caller must show one that they signed.",
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections that are held at once; further ones hear 503."
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
    pixel_rules_dir: Path | None = Field(
        None, description="Directory of mask rules of the site (*.yaml, *.yml, *.json)."
    )
    pixel_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Child processes that mask images and clean documents, beside each process "
        "that de-identifies; started when they are needed.",
    )
    ocr_processes: int = Field(
        1,
        ge=0,
        le=64,
        description="Child processes that read text in images, started when they are needed; "
        "0 for none. Reading needs the extra ocr.",
    )
    pixel_timeout_s: float = Field(
        120.0,
        ge=1,
        description="Time that reading or masking one object may take, up to ten times of it for "
        "large and long images; then it waits for a review.",
    )
    recognizer: Path | None = Field(
        None,
        description="Presidio's configuration of an analyzer (YAML), which then looks for names "
        "and places in text that profiles clean; needs the extra presidio.",
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
    review_key_file: Path | None = Field(
        None,
        description="Private key that opens what is held for review, mode 0600, held by the role "
        "review alone; default review-key.json beside the private key.",
    )
    key_material: SecretStr | None = Field(
        None,
        description="Content of the key file itself, instead of a file; only read, never written.",
    )
    reidentify_key_material: SecretStr | None = Field(
        None, description="Content of the private key file, where DEID_KEY_MATERIAL is given."
    )
    review_key_material: SecretStr | None = Field(
        None, description="Content of the review key file, where DEID_KEY_MATERIAL is given."
    )
    key_provider: KeyProvider = Field(
        KeyProvider.NONE,
        description="Who wraps the content of the key files: none, vault-transit, aws-kms, pkcs11.",
    )
    key_provider_key: str | None = Field(
        None, description="Name of the wrapping key of the key file at the provider."
    )
    reidentify_key_provider_key: str | None = Field(
        None,
        description="Name of the wrapping key of the private key file; default the same, but "
        "a key of its own keeps the roles apart.",
    )
    review_key_provider_key: str | None = Field(
        None,
        description="Name of the wrapping key of the review key file; default that of the key "
        "file, but a key of its own keeps the roles apart.",
    )
    key_provider_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address of the transit engine's server, or of AWS KMS where it is not the "
        "region's.",
    )
    key_provider_secret_file: Path | None = Field(
        None,
        description="File with the transit engine's token or the PKCS#11 PIN, mode 0600.",
    )
    vault_mount: str = Field("transit", description="Where the transit engine is mounted.")
    vault_namespace: str = Field("", description="Namespace of the transit engine's server.")
    pkcs11_module: Path | None = Field(None, description="PKCS#11 library of the module's maker.")
    pkcs11_token: str | None = Field(None, description="Label of the PKCS#11 token.")

    # Callers
    oidc_issuer: str | None = Field(
        None,
        description="Address of the OpenID provider whose bearer tokens are accepted beside API "
        "keys, spelt as in its tokens.",
    )
    oidc_audience: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Audiences (aud) of which a token must name one, separated by commas; "
        "needed with the issuer.",
    )
    oidc_algorithms: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"RS256", "PS256", "ES256", "EdDSA"}),
        description="Signature algorithms that tokens may have, separated by commas; asymmetric "
        "ones only.",
    )
    oidc_scope_claim: str = Field(
        "scope",
        min_length=1,
        description="Claim that lists scopes, a text or a list; dots lead into nested objects.",
    )
    oidc_scope_prefix: str = Field(
        "deid:",
        description="What stands before a scope's name in that claim; a role that merely happens "
        "to be called admin gives nothing.",
    )
    oidc_organization_claim: str = Field(
        "organization",
        min_length=1,
        description="Claim that names the organisation by its id, or a list with the caller's own "
        "first; dots lead into nested objects.",
    )
    oidc_leeway_s: float = Field(
        30.0,
        ge=0,
        le=300,
        description="How far the clocks of provider and gateway may be apart, in seconds.",
    )
    oidc_keys_fresh_s: float = Field(
        300.0, ge=1, description="Age at which the provider's keys are fetched again, in seconds."
    )
    oidc_keys_max_age_s: float = Field(
        86_400.0,
        ge=1,
        description="Longest time that the last good keys are used while the provider is down, "
        "in seconds.",
    )
    oidc_ca_file: Path | None = Field(
        None, description="Certificates (PEM) to trust for the provider beside the machine's own."
    )
    lockout_failures: int = Field(
        10,
        ge=0,
        description="Failed attempts after which a key or token is not listened to from that "
        "address any more, and ten times as many for the address itself; 0 for never.",
    )
    lockout_s: float = Field(
        60.0, gt=0, description="Time in which failures count, and for which they lock, in seconds."
    )
    requests_per_minute: int = Field(
        6000,
        ge=0,
        description="Most requests of one API key or token subject, single instances not "
        "counted; 0 for no bound.",
    )
    uploads_per_minute: int = Field(
        0,
        ge=0,
        description="Most single instances that one API key or token subject sends; 0 for no "
        "bound.",
    )
    anonymous_requests_per_minute: int = Field(
        600,
        ge=0,
        description="Most requests without a key or token from one address; 0 for no bound.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For tells the caller's "
        "address, separated by commas.",
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
        60.0,
        gt=0,
        description="Longest pause between two parts of a body or of its answer, in seconds.",
    )
    min_bytes_per_s: int = Field(
        1024,
        ge=0,
        description="Slowest sender of a body or reader of an answer that is borne for longer "
        "than that pause.",
    )
    max_concurrent_uploads: int = Field(
        64, ge=1, description="Uploads that are taken at once; further ones wait."
    )
    max_waiting_uploads: int = Field(
        256, ge=0, description="Uploads that wait for that; further ones hear 503."
    )

    # Batches
    source_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Directories below which study directories may lie, separated by colons; "
        "ORGANIZATION=/directory for one organisation alone, several times for several; in "
        "development incoming in data_dir.",
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
    staging_direct: bool = Field(
        True,
        description="Write results past the page cache where they are only linked when they are "
        "published; false where a disk or file system is slower that way.",
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

    # Quarantine
    quarantine_dir: Path | None = Field(
        None,
        description="Private directory of what is held for review, sealed; shared by the processes "
        "that de-identify and those of the role review; default quarantine in data_dir, in "
        "production only for a process that reviews as well: others hold nothing without it.",
    )
    quarantine_max_bytes: int = Field(
        20 * GIB,
        ge=1024,
        description="Most bytes that are held at once; an object that does not fit is refused.",
    )
    quarantine_kept_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days after which what nobody decided about is rejected and destroyed.",
    )

    # Re-identification
    reidentify_per_hour: int = Field(
        300,
        ge=0,
        description="Most patients that one caller looks up in an hour, in all processes together; "
        "an organisation may set its own; 0 for no bound.",
    )
    reidentify_per_day: int = Field(2000, ge=0, description="The same for a day; 0 for no bound.")
    reidentify_batch_max: int = Field(
        100, ge=1, le=1000, description="Most questions of one worklist."
    )
    break_glass_per_day: int = Field(
        20,
        ge=0,
        description="Most emergencies of one caller in a day, counted apart; 0 for no bound.",
    )
    break_glass_url: str | None = Field(
        None,
        description="Address that is told of every emergency at once, signed like callbacks; "
        "https, in development http to this machine as well.",
    )
    approval_pending_s: float = Field(
        86_400.0,
        ge=60,
        description="Time that a request for approval waits for a second person, in seconds.",
    )
    approval_valid_s: float = Field(
        900.0,
        ge=10,
        le=86_400,
        description="Time after the approval in which the answer can be had, in seconds.",
    )

    # Audit
    audit_checkpoint_s: float = Field(
        300.0,
        ge=1,
        description="Age of its last signed checkpoint at which a chain with new rows is sealed "
        "again, in seconds.",
    )
    audit_checkpoint_rows: int = Field(
        10_000, ge=1, description="New rows at which a chain is sealed earlier than that."
    )
    audit_checkpoint_to: str | None = Field(
        None,
        description="Directory or URL of an object store (s3://bucket/prefix) that signed "
        "checkpoints are written to as well.",
    )
    audit_syslog: str | None = Field(
        None,
        description="Syslog receiver of DICOM audit messages, tls://host:6514; served by "
        "processes with the role audit.",
    )
    audit_syslog_ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) that the receiver is trusted by; without it those of the "
        "system.",
    )
    audit_syslog_certificate_file: Path | None = Field(
        None, description="Certificate (PEM) that is shown to the receiver."
    )
    audit_syslog_key_file: Path | None = Field(
        None, description="Private key (PEM, without a password) of that certificate."
    )

    # Retention
    retention_every_s: float = Field(
        3600.0,
        ge=1,
        description="How often a process of the role admin destroys originals that are older than "
        "their organisation keeps them, in seconds.",
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

    @field_validator(
        "source_roots",
        "callback_hosts",
        "oidc_audience",
        "oidc_algorithms",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split_list(cls, value: object, info: ValidationInfo) -> object:
        separator = ":" if info.field_name == "source_roots" else ","
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(separator) if part.strip())
        return value

    @field_validator("source_roots")
    @classmethod
    def _owned_roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        if any("=" in str(root) and not _root_of(root)[1].is_absolute() for root in value):
            raise ValueError("bind a directory to an organisation as ORGANIZATION=/directory")
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

    @field_validator("oidc_algorithms")
    @classmethod
    def _asymmetric_only(cls, value: frozenset[str]) -> frozenset[str]:
        if not value or not ASYMMETRIC_ALGORITHMS.issuperset(value):
            raise ValueError(f"must be of {', '.join(sorted(ASYMMETRIC_ALGORITHMS))}")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
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
    def review_key_path(self) -> Path:
        """The private key of the review."""
        return self.review_key_file or self.reidentify_key_path.with_name("review-key.json")

    @property
    def quarantine_path(self) -> Path:
        """Where what is held for review lies, sealed."""
        return self.quarantine_dir or self.data_dir / "quarantine"

    @property
    def staging_path(self) -> Path:
        """The staging area of batches."""
        return self.staging_dir or self.data_dir / "staging"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The directories below which study directories may lie."""
        if self.source_roots or self.is_production:
            return tuple(dict.fromkeys(_root_of(root)[1] for root in self.source_roots))
        return (self.data_dir / "incoming",)

    @property
    def root_owners(self) -> Mapping[Path, frozenset[str]]:
        """The organisations that alone may read a root; those that everybody may are not in it."""
        owned = [_root_of(root) for root in self.source_roots]
        open_to_all = {root for owner, root in owned if not owner}
        return {
            root: frozenset(owner for owner, other in owned if other == root)
            for _, root in owned
            if root not in open_to_all
        }

    @property
    def spool_path(self) -> Path:
        """The directory of the spool files."""
        return self.spool_dir or self.data_dir / "spool"


def _root_of(entry: Path) -> tuple[str, Path]:
    """Return the organisation that a root is bound to, empty for none, and its directory."""
    owner, separator, directory = str(entry).partition("=")
    if separator and _ORGANIZATION.fullmatch(owner):
        return owner, Path(directory)
    return "", entry


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

"""The service: its mode and roles, where it listens, TLS, its log and its directory."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode


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


class LogLevel(StrEnum):
    """The least severe event that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ServiceSettings(BaseModel):
    """What one process serves, and where it is reached."""

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

    @field_validator("roles", mode="before")
    @classmethod
    def _split_roles(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("roles")
    @classmethod
    def _some_role(cls, value: frozenset[Role]) -> frozenset[Role]:
        if not value:
            raise ValueError("name at least one role")
        return value

    @property
    def is_production(self) -> bool:
        """Nothing is made by itself and nothing unsafe is accepted."""
        return self.mode is Mode.PRODUCTION

"""The kinds of object store and everything that can be set for each of them.

What the client library cannot set is refused here with a sentence about where to set it instead;
nothing that stands in the file is ever ignored.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from app.storage.urls import ACCOUNT, account_of, place_of, split_url

MIB: Final = 1 << 20
# S3's classes that need hours before an object can be read again.
_OFFLINE_CLASSES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE", "Archive"})


class Use(StrEnum):
    """What a store is for."""

    DESTINATION = "destination"
    SOURCE = "source"


class Verification(StrEnum):
    """How it is made sure that an object arrived as it was sent; its size is always compared."""

    CHECKSUM = "checksum"  # the store checks a SHA-256 that comes with every part
    READ_BACK = "read-back"  # the object is read again and hashed
    SIZE_ONLY = "size-only"  # nothing but the size: trusts TLS and the store


class _FromFile(SecretStr):
    """A secret that came out of a file of its own."""


def _secret(value: object) -> object:
    """Take a text, or ``{file: …}`` for the content of that file."""
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"file"} or not isinstance(value["file"], str):
        raise ValueError("give a text, or file: with a path")
    path = Path(value["file"])
    try:
        if path.stat().st_mode & 0o007:
            raise ValueError("every user can read the file; use mode 0600 or 0640")
        return _FromFile(path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        raise ValueError("the file cannot be read") from None


Secret = Annotated[
    SecretStr,
    BeforeValidator(_secret),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"file": {"type": "string"}},
                    "required": ["file"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
OrganizationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,24}$")]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def known_fields(cls) -> frozenset[str]:
        """Return the names of all fields, those of the options included."""
        names = set(cls.model_fields)
        options = cls.model_fields.get("options")
        if options is not None and isinstance(options.annotation, type):
            names |= set(options.annotation.model_fields)
        return frozenset(names)


class _Options(_Fields):
    """Options that go to the client library under its own names."""

    def given(self) -> dict[str, Any]:
        """Return what is set; secrets in clear."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }

    @property
    def holds_secrets(self) -> bool:
        """Whether a secret stands here itself, not in a file of its own."""
        values = (getattr(self, name) for name in self.model_fields_set)
        return any(isinstance(v, SecretStr) and not isinstance(v, _FromFile) for v in values)


class StoreConfig(_Fields):
    """What every store has: where it is, who may use it, and what for."""

    url: str
    organizations: Literal["*"] | tuple[OrganizationId, ...] = Field(
        description="Organisations that may use the store; * for all."
    )
    use: frozenset[Use] = Field(
        frozenset({Use.DESTINATION}), min_length=1, description="What the store is for."
    )
    pseudonym_domain: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Gives the objects that go there pseudonyms of their own, which cannot be "
        "linked to those of other destinations; stores with the same domain share them.",
    )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    __str__ = __repr__

    def serves(self, organization: str, use: Use) -> bool:
        """Whether the organisation may use the store for this."""
        return use in self.use and (self.organizations == "*" or organization in self.organizations)

    @property
    def holds_secrets(self) -> bool:
        """Whether a secret stands in the configuration itself."""
        return False


class DiskConfig(StoreConfig):
    """A directory of this machine, or one that machines share."""

    url: str = Field(pattern=r"^file:///", description="file:///absolute/directory")

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        parts = split_url(value)
        path = unquote(parts.path)
        if parts.netloc or {"..", "\0"} & {*path.split("/"), *path} or not path.strip("/"):
            raise ValueError("give file:/// and an absolute directory other than /")
        return value

    @model_validator(mode="after")
    def _no_source(self) -> Self:
        if Use.SOURCE in self.use:
            raise ValueError("directories are read through DEID_SOURCE_ROOTS, not as stores")
        return self

    @property
    def path(self) -> Path:
        """The directory."""
        return Path(unquote(split_url(self.url).path))


class ObjectConfig(StoreConfig):
    """What S3, Azure and GCS have in common."""

    endpoint: str | None = Field(
        None, pattern=r"^https?://[^\s@?#]+$", description="Other address than the provider's own."
    )
    allow_http: bool | None = Field(
        None,
        description="Speak plain HTTP; for a private network only. Left out: as the environment "
        "says (AWS_ALLOW_HTTP, AZURE_ALLOW_HTTP or GOOGLE_ALLOW_HTTP), else no.",
    )
    ca_file: Path | None = Field(
        None, description="PEM file of further certificate authorities that are trusted."
    )
    timeout_s: float = Field(
        180.0, ge=0.1, le=3600, description="Longest silence of the store in one request, seconds."
    )
    part_bytes: int = Field(
        8 * MIB,
        ge=5 * MIB,
        le=1024 * MIB,
        description="Size of one part; larger objects are sent in several.",
    )
    verification: Verification = Verification.READ_BACK
    storage_class: str | None = None
    credentials: str = "chain"
    options: _Options = _Options()

    @field_validator("url")
    @classmethod
    def _plain(cls, value: str) -> str:
        place_of(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.endpoint is not None and self.endpoint.startswith("http:") and not self.allow_http:
            raise ValueError("endpoint is plain HTTP; set allow_http: true if that is meant")
        if self.verification is Verification.READ_BACK and self.storage_class in _OFFLINE_CLASSES:
            raise ValueError(
                "objects of this storage_class cannot be read back: choose another verification"
            )
        return self

    @property
    def holds_secrets(self) -> bool:
        """Whether a secret stands in the configuration itself."""
        return self.options.holds_secrets

    @property
    def bucket(self) -> str:
        """The bucket or container."""
        return place_of(self.url)[0]

    @property
    def prefix(self) -> str:
        """What all names of the store begin with; without slashes around it, may be empty."""
        return place_of(self.url)[1]


class S3Options(_Options):
    """Credentials and behaviour of S3, under the client library's names."""

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    web_identity_token_file: str | None = None
    sts_endpoint: str | None = None
    metadata_endpoint: str | None = None
    imdsv1_fallback: bool | None = None
    request_payer: bool | None = None
    unsigned_payload: bool | None = None
    disable_bulk_delete: bool | None = None

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("give access_key_id and secret_access_key together")
        return self


class S3Config(ObjectConfig):
    """Amazon S3, or a server that speaks its protocol."""

    url: str = Field(pattern="^s3://", description="s3://bucket/prefix")
    region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,40}$")
    addressing: Literal["path", "virtual"] | None = Field(
        None, description="Whether the bucket stands in the path or in the host name."
    )
    encryption: Literal["sse-s3", "sse-kms", "dsse-kms"] | None = Field(
        None, description="Server-side encryption; without it the bucket's default holds."
    )
    kms_key_id: str | None = Field(None, min_length=1, description="Key of sse-kms and dsse-kms.")
    bucket_key: bool | None = Field(None, description="Use an S3 Bucket Key with sse-kms.")
    storage_class: str | None = Field(None, pattern=r"^[A-Z0-9_]{1,40}$")
    verification: Verification = Verification.CHECKSUM
    credentials: Literal["chain", "profile", "anonymous"] = "chain"
    profile: str | None = Field(
        None, min_length=1, description="Section of the shared profile files; with boto3."
    )
    options: S3Options = S3Options()

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        if self.kms_key_id is not None and self.encryption not in {"sse-kms", "dsse-kms"}:
            raise ValueError("kms_key_id needs encryption sse-kms or dsse-kms")
        if self.bucket_key is not None and self.encryption != "sse-kms":
            raise ValueError("bucket_key needs encryption sse-kms")
        if self.profile is not None and self.credentials != "profile":
            raise ValueError("profile needs credentials: profile")
        if self.credentials != "chain" and self.options.access_key_id is not None:
            raise ValueError("give either access_key_id or another kind of credentials")
        return self


class AzureOptions(_Options):
    """Credentials of Azure, under the client library's names."""

    account_key: Secret | None = None
    sas_key: Secret | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    tenant_id: str | None = None
    authority_host: str | None = None
    federated_token_file: str | None = None
    object_id: str | None = None
    msi_resource_id: str | None = None
    msi_endpoint: str | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        given = [self.account_key, self.sas_key, self.client_secret]
        if sum(secret is not None for secret in given) > 1:
            raise ValueError("give one of account_key, sas_key and client_secret")
        return self


class AzureConfig(ObjectConfig):
    """Azure Blob Storage."""

    url: str = Field(
        pattern="^(az|abfss?)://",
        description="az://container/prefix or "
        "abfss://container@account.dfs.core.windows.net/prefix",
    )
    account: str | None = Field(None, pattern=f"^{ACCOUNT.pattern}$")
    storage_class: Literal["Hot", "Cool", "Cold", "Archive"] | None = Field(
        None, description="Access tier; without it the account's default holds."
    )
    credentials: Literal["chain", "cli", "managed-identity", "azure-identity", "anonymous"] = (
        "chain"
    )
    options: AzureOptions = AzureOptions()

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, fields: Any) -> Any:  # noqa: ANN401 - pydantic's signature
        return _refuse(
            fields,
            {"encryption", "encryption_scope", "kms_key_id"},
            "the client cannot name an encryption scope per object on Azure: set the "
            "container's default encryption scope, with 'deny override'",
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _no_checksum(self.verification)
        if self.account is not None and account_of(self.url) is not None:
            raise ValueError("the account stands in the url already")
        return self

    @property
    def account_name(self) -> str | None:
        """The storage account, where it is given."""
        return self.account or account_of(self.url)


class GcsOptions(_Options):
    """Credentials of Google Cloud Storage, under the client library's names."""

    service_account: str | None = None
    service_account_key: Secret | None = None
    application_credentials: str | None = None
    bearer_token: Secret | None = None


class GcsConfig(ObjectConfig):
    """Google Cloud Storage."""

    url: str = Field(pattern="^gs://", description="gs://bucket/prefix")
    storage_class: str | None = Field(
        None, pattern="^[A-Z_]{1,40}$", description="STANDARD, NEARLINE, COLDLINE or ARCHIVE."
    )
    credentials: Literal["chain", "google-auth", "anonymous"] = "chain"
    options: GcsOptions = GcsOptions()

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, fields: Any) -> Any:  # noqa: ANN401 - pydantic's signature
        return _refuse(
            fields,
            {"encryption", "kms_key", "kms_key_id", "kms_key_name"},
            "the client cannot name a key per object on Google Cloud Storage: set the "
            "bucket's default KMS key",
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _no_checksum(self.verification)
        return self


KINDS: Final[Mapping[str, type[StoreConfig]]] = {
    "s3": S3Config,
    "az": AzureConfig,
    "abfs": AzureConfig,
    "abfss": AzureConfig,
    "gs": GcsConfig,
    "file": DiskConfig,
}
"""Which kind of store a URL's scheme means."""


def _refuse(fields: Any, names: set[str], why: str) -> Any:  # noqa: ANN401 - pydantic's signature
    if isinstance(fields, Mapping) and names & set(fields):
        raise ValueError(why)
    return fields


def _no_checksum(verification: Verification) -> None:
    if verification is Verification.CHECKSUM:
        raise ValueError("the client sends no checksum to this kind of store: choose read-back")

"""Keys: the files that hold them, or their content, and who wraps it."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr

from app.settings.service import ServiceSettings


class KeyProvider(StrEnum):
    """Who wraps the content of the key files."""

    NONE = "none"
    TRANSIT = "vault-transit"
    KMS = "aws-kms"
    HSM = "pkcs11"


class KeySettings(ServiceSettings):
    """Where keys come from."""

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

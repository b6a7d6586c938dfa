"""Which provider wraps the key files, from what the settings say. Nothing is called here."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from app.errors import Misconfigured
from app.vault.keyrings import hsm, kms, transit
from app.vault.keyrings.envelope import Wrapper

_Given = TypeVar("_Given")


class Provider(StrEnum):
    """Who wraps the content of key files."""

    NONE = "none"  # it lies in clear; the file's mode and the disk protect it
    TRANSIT = transit.PROVIDER
    KMS = kms.PROVIDER
    HSM = hsm.PROVIDER


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """How a provider is reached.

    Attributes:
        url: of the transit engine's server; endpoint of AWS KMS where it is not the region's.
        secret_file: token of the transit engine, PIN of the PKCS#11 token.
        mount: of the transit engine.
        namespace: of the transit engine's server.
        module: PKCS#11 library.
        token: label of the PKCS#11 token.
    """

    provider: Provider = Provider.NONE
    url: str | None = None
    secret_file: Path | None = None
    mount: str = "transit"
    namespace: str = ""
    module: Path | None = None
    token: str | None = None

    def wrapper(self, key: str | None) -> Wrapper | None:
        """Return the provider with one wrapping key; None where nobody wraps.

        Raises:
            Misconfigured: something that it needs is not set.
        """
        if self.provider is Provider.NONE:
            return None
        name = _needed(key, "DEID_KEY_PROVIDER_KEY")
        if self.provider is Provider.KMS:
            return kms.Kms(name, self.url)
        secret_file = _needed(self.secret_file, "DEID_KEY_PROVIDER_SECRET_FILE")
        if self.provider is Provider.TRANSIT:
            url = _needed(self.url, "DEID_KEY_PROVIDER_URL")
            return transit.Transit(url, self.mount, name, secret_file, self.namespace)
        module = _needed(self.module, "DEID_PKCS11_MODULE")
        return hsm.Hsm(module, _needed(self.token, "DEID_PKCS11_TOKEN"), name, secret_file)


def _needed(value: _Given | None, setting: str) -> _Given:
    if value is None:
        raise Misconfigured(f"{setting} is not set, and the key provider needs it")
    return value

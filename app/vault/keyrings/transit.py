"""The transit engine of HashiCorp Vault, or of anything that speaks its protocol (OpenBao)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from app.errors import KeyUnavailable
from app.vault.keyrings.files import read_private

PROVIDER: Final = "vault-transit"
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Transit:
    """Wraps with a key of a transit engine. The token file is read for every call.

    Args:
        url: address of the server, without a path.
        mount: where the engine is mounted.
        key: name of the wrapping key (``aes256-gcm96`` or another that takes associated data).
        token_file: holds the token, as an agent writes it; for its owner alone.
        namespace: of the server; empty for none.
    """

    url: str
    mount: str
    key: str
    token_file: Path
    namespace: str = ""
    provider: str = PROVIDER

    def wrap(self, secret: bytes, purpose: str) -> bytes:
        answer = self._call("encrypt", {"plaintext": _text(secret)}, purpose)
        return _member(answer, "ciphertext").encode()

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        answer = self._call("decrypt", {"ciphertext": wrapped.decode("ascii")}, purpose)
        try:
            return base64.b64decode(_member(answer, "plaintext"), validate=True)
        except ValueError:
            raise KeyUnavailable("the transit engine answers what is no key") from None

    def _call(self, verb: str, body: dict[str, str], purpose: str) -> Mapping[str, Any]:
        token = read_private(self.token_file).decode("ascii", "replace").strip()
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        try:
            answer = httpx.post(
                f"{self.url.rstrip('/')}/v1/{self.mount}/{verb}/{self.key}",
                json={**body, "associated_data": _text(purpose.encode())},
                headers=headers,
                timeout=TIMEOUT_S,
                follow_redirects=False,
            )
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            raise KeyUnavailable("the transit engine does not answer") from None
        if answer.status_code != httpx.codes.OK:
            raise KeyUnavailable(f"the transit engine refuses (HTTP {answer.status_code})")
        try:
            return dict(answer.json()["data"])
        except (ValueError, KeyError, TypeError):
            raise KeyUnavailable("the transit engine answers what is no key") from None


def _member(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise KeyUnavailable("the transit engine answers what is no key")
    return value


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

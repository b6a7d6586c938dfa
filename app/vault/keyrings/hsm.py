"""A hardware security module, or anything else that is spoken to through PKCS#11."""

import importlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.errors import KeyUnavailable, Misconfigured
from app.vault.keyrings.files import read_private

PROVIDER: Final = "pkcs11"
_NONCE_BYTES: Final = 12
_TAG_BITS: Final = 128
# One session at a time: logging in and out is the whole token's affair.
_ONE_AT_A_TIME: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Hsm:
    """Wraps with an AES key of a token (``CKM_AES_GCM``).

    Args:
        module: the PKCS#11 library of the maker.
        token: label of the token.
        key: label of the AES key, which may encrypt and decrypt and never leaves.
        pin_file: holds the user's PIN; for its owner alone.
    """

    module: Path
    token: str
    key: str
    pin_file: Path
    provider: str = PROVIDER

    def wrap(self, secret: bytes, purpose: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._call("encrypt", secret, nonce, purpose)

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        nonce = wrapped[:_NONCE_BYTES]
        return self._call("decrypt", wrapped[_NONCE_BYTES:], nonce, purpose)

    def _call(self, verb: str, data: bytes, nonce: bytes, purpose: str) -> bytes:
        pkcs11 = _library()
        pin = read_private(self.pin_file).decode("utf-8", "replace").strip()
        mechanism = pkcs11.Mechanism.AES_GCM
        try:
            parameters = pkcs11.GCMParams(nonce, purpose.encode(), _TAG_BITS)
            with (
                _ONE_AT_A_TIME,
                pkcs11.lib(str(self.module))
                .get_token(token_label=self.token)
                .open(user_pin=pin) as session,
            ):
                key = session.get_key(
                    object_class=pkcs11.ObjectClass.SECRET_KEY,
                    key_type=pkcs11.KeyType.AES,
                    label=self.key,
                )
                done: bytes = getattr(key, verb)(
                    data, mechanism=mechanism, mechanism_param=parameters
                )
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            raise KeyUnavailable(f"the PKCS#11 token refuses ({type(error).__name__})") from None
        return done


def _library() -> Any:  # noqa: ANN401 - a module that is optional
    try:
        return importlib.import_module("pkcs11")
    except ImportError:
        raise Misconfigured(
            "PKCS#11 needs the package python-pkcs11: install deid-gateway[pkcs11]"
        ) from None

"""AWS KMS. Who may ask is found as AWS programs do: environment, files, role of the machine."""

import importlib
from dataclasses import dataclass
from typing import Any, Final

from app.errors import KeyUnavailable, Misconfigured

PROVIDER: Final = "aws-kms"
TIMEOUT_S: Final = 10
_CONTEXT: Final = "deid-gateway-key-file"


@dataclass(frozen=True, slots=True)
class Kms:
    """Wraps with a symmetric key of AWS KMS.

    Args:
        key: its id, ARN or alias (``alias/…``).
        url: endpoint, where it is not the one of the region.
    """

    key: str
    url: str | None = None
    provider: str = PROVIDER

    def wrap(self, secret: bytes, purpose: str) -> bytes:
        return self._call("encrypt", "CiphertextBlob", Plaintext=secret, purpose=purpose)

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        return self._call("decrypt", "Plaintext", CiphertextBlob=wrapped, purpose=purpose)

    def _call(self, verb: str, wanted: str, *, purpose: str, **given: bytes) -> bytes:
        boto3, config, boto_errors = _library()
        try:
            client = boto3.client(
                "kms",
                endpoint_url=self.url,
                config=config(
                    connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": 2}
                ),
            )
            context = {_CONTEXT: purpose}
            answer = getattr(client, verb)(KeyId=self.key, EncryptionContext=context, **given)
            value: bytes = answer[wanted]
        except boto_errors.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            shown = code if code.isalnum() else "unknown"
            raise KeyUnavailable(f"AWS KMS refuses ({shown})") from None
        except (boto_errors.BotoCoreError, ValueError, KeyError):
            raise KeyUnavailable("AWS KMS does not answer, or nothing says who asks") from None
        return value


def _library() -> tuple[Any, Any, Any]:
    """Import the AWS library, which is large, untyped and optional."""
    try:
        return (
            importlib.import_module("boto3"),
            importlib.import_module("botocore.config").Config,
            importlib.import_module("botocore.exceptions"),
        )
    except ImportError:
        raise Misconfigured(
            "AWS KMS needs the package boto3: install deid-gateway[aws-kms]"
        ) from None

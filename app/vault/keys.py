"""Key files: made once, read strictly, never overwritten. What is done with keys is elsewhere.

The key file holds the pseudonym root and the public half of the sealing key: all that a process
needs to anonymise. The private half lies in a file of its own, which only the re-identification
service needs. Both are JSON, mode 0600.
"""

import base64
import binascii
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from app.errors import Misconfigured

FORMAT_VERSION: Final = 1
_KEY_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, repr=False)
class GatewayKeys:
    """What every process holds: enough to make pseudonyms and to seal, not to open."""

    pseudonym_root: bytes
    sealing_public_key: bytes
    sealing_key_version: int

    def organization_root(self, organization: str) -> bytes:
        """Derive the root of one organisation's pseudonyms, 32 bytes."""
        info = f"deid-gateway organization v1 {organization}".encode()
        expand = HKDFExpand(algorithm=SHA256(), length=_KEY_BYTES, info=info)
        return expand.derive(self.pseudonym_root)


@dataclass(frozen=True, slots=True, repr=False)
class ReidentifyKeys:
    """What only the re-identification service holds: the private halves, by key version."""

    sealing_private_keys: Mapping[int, bytes]


def load_keys(path: Path) -> GatewayKeys:
    """Read the key file.

    Raises:
        Misconfigured: it is missing, readable by others, or damaged.
    """
    content = _read(path)
    with _damage_refused(path):
        return GatewayKeys(
            pseudonym_root=_key_bytes(content["pseudonym_root"]),
            sealing_public_key=_key_bytes(content["sealing_public_key"]),
            sealing_key_version=_key_version(content["sealing_key_version"]),
        )


def load_reidentify_keys(path: Path) -> ReidentifyKeys:
    """Read the private key file.

    Raises:
        Misconfigured: it is missing, readable by others, or damaged.
    """
    content = _read(path)
    with _damage_refused(path):
        keys = {
            _key_version(version): _key_bytes(text)
            for version, text in content["sealing_private_keys"].items()
        }
        if not keys:
            raise ValueError
        return ReidentifyKeys(keys)


def ensure_key_files(path: Path, reidentify_path: Path) -> bool:
    """Make both files unless the key file is there; True when it was made now.

    Nothing that exists is overwritten: a private key without its key file (a start that was
    killed in between) gets one that fits. Safe when several processes start at once; each then
    loads the same keys. For development and for the command that makes keys; in production a
    missing file is an error, because a new root would make new pseudonyms.

    Raises:
        Misconfigured: the directory cannot be written, or the private key file is not usable.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reidentify_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            if path.exists():
                return False
            if not reidentify_path.exists():
                _create(reidentify_path, _fresh_private_content())
            _create(path, _fresh_content(load_reidentify_keys(reidentify_path)))
    except OSError as error:
        raise Misconfigured(f"the key files cannot be made in {path.parent} ({error.strerror})")  # noqa: B904
    return True


def _fresh_private_content() -> dict[str, object]:
    private_key = X25519PrivateKey.generate().private_bytes_raw()
    return {"version": FORMAT_VERSION, "sealing_private_keys": {"1": _text(private_key)}}


def _fresh_content(private: ReidentifyKeys) -> dict[str, object]:
    newest = max(private.sealing_private_keys)
    private_key = X25519PrivateKey.from_private_bytes(private.sealing_private_keys[newest])
    return {
        "version": FORMAT_VERSION,
        "pseudonym_root": _text(secrets.token_bytes(_KEY_BYTES)),
        "sealing_public_key": _text(private_key.public_key().public_bytes_raw()),
        "sealing_key_version": newest,
    }


def _create(path: Path, content: dict[str, object]) -> None:
    """Let a whole, synced file appear under its name, or fail because the name is taken."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    finally:
        unfinished.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _damage_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Misconfigured(f"the key file {path} is damaged") from None


def _read(path: Path) -> dict[str, Any]:
    raw = _read_private(path)
    content: dict[str, Any] = {}
    with _damage_refused(path):
        content.update(json.loads(raw))
        if content["version"] != FORMAT_VERSION:
            raise ValueError
    return content


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise Misconfigured(f"the key file {path} cannot be read ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Misconfigured(f"the key file {path} is not a regular file")
        if status.st_mode & 0o077:
            raise Misconfigured(f"the key file {path} is open to others; chmod it to 0600")
        return file.read(_MAX_FILE_BYTES)


def _key_bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None
    if len(key) != _KEY_BYTES:
        raise ValueError
    return key


def _key_version(version: object) -> int:
    number = int(str(version))
    if not 1 <= number <= 32_767:
        raise ValueError
    return number


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()

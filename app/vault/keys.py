"""What key files say: the gateway's keys and the private halves, by version.

The key file holds the pseudonym root, the public halves of the sealing and the review keys, and
the keys for batches and signatures: all that a process needs to de-identify. The private halves lie
in files of their own, which only the re-identification service and the review need. Where files lie
and who wraps them is in `app.vault.keyrings`; making new versions is in `app.vault.keys_rotation`,
the private half of the review in `app.vault.keys_review`.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from app.errors import Misconfigured
from app.vault.keyrings import files
from app.vault.keyrings.envelope import GATEWAY, REIDENTIFICATION, Wrapper, packed, unpacked
from app.vault.sealing_kems import Kem, OpeningKey, fresh_private_key

FORMAT_VERSION: Final = 1
ROTATED_FORMAT_VERSION: Final = 2
KEY_BYTES: Final = 32
HYBRID_PUBLIC_BYTES: Final = 1184 + 32  # ML-KEM-768 and X25519
HYBRID_PRIVATE_BYTES: Final = 64 + 32  # the seed of one, the other as it is
FIRST_VERSION: Final = 1

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True, repr=False)
class GatewayKeys:
    """What every process holds: enough to make pseudonyms and to seal, not to open.

    Attributes:
        pseudonym_root: never changes.
        sealing_public_key: X25519 (32 bytes) or ML-KEM-768 and X25519 (1,216 bytes).
        sealing_key_version: which private key opens what is sealed now.
        work_keys: for batches, by version; version 1 is derived from the pseudonym root.
        work_key_version: the version that seals now; all open.
        signing_seeds: Ed25519 seeds by version; version 1 is derived from the pseudonym root.
        signing_key_version: the version that signs now.
        signing_public_keys: keys whose seeds are gone; they stay published.
        review_public_key: what is held for review is sealed to it; None in an installation that
            has made none yet.
        review_key_version: which private key of the review opens that.
    """

    pseudonym_root: bytes
    sealing_public_key: bytes
    sealing_key_version: int
    work_keys: Mapping[int, bytes] = field(default_factory=dict)
    work_key_version: int = FIRST_VERSION
    signing_seeds: Mapping[int, bytes] = field(default_factory=dict)
    signing_key_version: int = FIRST_VERSION
    signing_public_keys: Mapping[int, bytes] = field(default_factory=dict)
    review_public_key: bytes | None = None
    review_key_version: int = 0

    def organization_root(self, organization: str) -> bytes:
        """Derive the root of one organisation's pseudonyms, 32 bytes."""
        return _derived(self.pseudonym_root, f"deid-gateway organization v1 {organization}")

    def review_root(self) -> bytes:
        """Derive the key that seals cookies of the review page, 32 bytes."""
        return _derived(self.pseudonym_root, "deid-gateway review cookies v1")

    def work_root(self, version: int, organization: str) -> bytes | None:
        """Derive the root of one organisation's batches; None for a version that is not held."""
        if version == FIRST_VERSION:
            return self.organization_root(organization)
        key = self.work_keys.get(version)
        if key is None:
            return None
        return _derived(key, f"deid-gateway batches v2 {version} {organization}")


@dataclass(frozen=True, slots=True, repr=False)
class ReidentifyKeys:
    """What only the re-identification service holds: the private halves, by key version.

    Their length tells what they are: X25519 32 bytes, the hybrid 96.
    """

    sealing_private_keys: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Wrappers:
    """Who wraps each of the files; None where it lies in clear."""

    gateway: Wrapper | None = None
    reidentification: Wrapper | None = None
    review: Wrapper | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Dated:
    """One version of a key, and from when on it is used.

    Attributes:
        active_at: seconds since 1970, so that every process knows the key before one uses it.
    """

    key: bytes
    active_at: int


@dataclass(frozen=True, slots=True, repr=False)
class KeyContent:
    """All that the key file says, of whatever time; `at` says what holds now."""

    pseudonym_root: bytes
    sealing: Mapping[int, Dated]
    work: Mapping[int, Dated] = field(default_factory=dict)
    signing: Mapping[int, Dated] = field(default_factory=dict)
    signing_public_keys: Mapping[int, bytes] = field(default_factory=dict)
    review: Mapping[int, Dated] = field(default_factory=dict)

    def at(self, now: float) -> GatewayKeys:
        """Return the keys as they are used at a time."""
        sealing_version = _active_of(self.sealing, now)
        review_version = _active_of(self.review, now) if self.review else 0
        return GatewayKeys(
            pseudonym_root=self.pseudonym_root,
            sealing_public_key=self.sealing[sealing_version].key,
            sealing_key_version=sealing_version,
            work_keys={version: dated.key for version, dated in self.work.items()},
            work_key_version=_active(self.work, now),
            signing_seeds={version: dated.key for version, dated in self.signing.items()},
            signing_key_version=_active(self.signing, now),
            signing_public_keys=self.signing_public_keys,
            review_public_key=self.review[review_version].key if self.review else None,
            review_key_version=review_version,
        )

    def next_activation(self, now: float) -> int | None:
        """Return when the next version comes into use; None where all are."""
        waiting = [
            dated.active_at
            for versions in (self.sealing, self.work, self.signing, self.review)
            for dated in versions.values()
            if dated.active_at > now
        ]
        return min(waiting, default=None)


def load_keys(path: Path, wrapper: Wrapper | None = None) -> GatewayKeys:
    """Read the key file and say what holds now.

    Raises:
        Misconfigured: it is missing, readable by others, or damaged.
        KeyUnavailable: the provider that wrapped it does not answer or refuses.
    """
    return gateway_content(files.read_private(path), str(path), wrapper).at(time.time())


def load_reidentify_keys(path: Path, wrapper: Wrapper | None = None) -> ReidentifyKeys:
    """Read the private key file.

    Raises:
        Misconfigured: it is missing, readable by others, or damaged.
        KeyUnavailable: the provider that wrapped it does not answer or refuses.
    """
    return private_content(files.read_private(path), str(path), wrapper)


def ensure_key_files(
    path: Path, reidentify_path: Path, wrappers: Wrappers | None = None, kem: Kem = Kem.X25519
) -> bool:
    """Make both files unless the key file is there; True when it was made now.

    Nothing that exists is overwritten: a private key without its key file (a start that was
    killed in between) gets one that fits. Safe when several processes start at once; each then
    loads the same keys. For development and for the command that makes keys; in production a
    missing file is an error, because a new root would make new pseudonyms.

    Raises:
        Misconfigured: the directory cannot be written, or the private key file is not usable.
        KeyUnavailable: the provider does not answer or refuses.
    """
    by = wrappers or Wrappers()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reidentify_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.locked(path.parent):
            if path.exists():
                return False
            if not reidentify_path.exists():
                fresh = written_private(ReidentifyKeys({FIRST_VERSION: fresh_private_key(kem)}))
                files.create(reidentify_path, packed(fresh, REIDENTIFICATION, by.reidentification))
            private = load_reidentify_keys(reidentify_path, by.reidentification)
            files.create(path, packed(_fresh_content(private), GATEWAY, by.gateway))
    except OSError as error:
        places = " and ".join(dict.fromkeys(map(str, (path.parent, reidentify_path.parent))))
        raise Misconfigured(
            f"the key files cannot be made in {places} ({error.strerror})"
        ) from None
    return True


def gateway_content(raw: bytes, name: str, wrapper: Wrapper | None = None) -> KeyContent:
    """Read the content of a key file.

    Args:
        raw: as it lies on disk or in a secret.
        name: what to call it in an error.
        wrapper: the provider that wrapped it.

    Raises:
        Misconfigured: it is damaged, or wrapped by another provider.
        KeyUnavailable: the provider does not answer or refuses.
    """
    with damage_refused(name):
        content = unpacked(raw, GATEWAY, wrapper)
        if content["version"] == FORMAT_VERSION:
            return _first_content(content)
        return _rotated_content(content)


def private_content(raw: bytes, name: str, wrapper: Wrapper | None = None) -> ReidentifyKeys:
    """Read the content of a private key file; see `gateway_content`."""
    with damage_refused(name):
        content = unpacked(raw, REIDENTIFICATION, wrapper)
        if content["version"] != FORMAT_VERSION:
            raise ValueError
        return ReidentifyKeys(private_keys(content["sealing_private_keys"]))


def private_keys(texts: Mapping[str, object]) -> dict[int, bytes]:
    """Read private halves by version.

    Raises:
        ValueError, TypeError: there is none, or one is no key.
    """
    lengths = (KEY_BYTES, HYBRID_PRIVATE_BYTES)
    keys = {_key_version(version): _key_bytes(text, lengths) for version, text in texts.items()}
    if not keys:
        raise ValueError
    return keys


def written(content: KeyContent) -> dict[str, Any]:
    """Write what the key file says, as JSON."""
    return {
        "version": ROTATED_FORMAT_VERSION,
        "pseudonym_root": text_of(content.pseudonym_root),
        "sealing_public_keys": _dated(content.sealing),
        "work_keys": _dated(content.work),
        "signing_seeds": _dated(content.signing),
        "signing_public_keys": {
            str(version): text_of(key) for version, key in content.signing_public_keys.items()
        },
        "review_public_keys": _dated(content.review),
    }


def written_private(keys: ReidentifyKeys) -> dict[str, Any]:
    """Write what the private key file says, as JSON."""
    texts = {str(version): text_of(key) for version, key in keys.sealing_private_keys.items()}
    return {"version": FORMAT_VERSION, "sealing_private_keys": texts}


def text_of(key: bytes) -> str:
    """Write a key as files hold it: base64."""
    return base64.b64encode(key).decode()


def _fresh_content(private: ReidentifyKeys) -> dict[str, object]:
    newest = max(private.sealing_private_keys)
    public_key = OpeningKey(private.sealing_private_keys[newest]).public_bytes
    return {
        "version": FORMAT_VERSION,
        "pseudonym_root": text_of(secrets.token_bytes(KEY_BYTES)),
        "sealing_public_key": text_of(public_key),
        "sealing_key_version": newest,
    }


def _first_content(content: dict[str, Any]) -> KeyContent:
    public_key = _key_bytes(content["sealing_public_key"], (KEY_BYTES, HYBRID_PUBLIC_BYTES))
    version = _key_version(content["sealing_key_version"])
    root = _key_bytes(content["pseudonym_root"])
    return KeyContent(pseudonym_root=root, sealing={version: Dated(public_key, 0)})


def _rotated_content(content: dict[str, Any]) -> KeyContent:
    if content["version"] != ROTATED_FORMAT_VERSION:
        raise ValueError
    public_lengths = (KEY_BYTES, HYBRID_PUBLIC_BYTES)
    sealing = _versions(content["sealing_public_keys"], lambda one: _one(one, public_lengths))
    if not sealing:
        raise ValueError
    return KeyContent(
        pseudonym_root=_key_bytes(content["pseudonym_root"]),
        sealing=sealing,
        work=_versions(content["work_keys"], _one),
        signing=_versions(content["signing_seeds"], _one),
        signing_public_keys=_versions(content["signing_public_keys"], _key_bytes),
        # Files of earlier releases know no review.
        review=_versions(
            content.get("review_public_keys", {}), lambda one: _one(one, public_lengths)
        ),
    )


def _versions(texts: Mapping[str, Any], read: Callable[[Any], _Read]) -> dict[int, _Read]:
    return {_key_version(version): read(one) for version, one in texts.items()}


def _one(one: Mapping[str, Any], lengths: tuple[int, ...] = (KEY_BYTES,)) -> Dated:
    active_at = one["active_at"]
    if type(active_at) is not int:
        raise TypeError
    return Dated(_key_bytes(one["key"], lengths), active_at)


def _dated(versions: Mapping[int, Dated]) -> dict[str, dict[str, object]]:
    return {
        str(version): {"key": text_of(dated.key), "active_at": dated.active_at}
        for version, dated in versions.items()
    }


def _active(versions: Mapping[int, Dated], now: float) -> int:
    """Choose the newest version whose time has come.

    Before that of the first one listed it is version 1: derived from the root, or for sealing the
    oldest there is.
    """
    begun = [version for version, dated in versions.items() if dated.active_at <= now]
    return max(begun, default=FIRST_VERSION)


def _active_of(versions: Mapping[int, Dated], now: float) -> int:
    """Choose as `_active`, where every version is listed."""
    version = _active(versions, now)
    return version if version in versions else min(versions)


@contextmanager
def damage_refused(name: str) -> Iterator[None]:
    """Turn whatever a damaged key file leads to into one error.

    Raises:
        Misconfigured: it is damaged.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Misconfigured(f"the key file {name} is damaged") from None


def _key_bytes(text: object, lengths: tuple[int, ...] = (KEY_BYTES,)) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None
    if len(key) not in lengths:
        raise ValueError
    return key


def _key_version(version: object) -> int:
    number = int(str(version))
    if not 1 <= number <= 32_767:
        raise ValueError
    return number


def _derived(key: bytes, info: str) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info.encode()).derive(key)

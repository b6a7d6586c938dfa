"""New versions of keys, and the end of old ones. Pure but for randomness; the time is passed in.

The pseudonym root is never rotated: a new one would make new pseudonyms.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from app.errors import InvalidRequest
from app.vault.keys import FIRST_VERSION, KEY_BYTES, Dated, KeyContent, ReidentifyKeys
from app.vault.sealing_kems import Kem, OpeningKey, fresh_private_key
from app.vault.signing import signing_public_key

LATEST_ACTIVATION_S: Final = 366 * 24 * 60 * 60


def never_used(content: KeyContent, now: float) -> Iterator[tuple[str, int]]:
    """Yield kind and version of keys that come into use later than any rotation says."""
    kinds = {
        "sealing": content.sealing,
        "batch": content.work,
        "signing": content.signing,
        "review": content.review,
    }
    for kind, versions in kinds.items():
        left = _within_reach(versions, now)
        yield from ((kind, version) for version in sorted(versions) if version not in left)


def without_never_used(content: KeyContent, now: float) -> KeyContent:
    """Leave out what `never_used` names.

    Where none is left of the sealing or review keys, the oldest is in use, as if its time had come.
    """
    return replace(
        content,
        sealing=_in_use(content.sealing, now),
        work=_within_reach(content.work, now),
        signing=_within_reach(content.signing, now),
        review=_in_use(content.review, now),
    )


def with_next_private_key(private: ReidentifyKeys, content: KeyContent, kem: Kem) -> ReidentifyKeys:
    """Add a private key, unless there is one already that the key file does not know yet.

    That one is what a rotation left that was killed between the two files.
    """
    newest = max(private.sealing_private_keys)
    if (
        newest > max(content.sealing)
        and OpeningKey(private.sealing_private_keys[newest]).kem == kem
    ):
        return private
    added = {newest + 1: fresh_private_key(kem)}
    return ReidentifyKeys({**private.sealing_private_keys, **added})


def rotated(content: KeyContent, private: ReidentifyKeys, *, active_at: int) -> KeyContent:
    """Add the newest private key's public half, a key for batches and one for signatures.

    Args:
        content: what the key file says.
        private: what the private key file says, the new key among it.
        active_at: from when on they are used, in seconds since 1970.

    Raises:
        InvalidRequest: the last rotation has not come into use yet.
    """
    newest = max(private.sealing_private_keys)
    public_key = OpeningKey(private.sealing_private_keys[newest]).public_bytes
    work = max(content.work, default=FIRST_VERSION) + 1
    signing = max(content.signing, default=FIRST_VERSION) + 1
    # The seed before the last one signs nothing any more; its public half stays.
    ended = {version: dated for version, dated in content.signing.items() if version < signing - 1}
    public = {version: signing_public_key(dated.key) for version, dated in ended.items()}
    left = {version: dated for version, dated in content.signing.items() if version not in ended}
    return replace(
        content,
        sealing={**content.sealing, newest: Dated(public_key, active_at)},
        work={**content.work, work: _fresh(active_at)},
        signing={**left, signing: _fresh(active_at)},
        signing_public_keys={**content.signing_public_keys, **public},
    )


def require_settled(content: KeyContent, now: float) -> None:
    """Refuse a rotation while the one before has not come into use.

    Raises:
        InvalidRequest: it has not.
    """
    if content.next_activation(now) is not None:
        raise InvalidRequest("The last rotation has not come into use yet; wait until it has")


def without_version(
    private: ReidentifyKeys, content: KeyContent, version: int
) -> tuple[ReidentifyKeys, KeyContent]:
    """Take an old sealing key out of both files.

    Raises:
        InvalidRequest: it is the newest one, or there is none of that version.
    """
    if version not in private.sealing_private_keys:
        raise InvalidRequest("There is no private key of that version")
    if version >= max(content.sealing):
        raise InvalidRequest("The newest version is in use and stays")
    left = {v: key for v, key in private.sealing_private_keys.items() if v != version}
    sealing = {v: dated for v, dated in content.sealing.items() if v != version}
    return ReidentifyKeys(left), replace(content, sealing=sealing)


def _within_reach(versions: Mapping[int, Dated], now: float) -> dict[int, Dated]:
    latest = now + LATEST_ACTIVATION_S
    return {version: dated for version, dated in versions.items() if dated.active_at <= latest}


def _in_use(versions: Mapping[int, Dated], now: float) -> dict[int, Dated]:
    left = _within_reach(versions, now)
    if left or not versions:
        return left
    oldest = min(versions)
    return {oldest: Dated(versions[oldest].key, 0)}


def _fresh(active_at: int) -> Dated:
    return Dated(secrets.token_bytes(KEY_BYTES), active_at)

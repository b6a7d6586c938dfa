"""The review's keys: the private halves that open what is held, and making their versions.

What is held lives for weeks, so nothing is ever sealed anew: an old version ends when the last
object that was sealed to it has been decided about or has expired.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.errors import InvalidRequest
from app.vault.keyrings.envelope import REVIEW, Wrapper, unpacked
from app.vault.keys import (
    FIRST_VERSION,
    FORMAT_VERSION,
    Dated,
    KeyContent,
    damage_refused,
    private_keys,
    text_of,
)
from app.vault.sealing_kems import Kem, OpeningKey, fresh_private_key


@dataclass(frozen=True, slots=True, repr=False)
class ReviewKeys:
    """What only the review holds: its private halves, by key version."""

    private_keys: Mapping[int, bytes]


def fresh_review_keys(kem: Kem) -> ReviewKeys:
    """Make the first version."""
    return ReviewKeys({FIRST_VERSION: fresh_private_key(kem)})


def review_content(raw: bytes, name: str, wrapper: Wrapper | None = None) -> ReviewKeys:
    """Read the content of a review key file; another private key file is none.

    Raises:
        Misconfigured: it is damaged, or wrapped by another provider.
        KeyUnavailable: the provider does not answer or refuses.
    """
    with damage_refused(name):
        content = unpacked(raw, REVIEW, wrapper)
        if content["version"] != FORMAT_VERSION:
            raise ValueError
        return ReviewKeys(private_keys(content["review_private_keys"]))


def written_review(keys: ReviewKeys) -> dict[str, Any]:
    """Write what the review key file says, as JSON."""
    texts = {str(version): text_of(key) for version, key in keys.private_keys.items()}
    return {"version": FORMAT_VERSION, "review_private_keys": texts}


def with_review(content: KeyContent, review: ReviewKeys, *, active_at: int) -> KeyContent:
    """Add the newest review key's public half to the key file, unless it is there."""
    newest = max(review.private_keys)
    if newest in content.review:
        return content
    public_key = OpeningKey(review.private_keys[newest]).public_bytes
    return replace(content, review={**content.review, newest: Dated(public_key, active_at)})


def with_next_review_key(review: ReviewKeys, content: KeyContent, kem: Kem | None) -> ReviewKeys:
    """Add a version, unless there is one that the key file does not know yet.

    That one is what a rotation left that was killed between the two files.
    """
    newest = max(review.private_keys)
    wanted = kem or OpeningKey(review.private_keys[newest]).kem
    if newest > max(content.review, default=0) and (
        OpeningKey(review.private_keys[newest]).kem == wanted
    ):
        return review
    return ReviewKeys({**review.private_keys, newest + 1: fresh_private_key(wanted)})


def without_review_version(
    review: ReviewKeys, content: KeyContent, version: int
) -> tuple[ReviewKeys, KeyContent]:
    """Take an old review key out of both files.

    Raises:
        InvalidRequest: it is the newest one, or there is none of that version.
    """
    if version not in review.private_keys:
        raise InvalidRequest("There is no review key of that version")
    if version >= max(content.review, default=version):
        raise InvalidRequest("The newest version is in use and stays")
    left = {v: key for v, key in review.private_keys.items() if v != version}
    public = {v: dated for v, dated in content.review.items() if v != version}
    return ReviewKeys(left), replace(content, review=public)

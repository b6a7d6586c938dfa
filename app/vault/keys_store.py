"""Where this gateway's keys come from: files, or secrets given in the environment.

Reads them, tells when they changed, and writes new versions of the files. What to write is in
`keys_rotation`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from app.errors import Misconfigured
from app.vault.keyrings import files
from app.vault.keyrings.envelope import GATEWAY, REIDENTIFICATION, REVIEW, packed
from app.vault.keys import (
    KeyContent,
    ReidentifyKeys,
    Wrappers,
    gateway_content,
    private_content,
    written,
    written_private,
)
from app.vault.keys_review import (
    ReviewKeys,
    fresh_review_keys,
    review_content,
    with_next_review_key,
    with_review,
    without_review_version,
    written_review,
)
from app.vault.keys_rotation import (
    require_settled,
    rotated,
    with_next_private_key,
    without_never_used,
    without_version,
)
from app.vault.sealing_kems import Kem, OpeningKey

ENVIRONMENT: Final = "in the environment"
REVIEW_NAME: Final = "review-key.json"


class KeySource(Protocol):
    """Where the keys of one process come from."""

    def content(self) -> KeyContent:
        """Read what the key file says; raise Misconfigured or KeyUnavailable."""

    def private(self) -> ReidentifyKeys:
        """Read the private halves; raise Misconfigured or KeyUnavailable."""

    def review(self) -> ReviewKeys:
        """Read the private halves of the review; raise Misconfigured or KeyUnavailable."""

    def signature(self) -> tuple[object, ...]:
        """Return what changes whenever one of them is replaced."""


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """Keys that were given as texts, such as an orchestrator's secrets; they are only read.

    Args:
        gateway: what a key file would say.
        reidentification: what a private key file would say; None where this process has none.
        review_key: what a review key file would say; None where this process has none.
    """

    gateway: bytes = field(repr=False)
    reidentification: bytes | None = field(repr=False)
    wrappers: Wrappers = field(default_factory=Wrappers)
    review_key: bytes | None = field(default=None, repr=False)

    def content(self) -> KeyContent:
        return gateway_content(self.gateway, ENVIRONMENT, self.wrappers.gateway)

    def private(self) -> ReidentifyKeys:
        if self.reidentification is None:
            raise Misconfigured("there is no private key in the environment")
        return private_content(self.reidentification, ENVIRONMENT, self.wrappers.reidentification)

    def review(self) -> ReviewKeys:
        if self.review_key is None:
            raise Misconfigured("there is no review key in the environment")
        return review_content(self.review_key, ENVIRONMENT, self.wrappers.review)

    def signature(self) -> tuple[object, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The key files; the review's lies beside the private one where nothing else is said."""

    path: Path
    reidentify_path: Path
    wrappers: Wrappers = field(default_factory=Wrappers)
    review_path: Path = Path()

    def __post_init__(self) -> None:
        """Say where the review's key lies."""
        if self.review_path == Path():
            beside = self.reidentify_path.with_name(REVIEW_NAME)
            object.__setattr__(self, "review_path", beside)

    def content(self) -> KeyContent:
        return gateway_content(files.read_private(self.path), str(self.path), self.wrappers.gateway)

    def private(self) -> ReidentifyKeys:
        return private_content(
            files.read_private(self.reidentify_path),
            str(self.reidentify_path),
            self.wrappers.reidentification,
        )

    def review(self) -> ReviewKeys:
        raw = files.read_private(self.review_path)
        return review_content(raw, str(self.review_path), self.wrappers.review)

    def signature(self) -> tuple[object, ...]:
        paths = (self.path, self.reidentify_path, self.review_path)
        return tuple(files.signature(path) for path in paths)

    def ensure_review(self, kem: Kem) -> bool:
        """Make the review's key unless the key file knows one; True when it was made now.

        The private half is written first: nothing may be sealed to a key that nobody holds. A
        start that was killed in between is taken up again.

        Raises:
            Misconfigured: a file is missing, damaged or cannot be written.
            KeyUnavailable: the provider does not answer or refuses.
        """
        with self._changing():
            content = self.content()
            if content.review:
                return False
            if not self.review_path.exists():
                self.review_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                fresh = written_review(fresh_review_keys(kem))
                files.create(self.review_path, packed(fresh, REVIEW, self.wrappers.review))
            self._write(with_review(content, self.review(), active_at=0))
        return True

    def rotate(
        self,
        *,
        activate_in_s: int,
        kem: Kem | None = None,
        before: Callable[[KeyContent], None] = lambda _: None,
    ) -> KeyContent:
        """Make new versions of all keys but the pseudonym root, and return what now holds.

        The review's key is among them where its private half lies here. Private halves are written
        first: nothing may be sealed to a key that nobody holds. Killed in between, it is taken up
        again by the next rotation. Versions whose time never comes are replaced.

        Args:
            activate_in_s: when the new versions come into use.
            kem: how data keys are sealed from then on; None as now.
            before: called with what will hold, before anything is written; where it raises, the
                files stay as they are.

        Raises:
            InvalidRequest: the last rotation has not come into use yet.
            Misconfigured: a file is missing, damaged or cannot be written.
            KeyUnavailable: the provider does not answer or refuses.
        """
        with self._changing():
            now = time.time()
            content, private = without_never_used(self.content(), now), self.private()
            require_settled(content, now)
            wanted = kem or OpeningKey(_newest(private)).kem
            more = with_next_private_key(private, content, wanted)
            active_at = int(now) + activate_in_s
            after, review = rotated(content, more, active_at=active_at), None
            if self.review_path.exists():
                review = with_next_review_key(self.review(), content, kem)
                after = with_review(after, review, active_at=active_at)
            before(after)
            self._write_private(more)
            if review is not None:
                self._write_review(review)
            self._write(after)
        return after

    def retire(self, version: int) -> None:
        """Destroy an old private key; whoever calls has seen that nothing needs it.

        Raises:
            InvalidRequest: it is the newest one, or there is none of that version.
            Misconfigured, KeyUnavailable: see `rotate`.
        """
        with self._changing():
            private, content = without_version(self.private(), self.content(), version)
            self._write(content)
            self._write_private(private)

    def retire_review(self, version: int) -> None:
        """Destroy an old private key of the review; whoever calls has seen that nothing needs it.

        Raises:
            InvalidRequest: it is the newest one, or there is none of that version.
            Misconfigured, KeyUnavailable: see `rotate`.
        """
        with self._changing():
            review, content = without_review_version(self.review(), self.content(), version)
            self._write(content)
            self._write_review(review)

    def wrap(self, present: Wrappers) -> None:
        """Write the files that are here anew, wrapped by this object's providers.

        Args:
            present: who wraps them now.

        Raises:
            Misconfigured, KeyUnavailable: see `rotate`.
        """
        held = KeyFiles(self.path, self.reidentify_path, present, self.review_path)
        with self._changing():
            content = held.content()
            private = held.private() if self.reidentify_path.exists() else None
            review = held.review() if self.review_path.exists() else None
            self._write(content)
            if private is not None:
                self._write_private(private)
            if review is not None:
                self._write_review(review)

    def _write(self, content: KeyContent) -> None:
        files.replace(self.path, packed(written(content), GATEWAY, self.wrappers.gateway))

    def _write_private(self, private: ReidentifyKeys) -> None:
        wrapper = self.wrappers.reidentification
        content = packed(written_private(private), REIDENTIFICATION, wrapper)
        files.replace(self.reidentify_path, content)

    def _write_review(self, review: ReviewKeys) -> None:
        content = packed(written_review(review), REVIEW, self.wrappers.review)
        files.replace(self.review_path, content)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            with files.locked(self.path.parent):
                yield
        except OSError as error:
            places = (self.path, self.reidentify_path, self.review_path)
            named = " and ".join(dict.fromkeys([str(path.parent) for path in places]))
            raise Misconfigured(
                f"the key files in {named} cannot be written ({error.strerror})"
            ) from None


def _newest(private: ReidentifyKeys) -> bytes:
    return private.sealing_private_keys[max(private.sealing_private_keys)]

"""The keys of a running process: read at the start, and again when they change or come into use.

What uses keys is told of new ones; nothing that works on requests ever waits for a provider.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from app import telemetry
from app.errors import GatewayError
from app.vault.keys import GatewayKeys, KeyContent, ReidentifyKeys
from app.vault.keys_review import ReviewKeys
from app.vault.keys_store import KeySource

LOOK_EVERY_S: Final = 5.0


class KeyRing:
    """The keys of one process.

    Args:
        source: where they come from.
        is_private_held: whether this process holds the private halves.
        is_review_held: whether it holds those of the review, where the key file knows any.
        clock: seconds since 1970.

    Raises:
        Misconfigured: files are missing or damaged.
        KeyUnavailable: the provider does not answer or refuses.
    """

    def __init__(
        self,
        source: KeySource,
        *,
        is_private_held: bool,
        is_review_held: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._is_private_held = is_private_held
        self._is_review_held = is_review_held
        self._clock = clock
        self._listeners: list[Callable[[KeyRing], None]] = []
        self._seen = source.signature()
        self._content = source.content()
        self.private: ReidentifyKeys | None = source.private() if is_private_held else None
        self.review: ReviewKeys | None = self._review_of(self._content)
        self.gateway: GatewayKeys = self._content.at(clock())

    def tell(self, listener: Callable[["KeyRing"], None]) -> None:
        """Call somebody, in the loop of `watch`, whenever keys have changed."""
        self._listeners.append(listener)

    async def watch(self) -> None:
        """Look for new keys until cancelled; what cannot be read leaves the old ones in use."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> bool:
        """Look once; True when keys have changed."""
        signature = self._source.signature()
        if signature != self._seen:
            try:
                read = await asyncio.to_thread(self._read)
            except GatewayError as error:
                telemetry.log().warning("keys-not-read-again", code=error.code)
                return False
            self._content, self.private, self.review = read
            self._seen = signature
        elif self._content.at(self._clock()) == self.gateway:
            return False
        self.gateway = self._content.at(self._clock())
        for listener in self._listeners:
            listener(self)
        telemetry.log().info("keys-renewed", version=self.gateway.sealing_key_version)
        return True

    def _read(self) -> tuple[KeyContent, ReidentifyKeys | None, ReviewKeys | None]:
        private = self._source.private() if self._is_private_held else None
        content = self._source.content()
        return content, private, self._review_of(content)

    def _review_of(self, content: KeyContent) -> ReviewKeys | None:
        return self._source.review() if self._is_review_held and content.review else None

"""The sign of life of a worker process, and what it learns by it: which claims it still holds.

A thread with a connection of its own, so that neither a long computation nor a stuck event loop
silences it. Whoever cannot reach the database for too long trusts no claim any more, because by
then others may have it.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from uuid import UUID

import psycopg

from app import telemetry
from app.batches.records import ChunkClaim, PublishClaim
from app.db.session import connect_arguments, parse_url

_BEAT: Final = """
INSERT INTO batch_workers (id, staging) VALUES (%(worker)s, %(staging)s)
ON CONFLICT (id) DO UPDATE SET seen_at = now()
"""
_HELD: Final = """
SELECT c.batch, c.number, c.epoch FROM batch_chunks AS c JOIN batches AS b ON b.id = c.batch
WHERE c.worker = %(worker)s AND c.state IN ('processing', 'publishing')
    AND b.state IN ('processing', 'publishing')
"""

Held: TypeAlias = ChunkClaim | PublishClaim
_Key: TypeAlias = tuple[UUID, int, int]


class Heartbeat:
    """Beats for one worker until it is stopped.

    Args:
        url: of the database.
        worker: id that `BatchWork.join` gave.
        staging: the worker's staging area.
        lost_after_s: silence after which others take the worker's claims.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        url: str,
        worker: UUID,
        staging: UUID,
        *,
        lost_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker = worker
        self._arguments = connect_arguments(parse_url(url))
        self._values = {"worker": worker, "staging": staging}
        self._every_s = min(2.0, lost_after_s / 5)
        # The last beat must be younger than this for a claim to be trusted: before others may
        # take it there is time left for what was begun just now.
        self._trusted_s = lost_after_s * 0.6
        self._clock = clock
        self._lock = threading.Lock()
        self._claims: dict[_Key, float] = {}
        self._heard_at = clock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def take(self, claim: Held) -> None:
        """Watch over a claim made just now."""
        with self._lock:
            self._claims[_key(claim)] = self._clock()

    def drop(self, claim: Held) -> None:
        """Watch over it no longer."""
        with self._lock:
            self._claims.pop(_key(claim), None)

    def holds(self, claim: Held) -> bool:
        """Whether the claim was this worker's when it was last asked, and that is not long ago."""
        with self._lock:
            is_heard = self._clock() - self._heard_at < self._trusted_s
            return is_heard and _key(claim) in self._claims

    def beat(self, connection: "psycopg.Connection[Any]") -> None:
        """Give one sign of life and forget the claims that are lost."""
        asked_at = self._clock()
        connection.execute(_BEAT, self._values)
        held = {tuple(found) for found in connection.execute(_HELD, self._values)}
        with self._lock:
            self._heard_at = asked_at
            self._claims = {
                key: since
                for key, since in self._claims.items()
                if key in held or since >= asked_at
            }

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with psycopg.connect(**self._arguments, autocommit=True) as connection:
                    while not self._stopped.is_set():
                        self.beat(connection)
                        self._stopped.wait(self._every_s)
            except psycopg.Error as error:
                telemetry.log().warning("heartbeat-failed", kind=type(error).__name__)
                self._stopped.wait(0.5)


def _key(claim: Held) -> _Key:
    return claim.batch_id, claim.number, claim.epoch

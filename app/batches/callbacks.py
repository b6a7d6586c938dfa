"""Callbacks: a batch that has ended is told to a known host, signed.

How it is sent is in `app.access.webhooks`; which one is due is remembered in the tables.
"""

import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from app import telemetry
from app.access.webhooks import (
    MAX_ATTEMPTS,
    CallbackPolicy,
    Outcome,
    Resolve,
    Signs,
    Webhooks,
    is_permitted,
    pause_s,
)

__all__ = [
    "MAX_ATTEMPTS",
    "CallbackPolicy",
    "Callbacks",
    "Delivery",
    "Outcome",
    "is_permitted",
    "message_id",
    "pause_s",
]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one attempt.

    Attributes:
        outcome: how it ended.
        again_in_s: pause before the next attempt; None where there is none.
    """

    outcome: Outcome
    again_in_s: float | None = None

    @property
    def is_delivered(self) -> bool:
        """The receiver has taken it."""
        return self.outcome is Outcome.DELIVERED

    @property
    def is_final(self) -> bool:
        """There is no further attempt."""
        return self.again_in_s is None


class Callbacks:
    """Delivers callbacks.

    Args:
        policy: where they may go.
        signer: signs them with the gateway's key.
        tls: how receivers are recognised; None trusts the usual authorities and the machine's.
        resolve: finds the addresses of a host; None asks the system.
        chance: a number from 0 to 1, for the pauses.
    """

    def __init__(
        self,
        policy: CallbackPolicy,
        signer: Signs,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._webhooks = Webhooks(policy, signer, tls=tls, resolve=resolve)
        self._chance = chance

    async def deliver(self, url: str, body_fields: Mapping[str, Any], attempt: int) -> Delivery:
        """Try once to deliver a callback; never raises for what the receiver does.

        Args:
            url: where to.
            body_fields: the representation of the batch that has ended.
            attempt: number of this attempt, from 1.
        """
        outcome = await self._webhooks.send(url, message_id(body_fields), body_fields)
        if outcome is Outcome.FORBIDDEN:
            return Delivery(outcome)
        telemetry.log().info("callback-tried", code=str(outcome), count=attempt)
        pause = pause_s(attempt, self._chance()) if outcome is Outcome.FAILED else None
        return Delivery(outcome, pause)


def message_id(body_fields: Mapping[str, Any]) -> str:
    """Name one ending of a batch: the same in every attempt, another one after a retry. Pure."""
    return str(uuid5(UUID(str(body_fields["batch_id"])), str(body_fields["finished_at"])))

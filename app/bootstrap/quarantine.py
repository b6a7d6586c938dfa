"""The quarantine: who holds, who looks, and who ends what waits for too long."""

import datetime as dt
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from app import telemetry
from app.api.spool import prepare_directory
from app.audit.repository import AuditTrail
from app.bootstrap.profiles import limits_of
from app.db.session import Database
from app.quarantine.keeping import Expiry
from app.quarantine.previews import Previews
from app.quarantine.review import Review
from app.quarantine.sealing import HoldOpener, HoldSealer
from app.quarantine.service import Quarantine
from app.quarantine.shelf import Shelf
from app.settings import Settings
from app.settings.service import Role
from app.vault.disclosure.transactions import Recorder
from app.vault.keys_ring import KeyRing
from app.vault.workbox import WorkBox

if TYPE_CHECKING:
    from app.pixels.children import Children

_HOLDING: Final = frozenset({Role.ANONYMIZE, Role.BATCH})


@dataclass(frozen=True, slots=True)
class Held:
    """The quarantine's parts in one process.

    Attributes:
        quarantine: holds objects; None where nothing is de-identified, or no review key is known.
        review: looks and decides; None without the role or its private key.
        expiry: ends what waits for too long; with the review alone.
    """

    quarantine: Quarantine | None = None
    review: Review | None = None
    expiry: Expiry | None = None


def held_of(
    settings: Settings,
    database: Database,
    ring: KeyRing,
    box: WorkBox,
    closing: AsyncExitStack,
) -> Held:
    """Put the quarantine together.

    Raises:
        errors.Misconfigured: its directory cannot be used.
    """
    roles = settings.roles & (_HOLDING | {Role.REVIEW})
    if not roles or _is_nowhere(settings):
        return Held()
    if ring.gateway.review_public_key is None:
        telemetry.log().warning("review-key-absent")
        return Held()
    shelf = Shelf(settings.quarantine_path, settings.quarantine_max_bytes)
    recorder = Recorder(database, AuditTrail)
    quarantine = None
    if roles & _HOLDING:
        sealer = HoldSealer(ring.gateway)
        ring.tell(lambda renewed: sealer.renew(renewed.gateway))
        quarantine = Quarantine(recorder, box, sealer=sealer, shelf=shelf)
    if ring.review is None:
        return Held(quarantine)
    opener = HoldOpener(ring.review)
    ring.tell(lambda renewed: _renew(opener, renewed))
    prepare_directory(settings.spool_path)
    previews = Previews(
        shelf, _drawing(closing), spool=settings.spool_path, limits=limits_of(settings)
    )
    review = Review(recorder, box, opener=opener, shelf=shelf, previews=previews)
    kept = dt.timedelta(days=settings.quarantine_kept_days)
    return Held(quarantine, review, Expiry(recorder, shelf, kept))


def _is_nowhere(settings: Settings) -> bool:
    """Say whether nobody could look at what this process would hold.

    In production the review is another process: without a directory that both see, an object would
    lie where no reviewer ever finds it.
    """
    if not settings.is_production or Role.REVIEW in settings.roles:
        return False
    return settings.quarantine_dir is None


def _renew(opener: HoldOpener, ring: KeyRing) -> None:
    if ring.review is not None:
        opener.renew(ring.review)


def _drawing(closing: AsyncExitStack) -> "Callable[[], Children]":
    """Return what starts the process that draws previews when the first one is asked for."""

    @cache
    def started() -> "Children":
        from app.pixels.children import Children  # noqa: PLC0415 - most processes draw nothing

        children = Children(size=1)
        closing.callback(children.close)
        return children

    return started

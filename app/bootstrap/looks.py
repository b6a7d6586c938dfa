"""The way back: who is asked for what, and who is told of emergencies."""

import datetime as dt
from collections.abc import Mapping
from urllib.parse import urlsplit

from app import errors
from app.access.webhooks import Receiver as WebhookReceiver
from app.access.webhooks import Webhooks
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.batches.callbacks import CallbackPolicy
from app.db.session import Database
from app.settings import Settings
from app.vault.disclosure.approvals import Lifetimes
from app.vault.disclosure.asking import Limits as DisclosureLimits
from app.vault.disclosure.notices import Notices
from app.vault.disclosure.quotas import Bounds as QuotaBounds
from app.vault.disclosure.service import Disclosure
from app.vault.disclosure.transactions import Recorder
from app.vault.pseudonyms import Pseudonyms
from app.vault.sealing import Opener
from app.vault.service import Vault
from app.vault.signing import Signer


def disclosure_of(
    settings: Settings,
    database: Database,
    vault: Vault | None = None,
    opener: Opener | None = None,
    signer: Signer | None = None,
) -> Disclosure:
    """Put the way back together.

    Without vault and keys it decides about requests and answers none.

    Raises:
        errors.Misconfigured: the receiver of notices is not fit.
    """
    recorder = Recorder(database, AuditTrail)
    return Disclosure(
        recorder,
        _no_pseudonyms if vault is None else vault.pseudonyms,
        opener=opener,
        notices=Notices(recorder, _told_of_emergencies(settings, signer), _of_notice),
        limits=DisclosureLimits(
            looks=QuotaBounds(settings.reidentify_per_hour, settings.reidentify_per_day),
            emergencies=QuotaBounds(0, settings.break_glass_per_day),
            max_batch=settings.reidentify_batch_max,
            lifetimes=Lifetimes(
                pending=dt.timedelta(seconds=settings.approval_pending_s),
                approved=dt.timedelta(seconds=settings.approval_valid_s),
            ),
        ),
    )


def _told_of_emergencies(settings: Settings, signer: Signer | None) -> WebhookReceiver | None:
    url = settings.break_glass_url
    if url is None or signer is None:
        return None
    policy = CallbackPolicy([urlsplit(url).netloc], is_loopback_allowed=not settings.is_production)
    try:
        policy.check(url)
    except errors.CallbackNotAllowed as error:
        raise errors.Misconfigured(f"DEID_BREAK_GLASS_URL: {error}") from None
    return WebhookReceiver(Webhooks(policy, signer), url)


def _of_notice(organization: str, outcome: str, detail: Mapping[str, str | int]) -> AuditEvent:
    return AuditEvent(
        action="reidentify-notice",
        outcome=outcome,
        organization=organization,
        actor="gateway",
        detail=detail,
    )


def _no_pseudonyms(_organization: str) -> Pseudonyms:
    raise errors.KeyUnavailable

"""The parts of one process while it runs."""

from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from app import telemetry
from app.access.api_keys import ApiKeys
from app.access.callers import Callers
from app.access.organizations import Organizations
from app.access.quotas import Quotas
from app.api.batch_parts import BatchIntake
from app.api.clients import Proxies
from app.api.dependencies import Services
from app.api.review_sessions import Sessions
from app.api.spool import BodyLimits
from app.audit.reading import AuditReader
from app.audit.repository import AuditTrail
from app.batches.gauges import BatchGauges
from app.batches.room import Bounds
from app.batches.service import BatchService
from app.batches.staging import StagingArea
from app.batches.upkeep import Upkeep
from app.batches.work import BatchWork
from app.bootstrap.profiles import Contexts
from app.db.session import Database
from app.quarantine.keeping import Expiry
from app.quarantine.review import Review
from app.quarantine.service import Quarantine
from app.settings import Settings
from app.settings.service import Role
from app.vault.disclosure.service import Disclosure
from app.vault.erasing import Eraser
from app.vault.service import Vault
from app.vault.signing import Signer


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running parts of one process."""

    settings: Settings
    database: Database
    vault: Vault
    disclosure: Disclosure
    api_keys: ApiKeys
    callers: Callers
    quotas: Quotas
    organizations: Organizations
    contexts: Contexts
    executor: Executor
    can_reidentify: bool
    batches: BatchService
    intake: BatchIntake | None
    work: BatchWork
    upkeep: Upkeep
    signer: Signer
    closing: AsyncExitStack
    quarantine: Quarantine | None = None
    review: Review | None = None
    expiry: Expiry | None = None
    sessions: Sessions | None = None

    def services(self) -> Services:
        """Return what the routes may call."""
        settings, metrics = self.settings, telemetry.Metrics()
        return Services(
            vault=self.vault,
            disclosure=self.disclosure,
            callers=self.callers,
            quotas=self.quotas,
            contexts=self.contexts,
            batches=self.batches,
            intake=self.intake,
            signer=self.signer,
            audit=AuditReader(self.database),
            roles=frozenset(map(str, settings.roles)),
            limits=BodyLimits(
                max_bytes=settings.max_body_bytes,
                memory_bytes=settings.memory_body_bytes,
                inline_bytes=settings.inline_body_bytes,
                idle_timeout_s=settings.body_idle_timeout_s,
                min_bytes_per_s=settings.min_bytes_per_s,
            ),
            spool_dir=settings.spool_path,
            executor=self.executor,
            metrics=metrics,
            readiness=self._readiness,
            proxies=Proxies(settings.trusted_proxies),
            gauges=self.gauges(metrics.registry) if self.intake is not None else None,
            eraser=self.eraser if Role.ADMIN in settings.roles else None,
            review=self.review,
            sessions=self.sessions,
        )

    @property
    def eraser(self) -> Eraser:
        """What destroys originals, where the database user may."""
        return Eraser(self.database, AuditTrail)

    def gauges(self, registry: CollectorRegistry) -> BatchGauges:
        """Return what keeps the gauges of batches in a registry."""
        settings = self.settings
        gauges = BatchGauges(
            telemetry.BatchLevels(registry),
            self.work,
            StagingArea(settings.staging_path),
            Bounds(settings.staging_max_bytes, settings.staging_min_free_bytes),
        )
        self.closing.push_async_callback(gauges.close)
        return gauges

    async def _readiness(self) -> Mapping[str, bool]:
        checks = {"database": await self.database.is_ready()}
        if Role.REIDENTIFY in self.settings.roles:
            checks["reidentification-key"] = self.can_reidentify
        return checks


@dataclass(frozen=True, slots=True)
class Administration:
    """What the database holds beside the mapping; needs no key."""

    database: Database
    api_keys: ApiKeys
    organizations: Organizations

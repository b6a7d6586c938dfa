"""The composition root: settings in, running parts out. The only place that knows all of them."""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from app import errors, telemetry
from app.access.api_keys import ApiKeys
from app.access.callers import Callers
from app.access.limits import Lockout, Rate, Rates
from app.access.organizations import Organizations
from app.access.policies import OrganizationPolicies
from app.access.quotas import Quotas
from app.access.webhooks import Receiver as WebhookReceiver
from app.access.webhooks import Webhooks
from app.api.batch_parts import BatchIntake
from app.api.clients import Proxies
from app.api.dependencies import Services
from app.api.spool import BodyLimits, prepare_directory
from app.audit.events import AuditEvent
from app.audit.forwarding import Forwarder
from app.audit.keeping import Keeper, kept
from app.audit.reading import AuditReader
from app.audit.repository import AuditTrail
from app.audit.sealing import Sealer
from app.audit.syslog import Receiver, receiver_of
from app.batches.callbacks import CallbackPolicy
from app.batches.gauges import BatchGauges
from app.batches.repository import BatchRepository
from app.batches.room import Bounds
from app.batches.sealing import BatchBox
from app.batches.service import BatchService
from app.batches.staging import StagingArea
from app.batches.upkeep import Upkeep
from app.batches.work import BatchWork
from app.db import revision
from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
from app.db.session import Database
from app.deid.profile import BUILT_IN, Profile, profile_from_text
from app.deid.rules.text import Recognizer
from app.dicom.tokens import Limits
from app.pipeline import Context
from app.pipeline.recognizing import fingerprint_of, open_recognizer, versioned
from app.settings import Role, Settings
from app.storage.roots import Roots
from app.storage.stores import Stores
from app.storage.uploads import Uploads
from app.vault.disclosure.approvals import Lifetimes
from app.vault.disclosure.asking import Limits as DisclosureLimits
from app.vault.disclosure.notices import Notices
from app.vault.disclosure.quotas import Bounds as QuotaBounds
from app.vault.disclosure.service import Disclosure
from app.vault.disclosure.transactions import Recorder
from app.vault.erasing import Eraser
from app.vault.erasing_clock import keep_applying
from app.vault.keyrings.providers import Provider as WrappingProvider
from app.vault.keyrings.providers import ProviderOptions
from app.vault.keys import Wrappers, ensure_key_files
from app.vault.keys_ring import KeyRing
from app.vault.keys_store import KeyFiles, KeyMaterial, KeySource
from app.vault.pseudonyms import Pseudonyms
from app.vault.sealing import Opener
from app.vault.service import Vault
from app.vault.signing import Signer
from app.vault.workbox import WorkBox

if TYPE_CHECKING:
    from app.access.oidc import BearerTokens

# Spool, large objects and database start-up; small objects never leave the event loop.
WORKER_THREADS: Final = 8
PROFILE_SUFFIXES: Final = frozenset({".json", ".yaml", ".yml"})


class Profiles:
    """The ready-made profiles and those of a directory, read once.

    Raises:
        errors.Misconfigured: a file in the directory is not a profile, or a name comes twice.
    """

    def __init__(self, directory: Path | None, recognizer: Path | None = None) -> None:
        self._fingerprint = fingerprint_of(recognizer) if recognizer else ""
        self._by_name = {name: self.as_used(profile) for name, profile in BUILT_IN.items()}
        for path in sorted(directory.iterdir()) if directory else ():
            if path.suffix in PROFILE_SUFFIXES:
                self._add(path)

    def get(self, name: str) -> Profile:
        """Return one profile; raise errors.ProfileNotFound for an unknown name."""
        try:
            return self._by_name[name]
        except KeyError:
            raise errors.ProfileNotFound from None

    def all(self) -> tuple[Profile, ...]:
        """Return every profile, the ready-made ones first."""
        return tuple(self._by_name.values())

    def as_used(self, profile: Profile) -> Profile:
        """Return a profile with the version that it has beside this site's recogniser."""
        return versioned(profile, self._fingerprint)

    def _add(self, path: Path) -> None:
        try:
            profile = profile_from_text(path.read_text(encoding="utf-8"))
        except (errors.InvalidProfile, OSError, UnicodeDecodeError) as error:
            raise errors.Misconfigured(f"the profile {path.name} cannot be used: {error}") from None
        if profile.name in self._by_name:
            raise errors.Misconfigured(f"the profile {path.name} has a name that is taken")
        self._by_name[profile.name] = self.as_used(profile)


def profiles_of(settings: Settings) -> Profiles:
    """Return the profiles of this site.

    Raises:
        errors.Misconfigured: one of them cannot be used.
    """
    return Profiles(settings.profiles_dir, settings.recognizer)


class Contexts:
    """Gives the pipeline what it needs, put together once per organisation and profile."""

    def __init__(
        self,
        vault: Vault,
        profiles: Profiles,
        limits: Limits,
        recognize: Recognizer | None = None,
    ) -> None:
        self._recognize = recognize
        self._vault = vault
        self._profiles = profiles
        self._limits = limits
        self._known: dict[tuple[str, str, str], Context] = {}

    def get(self, organization: str, profile: str, domain: str = "") -> Context:
        """Return the context by names; raise errors.ProfileNotFound for an unknown profile."""
        known = self._known.get((organization, profile, domain))
        if known is None:
            known = self.of(organization, self._profiles.get(profile), domain)
            self._known[organization, profile, domain] = known
        return known

    def profiles(self) -> tuple[Profile, ...]:
        """Return every profile, the ready-made ones first."""
        return self._profiles.all()

    def of(self, organization: str, profile: Profile, domain: str = "") -> Context:
        """Return the context for a profile at hand."""
        pseudonyms = self._vault.pseudonyms(organization, domain)
        return Context(organization, profile, pseudonyms, self._limits, self._recognize, domain)


def passing_contexts(settings: Settings, profiles: Iterable[Profile]) -> list[Context]:
    """Return contexts for results that go nowhere: one passing key makes their pseudonyms.

    Raises:
        errors.Misconfigured: the recogniser cannot be used.
    """
    organization, recognizer = settings.organization, _recognizer(settings)
    pseudonyms = Pseudonyms(os.urandom(32), organization)
    limits = _limits(settings)
    return [Context(organization, one, pseudonyms, limits, recognizer) for one in profiles]


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

    async def require_organization(self, organization: str) -> None:
        """Check that an organisation is there; development mode makes it.

        Raises:
            errors.OrganizationNotFound: production mode makes none.
        """
        if not self.settings.is_production:
            await self.organizations.ensure(organization)
        elif not await self.organizations.exists(organization):
            raise errors.OrganizationNotFound

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


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Administration]:
    """Open the database with the tables of this release.

    Raises:
        errors.Misconfigured: directories or tables are not fit.
        errors.DatabaseUnavailable: PostgreSQL does not answer.
    """
    _make_data_directory(settings)
    async with AsyncExitStack() as stack:
        url = await asyncio.to_thread(stack.enter_context, database(settings))
        await _bring_schema(settings, url)
        connected = Database(url, pool_size=settings.database_pool_size)
        stack.push_async_callback(connected.close)
        yield Administration(
            connected,
            ApiKeys(connected, AuditTrail()),
            Organizations(connected, AuditTrail()),
        )


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Gateway]:
    """Open the parts that the roles need, and close them in turn.

    Raises:
        errors.Misconfigured: keys, directories or tables are not fit to start with.
        errors.DatabaseUnavailable: PostgreSQL does not answer.
    """
    _make_data_directory(settings)
    ring = await asyncio.to_thread(_key_ring, settings)
    keys, opener = ring.gateway, None if ring.private is None else Opener(ring.private)
    profiles = profiles_of(settings)
    prepare_directory(settings.spool_path)
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(administration(settings))
        vault = Vault(held.database, keys, trail=AuditTrail(), opener=opener)
        stack.push_async_callback(vault.close)
        work_box, signer = WorkBox(keys), Signer(keys)
        box = BatchBox(work_box)
        ring.tell(lambda renewed: _renew(renewed, vault, opener, work_box, signer))
        watching = asyncio.create_task(ring.watch(), name="keys")
        stack.push_async_callback(_stopped, watching)
        policies = OrganizationPolicies(held.database)
        callers = _callers(settings, held, policies)
        stack.push_async_callback(callers.close)
        quotas = Quotas(held.database, policies)
        stack.push_async_callback(quotas.close)
        gateway = Gateway(
            settings=settings,
            database=held.database,
            vault=vault,
            disclosure=disclosure_of(settings, held.database, vault, opener, signer),
            api_keys=held.api_keys,
            callers=callers,
            quotas=quotas,
            organizations=held.organizations,
            contexts=Contexts(vault, profiles, _limits(settings), _recognizer(settings)),
            executor=stack.enter_context(ThreadPoolExecutor(WORKER_THREADS, "gateway")),
            can_reidentify=opener is not None,
            batches=BatchService(BatchRepository(held.database, box), vault, settings.staging_path),
            intake=_intake(settings) if Role.BATCH in settings.roles else None,
            work=BatchWork(held.database, box, vault),
            upkeep=Upkeep(
                held.database,
                box,
                vault.data_key,
                lost_after_s=settings.worker_lost_after_s,
                kept_days=settings.batch_kept_days,
            ),
            signer=signer,
            closing=stack,
        )
        if not settings.is_production:
            await gateway.require_organization(settings.organization)
        yield gateway


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


@asynccontextmanager
async def retention_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Destroy what is older than its organisation keeps it, now and then; the role admin does."""
    if Role.ADMIN not in gateway.settings.roles:
        yield
        return
    event = AuditEvent(action="", actor="retention")
    every_s = gateway.settings.retention_every_s
    applying = asyncio.create_task(
        keep_applying(gateway.database, gateway.eraser, event, every_s=every_s), name="retention"
    )
    try:
        yield
    finally:
        await _stopped(applying)


@asynccontextmanager
async def notices_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Tell of emergencies meanwhile."""
    keepers = [gateway.disclosure.notices.run] if Role.REIDENTIFY in gateway.settings.roles else []
    async with kept(*keepers):
        yield


@asynccontextmanager
async def audit_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Seal and forward the audit meanwhile, as the settings say.

    Raises:
        errors.Misconfigured, errors.InvalidRequest: a receiver or a place is not fit.
    """
    settings = gateway.settings
    async with AsyncExitStack() as stack:
        destination = None
        if settings.audit_checkpoint_to is not None:
            # Clients of object stores cost 4 MB; most sites keep checkpoints in the database.
            from app.storage.destinations import open_destination  # noqa: PLC0415

            destination = open_destination(settings.audit_checkpoint_to)
            stack.push_async_callback(destination.close)
        sealer = Sealer(
            gateway.database,
            gateway.signer,
            every_s=settings.audit_checkpoint_s,
            every_rows=settings.audit_checkpoint_rows,
            destination=destination,
        )
        keepers: list[Keeper] = [sealer.run]
        if settings.audit_syslog is not None and Role.AUDIT in settings.roles:
            receiver = audit_receiver(settings, settings.audit_syslog)
            keepers.append(Forwarder(gateway.database, receiver).run)
        await stack.enter_async_context(kept(*keepers))
        yield


def audit_receiver(settings: Settings, address: str) -> Receiver:
    """Return the audit receiver at an address, with the certificates that the settings name.

    Raises:
        errors.Misconfigured: address or files cannot be used.
    """
    receiver = receiver_of(
        address,
        ca_file=settings.audit_syslog_ca_file,
        certificate_file=settings.audit_syslog_certificate_file,
        key_file=settings.audit_syslog_key_file,
    )
    receiver.check()
    return receiver


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Lend the URL of the database: the user's own, or that of the embedded server.

    Raises:
        errors.Misconfigured, errors.DatabaseUnavailable: see ``app.db.embedded``.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    server = KeptPostgres(EmbeddedPostgres(settings.data_dir / "postgres"))
    try:
        yield server.start()
    finally:
        server.stop()


def _make_data_directory(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.Misconfigured(
            f"the data directory {settings.data_dir} cannot be made: {error.strerror}"
        ) from None


def key_files(settings: Settings) -> KeyFiles:
    """Return the two key files with whoever wraps them; nothing is read.

    Raises:
        errors.Misconfigured: the provider lacks a setting.
    """
    return KeyFiles(settings.key_path, settings.reidentify_key_path, _wrappers(settings))


def key_source(settings: Settings) -> KeySource:
    """Return where the keys come from: the environment where they are given there, else files.

    Raises:
        errors.Misconfigured: the provider lacks a setting.
    """
    if settings.key_material is None:
        return key_files(settings)
    private = settings.reidentify_key_material
    return KeyMaterial(
        settings.key_material.get_secret_value().encode(),
        None if private is None else private.get_secret_value().encode(),
        _wrappers(settings),
    )


def _wrappers(settings: Settings) -> Wrappers:
    options = ProviderOptions(
        provider=WrappingProvider(settings.key_provider),
        url=settings.key_provider_url,
        secret_file=settings.key_provider_secret_file,
        mount=settings.vault_mount,
        namespace=settings.vault_namespace,
        module=settings.pkcs11_module,
        token=settings.pkcs11_token,
    )
    key = settings.key_provider_key
    return Wrappers(
        options.wrapper(key), options.wrapper(settings.reidentify_key_provider_key or key)
    )


def _key_ring(settings: Settings) -> KeyRing:
    """Load the keys that the roles need; development mode makes both files on its first start.

    Where the private key has been taken away, development mode goes on without it.
    """
    source = key_source(settings)
    is_private_held = Role.REIDENTIFY in settings.roles
    if isinstance(source, KeyFiles) and not settings.is_production:
        if ensure_key_files(source.path, source.reidentify_path, source.wrappers):
            telemetry.log().warning("key-files-made")
        if is_private_held and not source.reidentify_path.exists():
            telemetry.log().warning("private-key-absent")
            is_private_held = False
    return KeyRing(source, is_private_held=is_private_held)


def _renew(
    ring: KeyRing, vault: Vault, opener: Opener | None, work_box: WorkBox, signer: Signer
) -> None:
    """Give new keys to all who use them."""
    vault.renew(ring.gateway)
    work_box.renew(ring.gateway)
    signer.renew(ring.gateway)
    if opener is not None and ring.private is not None:
        opener.renew(ring.private)


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _bring_schema(settings: Settings, url: str) -> None:
    """Migrate a database of our own; one that somebody runs in production is only looked at."""
    if await revision.current_revision(url) == revision.NEEDED:
        return
    if settings.database_url is None or not settings.is_production:
        from app.db import migrate  # noqa: PLC0415 - 11 MB that only a change of tables needs

        await migrate.upgrade(url)
    else:
        raise errors.Misconfigured(
            "the database does not have this release's tables; run 'deid-gateway db upgrade'"
        )


def _intake(settings: Settings) -> BatchIntake:
    """Open where batches may come from and go to.

    Raises:
        errors.Misconfigured: the staging area, the stores file or a callback host is not fit.
    """
    area = StagingArea(settings.staging_path)
    return BatchIntake(
        roots=_roots(settings),
        stores=Stores.from_file(settings.stores_file),
        uploads=Uploads(area.uploads),
        staging_id=area.staging_id,
        callbacks=CallbackPolicy(
            settings.callback_hosts, is_loopback_allowed=not settings.is_production
        ),
        max_archive_bytes=settings.max_archive_bytes,
        min_free_bytes=settings.staging_min_free_bytes,
    )


def _callers(settings: Settings, held: Administration, policies: OrganizationPolicies) -> Callers:
    """Put together who is recognised and how often anybody may ask.

    Raises:
        errors.Misconfigured: the provider's address or certificates are not fit.
    """
    return Callers(
        held.api_keys,
        _bearer_tokens(settings, policies),
        policies,
        lockout=Lockout(settings.lockout_failures, settings.lockout_s),
        rates=Rates(
            requests=Rate(settings.requests_per_minute),
            uploads=Rate(settings.uploads_per_minute),
            anonymous=Rate(settings.anonymous_requests_per_minute),
        ),
    )


def _bearer_tokens(settings: Settings, policies: OrganizationPolicies) -> "BearerTokens | None":
    if settings.oidc_issuer is None:
        return None
    # Costs 8 MB, and most sites have no provider.
    from app.access.oidc import BearerTokens, TokenRules  # noqa: PLC0415
    from app.access.provider import Provider, ProviderKeys  # noqa: PLC0415
    from app.access.tokens import Expected  # noqa: PLC0415

    provider = Provider(
        settings.oidc_issuer,
        ca_file=settings.oidc_ca_file,
        is_loopback_allowed=not settings.is_production,
    )
    keys = ProviderKeys(
        provider.keys, fresh_s=settings.oidc_keys_fresh_s, max_age_s=settings.oidc_keys_max_age_s
    )
    expected = Expected(
        settings.oidc_issuer, frozenset(settings.oidc_audience), settings.oidc_leeway_s
    )
    rules = TokenRules(
        expected=expected,
        algorithms=settings.oidc_algorithms,
        scope_claim=settings.oidc_scope_claim,
        scope_prefix=settings.oidc_scope_prefix,
        organization_claim=settings.oidc_organization_claim,
    )
    return BearerTokens(keys, rules, policies)


def _roots(settings: Settings) -> Roots:
    """Return where study directories may lie; what the gateway keeps for itself is none of it."""
    own = (settings.staging_path, settings.spool_path, settings.key_path.parent)
    refused = (*own, settings.data_dir / "postgres")
    return Roots(settings.roots, refused, owners=settings.root_owners)


def _recognizer(settings: Settings) -> Recognizer | None:
    return open_recognizer(settings.recognizer) if settings.recognizer else None


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_header_bytes=settings.max_header_bytes,
        max_elements=settings.max_elements,
        max_depth=settings.max_depth,
        max_converted_bytes=settings.max_converted_bytes,
    )

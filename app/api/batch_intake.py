"""From what a caller asks to a batch that may be taken: every right and every place is checked."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from app import errors
from app.access.principals import Principal
from app.api.batch_parts import BatchIntake
from app.api.batch_schemas import BatchRequest
from app.api.dependencies import Services, chosen_organization, chosen_profile
from app.batches.records import NewBatch, Request
from app.batches.states import OnError, Priority
from app.deid.profile import Profile
from app.storage.store_kinds import DiskConfig, Use
from app.storage.stores import Stores

STAGING: Final = "staging"
STORE_SCHEME: Final = "store"
_ARCHIVE: Final = "archive"
_FIELDS: Final = frozenset(BatchRequest.model_fields)


@dataclass(frozen=True, slots=True, repr=False)
class Terms:
    """What was asked for, and who for and how, as far as that may be."""

    asked: BatchRequest
    organization: str
    profile: Profile
    destination: Mapping[str, str]
    is_local: bool


def asked_in_json(body: bytes) -> BatchRequest:
    """Read a request in JSON.

    Raises:
        errors.InvalidRequest: it is not a valid one; nothing of it is repeated.
    """
    try:
        asked = BatchRequest.model_validate_json(body)
        json.loads(body, object_pairs_hook=_once)
    except ValidationError as error:
        raise _complaint(error) from None
    return asked


def asked_in_fields(fields: Mapping[str, str]) -> BatchRequest:
    """Read a request that came as texts by name.

    Raises:
        errors.InvalidRequest: it is not a valid one; nothing of it is repeated.
    """
    try:
        return BatchRequest.model_validate_strings(dict(fields))
    except ValidationError as error:
        raise _complaint(error) from None


def terms(
    services: Services,
    intake: BatchIntake,
    principal: Principal,
    asked: BatchRequest,
    *,
    has_archive: bool,
) -> Terms:
    """Check what can be known before an archive has arrived.

    Raises:
        errors.InvalidRequest: not exactly one source is given.
        errors.NotAuthorised: the key may not act for the organisation or use the profile.
        errors.ProfileNotFound, errors.DestinationNotFound, errors.CallbackNotAllowed: as said.
    """
    given = [asked.study_directory is not None, asked.source_url is not None, has_archive]
    if sum(given) != 1:
        raise errors.InvalidRequest(
            "Give exactly one of study_directory, source_url and an archive"
        )
    organization = chosen_organization(principal, asked.organization_id)
    name = chosen_profile(principal, asked.profile, organization)
    profile = services.contexts.get(organization, name).profile
    if asked.callback_url is not None:
        intake.callbacks.check(asked.callback_url)
    destination, is_local = _destination(intake.stores, organization, asked.destination)
    return Terms(asked, organization, profile, destination, is_local)


async def new_batch(
    intake: BatchIntake,
    principal: Principal,
    agreed: Terms,
    *,
    archive: str | None,
    idempotency_key: str | None,
    request_id: str,
) -> NewBatch:
    """Find the source and put the batch together.

    Args:
        intake: where batches may come from.
        principal: who asks.
        agreed: what was asked for.
        archive: name among the uploads of an archive that was received.
        idempotency_key: as the caller sent it.
        request_id: of the request.

    Raises:
        errors.SourceNotAllowed: the source lies where nothing may be read.
        errors.DestinationNotFound: there is no such store to read from.
    """
    source = await _source(intake, agreed, archive)
    return _batch(
        intake, principal, agreed, source, idempotency_key=idempotency_key, request_id=request_id
    )


def earlier_batches(
    intake: BatchIntake,
    principal: Principal,
    agreed: Terms,
    *,
    idempotency_key: str | None,
    request_id: str,
) -> Sequence[NewBatch]:
    """Put together what a request may have been when its study directory was still there.

    Arguments as of `new_batch`.
    """
    if idempotency_key is None or agreed.asked.study_directory is None:
        return []
    places = intake.roots.spellings(agreed.asked.study_directory, agreed.organization)
    return [
        _batch(
            intake,
            principal,
            agreed,
            _directory(root, path),
            idempotency_key=idempotency_key,
            request_id=request_id,
        )
        for root, path in places
    ]


def _batch(
    intake: BatchIntake,
    principal: Principal,
    agreed: Terms,
    source: Mapping[str, str],
    *,
    idempotency_key: str | None,
    request_id: str,
) -> NewBatch:
    asked = agreed.asked
    request = Request(
        source=source,
        destination=agreed.destination,
        callback_url=asked.callback_url,
        fhir=asked.fhir,
    )
    return NewBatch(
        organization=agreed.organization,
        request=request,
        priority=Priority[asked.priority],
        on_error=OnError(asked.on_error),
        profile=agreed.profile.name,
        profile_version=agreed.profile.version,
        actor=principal.name,
        api_key_id=principal.api_key_id,
        request_id=request_id,
        home=intake.staging_id if agreed.is_local or source["kind"] == _ARCHIVE else None,
        idempotency_key=idempotency_key,
    )


def archive_name(agreed: Terms, idempotency_key: str, digest: str) -> str:
    """Name an archive so that a repeated request has the same source as the first one.

    Args:
        agreed: what was asked for; a request that differs in anything gets another name.
        idempotency_key: as the caller sent it.
        digest: SHA-256 of the archive.
    """
    asked = agreed.asked
    told_apart_by = [
        agreed.organization,
        idempotency_key,
        digest,
        agreed.profile.name,
        dict(agreed.destination),
        [asked.priority, asked.on_error, asked.callback_url, asked.fhir],
    ]
    return sha256(json.dumps(told_apart_by, sort_keys=True).encode()).hexdigest()[:32]


def store_source(stores: Stores, organization: str, url: str) -> Mapping[str, str]:
    """Return the store, and the prefix in it, that a URL names.

    ``store://NAME/prefix`` names a store; any other URL must lie below a configured one.

    Raises:
        errors.SourceNotAllowed: it lies below none that the organisation may read.
        errors.DestinationNotFound: there is no store of that name to read from.
    """
    scheme, _, rest = url.partition("://")
    if scheme == STORE_SCHEME:
        name, _, prefix = rest.partition("/")
        stores.source(organization, name)
        return _below(name, prefix)
    found = {
        name: stores.source(organization, name).url.rstrip("/")
        for name in stores.names(organization, Use.SOURCE)
    }
    covering = [name for name, base in found.items() if f"{url}/".startswith(f"{base}/")]
    if not covering:
        raise errors.SourceNotAllowed("The source URL lies below no configured source")
    name = max(covering, key=lambda name: len(found[name]))
    return _below(name, url[len(found[name]) :].removeprefix("/"))


def _below(name: str, prefix: str) -> Mapping[str, str]:
    prefix = prefix.removesuffix("/")
    segments = prefix.split("/") if prefix else []
    if {"", ".", ".."}.intersection(segments) or not prefix.isprintable():
        raise errors.SourceNotAllowed("The source URL has a segment that is not allowed")
    return {"kind": "store", "name": name, "prefix": prefix}


def _destination(
    stores: Stores, organization: str, name: str | None
) -> tuple[Mapping[str, str], bool]:
    """Return the destination, and whether only workers of this staging area can write to it."""
    if name is None or name == STAGING:
        return {"kind": STAGING}, True
    config = stores.destination(organization, name)
    destination = {"kind": "store", "name": name}
    if config.pseudonym_domain:  # from now on: a batch keeps the one that it began with
        destination["domain"] = config.pseudonym_domain
    return destination, isinstance(config, DiskConfig)


async def _source(intake: BatchIntake, agreed: Terms, archive: str | None) -> Mapping[str, str]:
    if archive is not None:
        return {"kind": _ARCHIVE, "name": archive}
    if agreed.asked.source_url is not None:
        return store_source(intake.stores, agreed.organization, agreed.asked.source_url)
    # Not among the threads that treat bodies: a network file system may let this one wait for long.
    root, path = await asyncio.to_thread(
        intake.roots.locate, agreed.asked.study_directory or "", agreed.organization
    )
    return _directory(root, path)


def _directory(root: str, path: str) -> Mapping[str, str]:
    return {"kind": "directory", "root": root, "path": path}


def _once(pairs: Sequence[tuple[str, object]]) -> Mapping[str, object]:
    """Refuse an object with a key that comes twice: readers differ in which one counts."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise errors.InvalidRequest("A field comes twice")
    return dict(pairs)


def _complaint(error: ValidationError) -> errors.InvalidRequest:
    """Name the fields at fault, and nothing that the caller wrote."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    names = {str(fault["loc"][0]) for fault in faults if fault["loc"]}
    known = sorted(names & _FIELDS)
    if known:
        return errors.InvalidRequest(f"Not valid: {', '.join(known)}")
    if names:
        return errors.InvalidRequest(
            f"There is an unknown field; known: {', '.join(sorted(_FIELDS))}"
        )
    return errors.InvalidRequest("The body is not a JSON object of the fields described")

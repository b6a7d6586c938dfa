"""What the commands about keys print: versions, fingerprints, counts. Never a key."""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.telemetry import rfc3339
from app.vault.keys import KeyContent
from app.vault.keys_rotation import never_used, without_never_used
from app.vault.sealing_kems import SealingKey


@dataclass(frozen=True, slots=True)
class Counted:
    """What the database holds.

    Attributes:
        versions: how many data keys are sealed to each version.
        old_work: pieces of batches that an older key sealed.
    """

    versions: Mapping[int, int]
    old_work: int

    def lines(self) -> Iterator[str]:
        """Say it."""
        for version, count in sorted(self.versions.items()):
            yield f"data keys sealed to version {version}: {count}"
        yield f"pieces of batches sealed with older keys: {self.old_work}"


def shown(content: KeyContent, *, now: float) -> Iterator[str]:
    """Say which versions there are and which are in use."""
    held = content.at(now)
    fingerprint = hashlib.sha256(held.sealing_public_key).hexdigest()[:16]
    kem = SealingKey(held.sealing_public_key).kem
    yield "pseudonym key file   usable"
    yield f"  seals to key version {held.sealing_key_version} ({kem}), fingerprint {fingerprint}"
    yield f"  seals batches with version {held.work_key_version}"
    yield f"  signs with version {held.signing_key_version}"
    if held.review_public_key is None:
        yield "  knows no review key: nothing can be held; 'keys init' makes one"
    else:
        yield f"  holds for review with version {held.review_key_version}"
    coming = without_never_used(content, now)
    at = coming.next_activation(now)
    if at is not None:
        yield f"  version {max(coming.sealing)} comes into use at {_moment(at)}"
    never = list(never_used(content, now))
    for kind, version in never:
        yield f"  {kind} key version {version} never comes into use: its time lies too far ahead"
    if never:
        yield "  run 'keys rotate': it replaces what never comes into use; no other key changes"


def _moment(seconds: int) -> str:
    return rfc3339(dt.datetime.fromtimestamp(seconds, dt.UTC))


def bar(console: Console | None = None) -> Progress:
    """Return a bar for rows; nothing is drawn where there is no terminal."""
    shown_on = console or Console(stderr=True, highlight=False)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=shown_on,
        transient=True,
        disable=not shown_on.is_terminal,
    )

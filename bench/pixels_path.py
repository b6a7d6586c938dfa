"""Images through the gateway's own steps: the real pipeline, its child processes, no database.

Shared by the tests that prove the ladder and by the measurements.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from enum import StrEnum

from app.deid.options import Option
from app.deid.pixel_policy import Found, Lossy, PixelPolicy
from app.deid.profile import Profile, with_version
from app.dicom.source import MemorySource
from app.errors import GatewayError, PixelsNeedReview
from app.pipeline import Context, Deidentified, deidentified
from app.pipeline.side_work import PixelParts
from app.pixels.children import OCR_MEMORY, Children
from app.pixels.model import Mark
from app.pixels.rules import RuleSet
from app.pixels.rules_loading import load_rules
from app.vault.pseudonyms import Pseudonyms

Take = Callable[[Sequence[bytes]], Iterator["Result"]]
ORGANIZATION = "BENCH"
_TIMEOUT_S = 300.0


class Outcome(StrEnum):
    """What became of an image."""

    PASSED = "passed"
    MASKED = "masked"
    HELD = "held"  # it would wait for a person
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """One image's way.

    Attributes:
        data: what was delivered; None where nothing was.
        why: code of the error, or the codes of the decision's reasons.
        marks: what the decision says that was overwritten.
    """

    outcome: Outcome
    data: bytes | None
    seconds: float
    why: str = ""
    marks: tuple[Mark, ...] = ()

    @property
    def is_unread(self) -> bool:
        """Whether it was held because nobody could read it."""
        return self.outcome is Outcome.HELD and "not-read" in self.why


def profile(found: str = "quarantine", lossy: str = "refuse") -> Profile:
    """Return Basic with Clean Pixel Data."""
    policy = PixelPolicy(found=Found(found), lossy=Lossy(lossy))
    return with_version(Profile("pixels", (Option.BASIC, Option.CLEAN_PIXEL_DATA), pixels=policy))


class Gateway:
    """Takes images through the pipeline, one after the other."""

    def __init__(
        self, using: Profile, workers: Children, readers: Children | None, rules: RuleSet | None
    ) -> None:
        self._rules = rules or load_rules()
        pixels = PixelParts(
            workers=workers,
            readers=readers,
            rules=self._rules_of,
            quarantine=None,
            scratch=_scratch,
            timeout_s=_TIMEOUT_S,
        )
        pseudonyms = Pseudonyms(bytes(range(32)), ORGANIZATION)
        self.context = Context(ORGANIZATION, using, pseudonyms, pixels=pixels)

    def told(self, using: Profile) -> "Gateway":
        """Return the same gateway with another profile."""
        other = copy(self)
        other.context = replace(self.context, profile=using)
        return other

    async def _rules_of(self, _organization: str) -> RuleSet:
        return self._rules

    def take(self, images: Sequence[bytes]) -> Iterator[Result]:
        """Take instances and tell what became of each, in their order."""
        for data in images:
            yield asyncio.run(self.taken(data))

    async def taken(self, data: bytes) -> Result:
        """Take one instance."""
        started = time.perf_counter()
        try:
            done = await deidentified(MemorySource(data), self.context)
            result = b"".join(done.chunks())
        except PixelsNeedReview as error:
            return Result(Outcome.HELD, None, time.perf_counter() - started, _said(error))
        except GatewayError as error:
            return Result(Outcome.REFUSED, None, time.perf_counter() - started, _said(error))
        seconds = time.perf_counter() - started
        return _delivered(done, result, seconds)


def _delivered(done: Deidentified, data: bytes, seconds: float) -> Result:
    work = done.work
    decision = work.decision if work is not None else None
    if work is None or decision is None:
        return Result(Outcome.PASSED, data, seconds)
    outcome = Outcome.MASKED if work.masked is not None else Outcome.PASSED
    why = " ".join(reason.code for reason in decision.reasons)
    return Result(outcome, data, seconds, why, decision.marks)


def _said(error: GatewayError) -> str:
    return " ".join(filter(None, (error.code, getattr(error, "reason", ""), str(error.detail))))


def _scratch(_size: int) -> int:
    return os.memfd_create("frames", os.MFD_CLOEXEC)


@contextmanager
def gateway(using: Profile, *, readers: int = 1, rules: RuleSet | None = None) -> Iterator[Gateway]:
    """Start the child processes of a gateway and end them.

    Args:
        using: the profile.
        readers: how many processes read; 0 where the rung that reads is missing.
        rules: mask rules; those of the program by default.
    """
    with Children(size=1) as workers:
        if not readers:
            yield Gateway(using, workers, None, rules)
            return
        with Children(size=readers, memory_bytes=OCR_MEMORY) as reading:
            yield Gateway(using, workers, reading, rules)

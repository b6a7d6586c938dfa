"""One instance explained: its plan, carried out, beside what came out of it. Stores nothing.

The instance goes through the very steps of ``deidentify``; the result is read again like any other
object, and what stands in it is what is told.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from app import __version__
from app.audit.events import SUCCESS, Action, AuditEvent
from app.deid.deciding import Effect
from app.deid.explaining import Explainer, Line, Result
from app.deid.explaining_kinds import (
    NOTHING,
    UNCHANGED,
    is_same,
    is_shown,
    judged_vr,
    kind_made,
    kind_of,
    shown,
)
from app.deid.explaining_rules import Rule, RuleKind
from app.deid.explaining_walk import Part
from app.deid.options import Option, title
from app.deid.profile import Profile
from app.deid.standard import Action as Letter
from app.deid.standard import dictionary_vr, keyword
from app.dicom import part10
from app.dicom.elements import key_tag, key_vr, tag_text
from app.dicom.source import Source
from app.dicom.tokens import Limits, Tokens
from app.errors import GatewayError
from app.pipeline import Actor, deidentified
from app.pipeline.output import ResultSource
from app.pipeline.results import Context, Deidentified

if TYPE_CHECKING:
    from app.vault.service import Vault

Answer = TypeVar("Answer")

# Parts of a file in their order.
_PREAMBLE, _META, _ROOT, _PIXELS, _TAIL, _TRAILING = range(6)
_PREAMBLE_BYTES: Final = 128
_MEDIA_STORAGE_INSTANCE: Final = 0x00020003
_ANEW: Final = Rule(
    RuleKind.WRITTEN, "written anew: PS3.10, 7.1, preamble and File Meta Information"
)
_TRAILING_RULE: Final = Rule(
    RuleKind.STRUCTURE, "no element: what stands behind the data set is left out"
)
_PIXEL_RULE: Final = Rule(RuleKind.VR, "not in Table E.1-1: pixel values are passed on")
_FRAME_RULE: Final = Rule(RuleKind.WRITTEN, "written anew: frames without what hides in them")
_EVEN_RULE: Final = Rule(RuleKind.WRITTEN, "written anew: of even length")
# Warning about the pixels → why their value is not what it was.
_PIXEL_CHANGES: Final = {
    "embedded-overlay-removed": Rule(
        RuleKind.WRITTEN, "written anew: without overlays in bits beside the pixel values"
    ),
    "frame-metadata-removed": _FRAME_RULE,
    "pixel-surplus-removed": Rule(
        RuleKind.WRITTEN, "written anew: without what stood behind the last pixel"
    ),
}


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """What became of one instance.

    Attributes:
        done: the result that is explained; its originals are told to nobody.
    """

    done: Deidentified
    _before: Tokens
    _after: Tokens
    _source: Source
    _result: ResultSource

    @property
    def profile(self) -> Profile:
        """The profile that it was de-identified by."""
        return self.done.plan.profile

    def head(self) -> dict[str, Any]:
        """Return what is said of the instance as a whole."""
        profile = self.profile
        head: dict[str, Any] = {
            "gateway": __version__,
            "profile": profile.name,
            "profile_version": profile.version,
            "options": list(profile.options),
            "method_codes": [
                {"value": value, "scheme": "DCM", "meaning": meaning}
                for value, meaning in self.done.codes
            ],
            "sop_class_uid": self.done.sop_class_uid,
            "warnings": [str(warning) for warning in self.done.warnings],
        }
        if self.done.work is not None and (pixels := self.done.work.record()):
            head["pixels"] = pixels
        return head

    def lines(self, *, values: bool = False) -> Iterator[Line]:
        """Yield a line for each part of the object, in its order.

        Args:
            values: whether lines hold values; no pseudonym is among them.
        """
        after = self._after
        tail = Part(after.tail_buffer, after.tail) if after.tail is not None else None
        root = Part(after.buffer, after.root)
        explainer = Explainer(self.done.plan, root, tail, values=values)
        yield self._preamble()
        yield from self._meta(values=values)
        yield from explainer.root(_ROOT)
        yield from self._pixels()
        yield from explainer.tail(_TAIL)
        if "trailing-bytes-removed" in self._before.anomalies:
            yield _part((_TRAILING,), "trailing bytes", Result.REMOVED, _TRAILING_RULE, "bytes")

    def _preamble(self) -> Line:
        if "preamble-missing" in self._before.anomalies:
            return _part((_PREAMBLE,), "preamble", Result.INSERTED, _ANEW, NOTHING, "zeros")
        if any(self._source.read(0, _PREAMBLE_BYTES)):
            return _part((_PREAMBLE,), "preamble", Result.CHANGED, _ANEW, "128 bytes", "zeros")
        return _part((_PREAMBLE,), "preamble", Result.KEPT, _ANEW, "zeros", UNCHANGED)

    def _meta(self, *, values: bool) -> Iterator[Line]:
        """Yield a line per element of the File Meta Information."""
        before, after = self._before.meta, self._after.meta
        for tag in sorted(before.keys() | after.keys()):
            yield _meta_line(tag, before.get(tag), after.get(tag), values=values)

    def _pixels(self) -> Iterator[Line]:
        """Yield a line for the pixel value, and one for what was taken out of its frames."""
        before, after = self._before.pixels, self._after.pixels
        if before is None or after is None:
            return
        tag, vr = key_tag(before.key), key_vr(before.key >> 32)
        is_passed = self._result.passes(before.value, before.stop)
        is_kept = is_passed and before.length == after.length
        rule = self._pixel_rule(is_kept=is_kept)
        sizes = before.stop - before.value, after.stop - after.value
        old, new = (f"{vr}({size} bytes)" for size in sizes)
        yield Line(
            order=(_PIXELS, 0),
            path=tag_text(tag),
            keyword=keyword(tag),
            creator="",
            vr=vr,
            effect=Effect.KEEP if is_kept else Effect.CLEAN,
            action=Letter.KEEP if is_kept else Letter.CLEAN,
            result=Result.KEPT if is_kept else Result.CHANGED,
            rule=rule,
            old=old,
            new=UNCHANGED if is_kept else new,
        )
        if rule is _FRAME_RULE:
            name = f"{tag_text(tag)} metadata inside frames"
            yield _part((_PIXELS, 1), name, Result.REMOVED, rule, "segments")

    def _pixel_rule(self, *, is_kept: bool) -> Rule:
        """Return why the pixel value is as it is."""
        work = self.done.work
        if work is not None and work.decision is not None:
            rungs = dict.fromkeys(reason.rung.value for reason in work.decision.reasons)
            said = f"{title(Option.CLEAN_PIXEL_DATA)}: {work.decision.verdict}"
            if not is_kept and work.masked is None:
                said += ", written anew without what hides beside pixels"
            return Rule(RuleKind.PIXELS, f"{said}, by {', '.join(rungs) or 'risk'}")
        if is_kept:
            return _PIXEL_RULE
        codes = [warning.code for warning in self.done.warnings]
        return next((_PIXEL_CHANGES[code] for code in codes if code in _PIXEL_CHANGES), _EVEN_RULE)


def explained(source: Source, context: Context, done: Deidentified) -> Explanation:
    """Explain a result that ``deidentify`` gave.

    Args:
        source: the original, still open.
        context: what it was de-identified with.
        done: the result.
    """
    limits = context.limits
    result = done.as_source()
    return Explanation(
        done=done,
        _before=part10.read(source, limits),
        _after=part10.read(result, _wider(limits)),
        _source=source,
        _result=result,
    )


Explanations = tuple[Explanation, ...]


class Offload(Protocol):
    """Runs work elsewhere, such as in a thread."""

    def __call__(self, work: Callable[[], Answer], /) -> Awaitable[Answer]:
        """Return what comes out."""


async def run(
    source: Source,
    contexts: Sequence[Context],
    *,
    vault: "Vault",
    actor: Actor,
    offload: Offload,
    with_values: bool = False,
) -> Explanations:
    """Explain what each of some profiles does to one instance, and record that it was asked.

    No mapping is made: no pseudonym is told, and nothing of the result leaves.

    Args:
        source: the instance; must stay open.
        contexts: one or two, of one organisation.
        vault: where the audit row goes.
        actor: who asks.
        offload: runs the work in a thread.
        with_values: whether the caller is going to be told values.

    Raises:
        GatewayError: as ``deidentify``; audited.
    """
    event = _event(contexts, actor, with_values=with_values)
    try:
        found = tuple([await _explained(source, context, offload) for context in contexts])
    except GatewayError as error:
        path = {"path": error.path} if error.path else {}
        detail = {**event.detail, **path}
        await vault.audit(replace(event, outcome=error.code, detail=detail))
        raise
    await vault.audit(event)
    return found


async def _explained(source: Source, context: Context, offload: Offload) -> Explanation:
    done = await deidentified(source, context, offload=offload)
    return await offload(lambda: explained(source, context, done))


def _event(contexts: Sequence[Context], actor: Actor, *, with_values: bool) -> AuditEvent:
    profile = contexts[0].profile
    detail: dict[str, str | int] = {"values": "shown"} if with_values else {}
    for context in contexts[1:]:
        detail["compared-with"] = f"{context.profile.name} {context.profile.version}"
    return AuditEvent(
        action=Action.EXPLAIN,
        outcome=SUCCESS,
        organization=contexts[0].organization,
        actor=actor.name,
        api_key_id=actor.api_key_id,
        profile=profile.name,
        profile_version=profile.version,
        request_id=actor.request_id,
        detail=detail,
    )


def differences(
    left: Iterator[Line], right: Iterator[Line]
) -> Iterator[tuple[Line | None, Line | None]]:
    """Yield what two profiles do differently to one instance; None where one has no such line.

    Both iterators are in the order of the instance, so that neither is held.
    """
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one.order < two.order):
            yield one, None
            one = next(left, None)
        elif one is None or two.order < one.order:
            yield None, two
            two = next(right, None)
        else:
            if one.differs(two):
                yield one, two
            one, two = next(left, None), next(right, None)


def _wider(limits: Limits) -> Limits:
    """Return bounds for a result: what took all that its bounds allow may have grown."""
    return replace(
        limits,
        max_header_bytes=2 * limits.max_header_bytes + (1 << 20),
        max_elements=2 * limits.max_elements + 1000,
    )


def _meta_line(tag: int, before: bytes | None, after: bytes | None, *, values: bool) -> Line:
    vr = dictionary_vr(tag) or "UN"
    result = _result(vr, before, after)
    effect, action = _META_EFFECTS[result]
    if result is Result.CHANGED and tag == _MEDIA_STORAGE_INSTANCE:
        effect, action = Effect.MAP_UID, Letter.MAP_UID
    new = NOTHING if after is None else kind_made(effect, kind_of(vr, after, b""))
    is_told = values and (result is Result.KEPT or is_shown(effect, "")) and after is not None
    return Line(
        order=(_META, tag),
        path=tag_text(tag),
        keyword=keyword(tag),
        creator="",
        vr=judged_vr(tag, vr),
        effect=effect,
        action=action,
        result=result,
        rule=_ANEW,
        old=NOTHING if before is None else kind_of(vr, before, b""),
        new=UNCHANGED if result is Result.KEPT else new,
        old_value=shown(vr, before, b"") if values and before is not None else None,
        new_value=shown(vr, after, b"") if is_told and after is not None else None,
        fingerprint=hash(after),
    )


_META_EFFECTS: Final = {
    Result.KEPT: (Effect.KEEP, Letter.KEEP),
    Result.CHANGED: (Effect.MARKER, Letter.DUMMY),
    Result.INSERTED: (Effect.MARKER, Letter.DUMMY),
    Result.REMOVED: (Effect.REMOVE, Letter.REMOVE),
}


def _result(vr: str, before: bytes | None, after: bytes | None) -> Result:
    if after is None:
        return Result.REMOVED
    if before is None:
        return Result.INSERTED
    return Result.KEPT if is_same(vr, before, after) else Result.CHANGED


def _part(
    order: tuple[int, ...], name: str, result: Result, rule: Rule, old: str, new: str = NOTHING
) -> Line:
    """Return the line of a part that is no element."""
    effect, action = _META_EFFECTS[result]
    return Line(
        order=order,
        path=name,
        keyword="",
        creator="",
        vr="",
        effect=effect,
        action=action,
        result=result,
        rule=rule,
        old=old,
        new=new,
    )

"""What happens to each element, and why: spans and a profile make a plan.

The plan of a data set is compiled once per *shape* (the sequence of its keys) and met again for
every instance of a series and every item of a sequence.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.deid.allowing import is_local_code
from app.deid.attributes import MANUFACTURER
from app.deid.compiling import Compiler
from app.deid.deciding import Decision, Effect, Where, decide
from app.deid.instructions import ShapePlan
from app.deid.overlays import staying
from app.deid.overrides import Override
from app.deid.private import NO_VIEW, Creators, View, creators_of, verdicts
from app.deid.profile_model import Profile, Unlisted
from app.deid.rulebook import Rulebook, rulebook_of
from app.deid.standard import Action, dictionary_vr, keyword
from app.deid.structured import CONTENT_SEQUENCES, ContentRule, rule_of
from app.dicom.elements import CHARSET_VRS, key_tag, key_vr, path_text, tag_text
from app.dicom.tokens import Dataset


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan: an element, what happens to it, and why."""

    path: str
    tag: int
    keyword: str
    vr: str
    effect: Effect
    action: Action
    because: str

    def as_dict(self) -> dict[str, str]:
        """Return the step for a report."""
        return {
            "path": self.path,
            "keyword": self.keyword,
            "vr": self.vr,
            "effect": self.effect,
            "action": self.action,
            "because": self.because,
        }


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that the receiver should know: a code and a place, never a value."""

    code: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.path}".rstrip()


_PRIVATE = 0x10000
_KEPT = frozenset({Effect.KEEP, Effect.CLEAN})


def _is_plainly_private(tag: int) -> bool:
    """Say whether a tag is judged as all private elements are: no group length, no overlay."""
    return bool(tag & 0x10000 and tag & 0xFFFF) and not 0x60000000 <= tag <= 0x601EFFFF


class Place:
    """One place where data sets stand: the root, or the items of the sequences along a path.

    Holds what was decided there, so that nothing is decided twice.
    """

    __slots__ = (
        "_children",
        "_decisions",
        "_held_keys",
        "_shapes",
        "is_content",
        "profile",
        "rules",
        "where",
    )

    _MAX_SHAPES = 2048
    _MAX_KEYS = 100_000

    def __init__(self, profile: Profile, where: Where, rules: Rulebook) -> None:
        self.profile = profile
        self.rules = rules
        self.where = where
        self.is_content = bool(where.path) and where.path[-1] in CONTENT_SEQUENCES
        self._children: dict[tuple[int, bool], Place] = {}
        self._decisions: dict[tuple[int, str], Decision] = {}
        self._shapes: dict[tuple[object, ...], ShapePlan] = {}
        self._held_keys = 0

    def child(self, tag: int, *, removed: bool) -> "Place":
        """Return the place inside the items of a sequence here.

        Args:
            tag: the sequence.
            removed: whether it goes, with its items.
        """
        key = (tag, removed or self.where.removed)
        place = self._children.get(key)
        if place is None:
            if len(self._children) >= self._MAX_SHAPES:
                self._children.clear()
            inside = Where(self.where.ciod, (*self.where.path, tag), removed=key[1])
            place = self._children[key] = Place(self.profile, inside, self.rules)
        return place

    def plan_of(self, dataset: Dataset, view: View = NO_VIEW) -> ShapePlan:
        """Return the compiled plan for a data set at this place.

        Args:
            dataset: its keys are the shape that the plan is compiled for.
            view: the instance, for rules that keep private elements: creators are values.
        """
        safe = self.rules.safe_private
        shape: tuple[object, ...] = (dataset.explicit, *dataset.keys)
        creators: Creators = ()
        if safe is not None and not self.where.removed:
            creators = creators_of(dataset, view)
            shape += (creators, *sorted(view.declared.items()))
        kept_overlays = self._overlays(dataset, view)
        shape += (kept_overlays,) if kept_overlays else ()
        content: ContentRule | None = None
        if self.rules.cleans_content and self.is_content and not self.where.removed:
            content = rule_of(dataset, view, self.rules.options)
            shape += (content,)
        is_local = self.rules.has_allow_list and is_local_code(dataset, view)
        if is_local:
            shape += ("local code",)
        plan = self._shapes.get(shape)
        if plan is None:
            self._held_keys += len(shape)
            if len(self._shapes) >= self._MAX_SHAPES or self._held_keys > self._MAX_KEYS:
                self._shapes.clear()
                self._held_keys = len(shape)
            private = verdicts(dataset.keys, creators, safe, view.declared) if safe else {}
            compiler = Compiler(self, dataset, private, frozenset(kept_overlays), content)
            if is_local:
                compiler.replace_local_code()
            plan = self._shapes[shape] = compiler.compiled()
        return plan

    def _overlays(self, dataset: Dataset, view: View) -> tuple[int, ...]:
        """Return the groups of overlays that stay; those inside of a sequence nobody looks into."""
        if not self.rules.keeps_overlays or self.where.removed:
            return ()
        if self.rules.cleans_pixels and (self.where.path or view.looked_at is None):
            return ()
        return staying(dataset, view)

    def decide(self, tag: int, vr: str) -> Decision:
        """Return the decision for an element at this place."""
        key = (_PRIVATE if _is_plainly_private(tag) and not self.where.tail else tag, vr)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) >= self._MAX_SHAPES:
                self._decisions.clear()
            decision = self._decisions[key] = decide(tag, vr, self.where, self.rules)
        return decision


@lru_cache(maxsize=512)
def place_for(
    profile: Profile,
    ciod: str | None,
    *,
    tail: bool = False,
    overrides: tuple[Override, ...] = (),
    written: frozenset[int] = frozenset(),
) -> Place:
    """Return the root place for a profile and an IOD.

    Args:
        profile: what is asked for.
        ciod: None where the IOD is not known.
        tail: whether it is the place of what stands behind Pixel Data, where nothing is inserted.
        overrides: those of the profile whose conditions hold.
        written: tags at the root that the gateway states itself, of this object's pixels.
    """
    rules = rulebook_of(
        profile.options,
        profile.safe_private,
        overrides,
        profile.vocabulary,
        has_allow_list=profile.unlisted is Unlisted.REMOVE,
        written=written,
    )
    return Place(profile, Where(ciod, tail=tail), rules)


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The frozen plan of one SOP Instance; explains itself without any value.

    Attributes:
        profile: what was asked for.
        ciod: the IOD whose Types decided compound codes, if it is known.
        root, tail: the spans that were planned.
        warnings: what the receiver should know.
        view, tail_view: the instance as rules about private elements saw it.
    """

    profile: Profile
    ciod: str | None
    root: Dataset
    tail: Dataset | None
    place: Place
    warnings: tuple[Remark, ...]
    view: View = NO_VIEW
    tail_view: View = NO_VIEW
    tail_place: Place | None = None

    def steps(self) -> Iterator[Step]:
        """Yield one step per element, depth first, in stream order; then what is inserted."""
        yield from _steps(self.place, self.root, (), self.view)
        if self.tail is not None:
            yield from _steps(self.tail_place or self.place, self.tail, (), self.tail_view)
        present = set(map(key_tag, self.root.keys))
        for tag in sorted(self.place.rules.inserted - present):
            vr = dictionary_vr(tag) or "LO"
            decision = self.place.decide(tag, vr)
            if tag == MANUFACTURER:
                decision = Decision(Effect.DUMMY, Action.DUMMY, "Type 2 beside Institution Name")
            because = f"{decision.because}; inserted"
            yield Step(
                tag_text(tag), tag, keyword(tag), vr, decision.effect, decision.action, because
            )

    def report(self) -> dict[str, Any]:
        """Return the plan as JSON-able data."""
        steps = [step.as_dict() for step in self.steps()]
        return {
            "profile": self.profile.name,
            "profile_version": self.profile.version,
            "iod": self.ciod,
            "counts": dict(Counter(step["effect"] for step in steps)),
            "warnings": [str(warning) for warning in self.warnings],
            "steps": steps,
        }


def _steps(
    place: Place, dataset: Dataset, path: tuple[tuple[int, int], ...], view: View
) -> Iterator[Step]:
    plan = place.plan_of(dataset, view)
    for index, (key, decision) in enumerate(zip(dataset.keys, plan.decisions, strict=True)):
        tag = key_tag(key)
        yield Step(
            path=path_text(path, tag),
            tag=tag,
            keyword=keyword(tag),
            vr=key_vr(key >> 32),
            effect=decision.effect,
            action=decision.action,
            because=decision.because,
        )
        items = dataset.sequences.get(index)
        if items is not None:
            child = place.child(tag, removed=decision.effect is not Effect.ENTER)
            for number, item in enumerate(items.datasets):
                yield from _steps(child, item, (*path, (tag, number)), view)


def kept_text(view: View, dataset: Dataset, place: Place) -> Iterator[bytes]:
    """Yield the text values that a plan keeps, at any depth, as bytes."""
    plan = place.plan_of(dataset, view)
    for index, (key, decision) in enumerate(zip(dataset.keys, plan.decisions, strict=True)):
        if decision.effect in _KEPT and key_vr(key >> 32) in CHARSET_VRS:
            start, stop = dataset.value_span(index)
            yield view.buffer[start:stop]
        elif decision.effect is Effect.ENTER and index in dataset.sequences:
            child = place.child(key_tag(key), removed=False)
            for item in dataset.sequences[index].datasets:
                yield from kept_text(view, item, child)

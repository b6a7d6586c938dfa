"""Mask rules: signatures of images and the rectangles in which such devices write. Pure.

All rules that match count: their rectangles are joined, because each says where text may be and
none says where it cannot be. A rule takes another one back only by naming it in ``replaces``.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

from app.errors import InvalidRules
from app.pixels.conditions import All, Condition, Test, modalities_of
from app.pixels.model import Box, Mark, Picture, Rung
from app.pixels.rectangles import Rectangle, of_box
from app.pixels.signatures import View, values_of

#: Version of the format of rules files.
FORMAT: Final = 1
# What tells one device's screens from another's; a remembered rule asks for all of them.
_SIGNATURE: Final = (
    *("sop_class", "modality", "manufacturer", "model", "software"),
    *("rows", "columns", "photometric"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One mask rule.

    Attributes:
        id: unique within a set; kebab case.
        match: which images it is for.
        mask: what is overwritten in them.
        complete: whether the rectangles hold all text that the device ever writes. Only who has
            seen all screens of a device can say so; then an image needs no reading to pass.
        replaces: ids of rules that do not count where this one matches.
        source, comment: for people.
    """

    id: str
    match: Condition
    mask: tuple[Rectangle, ...]
    complete: bool = False
    replaces: tuple[str, ...] = ()
    source: str = ""
    comment: str = ""

    def content(self) -> dict[str, Any]:
        """Return the rule as it is written in a file."""
        written: dict[str, Any] = {"id": self.id, "match": self.match.content()}
        written["mask"] = [rectangle.content() for rectangle in self.mask]
        if self.complete:
            written["complete"] = True
        if self.replaces:
            written["replaces"] = list(self.replaces)
        texts = {"source": self.source, "comment": self.comment}
        return written | {name: text for name, text in texts.items() if text}


class Masked(NamedTuple):
    """What rules say of one image.

    Attributes:
        complete: whether one of them covers all text of the device.
        rules: ids of those that matched, in the order of the set.
        misfits: ids of those with a rectangle outside of the image: the screen is another one.
    """

    marks: tuple[Mark, ...]
    complete: bool
    rules: tuple[str, ...]
    misfits: tuple[str, ...] = ()


NOTHING: Final = Masked((), False, ())


@dataclass(frozen=True)
class RuleSet:
    """Rules that work together.

    Raises:
        InvalidRules: two have one id, or one replaces what is not there.
    """

    rules: tuple[Rule, ...] = ()
    _by_modality: dict[str, tuple[Rule, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        ids = [rule.id for rule in self.rules]
        if doubled := sorted({one for one in ids if ids.count(one) > 1}):
            raise InvalidRules(f"The id {doubled[0]} is that of two rules")
        for rule in self.rules:
            if missing := sorted(set(rule.replaces) - (set(ids) - {rule.id})):
                raise InvalidRules(f"The rule {rule.id} replaces {missing[0]}, which is not there")

    @cached_property
    def version(self) -> str:
        """Twelve hexadecimal digits of all that the rules say; comments are no part of it."""
        bare = [replace(rule, source="", comment="").content() for rule in self.rules]
        text = json.dumps(sorted(bare, key=lambda rule: rule["id"]), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def adding(self, rules: Iterable[Rule]) -> "RuleSet":
        """Return a set with more rules, such as the remembered ones of an organisation."""
        more = tuple(rules)
        return RuleSet((*self.rules, *more)) if more else self

    def for_modality(self, modality: str) -> tuple[Rule, ...]:
        """Return the rules that can match images of a modality."""
        wanted = modality.upper()
        found = self._by_modality.get(wanted)
        if found is None:
            pairs = ((rule, modalities_of(rule.match)) for rule in self.rules)
            found = tuple(rule for rule, only in pairs if only is None or wanted in only)
            if len(self._by_modality) < _MAX_MODALITIES:  # an object can claim any modality
                self._by_modality[wanted] = found
        return found


_MAX_MODALITIES: Final = 256
NO_RULES: Final = RuleSet()


def marks_for(picture: Picture, rules: RuleSet) -> Masked:
    """Return what the rules that match an image mask in it."""
    view = View(picture)
    matching = [rule for rule in rules.for_modality(picture.modality) if rule.match.holds(view)]
    if not matching:
        return NOTHING
    replaced = {one for rule in matching for one in rule.replaces}
    matching = [rule for rule in matching if rule.id not in replaced]
    marks: dict[Box, Mark] = {}
    misfits = []
    for rule in matching:
        boxes = [one.box(picture.columns, picture.rows) for one in rule.mask]
        if not all(box.area for box in boxes):
            misfits.append(rule.id)
        for box in boxes:
            if box.area:
                marks.setdefault(box, Mark(box, Rung.MASK_RULE, rule.id))
    return Masked(
        marks=tuple(marks.values()),
        complete=any(rule.complete and rule.id not in misfits for rule in matching),
        rules=tuple(rule.id for rule in matching),
        misfits=tuple(misfits),
    )


def remembered_rule(
    picture: Picture, boxes: Sequence[Box], *, rule_id: str, source: str = ""
) -> Rule:
    """Return a rule that masks the same rectangles in every image with the same signature.

    It is never complete: what is outside of its rectangles is still read.

    Raises:
        InvalidRules: the image does not say what device made it, or nothing is to be masked.
    """
    if not picture.manufacturer or not picture.model:
        raise InvalidRules("The image names no manufacturer and model; a rule would fit any device")
    inside = [box.clipped(picture.columns, picture.rows) for box in boxes]
    rectangles = tuple(of_box(box) for box in dict.fromkeys(inside) if box.area)
    if not rectangles:
        raise InvalidRules("There is nothing to mask")
    tests = tuple(_same(picture, name) for name in _SIGNATURE)
    return Rule(id=rule_id, match=All(tests), mask=rectangles, source=source)


def _same(picture: Picture, name: str) -> Test:
    return Test(name, "equals", ("\\".join(values_of(picture, name)),))

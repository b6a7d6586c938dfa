"""What a mask rule asks of an image: tests of attributes, joined by all, any and not. Pure."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from app.pixels.signatures import MAX_VALUE, NUMBERS, View

TEXT_TESTS: Final = ("equals", "contains", "starts_with", "ends_with", "matches")
NUMBER_TESTS: Final = ("min", "max")
_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "equals": operator.eq,
    "contains": operator.contains,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


class Condition(Protocol):
    """Something that holds for an image or does not."""

    def holds(self, view: View) -> bool:
        """Say whether it does."""

    def content(self) -> dict[str, Any]:
        """Return it as it is written in a rules file."""


@dataclass(frozen=True, slots=True)
class Test:
    """A test of one attribute; it holds if any of its values passes.

    Several values are also tested joined by a backslash, as they are written. An absent attribute
    has one value, the empty one.

    Attributes:
        kind: one of ``TEXT_TESTS`` and ``NUMBER_TESTS``.
        wanted: texts of which one has to fit; for numbers and patterns there is one.
        exact_case: whether "a" differs from "A"; never with numbers.
        joined: whether several values are only tested as one text.
    """

    __test__ = False  # pytest: this is none of its own

    name: str
    kind: str
    wanted: tuple[str, ...]
    exact_case: bool = False
    joined: bool = False
    _folded: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _wanted: frozenset[str] = field(init=False, repr=False, compare=False)
    _pattern: "re.Pattern[str] | None" = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        folded = self.wanted if self.exact_case else tuple(map(str.casefold, self.wanted))
        object.__setattr__(self, "_folded", folded)
        object.__setattr__(self, "_wanted", frozenset(folded))
        if self.kind == "matches":
            flags = re.ASCII if self.exact_case else re.ASCII | re.IGNORECASE
            pattern: re.Pattern[str] = re.compile(self.wanted[0], flags)
            object.__setattr__(self, "_pattern", pattern)

    def holds(self, view: View) -> bool:
        values = view.values(self.name) if self._is_exact() else view.folded(self.name)
        if self.joined:
            values = values[-1:]
        if self.kind == "equals":
            return not self._wanted.isdisjoint(values)
        return any(self._passes(value) for value in values)

    def _is_exact(self) -> bool:
        return self.exact_case or self._pattern is not None

    def _passes(self, value: str) -> bool:
        if self._pattern is not None:
            return len(value) <= MAX_VALUE and self._pattern.fullmatch(value) is not None
        if self.kind in NUMBER_TESTS:
            return self._compares(value)
        test = _TESTS[self.kind]
        return any(test(value, wanted) for wanted in self._folded)

    def _compares(self, value: str) -> bool:
        try:
            found, bound = float(value), float(self.wanted[0])
        except ValueError:
            return False
        return found >= bound if self.kind == "min" else found <= bound

    def content(self) -> dict[str, Any]:
        wanted: Any = [_written(self.name, one) for one in self.wanted]
        if len(wanted) == 1:
            wanted = wanted[0]
        if self.kind in NUMBER_TESTS:
            number = float(self.wanted[0])
            wanted = int(number) if number.is_integer() else number
        flags = {"exact_case": self.exact_case, "joined": self.joined}
        raised = {name: True for name, is_up in flags.items() if is_up}
        if self.kind == "equals" and not raised:
            return {self.name: wanted}
        return {self.name: {self.kind: wanted, **raised}}


def _written(name: str, value: str) -> str | int:
    return int(value) if name in NUMBERS and value.isdecimal() else value


@dataclass(frozen=True, slots=True)
class All:
    """Holds if all parts do; without parts it always holds."""

    parts: tuple[Condition, ...]

    def holds(self, view: View) -> bool:
        for part in self.parts:  # noqa: SIM110 - half the time of all()
            if not part.holds(view):
                return False
        return True

    def content(self) -> dict[str, Any]:
        written = [part.content() for part in self.parts]
        merged: dict[str, Any] = {}
        for one in written:
            if set(one) & set(merged):
                return {"all": written}
            merged |= one
        return merged


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds if one part does."""

    parts: tuple[Condition, ...]

    def holds(self, view: View) -> bool:
        return any(part.holds(view) for part in self.parts)

    def content(self) -> dict[str, Any]:
        return {"any": [part.content() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Not:
    """Holds if its part does not."""

    part: Condition

    def holds(self, view: View) -> bool:
        return not self.part.holds(view)

    def content(self) -> dict[str, Any]:
        return {"not": self.part.content()}


def modalities_of(condition: Condition) -> frozenset[str] | None:
    """Return the modalities outside of which a condition cannot hold; None for any."""
    parts: tuple[Condition, ...] = condition.parts if isinstance(condition, All) else (condition,)
    for part in parts:
        if isinstance(part, Test) and (part.name, part.kind) == ("modality", "equals"):
            return frozenset(one.upper() for one in part.wanted)
    return None


# How many choices go with none, one, two and three things that repeat without bound.
_MAX_CHOICES: Final = (5000, 5000, 2000, 20)


def is_pattern_safe(pattern: str) -> bool:
    """Say whether a pattern can be searched in any short text without running away.

    Groups are not repeated and at most three things repeat without bound; so the work stays below
    the third power of the text's length, which has at most ``MAX_VALUE`` characters. What may be
    left out and what has alternatives multiplies that, so both together are bounded.
    """
    if len(pattern) > MAX_VALUE or re.search(r"\)\s*[*+{]|\\[1-9]|\(\?[^:]", pattern):
        return False
    bare = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "c", pattern)
    repeated = len(re.findall(r"[*+]|\{\d*,\d*\}", bare))
    return repeated < len(_MAX_CHOICES) and _choices(bare) <= _MAX_CHOICES[repeated]


def _choices(bare: str) -> int:
    """Return in how many ways optional parts and alternatives go together."""
    found = 1 << len(re.findall(r"(?<![(*+}?])\?", bare))
    open_: list[int] = [1]
    for sign in bare:
        if sign == "(":
            open_.append(1)
        elif sign == "|":
            open_[-1] += 1
        elif sign == ")" and len(open_) > 1:
            found *= open_.pop()
    for alternatives in open_:
        found *= alternatives
    return found

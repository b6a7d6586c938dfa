"""Mask rules as YAML or JSON: reading with the place of every fault, and writing. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode

from app.errors import InvalidRules
from app.pixels.conditions import (
    NUMBER_TESTS,
    TEXT_TESTS,
    All,
    AnyOf,
    Condition,
    Not,
    Test,
    is_pattern_safe,
)
from app.pixels.rectangles import read_rectangle
from app.pixels.rules import FORMAT, Rule
from app.pixels.signatures import MAX_VALUE, NAMES

#: Longest text of one rules file.
MAX_CHARACTERS: Final = 2_000_000
MAX_RULES: Final = 10_000
_MAX_DEPTH: Final = 16
MAX_PARTS: Final = 1000
ID_PATTERN: Final = "[a-z0-9][a-z0-9._-]{0,63}"
_ID: Final = re.compile(ID_PATTERN)
_RULE_FIELDS: Final = ("id", "match", "mask", "complete", "replaces", "source", "comment")
#: What may stand beside the tests of a text.
FLAGS: Final = ("exact_case", "joined")
_JOINS: Final = ("all", "any", "not")


class _Loader(yaml.SafeLoader):
    """Refuses references to other places of the text, keys that stand twice, and deep nesting."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - the library's
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise InvalidRules(f"line {line}: rules have no anchors and aliases")
        self._depth += 1
        if self._depth > 2 * _MAX_DEPTH:
            raise InvalidRules(f"line {line}: this is nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key.value, str)]
        if len(keys) != len(node.value) or len(set(keys)) != len(keys):
            line = node.start_mark.line + 1
            raise InvalidRules(f"line {line}: a field stands twice, or its name is no text")
        return super().construct_mapping(node, deep)


def read_rules(text: str) -> tuple[Rule, ...]:
    """Read a rules file.

    Raises:
        InvalidRules: with the line or the place in the file, never with what stands there.
    """
    content = _data(text)
    if not isinstance(content, dict) or set(content) - {"format", "rules"}:
        raise InvalidRules("A rules file is a mapping with format and rules")
    if content.get("format") != FORMAT:
        raise InvalidRules(f"format is {FORMAT}")
    return tuple(
        read_rule(one, f"rules[{number}]") for number, one in enumerate(_list(content, "rules"))
    )


def write_rules(rules: Iterable[Rule]) -> str:
    """Return rules as the text of a file that ``read_rules`` reads."""
    content = {"format": FORMAT, "rules": [rule.content() for rule in rules]}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=96)


def _data(text: str) -> object:
    if len(text) > MAX_CHARACTERS:
        raise InvalidRules("The text is longer than any rules file")
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise InvalidRules(f"{where}this is neither YAML nor JSON") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise InvalidRules("The text is neither YAML nor JSON") from None
    finally:
        loader.dispose()


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    rules = content.get(name)
    if not isinstance(rules, list) or len(rules) > MAX_RULES:
        raise InvalidRules(f"{name} is a list of at most {MAX_RULES}")
    return rules


def read_rule(value: object, place: str = "rule") -> Rule:
    """Read one rule out of plain data.

    Raises:
        InvalidRules: with the place.
    """
    if not isinstance(value, Mapping):
        raise InvalidRules(f"{place} is a mapping")
    name = value.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise InvalidRules(f"{place}.id is 1 to 64 of a-z, 0-9, '-', '_' and '.'")
    place = f"{place} ({name})"
    if unknown := set(map(str, value)) - set(_RULE_FIELDS):
        known = ", ".join(_RULE_FIELDS)
        raise InvalidRules(f"{place} has {len(unknown)} unknown fields; known are {known}")
    mask = value.get("mask")
    if not isinstance(mask, list) or not 0 < len(mask) <= MAX_PARTS:
        raise InvalidRules(f"{place}.mask is a list of rectangles")
    return Rule(
        id=name,
        match=read_condition(value.get("match"), f"{place}.match"),
        mask=tuple(read_rectangle(one, f"{place}.mask[{n}]") for n, one in enumerate(mask)),
        complete=_flag(value.get("complete", False), f"{place}.complete"),
        replaces=_ids(value.get("replaces", []), f"{place}.replaces"),
        source=_text(value.get("source", ""), f"{place}.source"),
        comment=_text(value.get("comment", ""), f"{place}.comment"),
    )


def _flag(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRules(f"{place} is true or false")
    return value


def _ids(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_PARTS:
        raise InvalidRules(f"{place} is a list of ids")
    if not all(isinstance(one, str) and _ID.fullmatch(one) for one in value):
        raise InvalidRules(f"{place} is a list of ids")
    return tuple(value)


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise InvalidRules(f"{place} is a text of at most 1000 characters")
    return value


def read_condition(value: object, place: str, depth: int = 0) -> Condition:
    """Read what a rule asks for.

    Raises:
        InvalidRules: with the place.
    """
    if not isinstance(value, Mapping) or not value or depth > _MAX_DEPTH:
        raise InvalidRules(f"{place} is a mapping that asks for something")
    parts: list[Condition] = []
    for name, wanted in value.items():
        here = f"{place}.{name}" if name in _JOINS or name in NAMES else place
        if name in _JOINS:
            parts.append(_joined(name, wanted, here, depth))
        elif name in NAMES:
            parts.append(_tests(name, wanted, here))
        else:
            raise InvalidRules(f"{place} asks for what no rule can; known are {', '.join(NAMES)}")
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _joined(name: str, value: object, place: str, depth: int) -> Condition:
    if name == "not":
        return Not(read_condition(value, place, depth + 1))
    if not isinstance(value, list) or not 0 < len(value) <= MAX_PARTS:
        raise InvalidRules(f"{place} is a list of conditions")
    parts = tuple(
        read_condition(one, f"{place}[{number}]", depth + 1) for number, one in enumerate(value)
    )
    return All(parts) if name == "all" else AnyOf(parts)


def _tests(name: str, value: object, place: str) -> Condition:
    if not isinstance(value, Mapping):
        return Test(name, "equals", _wanted(value, place))
    tests = dict(value)
    flags = {flag: _flag(tests.pop(flag, False), f"{place}.{flag}") for flag in FLAGS}
    if not tests or set(tests) - {*TEXT_TESTS, *NUMBER_TESTS}:
        known = ", ".join((*TEXT_TESTS, *NUMBER_TESTS))
        raise InvalidRules(f"{place} has some of {known}, and perhaps {' and '.join(FLAGS)}")
    made = tuple(
        _READERS.get(kind, _text_test)(name, kind, wanted, f"{place}.{kind}", flags)
        for kind, wanted in tests.items()
    )
    return made[0] if len(made) == 1 else All(made)


_Flags = Mapping[str, bool]


def _text_test(name: str, kind: str, value: object, place: str, flags: _Flags) -> Test:
    return Test(name, kind, _wanted(value, place), **flags)


def _pattern_test(name: str, kind: str, value: object, place: str, flags: _Flags) -> Test:
    if not isinstance(value, str) or not is_pattern_safe(value):
        raise InvalidRules(
            f"{place} is a regular expression without repeated groups and back references, "
            "with at most three of '*', '+' and '{}', and few of '?' and '|'"
        )
    try:
        return Test(name, kind, (value,), **flags)
    except re.error:
        raise InvalidRules(f"{place} is no regular expression") from None


def _number_test(name: str, kind: str, value: object, place: str, flags: _Flags) -> Test:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or any(flags.values()) or not abs(float(str(value))) < 1e9:
        raise InvalidRules(f"{place} is a number, and stands without {' and '.join(FLAGS)}")
    return Test(name, kind, (str(value),))


_Reader = Callable[..., Test]
_READERS: Final[Mapping[str, _Reader]] = {
    "matches": _pattern_test,
    **dict.fromkeys(NUMBER_TESTS, _number_test),
}


def _wanted(value: object, place: str) -> tuple[str, ...]:
    """Return one text or several; numbers are taken as texts."""
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= MAX_PARTS:
        raise InvalidRules(f"{place} is a text or a list of texts")
    for one in values:
        if isinstance(one, bool):
            raise InvalidRules(f"{place} is a text: put YES and NO into quotes")
        if not isinstance(one, str | int) or len(str(one)) > MAX_VALUE:
            raise InvalidRules(f"{place} is a text or a list of texts")
    return tuple(map(str, values))

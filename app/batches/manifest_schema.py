"""The published schema of the manifest, as patterns over canonical JSON. Pure.

The schema is the one truth: what is written and what is read are both matched against patterns
that are made of it when this module is imported.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

SCHEMA_TEXT: Final = (
    resources.files("app.batches").joinpath("data/manifest-1.0.schema.json").read_text("utf-8")
)
SCHEMA: Final[Mapping[str, Any]] = json.loads(SCHEMA_TEXT)
VERSION: Final[str] = SCHEMA["properties"]["version"]["const"]

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""Write a value as RFC 8785 does, if its numbers are whole and its keys ASCII."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An object of which one member is a list that can be of any length.

    Attributes:
        list_key: that member.
        before: the other members that canonical JSON puts before it, but for the signature.
        after: those that it puts behind it.
        patterns: of the canonical text of every member but the list.
    """

    list_key: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    patterns: Mapping[str, re.Pattern[str]]


def _pattern(schema: Mapping[str, Any], *, is_named: bool = False) -> str:
    """Return the pattern of the canonical text of what the schema allows.

    Of JSON Schema only what the published schema uses is known; all else is a KeyError here.
    """
    if "$ref" in schema:
        return _pattern(_definition(schema["$ref"]))
    if "const" in schema:
        return re.escape(canonical(schema["const"]))
    if "enum" in schema:
        return f"(?:{'|'.join(re.escape(canonical(value)) for value in schema['enum'])})"
    if "anyOf" in schema:
        return f"(?:{'|'.join(map(_pattern, schema['anyOf']))})"
    return _PATTERNS[schema["type"]](schema, is_named=is_named)


def _text_pattern(schema: Mapping[str, Any], *, is_named: bool) -> str:
    del is_named
    body = schema["pattern"].removeprefix("^").removesuffix("$").replace("(", "(?:")
    bound = f'(?=[^"]{{0,{schema["maxLength"]}}}")' if "maxLength" in schema else ""
    return f'"{bound}{body}"'


def _number_pattern(schema: Mapping[str, Any], *, is_named: bool) -> str:
    del is_named
    digits = len(str(schema["maximum"]))
    if schema["minimum"] != 0 or schema["maximum"] != 10**digits - 1:
        raise KeyError("a number's bounds are 0 and all nines")
    return f"(?:0|[1-9][0-9]{{0,{digits - 1}}})"


def _object_pattern(schema: Mapping[str, Any], *, is_named: bool) -> str:
    members = []
    for key in sorted(schema["required"]):
        pattern = _pattern(schema["properties"][key])
        members.append(f'"{key}":(?P<{key}>{pattern})' if is_named else f'"{key}":{pattern}')
    return rf"\{{{','.join(members)}\}}"


_PATTERNS: Final = {
    "string": _text_pattern,
    "integer": _number_pattern,
    "object": _object_pattern,
}


def _definition(reference: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = SCHEMA["$defs"][reference.removeprefix("#/$defs/")]
    return found


def _shape(schema: Mapping[str, Any], list_key: str) -> Shape:
    keys = sorted(schema["required"])
    place = keys.index(list_key)
    others = keys[:place] + keys[place + 1 :]
    return Shape(
        list_key=list_key,
        before=tuple(key for key in keys[:place] if key != "signature"),
        after=tuple(keys[place + 1 :]),
        patterns={key: re.compile(_pattern(schema["properties"][key])) for key in others},
    )


MANIFEST: Final = _shape(SCHEMA, "studies")
STUDY: Final = _shape(SCHEMA["$defs"]["study"], "series")
SERIES: Final = _shape(SCHEMA["$defs"]["series"], "instances")
INSTANCE: Final = re.compile(_pattern(SCHEMA["$defs"]["instance"], is_named=True))
"""The canonical text of one instance; every member is a group of its name."""

"""The JSON Schema of rules files, made of the tables that reading them works with. Pure."""

from typing import Any, Final

from app.pixels.conditions import NUMBER_TESTS, TEXT_TESTS
from app.pixels.rectangles import MAX_PIXELS
from app.pixels.rules import FORMAT
from app.pixels.rules_text import FLAGS, ID_PATTERN, MAX_PARTS, MAX_RULES
from app.pixels.signatures import MAX_VALUE, NAMES

_TEXT: Final = {"type": "string", "maxLength": 1000}
_RULE: Final = {
    "type": "object",
    "required": ["id", "match", "mask"],
    "additionalProperties": False,
    "properties": {
        "id": {
            "$ref": "#/$defs/id",
            "description": "Unique among all rules that work together.",
        },
        "match": {
            "$ref": "#/$defs/condition",
            "description": "Which images the rule is for.",
        },
        "mask": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_PARTS,
            "items": {"$ref": "#/$defs/rectangle"},
            "description": "What is overwritten in them, in every frame.",
        },
        "complete": {
            "type": "boolean",
            "default": False,
            "description": "The rectangles hold all text that the device ever writes.",
        },
        "replaces": {
            "type": "array",
            "items": {"$ref": "#/$defs/id"},
            "description": "Rules that do not count where this one matches.",
        },
        "source": {**_TEXT, "description": "Who says so."},
        "comment": _TEXT,
    },
}


def rules_schema() -> dict[str, Any]:
    """Return the schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mask rules of deid-gateway",
        "description": "Where devices write into their images.",
        "type": "object",
        "required": ["format", "rules"],
        "additionalProperties": False,
        "properties": {
            "format": {"const": FORMAT},
            "rules": {"type": "array", "maxItems": MAX_RULES, "items": {"$ref": "#/$defs/rule"}},
        },
        "$defs": {
            "id": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
            "rule": _RULE,
            "condition": _condition(),
            "value": _value(),
            "test": _test(),
            "rectangle": _rectangle(),
            "length": _length(),
        },
    }


def _condition() -> dict[str, Any]:
    parts = {"type": "array", "minItems": 1, "maxItems": MAX_PARTS}
    parts["items"] = {"$ref": "#/$defs/condition"}
    one_or_test = {"anyOf": [{"$ref": "#/$defs/value"}, {"$ref": "#/$defs/test"}]}
    attributes = {
        name: {**one_or_test, "description": f"({tag >> 16:04X},{tag & 0xFFFF:04X})"}
        for name, tag in NAMES.items()
    }
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "description": "All of it has to hold.",
        "properties": {
            **attributes,
            "all": parts,
            "any": parts,
            "not": {"$ref": "#/$defs/condition"},
        },
    }


def _value() -> dict[str, Any]:
    one: list[dict[str, Any]] = [{"type": "string", "maxLength": MAX_VALUE}, {"type": "integer"}]
    several = {"type": "array", "minItems": 1, "maxItems": MAX_PARTS, "items": {"anyOf": one}}
    return {"anyOf": [*one, several]}


def _test() -> dict[str, Any]:
    tests: dict[str, Any] = {
        kind: {"$ref": "#/$defs/value"} for kind in TEXT_TESTS if kind != "matches"
    }
    tests["matches"] = {"type": "string", "maxLength": MAX_VALUE}
    tests |= {kind: {"type": "number"} for kind in NUMBER_TESTS}
    return {
        "type": "object",
        "additionalProperties": False,
        "anyOf": [{"required": [kind]} for kind in tests],
        "properties": {**tests, **{flag: {"type": "boolean"} for flag in FLAGS}},
    }


def _rectangle() -> dict[str, Any]:
    whole = {
        "type": "object",
        "required": ["whole"],
        "additionalProperties": False,
        "properties": {"whole": {"const": True}},
    }
    length = {"$ref": "#/$defs/length"}
    edges = ("left", "right", "width", "top", "bottom", "height")
    some = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": dict.fromkeys(edges, length),
        "not": {"anyOf": [{"required": list(edges[:3])}, {"required": list(edges[3:])}]},
    }
    return {"anyOf": [whole, some]}


def _length() -> dict[str, Any]:
    pixels = {"type": "integer", "minimum": 0, "maximum": MAX_PIXELS}
    percent = r"^(?:100(?:\.0{1,3})?|0*\d{1,2}(?:\.\d{1,3})?)%$"
    return {"anyOf": [pixels, {"type": "string", "maxLength": 8, "pattern": percent}]}

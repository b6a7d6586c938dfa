"""Named object stores: which organisation may use which, read from one YAML file.

The kinds of store and what can be set for each stand in ``store_kinds``. How a store is spoken to
is in ``clients``. Texts of errors name the field, never its content.
"""

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import ValidationError

from app import errors
from app.storage.store_kinds import KINDS, ObjectConfig, StoreConfig, Use

MODULES: Final[Mapping[str, tuple[str, str]]] = {
    "profile": ("boto3", "boto3"),
    "azure-identity": ("azure.identity", "azure-identity"),
    "google-auth": ("google.auth.transport.requests", "google-auth[requests]"),
}
"""What a value of ``credentials`` needs: module, and the package that brings it."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_KEY: Final = re.compile(r"[a-z_]{1,32}")
_READABLE_BY_OTHERS: Final = 0o007


# What a batch calls a destination that is no named store.
RESERVED_NAMES: Final = frozenset({"staging", "url"})


class Stores:
    """The stores of one file; none where there is no file."""

    __slots__ = ("_stores",)

    def __init__(self, stores: Mapping[str, StoreConfig]) -> None:
        self._stores = dict(stores)

    @classmethod
    def from_file(cls, path: Path | None) -> Self:
        """Read the file; without one there are no stores.

        Raises:
            Misconfigured: the file cannot be read, holds something unknown or wrong, or holds a
                secret that every user of the machine can read.
        """
        if path is None:
            return cls({})
        try:
            text, mode = path.read_text("utf-8"), path.stat().st_mode
        except (OSError, UnicodeDecodeError):
            raise errors.Misconfigured("The stores file cannot be read") from None
        stores = cls(_stores(text))
        holds_secrets = any(config.holds_secrets for config in stores._stores.values())
        if holds_secrets and mode & _READABLE_BY_OTHERS:
            raise errors.Misconfigured(
                "The stores file holds secrets and every user can read it; use mode 0600 or 0640"
            )
        return stores

    def destination(self, organization: str, name: str) -> StoreConfig:
        """Return a store that the organisation may publish to.

        Raises:
            DestinationNotFound: there is none by that name for it.
        """
        return self._find(organization, name, Use.DESTINATION)

    def source(self, organization: str, name: str) -> StoreConfig:
        """Return a store that the organisation may read from.

        Raises:
            DestinationNotFound: there is none by that name for it.
        """
        return self._find(organization, name, Use.SOURCE)

    def names(self, organization: str, use: Use = Use.DESTINATION) -> tuple[str, ...]:
        """Return the names that the organisation may use, in order."""
        found = [name for name, config in self._stores.items() if config.serves(organization, use)]
        return tuple(sorted(found))

    def _find(self, organization: str, name: str, use: Use) -> StoreConfig:
        config = self._stores.get(name)
        if config is None or not config.serves(organization, use):
            raise errors.DestinationNotFound
        return config


def store_config(fields: Mapping[str, Any]) -> StoreConfig:
    """Check the fields of one store.

    Raises:
        Misconfigured: with the fields that are wrong and why.
    """
    read = _read(fields)
    if isinstance(read, StoreConfig):
        return read
    raise errors.Misconfigured("; ".join(read))


def json_schema() -> dict[str, Any]:
    """Describe the stores file for editors and checkers."""
    definitions: dict[str, Any] = {}
    for kind in dict.fromkeys(KINDS.values()):
        schema = kind.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        definitions[kind.__name__] = schema
    kinds = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in dict.fromkeys(KINDS.values())]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Object stores of deid-gateway",
        "type": "object",
        "required": ["stores"],
        "additionalProperties": False,
        "properties": {
            "stores": {
                "type": "object",
                "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
                "additionalProperties": {"anyOf": kinds},
            }
        },
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Write the schema as ``docs/reference/stores.schema.json`` holds it."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if any(not isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
            raise yaml.YAMLError
        return super().construct_mapping(node, deep=deep)


def _stores(text: str) -> Mapping[str, StoreConfig]:
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        raise errors.Misconfigured(
            "The stores file is not valid YAML, or a key stands in it twice"
        ) from None
    if not isinstance(content, dict) or set(content) != {"stores"}:
        raise errors.Misconfigured("The stores file holds the key stores and nothing else")
    stores = content["stores"]
    if not isinstance(stores, dict):
        raise errors.Misconfigured("The stores file: stores is a mapping of names to stores")
    read = {name: _read_named(name, fields) for name, fields in stores.items()}
    complaints = [
        f"{name if _NAME.fullmatch(name) else f'store {number}'}: {text}"
        for number, (name, config) in enumerate(read.items(), 1)
        if not isinstance(config, StoreConfig)
        for text in config
    ]
    if complaints:
        raise errors.Misconfigured("The stores file: " + "; ".join(complaints))
    return {name: config for name, config in read.items() if isinstance(config, StoreConfig)}


def _read_named(name: str, fields: object) -> StoreConfig | list[str]:
    if not _NAME.fullmatch(name):
        return ["its name is 1 to 64 of a-z, 0-9, '.', '_' and '-'"]
    if name in RESERVED_NAMES:
        return ["this name stands for the staging area, or for a URL"]
    return _read(fields)


def _read(fields: object) -> StoreConfig | list[str]:
    """Return the store, or what is wrong with it."""
    if not isinstance(fields, Mapping) or not isinstance(fields.get("url"), str):
        return ["url is missing"]
    kind = KINDS.get(str(fields["url"]).partition("://")[0])
    if kind is None:
        return [f"url starts with one of {', '.join(f'{scheme}://' for scheme in KINDS)}"]
    try:
        config = kind.model_validate(fields)
    except ValidationError as error:
        return list(_complaints(error, kind))
    credentials = config.credentials if isinstance(config, ObjectConfig) else ""
    module, package = MODULES.get(credentials, ("", ""))
    if module and not _is_installed(module):
        return [f"credentials: {credentials} needs the package {package}"]
    return config


def _complaints(error: ValidationError, kind: type[StoreConfig]) -> Iterator[str]:
    """Say what is wrong where; what stands there is never repeated."""
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        parts = [str(part) for part in fault["loc"]]
        where = ".".join(part for part in parts if part in kind.known_fields())
        text = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":  # a name, unless it looks like a misplaced secret
            text = f"unknown key {parts[-1]}" if _KEY.fullmatch(parts[-1]) else "an unknown key"
        yield f"{where}: {text}" if where else text


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False

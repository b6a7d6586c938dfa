"""Lists that stand in one variable of the environment: where they are cut."""

from typing import Final

from pydantic import BeforeValidator


def _at_commas(value: object) -> object:
    return _parts(value, ",")


def _at_colons(value: object) -> object:
    return _parts(value, ":")


def _parts(value: object, separator: str) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value


AT_COMMAS: Final = BeforeValidator(_at_commas)
AT_COLONS: Final = BeforeValidator(_at_colons)

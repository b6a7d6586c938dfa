"""Mask rules from where they lie: those of the program and those of a site's directory."""

from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from app.errors import InvalidRules
from app.pixels.rules import Rule, RuleSet
from app.pixels.rules_text import MAX_CHARACTERS, read_rules

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


@cache
def built_in() -> tuple[Rule, ...]:
    """Return the rules that come with the program."""
    text = resources.files("app.pixels").joinpath("data/rules.yaml").read_text("utf-8")
    return read_rules(text)


def site_rules(directory: Path) -> tuple[Rule, ...]:
    """Return the rules of all files of a directory, in the order of their names.

    Raises:
        InvalidRules: naming the file and the place in it.
    """
    if not directory.is_dir():
        raise InvalidRules("The directory of mask rules is not there")
    files = sorted(path for path in directory.iterdir() if path.suffix.lower() in _SUFFIXES)
    return tuple(rule for path in files for rule in rules_of(path))


def rules_of(path: Path) -> tuple[Rule, ...]:
    """Return the rules of one file.

    Raises:
        InvalidRules: naming the file and the place in it.
    """
    if not path.is_file():  # a pipe would never end
        raise InvalidRules(f"{path.name}: this is no file")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError):
        raise InvalidRules(f"{path.name}: the file cannot be read") from None
    try:
        return read_rules(text)
    except InvalidRules as error:
        raise InvalidRules(f"{path.name}: {error.detail}") from None


def load_rules(directory: Path | None = None, remembered: Iterable[Rule] = ()) -> RuleSet:
    """Return the rules of the program, of a site and of its people as one set.

    Raises:
        InvalidRules: a file is not valid, two rules have one id, or one replaces what is not there.
    """
    site = site_rules(directory) if directory is not None else ()
    return RuleSet((*built_in(), *site, *remembered))

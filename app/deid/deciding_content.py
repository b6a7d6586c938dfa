"""The decision about the value of a content item, once its rule is known."""

from app.deid.deciding import Decision, Effect
from app.deid.options import Option
from app.deid.rulebook import Rulebook
from app.deid.standard import Action
from app.deid.structured import ContentRule

TEXT_VALUE, UID_VALUE = 0x0040A160, 0x0040A124
_DATES = frozenset({0x0040A120, 0x0040A121, 0x0040A122})
# What holds the value of an item of a value type, and what is left of it where it is replaced.
_REPLACED = {
    ("NUM", 0x0040A300): Effect.EMPTY,  # Measured Value Sequence, Type 2
    ("NUM", 0x0040A30A): Effect.DUMMY,  # Numeric Value, in acquisition contexts
    ("NUMERIC", 0x0040A30A): Effect.DUMMY,
    ("CODE", 0x0040A168): Effect.DUMMY,
    ("CONTAINER", 0x0040A730): Effect.REMOVE,
}


def decide_content(tag: int, basic: Decision, rule: ContentRule, rules: Rulebook) -> Decision:
    """Decide about one element of a content item.

    Persons, references and dates are decided by their attributes: replaced, mapped, and kept or
    moved by an option. A rule adds what only the concept tells.

    Args:
        tag: of the element.
        basic: what its attribute decides.
        rule: of the item.
        rules: the profile's.
    """
    effect = _effect(tag, basic, rule, rules)
    if effect is None or basic.effect is Effect.REMOVE:
        return basic
    return Decision(effect, _ACTIONS[effect], rule.because)


_ACTIONS = {
    Effect.CLEAN: Action.CLEAN,
    Effect.DUMMY: Action.DUMMY,
    Effect.EMPTY: Action.EMPTY,
    Effect.KEEP: Action.KEEP,
    Effect.REMOVE: Action.REMOVE,
}


def _effect(tag: int, basic: Decision, rule: ContentRule, rules: Rulebook) -> Effect | None:
    if tag == TEXT_VALUE:
        return _of_text(rule, rules)
    if rule.letter == "K":
        return Effect.KEEP if tag == UID_VALUE else None
    if rule.letter != "D":
        return None
    if tag in _DATES:
        return Effect.DUMMY if basic.effect in {Effect.KEEP, Effect.SHIFT} else None
    return _REPLACED.get((rule.value_type, tag))


def _of_text(rule: ContentRule, rules: Rulebook) -> Effect:
    """Decide about a text: what no row lists may say anything, and is cleaned like descriptors."""
    if rule.value_type == "TEXT" and rule.letter == "K":
        return Effect.KEEP
    cleaned = rule.letter == "C" or (not rule.letter and Option.CLEAN_DESCRIPTORS in rules.options)
    return Effect.CLEAN if cleaned else Effect.DUMMY

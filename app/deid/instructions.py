"""The instructions for every data set of one shape: what ``applying`` carries out."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from app.deid.deciding import Decision
from app.deid.rules.identifiers import Kind

if TYPE_CHECKING:
    from app.deid.planning import Place


class UidMode(IntEnum):
    """Which values of a UI attribute stay as they are.

    ALL: none but SOP Classes and the like that happen to stand there; REGISTERED: those of the
    standard; CODING: those of coding schemes and mapping resources too, which anybody issues;
    RETAINED: all that are UIDs.
    """

    ALL = 0
    REGISTERED = 1
    CODING = 2
    RETAINED = 3


class Op(IntEnum):
    """Instructions that ``applying`` carries out; operands are described there."""

    KEEP = 0
    BYTES = 1
    DUMMY = 2
    MAP_UID = 3
    ENTER = 4
    IDENTITY = 5
    NOTICE = 6
    METHOD = 7
    METHOD_CODES = 8
    DOCUMENT_LENGTH = 9
    OFFSET_TABLE = 10
    CHARACTER_SET = 11
    DATE = 12
    CLEAN = 13
    PSEUDONYM = 14
    TEMPORAL = 15
    NUMBER = 16
    BULK = 17
    COLOUR = 18
    TERM = 19
    FACT = 20
    DERIVED = 21
    MORE_CODES = 22


@dataclass(frozen=True, slots=True)
class ShapePlan:
    """The compiled plan of every data set with one shape at one place.

    Attributes:
        decisions: one per element, in stream order.
        ops: instructions in output order.
        changes: whether an instruction other than keeping and entering is among them.
        is_inert: whether such a data set stays as it is and tells nothing.
        identifying: index and kind of elements whose values identify.
        retained: those of them that stay.
        removed_items: index and node of sequences that go but may hold identifying values.
        charset: index of Specific Character Set, or -1.
        places: tag → index, at the root only.
        warnings: codes and tags.
        private: index → VR of private elements that stay.
        named: indices of what an option retains by name.
    """

    decisions: tuple[Decision, ...]
    ops: tuple[tuple[Any, ...], ...]
    changes: bool
    is_inert: bool
    identifying: tuple[tuple[int, Kind], ...]
    retained: tuple[tuple[int, Kind], ...]
    removed_items: "tuple[tuple[int, Place], ...]"
    charset: int
    places: dict[int, int]
    warnings: tuple[tuple[str, int], ...]
    private: Mapping[int, str]
    named: frozenset[int]

"""Which private elements of a data set may stay, and under which creator.

A private element is known by creator, group and low byte; which block it stands in is the writer's
choice. Source: PS3.15 2026d, E.3.10 and Table E.3.10-1; PS3.5 2026d, 7.8.1; PS3.3 2026d, C.12.1
(0008,0300).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from app.deid.standard import SAFE_PRIVATE, can_be
from app.dicom.elements import key_vr, make_key
from app.dicom.tokens import Dataset

_CHARACTERISTICS = make_key(0x00080300, "SQ")
_GROUP_REFERENCE, _CREATOR_REFERENCE = 0x00080301, 0x00080302
_BLOCK_STATUS, _NONIDENTIFYING = 0x00080303, 0x00080304
_MAX_CREATOR = 64
_FIRST_BLOCK, _LAST_BLOCK, _FIRST_ELEMENT = 0x0010, 0x00FF, 0x1000


@dataclass(frozen=True, slots=True)
class SafeElement:
    """A private element that a site knows to be safe.

    Attributes:
        creator: as the vendor registers it.
        group: odd.
        low_byte: of the element.
        vr: what the vendor says it is.
    """

    creator: str
    group: int
    low_byte: int
    vr: str


@dataclass(frozen=True, slots=True)
class SafeList:
    """The private elements that may stay: the standard's, and a site's beside them.

    Attributes:
        elements: (creator, group, low byte) → VR, empty where nobody says it.
        spellings: creator without regard to case and spaces → as it is written.
        additions: which of them a site added.
        excluded: what a site takes out, whatever an instance declares.
        honours: whether an instance may declare more, or less.
    """

    elements: Mapping[tuple[str, int, int], str]
    spellings: Mapping[str, str]
    additions: frozenset[tuple[str, int, int]]
    excluded: frozenset[tuple[str, int, int]]
    honours: bool


@dataclass(frozen=True, slots=True, order=True)
class Declaration:
    """What (0008,0300) of an instance says of one block.

    Attributes:
        is_safe: whether all of its elements are said to be safe.
        safe: low bytes of those that are, in a block where others are not.
    """

    is_safe: bool = False
    safe: tuple[int, ...] = ()


Declarations = Mapping[tuple[str, int], Declaration]
NO_DECLARATIONS: Declarations = MappingProxyType({})


@dataclass(frozen=True, slots=True, repr=False)
class View:
    """What decisions about single elements need of an instance.

    Attributes:
        buffer: its bytes.
        declared: what it declares of its private blocks.
        looked_at: groups of overlays in which nothing identifying is written; None where nobody
            looks into overlays.
    """

    buffer: bytes = b""
    declared: Declarations = field(default_factory=dict)
    looked_at: frozenset[int] | None = None


NO_VIEW = View()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one private element stays.

    Attributes:
        creator: for a creator element, the text to write; empty for others.
        vr: of the element; empty where only the file says it.
        because: the rule.
    """

    creator: str
    vr: str
    because: str


@lru_cache(maxsize=64)
def safe_list(
    additions: tuple[SafeElement, ...] = (),
    excluded: tuple[SafeElement, ...] = (),
    *,
    with_table: bool = True,
) -> SafeList:
    """Return the standard's list with what a site adds and takes out.

    Args:
        additions: to be kept.
        excluded: to go.
        with_table: whether the standard's list counts, and what an instance declares.
    """
    listed = dict(SAFE_PRIVATE) if with_table else {}
    added = {(one.creator, one.group, one.low_byte): one.vr for one in additions}
    gone = frozenset((one.creator, one.group, one.low_byte) for one in excluded)
    for key, vr in added.items():
        listed[key] = vr or listed.get(key, "")
    elements = {key: vr for key, vr in listed.items() if key not in gone}
    return SafeList(
        elements=MappingProxyType(elements),
        spellings=MappingProxyType({_folded(creator): creator for creator, _, _ in elements}),
        additions=frozenset(added),
        excluded=gone,
        honours=with_table,
    )


def _folded(creator: str) -> str:
    return " ".join(creator.split()).casefold()


def spelling(creator: str, group: int, safe: SafeList, declared: Declarations) -> str:
    """Return a creator as it is to be written; empty where it is none that may stay.

    A registered creator is written as registered. One that only the instance declares is free
    text: printable ASCII is written, and searched like all text that stays.
    """
    registered = safe.spellings.get(_folded(creator))
    if registered is not None:
        return registered
    is_plain = creator.isascii() and creator.isprintable() and len(creator) <= _MAX_CREATOR
    is_declared = safe.honours and (_folded(creator), group) in declared
    return creator if is_plain and is_declared else ""


def judged(
    creator: str, group: int, low_byte: int, safe: SafeList, declared: Declarations
) -> Verdict | None:
    """Say whether one element of a block may stay, and why; None where it goes.

    What the instance itself declares unsafe goes although the standard lists it.
    """
    key = (creator, group, low_byte)
    vr = safe.elements.get(key)
    place = f"({group:04X},xx{low_byte:02X})"
    declaration = declared.get((_folded(creator), group)) if safe.honours else None
    if key in safe.excluded:
        return None
    if declaration is not None and not declaration.is_safe and low_byte not in declaration.safe:
        return None
    if vr is not None:
        source = "the profile" if key in safe.additions else "Table E.3.10-1"
        return Verdict("", vr, f"{source}: {creator} {place}")
    return Verdict("", "", f"(0008,0300) declares {place} safe") if declaration else None


#: Index, group and block, and text of each creator of a data set.
Creators = tuple[tuple[int, int, str], ...]


def creators_of(dataset: Dataset, view: View) -> Creators:
    """Return the private creators of a data set; with its keys they decide what stays."""
    found = []
    for index, key in enumerate(dataset.keys):
        if key & 1 and _FIRST_BLOCK <= (element := key >> 16 & 0xFFFF) <= _LAST_BLOCK:
            start, stop = dataset.value_span(index)
            text = view.buffer[start:stop].decode("latin-1").strip("\0 ")
            found.append((index, (key & 0xFFFF) << 16 | element, text))
    return tuple(found)


def verdicts(
    keys: Sequence[int], creators: Creators, safe: SafeList, declared: Declarations
) -> dict[int, Verdict]:
    """Return index and verdict of every private element of a data set that stays.

    A creator stays where an element of its block does.

    Args:
        keys: of the data set.
        creators: of the data set, as ``creators_of`` gives them.
        safe: what may stay.
        declared: what the instance says of its blocks.
    """
    blocks = {
        block: (index, spelling(text, block >> 16, safe, declared))
        for index, block, text in creators
    }
    staying: dict[int, Verdict] = {}
    for index, key in enumerate(keys):
        group, element = key & 0xFFFF, key >> 16 & 0xFFFF
        owner, creator = blocks.get(group << 16 | element >> 8, (-1, ""))
        if not creator or element < _FIRST_ELEMENT:
            continue
        verdict = judged(creator, group, element & 0xFF, safe, declared)
        if verdict is not None and _fits(key_vr(key >> 32), verdict.vr):
            staying[index] = verdict
            staying[owner] = Verdict(creator, "LO", "creator of a private block that stays")
    return staying


def _fits(vr: str, listed: str) -> bool:
    """Say whether an element's VR is the listed one; nobody lists persons, dates or addresses."""
    return can_be(vr, listed) if listed else vr not in {"DA", "DT", "PN", "TM", "UR"}


def declarations(buffer: bytes, dataset: Dataset) -> Declarations:
    """Read Private Data Element Characteristics Sequence at the root of an instance.

    A block that is described twice, or in words that are not the standard's, counts as unsafe.
    """
    try:
        items = dataset.sequences.get(dataset.keys.index(_CHARACTERISTICS))
    except ValueError:
        return NO_DECLARATIONS
    found: dict[tuple[str, int], Declaration] = {}
    for item in items.datasets if items else ():
        values = _values(buffer, item)
        group = int.from_bytes(values.get(_GROUP_REFERENCE, b"")[:2], "little")
        creator = _folded(values.get(_CREATOR_REFERENCE, b"").decode("latin-1").strip("\0 "))
        declaration = _declaration(values)
        found[creator, group] = declaration if (creator, group) not in found else Declaration()
    return found


def _declaration(values: Mapping[int, bytes]) -> Declaration:
    status = values.get(_BLOCK_STATUS, b"").strip(b"\0 ")
    if status == b"SAFE":
        return Declaration(is_safe=True)
    if status != b"MIXED":
        return Declaration()
    return Declaration(safe=tuple(sorted(_low_bytes(values.get(_NONIDENTIFYING, b"")))))


def _low_bytes(value: bytes) -> Iterator[int]:
    """Yield the low bytes in a value of VR US; numbers beyond one byte name no element."""
    for at in range(0, len(value) - 1, 2):
        if not value[at + 1]:
            yield value[at]


def _values(buffer: bytes, item: Dataset) -> dict[int, bytes]:
    values = {}
    for index, key in enumerate(item.keys):
        start, stop = item.value_span(index)
        values[(key & 0xFFFF) << 16 | key >> 16 & 0xFFFF] = buffer[start:stop]
    return values

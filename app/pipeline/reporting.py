"""Explanations as JSON, piece by piece: what is told is never held as a whole."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.deid.explaining import Line
from app.pipeline.explaining import Explanation, differences

#: Pieces are about this long.
PIECE_BYTES: Final = 64 << 10


def explanation_json(explanation: Explanation, *, values: bool = False) -> Iterator[bytes]:
    """Yield an explanation with kinds; values only where they are asked for."""
    return _document(explanation.head(), explanation.lines(values=values), kinds=True)


def report_json(explanation: Explanation) -> Iterator[bytes]:
    """Yield what goes with an object: its pseudonyms, and neither values nor their kinds."""
    replacements = explanation.done.replacements
    head = {
        "cloud_study_id": replacements.cloud_study_id,
        "sop_instance_uid": replacements.sop_instance_uid,
        **explanation.head(),
    }
    return _document(head, explanation.lines(), kinds=False)


def comparison_json(left: Explanation, right: Explanation) -> Iterator[bytes]:
    """Yield the elements that two profiles treat differently, in kinds."""
    head = {"left": left.head(), "right": right.head()}
    found = differences(left.lines(), right.lines())
    return _written(head, "differences", (_difference(*pair) for pair in found), Counter())


def _document(head: Mapping[str, Any], lines: Iterator[Line], *, kinds: bool) -> Iterator[bytes]:
    counts: Counter[str] = Counter()

    def members() -> Iterator[dict[str, Any]]:
        for line in lines:
            counts[line.effect.value] += 1
            yield line.name() | line.treatment(kinds=kinds)

    return _written(head, "elements", members(), counts)


def _difference(left: Line | None, right: Line | None) -> dict[str, Any]:
    line = left or right
    return {
        **(line.name() if line else {}),
        "left": left.treatment() if left else None,
        "right": right.treatment() if right else None,
    }


def _written(
    head: Mapping[str, Any], name: str, rows: Iterator[dict[str, Any]], counts: Counter[str]
) -> Iterator[bytes]:
    """Yield one JSON object: the head, an array with one row a line, and what was counted."""
    yield from _gathered(_texts(head, name, rows))
    end = {"counts": dict(sorted(counts.items()))} if counts else {}
    yield ("\n]" + _members(end) + "}\n").encode()


def _texts(head: Mapping[str, Any], name: str, rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield json.dumps(head)[:-1] + f', "{name}": ['
    separator = "\n"
    for row in rows:
        yield separator + json.dumps(row)
        separator = ",\n"


def _members(end: Mapping[str, Any]) -> str:
    return f", {json.dumps(end)[1:-1]}" if end else ""


def _gathered(texts: Iterator[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= PIECE_BYTES:
            yield "".join(held).encode()
            held, size = [], 0
    yield "".join(held).encode()

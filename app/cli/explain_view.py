"""How an explanation is shown on a terminal: a table that fits it, alike items in one row."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.pixel_view import decision_lines
from app.deid.explaining import Line, Result
from app.pipeline.explaining import Explanation, differences

_ITEM: Final = re.compile(r"\[[0-9]+\]")
# A narrower terminal shows names below elements.
_WIDE: Final = 120
# Wide enough for any row where nobody looks at a terminal.
_PIPE_WIDTH: Final = 240
_STYLES: Final = {
    Result.KEPT: "",
    Result.CHANGED: "yellow",
    Result.REMOVED: "red",
    Result.INSERTED: "green",
}
_MAX_VALUE: Final = 60


@dataclass(frozen=True, slots=True)
class _Row:
    """Lines that say the same of several items."""

    cells: tuple[str, ...]
    result: Result
    count: int = 1


def show_explanation(explanation: Explanation, *, values: bool, each: bool) -> None:
    """Print what became of every element, then what was done how often.

    Args:
        explanation: what is shown.
        values: whether originals are shown.
        each: whether every item has a row of its own.
    """
    console = _console()
    lines = list(explanation.lines(values=values))
    columns = ["element", "name", "action", "what", "rule"]
    rows = (_row(line, values=values, each=each) for line in lines)
    console.print(_table(columns, _folded(rows), console))
    console.print(_counts(lines))
    console.print(_heading(explanation))
    for warning in explanation.done.warnings:
        console.print(f"warning: {warning}")
    if pixels := explanation.head().get("pixels"):
        console.print("pixels:")
        for text in decision_lines(pixels):
            console.print(f"  {text}")


def show_differences(left: Explanation, right: Explanation, *, each: bool) -> None:
    """Print the elements that two profiles treat differently."""
    console = _console()
    names = [left.profile.name, right.profile.name]
    rows = _folded(
        _difference(one, two, each=each) for one, two in differences(left.lines(), right.lines())
    )
    if not rows:
        console.print("The two profiles treat this object alike.")
        return
    console.print(_table(["element", "name", *names], rows, console))
    console.print(f"{sum(row.count for row in rows)} elements are treated differently.")
    for one in (left, right):
        console.print(_heading(one))


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        return Console(highlight=False, markup=False, emoji=False, width=_PIPE_WIDTH)
    return console


def _row(line: Line, *, values: bool, each: bool) -> _Row:
    what = _what(line)
    if values and line.old_value:
        what += f"\n{_cut(line.old_value)}"
        if line.new_value is not None and line.result is Result.CHANGED:
            what += f"\n→ {_cut(line.new_value)}"
    action = f"{line.action} {line.effect}"
    return _Row((_path(line, each=each), _name(line), action, what, line.rule.text), line.result)


def _difference(left: Line | None, right: Line | None, *, each: bool) -> _Row:
    line = left or right
    if line is None:
        return _Row(("", "", "", ""), Result.KEPT)
    treatments = tuple("-" if one is None else _treatment(one) for one in (left, right))
    return _Row((_path(line, each=each), _name(line), *treatments), Result.KEPT)


def _treatment(line: Line) -> str:
    return f"{line.action} {line.effect}: {_what(line)}\n{line.rule.text}"


def _what(line: Line) -> str:
    return line.old if line.result is Result.KEPT else f"{line.old} → {line.new}"


def _path(line: Line, *, each: bool) -> str:
    return line.path if each else _ITEM.sub("[*]", line.path)


def _name(line: Line) -> str:
    return line.keyword or line.creator or ("private" if _is_private(line) else "")


def _is_private(line: Line) -> bool:
    last = line.path.rpartition(".")[2]
    return last[:1] == "(" and last[4] in "13579BDF"


def _cut(value: str) -> str:
    """Return a value on one line: it is the sender's, and a terminal obeys what it is sent."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    return plain if len(plain) <= _MAX_VALUE else plain[: _MAX_VALUE - 1] + "…"


def _folded(rows: Iterable[_Row]) -> list[_Row]:
    """Return rows with those that say the same put together, in the order of the first."""
    found: dict[tuple[str, ...], _Row] = {}
    for row in rows:
        known = found.get(row.cells)
        found[row.cells] = replace(known, count=known.count + 1) if known else row
    return list(found.values())


def _table(columns: list[str], rows: Iterable[_Row], console: Console) -> Table:
    is_wide = console.width >= _WIDE
    table = Table(show_lines=not is_wide)
    for column in columns:
        if is_wide or column != "name":
            table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row, is_wide=is_wide), style=_STYLES[row.result])
    return table


def _cells(row: _Row, *, is_wide: bool) -> list[Text]:
    """Return the cells as text that is nothing but text."""
    path, name, *rest = row.cells
    if row.count > 1:
        path = f"{path} \N{MULTIPLICATION SIGN}{row.count:,}"
    first = [path, name] if is_wide else [f"{path}\n{name}".rstrip()]
    return [Text(cell) for cell in (*first, *rest)]


def _counts(lines: Iterable[Line]) -> Table:
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.result] = counts.get(line.result, 0) + 1
    table = Table(show_header=False)
    for result in Result:
        table.add_row(result, f"{counts.get(result, 0):,}")
    return table


def _heading(explanation: Explanation) -> str:
    profile = explanation.profile
    codes = ", ".join(value for value, _ in profile.method_codes) or "no code"
    return f"profile {profile.name} {profile.version}, claims {codes}"

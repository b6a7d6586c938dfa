"""What was measured: spreads of several rounds, and tables as Markdown and JSON."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Sum up what the rounds gave."""
        rounds = list(values)
        return cls(statistics.median(rounds), min(rounds), max(rounds))

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """Write ``median (least-most)``."""
        m, low, high = (v * scale for v in (self.median, self.low, self.high))
        return f"{m:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


@dataclass(slots=True)
class Table:
    """One table: cells are text, ``facts`` the same as numbers.

    Attributes:
        key: what other measurements know it by; empty where none asks.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    key: str = ""

    def add(self, cells: Sequence[str], **facts: Any) -> None:  # noqa: ANN401 - for JSON
        """Append one row."""
        self.rows.append(cells)
        self.facts.append(facts)

    def markdown(self) -> str:
        """Write the table and its notes."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [_line(self.columns, widths), _line(["-" * w for w in widths], widths)]
        lines += [_line(row, widths) for row in self.rows]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"### {self.title}", "", *lines, *([""] if notes else []), *notes, ""])


@dataclass(slots=True)
class Report:
    """All tables of one run, and the circumstances they were measured under."""

    circumstances: dict[str, str]
    tables: list[Table] = field(default_factory=list)

    def markdown(self) -> str:
        """Write everything for a reader."""
        said = "; ".join(f"{name} {value}" for name, value in self.circumstances.items())
        return "\n".join([f"Measured: {said}.", "", *(t.markdown() for t in self.tables)])

    def json(self) -> str:
        """Write everything for a program."""
        tables = [
            {"title": t.title, "key": t.key, "rows": t.facts, "notes": t.notes} for t in self.tables
        ]
        return json.dumps({"circumstances": self.circumstances, "tables": tables}, indent=2) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

"""``python -m bench.comparison``: the canaries through other tools; writes ``docs/comparison.md``.

The objects are those of the tests (``tests/canaries``): ordinary ones, each with values planted in
one kind of place. Every result is searched for every value, however it is written there.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.deid.profile import BUILT_IN, Unlisted
from bench.comparison_study import Verdict, judge, study
from bench.comparison_tools import (
    Results,
    Tool,
    gdcmanon,
    orthanc_tool,
    own_tools,
    python_tools,
)
from bench.contestants import ROOT
from bench.servers import orthanc
from tests.canaries.carriers import CARRIERS, Planted, group_of
from tests.canaries.lawful import Lawful
from tests.canaries.search import found, searchable
from tools.debian_tools import PackageUnavailable, provide

PAGE = ROOT / "docs" / "comparison.md"
_MARK = "<!-- below: written by python -m bench.comparison -->"


@dataclass(slots=True)
class Cell:
    """One kind of place under one tool."""

    planted: int = 0
    left: int = 0
    lawful: int = 0
    objects: int = 0
    refused: int = 0
    reasons: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        """As the table shows it."""
        if self.refused == self.objects:
            return "refused"
        return f"{self.left}" + (f" ({self.refused} refused)" if self.refused else "")


@dataclass(slots=True)
class Column:
    """One tool's results."""

    tool: Tool
    cells: dict[str, Cell] = field(default_factory=lambda: defaultdict(Cell))
    verdict: Verdict | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every tool and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.comparison", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="written behind its mark")
    parser.add_argument("--own", action="store_true", help="the gateway's profiles only")
    options = parser.parse_args(arguments)
    columns, missing = measure(peers=not options.own)
    page = (
        options.page.read_text(encoding="utf-8").partition(_MARK)[0]
        if options.page.exists()
        else ""
    )
    options.page.write_text(f"{page}{_MARK}\n\n{report(columns, missing)}", encoding="utf-8")
    return 0


def measure(*, peers: bool = True) -> tuple[list[Column], list[str]]:
    """Take all objects through all tools that can be had; say which cannot."""
    missing: list[str] = []
    with tempfile.TemporaryDirectory(prefix="deid-comparison-") as name:
        root = Path(name)
        carriers = {f"{n:02}": (place, CARRIERS[place]()) for n, place in enumerate(CARRIERS)}
        files = [_written(root, stem, planted.data) for stem, (_, planted) in carriers.items()]
        columns = [_column(tool, root, files, carriers) for tool in own_tools()]
        for find in (_python, _gdcmanon, _orthanc) if peers else ():
            try:
                with find(root) as tools:
                    columns += [_column(tool, root, files, carriers) for tool in tools]
            except (PackageUnavailable, OSError, subprocess.CalledProcessError) as error:
                missing.append(f"{find.__name__.strip('_')}: {error}")
    return columns, missing


@contextmanager
def _gdcmanon(root: Path) -> Iterator[list[Tool]]:
    yield [gdcmanon(root)]


@contextmanager
def _orthanc(root: Path) -> Iterator[list[Tool]]:
    with orthanc(root) as server:
        yield [orthanc_tool(server.port, server.name)]


@contextmanager
def _python(_root: Path) -> Iterator[list[Tool]]:
    yield python_tools()


def _written(root: Path, stem: str, data: bytes) -> Path:
    path = root / f"{stem}.dcm"
    path.write_bytes(data)
    return path


def _column(
    tool: Tool, root: Path, files: Sequence[Path], carriers: dict[str, tuple[str, Planted]]
) -> Column:
    print(f"{tool.title} …", file=sys.stderr, flush=True)
    column = Column(tool)
    for path in files:
        place, planted = carriers[path.stem]
        made = _run(tool, root, [path])
        _count(column, place, planted, made.outputs.get(path.stem))
        column.cells[group_of(place)].reasons |= set(made.refused.values())
    inputs = study()
    together = [_written(root, stem, data) for stem, data in inputs.items()]
    made = _run(tool, root, together)
    column.verdict = judge(inputs, made.outputs, root)
    return column


def _run(tool: Tool, root: Path, files: Sequence[Path]) -> Results:
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        return tool.run(files, Path(scratch))


def _count(column: Column, place: str, planted: Planted, output: bytes | None) -> None:
    cell = column.cells[group_of(place)]
    cell.objects += 1
    cell.planted += len(planted.canaries)
    if output is None:
        cell.refused += 1
        return
    places = {canary.text: canary.place for canary in planted.canaries}
    left = found(places, searchable(output), planted.codec)
    cell.left += len(left)
    if column.tool.profile is not None:
        profile = BUILT_IN[column.tool.profile]
        expected = Lawful(frozenset(profile.options), profile.unlisted is Unlisted.BY_VR)
        cell.lawful += sum(expected.may_stay(places[text]) for text in left)


# --- The page ----------------------------------------------------------------------------------


def report(columns: Sequence[Column], missing: Sequence[str]) -> str:
    """Write the tables."""
    plain = [one for one in columns if one.tool.profile in {None, "basic", "strict"}]
    chosen = [one for one in columns if one.tool.profile not in {None, "basic", "strict"}]
    parts = [
        "## The tools",
        "",
        *_tools(columns, missing),
        "",
        "## Values left",
        "",
        *_left(plain),
        "",
        "## Under profiles that keep something",
        "",
        *_chosen(chosen),
        "",
        "## A study",
        "",
        *_studies(columns),
    ]
    return "\n".join(parts) + "\n"


def _tools(columns: Sequence[Column], missing: Sequence[str]) -> list[str]:
    rows = [[c.tool.title, c.tool.version, c.tool.settings] for c in columns]
    return [
        *_table(["column", "version", "told"], rows),
        "",
        f"Validator: dciodvfy of dicom3tools {_validator_version()}.",
        *(f"Not compared: {reason}." for reason in missing),
    ]


def _left(columns: Sequence[Column]) -> list[str]:
    titles = ["kind of place", "planted", *(c.tool.title for c in columns)]
    rows = [
        [place, str(columns[0].cells[place].planted), *(c.cells[place].text for c in columns)]
        for place in columns[0].cells
    ]
    refused = [
        f"- refused by {column.tool.title}: {place} ({', '.join(sorted(cell.reasons))})"
        for column in columns
        for place, cell in column.cells.items()
        if cell.reasons
    ]
    return [*_table(titles, rows), "", *refused]


def _chosen(columns: Sequence[Column]) -> list[str]:
    titles = ["kind of place", "planted"]
    for column in columns:
        titles += [f"{column.tool.title}: an option names it", "left otherwise"]
    rows = []
    for place in columns[0].cells:
        cells = [column.cells[place] for column in columns]
        texts = [
            text for cell in cells for text in (str(cell.lawful), str(cell.left - cell.lawful))
        ]
        rows.append([place, str(cells[0].planted), *texts])
    return _table(titles, rows)


def _studies(columns: Sequence[Column]) -> list[str]:
    rows, notes = [], []
    for column in columns:
        verdict = column.verdict
        if verdict is None:
            continue
        rows.append(
            [
                column.tool.title,
                f"{verdict.objects[0]} of {verdict.objects[1]}",
                str(verdict.unreadable),
                str(len(verdict.new_errors)),
                str(verdict.dangling),
                str(verdict.gone),
                "yes" if verdict.together else "no",
                str(verdict.uids_left),
            ]
        )
        notes += [f"- {column.tool.title}: {error.strip()}" for error in verdict.new_errors]
    titles = ["tool", "results", "unreadable", "new kinds of errors", "references to nothing"]
    titles += ["references gone", "one study and patient", "original UIDs left"]
    return [*_table(titles, rows), "", "What the validator finds in results only:", "", *notes]


def _validator_version() -> str:
    tool = provide("dicom3tools", "dciodvfy")
    said = subprocess.run(
        ["apt-cache", "policy", "dicom3tools"], capture_output=True, text=True, check=False
    ).stdout
    lines = [line.split() for line in said.splitlines() if "Candidate:" in line]
    return lines[0][1] if lines and tool.path.exists() else "of this machine"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


if __name__ == "__main__":
    sys.exit(main())

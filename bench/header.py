"""What an element of a header costs, from 100 to 100,000 elements, flat and nested."""

from pathlib import Path

from bench.contestants import Outcome
from bench.engine import engine_worker
from bench.report import Table
from bench.workspace import Workspace

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
VARIANTS = 3
SHAPES = {
    "flat": "private elements in one data set",
    "per-frame": "per-frame functional groups",
    "report": "content items of a structured report, four deep",
}
COLUMNS = (
    "header",
    "elements",
    "first sight ms",
    "again ms",
    "first sight us per element",
    "again us per element",
)


def measure(space: Workspace, *, rounds: int) -> Table:
    """Measure headers of growing size, in memory."""
    sizes = [size for size in SIZES if size <= max(1_000, 100_000 * space.scale)]
    table = Table("Cost of a header by its number of elements", COLUMNS)
    with engine_worker("memory") as worker:
        for shape, description in SHAPES.items():
            made = space.headers(shape, sizes, VARIANTS)
            worker.run(made[sizes[0]], Path("1"))
            for size in sizes:
                _add_row(table, description, worker.run(made[size], Path(str(rounds))))
            space.drop(shape)
    table.notes += [
        "`first sight`: no object of that shape came before, so its plan is compiled; `again`: "
        "the next ones of the series. The least of all turns, as the machine is shared.",
        "Aim: at most 5 us per element, and linear. Below 1,000 elements the fixed cost of an "
        "object (about 0.2 ms) is most of it.",
    ]
    return table


def _add_row(table: Table, header: str, outcome: Outcome) -> None:
    said = outcome.said
    elements, first, again = said["elements"], said["first"], said["again"]
    table.add(
        [
            header,
            f"{elements:,}",
            f"{first * 1e3:.2f}",
            f"{again * 1e3:.2f}",
            f"{first / elements * 1e6:.2f}",
            f"{again / elements * 1e6:.2f}",
        ],
        header=header,
        elements=elements,
        first_us=first / elements * 1e6,
        again_us=again / elements * 1e6,
    )

"""The most memory that a worker process needs: very many small files, and one very large one."""

import shutil
from pathlib import Path
from typing import Final

from bench.archive import Archive, make
from bench.house import GIB, house, scratch
from bench.report import Table
from bench.workspace import Workspace

COLUMNS: Final = ("batch", "MB", "seconds", "peak memory MiB: at rest", "at work")
SMALL_FILES: Final = 100_000
PROCESSES: Final = 1
_SMALL_BYTES: Final = 16_384


def measure(space: Workspace, *, base: Path | None, scale: float) -> Table:
    """Measure one worker process on each."""
    table = Table("Memory of a worker process", COLUMNS, key="memory")
    count = max(1, round(SMALL_FILES * scale))
    with scratch(base, needed_bytes=count * _SMALL_BYTES * 4 + 2 * GIB) as folder:
        archive = make("mr", space.files("mr"), folder / "archive", count)
        _add_row(table, f"{count:,} small files", archive, folder)
    given = space.files("multiframe-1g")[0]
    size = given.stat().st_size
    with scratch(base, needed_bytes=4 * size + 2 * GIB) as folder:
        root = folder / "archive"
        root.mkdir()
        shutil.copy(given, root)
        space.drop("multiframe-1g")
        _add_row(table, "one large object", Archive(root, [root / given.name], size), folder)
    table.notes.append(
        "Resident memory (VmHWM) of one worker process, interpreter and libraries included, with "
        "pages of files that it maps; before the batch was handed in, and at its end."
    )
    return table


def _add_row(table: Table, name: str, archive: Archive, folder: Path) -> None:
    with house(folder) as lent:
        lent.start_workers(PROCESSES)
        before = lent.peak_mib()
        ended = lent.watch(lent.hand_in(archive.root, str(folder / "out")))
        after = lent.peak_mib()
    table.add(
        [
            name,
            f"{archive.size / 1e6:,.0f}",
            f"{ended['seconds']:.1f}",
            f"{before:.0f}",
            f"{after:.0f}",
        ],
        batch=name,
        files=len(archive.files),
        bytes=archive.size,
        seconds=ended["seconds"],
        peak_before_mib=before,
        peak_mib=after,
    )

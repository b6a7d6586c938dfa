"""The comparison counts what a tool leaves: all of it for one that does nothing."""

from pathlib import Path

import pytest

from bench import comparison
from bench.comparison import Column, report
from bench.comparison_study import judge, study
from bench.comparison_tools import Results, Tool, own_tools
from tests.canaries.carriers import CARRIERS, group_of
from tools import debian_tools

PLACES = ("attributes of the table, one sequence down", "preamble and File Meta", "JPEG frames")


def unchanged(files: list[Path], _scratch: Path) -> Results:
    return Results({path.stem: path.read_bytes() for path in files})


def refusing(files: list[Path], _scratch: Path) -> Results:
    return Results(refused={path.stem: "no" for path in files})


def counted(tool: Tool) -> Column:
    column = Column(tool)
    for place in PLACES:
        planted = CARRIERS[place]()
        path = Path("x.dcm")
        made = tool.run([Given(path, planted.data)], path)  # type: ignore[list-item]
        comparison._count(column, place, planted, made.outputs.get("x"))
    return column


class Given:
    """A file that lies nowhere."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.stem, self._data = path.stem, data

    def read_bytes(self) -> bytes:
        return self._data


def test_a_tool_that_does_nothing_leaves_everything() -> None:
    column = counted(Tool("copy", "1", "", unchanged))

    for place in PLACES:
        cell = column.cells[group_of(place)]
        assert cell.left == cell.planted > 0


def test_a_refusal_is_named_and_nothing_is_left() -> None:
    column = counted(Tool("wall", "1", "", refusing))

    assert {cell.text for cell in column.cells.values()} == {"refused"}


def test_the_ready_made_profiles_leave_nothing_that_no_option_names() -> None:
    columns = [counted(tool) for tool in own_tools()]

    assert {cell.left - cell.lawful for one in columns for cell in one.cells.values()} == {0}
    assert "| preamble and File Meta | 8 | 0 | 0 |" in report(columns, ["nobody"])


def test_results_that_lost_their_study_are_told(tmp_path: Path) -> None:
    if not debian_tools.is_available():
        pytest.skip("dciodvfy comes from Debian's dicom3tools, and there is no apt-get here")
    inputs = {name: data for name, data in study().items() if name in {"ct", "ko"}}
    study_uid = b"\x20\x00\x0d\x00UI\x1c\x001.2.826.0.1.3680043.10.998."
    apart = {"ko": inputs["ko"].replace(study_uid + b"1", study_uid + b"6")}

    same, other = judge(inputs, inputs, tmp_path), judge(inputs, inputs | apart, tmp_path)

    assert (same.new_errors, same.dangling, same.gone, same.together) == ((), 0, 0, True)
    assert not other.together
    assert judge(inputs, apart, tmp_path).dangling == 2

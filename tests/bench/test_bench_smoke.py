from pathlib import Path

import pytest

from bench import engine
from bench.report import Report, Table
from bench.workspace import Workspace


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    space = Workspace(tmp_path_factory.mktemp("bench"), scale=0.006)
    return engine.measure(space, rounds=2, peers="none")


def test_the_engine_is_measured_beside_cp(table: Table) -> None:
    assert [row["tool"] for row in table.facts] == ["cp", engine.ENGINE]
    assert all(row["files"] == 3 for row in table.facts)
    assert table.facts[1]["against_cp"] > 0


def test_no_planted_value_is_left_in_what_the_engine_wrote(table: Table) -> None:
    assert [row[-1] for row in table.rows] == ["3 of 3", "0 of 3"]


def test_a_report_is_readable_as_text_and_as_json(table: Table, tmp_path: Path) -> None:
    report = Report({"machine": "test"}, [table])

    (tmp_path / "report.json").write_text(report.json(), encoding="utf-8")

    assert table.title in report.markdown()
    assert '"against_cp"' in (tmp_path / "report.json").read_text(encoding="utf-8")

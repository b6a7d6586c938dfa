from pathlib import Path

from app.deid.options import AVAILABLE_OPTIONS
from app.deid.profile import BUILT_IN
from bench import options
from bench.workspace import Workspace


def test_every_option_and_every_profile_is_measured_beside_basic(tmp_path: Path) -> None:
    space = Workspace(tmp_path, scale=0.06)

    tables = options.measure(space, rounds=1)

    assert [table.key for table in tables] == ["options-ct", "options-mr", "options-sr"]
    for table in tables:
        assert len(table.facts) == len(AVAILABLE_OPTIONS) + len(BUILT_IN) - 1
        assert table.facts[0]["rules"] == "basic"
        assert all(row["against_basic"] > 0 for row in table.facts)

"""The command line in this process, on a database and a data directory of its own."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import group
from app.settings import PREFIX, Settings
from tests import builders

Invoke = Callable[..., Result]
WHO = builders.Identity()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def invoke(database_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{field.upper()}", raising=False)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DEID_DATA_DIR", str(data_dir))
    root = logging.getLogger()
    before = root.handlers, root.level

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(group, [str(argument) for argument in arguments])

    yield run
    root.handlers, root.level = before
    logging.captureWarnings(capture=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two objects of one study, one of them in a folder below, and a letter."""
    inputs = tmp_path / "inputs"
    (inputs / "deeper").mkdir(parents=True)
    first, second = builders.ct(WHO), builders.ct(WHO)
    second.SOPInstanceUID = "1.2.826.0.1.3680043.10.998.5"
    (inputs / "first.dcm").write_bytes(builders.part10(first))
    (inputs / "deeper" / "second").write_bytes(builders.part10(second))
    return inputs


def files_below(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )

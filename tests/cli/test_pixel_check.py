"""``deid-gateway pixels check`` says loudly whether text in images is read."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import group
from app.pixels import children

BARE = Path(__file__).parents[1] / "pixels" / "bare_child.py"


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    logging.captureWarnings(capture=False)


def checked(tmp_path: Path, **environment: str) -> Result:
    return CliRunner().invoke(
        group, ["pixels", "check", "--data-dir", str(tmp_path)], env=environment
    )


def test_reading_that_works_is_said(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    done = checked(tmp_path)
    assert (done.exit_code, done.output) == (0, "OCR works, in up to 1 processes.\n")


def test_a_missing_package_is_said_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "COMMAND", (sys.executable, "-P", str(BARE)))
    done = checked(tmp_path)
    assert done.exit_code == 1
    assert "OCR is not installed" in done.output


def test_reading_that_is_switched_off_is_said_and_fails(tmp_path: Path) -> None:
    done = checked(tmp_path, DEID_OCR_PROCESSES="0")
    assert done.exit_code == 1
    assert "switched off" in done.output

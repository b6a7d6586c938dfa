"""How many files may be open: raised at the start, and told where that is too few."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from app import errors
from app.cli import descriptors
from tests.cli.test_serve import wait_for_workers

ROOT = Path(__file__).parents[2]


def started(
    soft: int, hard: int, *arguments: str, database_url: str, data_dir: Path
) -> "subprocess.Popen[str]":
    """Start a command in a process that may open so many files."""
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"from app.cli import main; main({list(arguments)!r})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={"DATABASE_URL": database_url, "DEID_DATA_DIR": str(data_dir)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def limits_of(pid: int) -> tuple[int, int]:
    [found] = re.findall(r"Max open files +(\d+) +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    return int(found[0]), int(found[1])


def in_process(soft: int, hard: int, least: int) -> str:
    code = (
        "import resource\n"
        "from app import errors\n"
        "from app.cli import descriptors\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"try: told = descriptors.provide({least})\n"
        "except errors.Misconfigured as error: told = error.code\n"
        "print(told, resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_soft_limit_is_raised_to_the_hard_one() -> None:
    assert in_process(100, 900, 256) == "900 (900, 900)"


def test_a_limit_that_is_just_enough_is_taken() -> None:
    assert in_process(256, 256, 256) == "256 (256, 256)"


def test_a_hard_limit_that_is_too_low_is_a_wrong_configuration() -> None:
    assert in_process(100, 255, 256) == "misconfigured (255, 255)"


def test_where_a_limit_cannot_be_raised_what_there_is_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    assert descriptors.provide(300) == 300
    with pytest.raises(errors.Misconfigured, match="300 files may be open at once"):
        descriptors.provide(301)


@pytest.mark.db
@pytest.mark.parametrize("command", ["worker", "serve", "batch"])
def test_too_few_files_are_told_in_one_line(
    command: str, database_url: str, data_dir: Path, tmp_path: Path
) -> None:
    options = {"worker": ["--once"], "serve": ["--port", "0"], "batch": [str(tmp_path)]}[command]

    process = started(150, 200, command, *options, database_url=database_url, data_dir=data_dir)
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    [line] = said.splitlines()
    assert line.startswith("deid-gateway: 200 files may be open at once, and 2")
    assert line.endswith("(misconfigured)")


@pytest.mark.db
def test_worker_processes_may_open_as_many_files_as_there_may_be(
    database_url: str, data_dir: Path
) -> None:
    process = started(
        100, 700, "worker", "--concurrency", "1", database_url=database_url, data_dir=data_dir
    )
    try:
        [worker] = wait_for_workers(process.pid, 1)

        assert limits_of(process.pid) == (700, 700)
        assert limits_of(worker) == (700, 700)
    finally:
        process.terminate()
        process.communicate(timeout=60)

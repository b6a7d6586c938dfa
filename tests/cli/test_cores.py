"""As many processes as there are cores to use, in a container as well."""

import os
from pathlib import Path

import pytest

from app.cli.cores import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("max 100000", None),
        ("6400000 100000", None),
        ("no numbers", None),
        ("", None),
    ],
)
def test_a_container_gets_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    file = tmp_path / "cpu.max"
    file.write_text(f"{quota}\n")

    assert usable_cores(file) == (cores or 8)


def test_without_a_container_the_cores_of_the_process_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(200)))

    assert usable_cores(tmp_path / "none") == 64

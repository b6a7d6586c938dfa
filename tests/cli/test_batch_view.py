"""How a batch is shown: a bar on a terminal, lines elsewhere, a table at the end."""

import io

import pytest
from rich.console import Console

from app.cli import batch_view
from app.cli.batch_view import View, print_summary

SHOWN = {
    "batch_id": "0b0e7a0e-9d5c-4a55-8f4e-2f4d1c2b3a49",
    "state": "processing",
    "success": None,
    "rate": {"files_per_s": 120.5, "bytes_per_s": 63_000_000.0},
    "estimated_end_at": "2020-01-31T12:00:00.000Z",
    "started_at": "2020-01-31T11:58:00.000Z",
    "finished_at": None,
    "is_scanned": True,
    "total_files": 10_000,
    "successful_files": 4_000,
    "counts": {
        "waiting": 5_997,
        "succeeded": 4_000,
        "duplicate": 0,
        "ignored": 2,
        "refused": 1,
        "failed": 0,
        "published": 0,
    },
    "problems": {"not-dicom": 2, "residual-identifier": 1},
    "bytes_in": 200 << 20,
    "bytes_out": 199 << 20,
    "manifest_path": None,
    "staging_directory": None,
    "code": None,
    "detail": None,
}
ENDED = SHOWN | {
    "state": "failed",
    "success": False,
    "finished_at": "2020-01-31T13:00:10.000Z",
    "code": "source-not-allowed",
    "detail": "The source may not be read",
    "staging_directory": "/srv/staging/" + "a-long-name/" * 20,
}


def lines_of(*shown: dict) -> list[str]:
    stream = io.StringIO()
    with View(Console(file=stream, width=200)) as view:
        for batch in shown:
            view.show(batch)
    return stream.getvalue().splitlines()


def test_figures_come_in_one_line() -> None:
    (line,) = lines_of(SHOWN)

    assert line == (
        "processing: 4,003 of 10,000 files, 60.1 MiB/s, 120.5 files/s, 0.0 s left, "
        "2 not-dicom, 1 residual-identifier"
    )


def test_without_a_terminal_only_a_new_state_is_worth_a_line_at_once() -> None:
    further = SHOWN | {"counts": SHOWN["counts"] | {"waiting": 1}}
    publishing = SHOWN | {"state": "publishing"}

    lines = lines_of(SHOWN, further, publishing, publishing)

    assert [line.partition(":")[0] for line in lines] == ["processing", "publishing"]


WAITING = {
    "code": "staging-full",
    "title": "The staging area is full",
    "since": "2020-01-31T11:59:00.000Z",
    "next_try_at": None,
}


def test_what_a_batch_waits_for_is_said_at_once_and_when_it_is_over() -> None:
    lines = lines_of(SHOWN, SHOWN | {"waiting_for": WAITING}, SHOWN)

    assert [line.partition(":")[0] for line in lines] == [
        "processing",
        "processing (waiting)",
        "processing",
    ]
    assert "The staging area is full (staging-full) for " in lines[1]
    assert "staging-full" not in lines[2]


def test_the_next_try_is_told_where_it_is_known() -> None:
    waiting = WAITING | {"since": None, "next_try_at": "2020-01-31T12:00:30.000Z"}

    assert said_of(waiting) == "The staging area is full (staging-full), next try in 0.0 s"


def test_a_gateway_of_an_earlier_release_tells_of_no_waiting() -> None:
    assert said_of(None) == ""


def said_of(waiting: dict | None) -> str:
    return batch_view.waiting(SHOWN | {"waiting_for": waiting})


def test_files_that_are_still_being_found_have_no_total() -> None:
    (line,) = lines_of(SHOWN | {"is_scanned": False, "rate": None, "problems": {}})

    assert line.startswith("processing: 4,003 files so far")


def test_publishing_counts_the_objects_that_are_out() -> None:
    counts = SHOWN["counts"] | {"published": 1_000, "waiting": 0}

    (line,) = lines_of(SHOWN | {"state": "publishing", "counts": counts})

    assert line.startswith("publishing: 1,000 of 4,000 files")


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)

    with View(console) as view:
        view.show(SHOWN)
        view._bar.refresh()
        during = stream.getvalue()
        view.say("a line beside it")

    assert "processing" in during
    assert "4,003 of 10,000 files" in during
    assert "a line beside it" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_the_summary_says_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(ENDED)

    said = capsys.readouterr().out
    assert "The source may not be read (source-not-allowed)" in said
    assert "1:02:10" in said
    assert f"lies in: {ENDED['staging_directory']}\n" in said
    assert "manifest" not in said

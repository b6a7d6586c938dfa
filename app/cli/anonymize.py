"""``deid-gateway anonymize``: the pipeline on files and folders, without a server."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app import errors
from app.cli.files import find
from app.cli.options import Settings, with_settings
from app.cli.report import report_of, show
from app.cli.runs import Advance, Job, chosen_profile, run_apart, run_here
from app.settings.service import Role

EXIT_SOME_REFUSED: Final = 1


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for {cloud_study_id}/{series}/{instance}.dcm.",
)
@click.option("--profile", default="basic", show_default=True, help="Name of a profile, or a file.")
@click.option("--organization", help="Organisation to act for (DEID_ORGANIZATION).")
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes to use."
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what became of every file as JSON; it names your input paths.",
)
@click.option(
    "--report-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for a report on every object, {cloud_study_id}/{series}/{instance}.json.",
)
@with_settings
def anonymize(  # noqa: PLR0913 - click hands every option over by itself
    settings: Settings,
    paths: tuple[Path, ...],
    *,
    output: Path,
    profile: str,
    organization: str | None,
    jobs: int,
    report: Path | None,
    report_dir: Path | None,
) -> None:
    """De-identify files and folders, recursively.

    Exit code: 0 all were de-identified, 1 some were refused (nothing of them is written), 2 wrong
    usage.
    """
    files = list(find(paths, outside=output))
    if not files:
        raise click.UsageError("There is no file in what you named")
    job = Job(
        settings.model_copy(update={"roles": frozenset({Role.ANONYMIZE})}),
        organization or settings.organization,
        chosen_profile(settings, profile),
        output,
        with_counts=report is not None,
        reports=report_dir,
    )
    started = time.perf_counter()
    with _progress(len(files)) as advance:
        outcomes = (
            run_here(job, files, advance) if jobs == 1 else run_apart(job, files, jobs, advance)
        )
    show(outcomes, seconds=time.perf_counter() - started)
    if report is not None:
        _write(report, json.dumps(report_of(job, outcomes), indent=2) + "\n")
    if not all(outcome.is_done for outcome in outcomes):
        sys.exit(EXIT_SOME_REFUSED)


def _write(report: Path, text: str) -> None:
    try:
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.StorageUnavailable(f"The report cannot be written: {error.strerror}") from None


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    """Show a bar on a terminal, and nothing where nobody looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _count: None
        return
    columns = (
        TextColumn("de-identifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total)
        yield lambda count: progress.advance(bar, count)

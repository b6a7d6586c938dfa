"""What became of the files of one run: the table on the terminal and the JSON report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from app.cli.files import Outcome
from app.cli.runs import Job

MIB: Final = 1 << 20


def show(outcomes: Sequence[Outcome], *, seconds: float) -> None:
    """Print the summary, and every refused file with its code and reason."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    refused = [outcome for outcome in outcomes if not outcome.is_done]
    if refused:
        console.print("Refused; nothing of these was written:")
    for outcome in refused:
        console.print(_refusal(outcome))
    console.print(_summary(outcomes, seconds))
    doubles = _doubles(outcomes)
    if doubles:
        console.print(
            f"{doubles} files had the SOP Instance UID of another one; the last one stands."
        )


def report_of(job: Job, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the report; it carries codes, pseudonyms, element paths and the input's own paths."""
    return {
        "organization": job.organization,
        "profile": job.profile.name,
        "profile_version": job.profile.version,
        "done": sum(outcome.is_done for outcome in outcomes),
        "refused": dict(Counter(outcome.code for outcome in outcomes if not outcome.is_done)),
        "files": [asdict(outcome) for outcome in outcomes],
    }


def _refusal(outcome: Outcome) -> str:
    place = f" at {outcome.path}" if outcome.path else ""
    held = f" (quarantine {outcome.quarantine_id})" if outcome.quarantine_id else ""
    return f"{outcome.input}: {outcome.code}: {outcome.reason}{place}{held}"


def _summary(outcomes: Sequence[Outcome], seconds: float) -> Table:
    done = [outcome for outcome in outcomes if outcome.is_done]
    size = sum(outcome.bytes_in for outcome in done)
    warnings = Counter(warning.split(" ")[0] for outcome in done for warning in outcome.warnings)
    table = Table(show_header=False)
    table.add_row("de-identified", str(len(done)))
    table.add_row("refused", str(len(outcomes) - len(done)))
    if held := sum(bool(outcome.quarantine_id) for outcome in outcomes):
        table.add_row("of these held for review", str(held))
    table.add_row("studies", str(len({outcome.cloud_study_id for outcome in done})))
    for code, count in sorted(warnings.items()):
        table.add_row(f"warning {code}", str(count))
    table.add_row("size", f"{size / MIB:.1f} MiB")
    table.add_row("time", f"{seconds:.2f} s")
    return table


def _doubles(outcomes: Sequence[Outcome]) -> int:
    outputs = [outcome.output for outcome in outcomes if outcome.is_done]
    return len(outputs) - len(set(outputs))

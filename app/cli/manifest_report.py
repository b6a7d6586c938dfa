"""What came of checking a batch: the table on the terminal, the bar before it, the JSON report."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from app.batches.shelves import Fault
from app.batches.verifying import Advance, SignatureState, Verification

MIB: Final = 1 << 20
_SHOWN: Final = 50
_SIGNATURES: Final = {
    SignatureState.VALID: "valid",
    SignatureState.INVALID: "NOT VALID: the manifest is not what the holder of its key signed",
    SignatureState.UNKNOWN_KEY: "NOT VALID: made with a key that is not among the trusted ones",
    SignatureState.UNCHECKED: "not checked",
}
_FAULTS: Final = {
    Fault.MISSING: "not there",
    Fault.WRONG_SIZE: "another size",
    Fault.WRONG_HASH: "other content",
    Fault.UNREADABLE: "cannot be read",
    Fault.UNEXPECTED: "not in the manifest",
}


def show(outcome: Verification, *, is_good: bool) -> None:
    """Print what was found; names of files are shown to the caller alone."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for finding in outcome.findings[:_SHOWN]:
        console.print(f"{finding.fault}: {_printable(finding.file)}")
    hidden = sum(outcome.faults.values()) - min(len(outcome.findings), _SHOWN)
    if hidden:
        console.print(f"and {hidden} more")
    console.print(_table(outcome, is_good=is_good))


def report_of(outcome: Verification, *, is_good: bool) -> dict[str, Any]:
    """Return the outcome for programs."""
    summary = outcome.summary
    return {
        "ok": is_good,
        "manifest": summary and {**summary.content, "key_id": summary.key_id},
        "problem": outcome.problem or None,
        "signature": str(outcome.signature),
        "checked": {"instances": outcome.checked_files, "bytes": outcome.checked_bytes},
        "faults": {str(fault): outcome.faults[fault] for fault in Fault},
        "findings": [
            {"fault": str(finding.fault), "file": _printable(finding.file)}
            for finding in outcome.findings
        ],
        "other_files": outcome.unknown,
    }


@contextmanager
def progress(*, is_quiet: bool) -> Iterator[Advance]:
    """Show on the error channel how far it is, if that is a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.fields[text]}"))
    with Progress(
        *columns, console=console, transient=True, disable=is_quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task("", text="reading the manifest", total=None)
        done = [0, 0]

        def advance(files: int, size: int) -> None:
            done[0] += files
            done[1] += size
            text = f"{done[0]} objects, {done[1] / MIB:.0f} MiB"
            bar.update(task, text=text)

        yield advance


def _table(outcome: Verification, *, is_good: bool) -> Table:
    table = Table(show_header=False)
    if outcome.summary is not None:
        content = outcome.summary.content
        table.add_row("batch", f"{content['batch_id']}, revision {content['revision']}")
        table.add_row("organisation", content["organization"])
        table.add_row("submitted", f"{content['submitted_at']}, {content['priority']}")
        table.add_row("key", outcome.summary.key_id)
        table.add_row("signature", _SIGNATURES[outcome.signature])
        table.add_row("listed", _listed(content["totals"]))
    if outcome.problem:
        table.add_row("manifest", f"NOT VALID: {outcome.problem}")
    else:
        table.add_row("looked for", _amount(outcome.checked_files, outcome.checked_bytes))
    for fault, text in _FAULTS.items():
        if outcome.faults[fault]:
            table.add_row(text, str(outcome.faults[fault]))
    if outcome.unknown:
        table.add_row("other files", str(outcome.unknown))
    table.add_row("result", "complete" if is_good else "NOT PROVEN COMPLETE")
    return table


def _listed(totals: dict[str, int]) -> str:
    amount = _amount(totals["instances"], totals["bytes"])
    return f"{amount}, {totals['series']} series, {totals['studies']} studies"


def _amount(files: int, size: int) -> str:
    return f"{files} objects, {size / MIB:.1f} MiB"


def _printable(name: str) -> str:
    """Keep a name that was found from steering the terminal."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in name
    )

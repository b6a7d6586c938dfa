"""How a batch is shown on a terminal: a bar while it is worked on, a table when it has ended.

It is shown as the interface describes it, whichever way that came; nothing of it tells a patient.
"""

import datetime as dt
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

MIB: Final = 1 << 20
LINE_EVERY_S: Final = 10.0
ENDED: Final = frozenset({"succeeded", "partial", "held", "failed", "cancelled"})

Shown = Mapping[str, Any]
"""A batch as the interface describes it."""


def has_ended(batch: Shown) -> bool:
    """Tell whether nothing works on the batch any more."""
    return batch["state"] in ENDED


def is_published(batch: Shown) -> bool:
    """Tell whether every object of the batch is published."""
    return bool(batch["success"])


class View:
    """Shows one batch: a bar on a terminal, else a line now and then."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._line_at = 0.0
        self._line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("handing in", total=None, figures="")
            self._bar.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the bar away, for good."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def sent(self, done_bytes: int, total_bytes: int) -> None:
        """Show how far an archive is sent."""
        self._show("sending", done_bytes, total_bytes, f"{done_bytes / MIB:,.0f} MiB")

    def show(self, batch: Shown) -> None:
        """Show how a batch stands."""
        counts = batch["counts"]
        if batch["state"] == "publishing":
            done, total = counts["published"], batch["successful_files"]
        else:
            done = batch["total_files"] - counts["waiting"] - counts.get("in_review", 0)
            total = batch["total_files"] if batch["is_scanned"] else None
        waits = waiting(batch)
        what = f"{batch['state']} (waiting)" if waits else batch["state"]
        self._show(what, done, total, figures(batch, done, total))

    def say(self, line: str) -> None:
        """Print a line beside the bar."""
        console = self._bar.console if self._bar is not None else self._console
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, what: str, done: int, total: int | None, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, description=what, completed=done, total=total, figures=text
            )
            return
        now, line = time.monotonic(), f"{what}: {text}" if text else what
        is_new_state = self._line.partition(":")[0] != what
        if line != self._line and (is_new_state or now - self._line_at >= LINE_EVERY_S):
            self._line, self._line_at = line, now
            self.say(line)


def figures(batch: Shown, done: int, total: int | None) -> str:
    """Put the numbers of a batch in one line: files, speed, time left, problems."""
    parts = [f"{done:,} of {total:,} files" if total is not None else f"{done:,} files so far"]
    waits = waiting(batch)
    if waits:
        parts.append(waits)
    if batch["rate"] is not None:
        parts.append(f"{batch['rate']['bytes_per_s'] / MIB:,.1f} MiB/s")
        parts.append(f"{batch['rate']['files_per_s']:,.1f} files/s")
    left_s = _left_s(batch["estimated_end_at"])
    if left_s is not None:
        parts.append(f"{_duration(left_s)} left")
    parts += [f"{count:,} {code}" for code, count in batch["problems"].items()]
    return ", ".join(parts)


def waiting(batch: Shown) -> str:
    """Say what a batch waits for, and when that is tried again; empty while it gets on."""
    found = batch.get("waiting_for")  # a gateway of an earlier release does not tell
    if not found:
        return ""
    said = f"{found['title']} ({found['code']})"
    if found["since"] is not None:
        said += f" for {_duration(max(0.0, (_now() - _moment(found['since'])).total_seconds()))}"
    next_try_s = _left_s(found["next_try_at"])
    return said if next_try_s is None else f"{said}, next try in {_duration(next_try_s)}"


def summary(batch: Shown) -> Table:
    """Put a batch into a table."""
    table = Table(show_header=False)
    counts = batch["counts"]
    table.add_row("batch", batch["batch_id"])
    table.add_row("state", batch["state"])
    if batch["code"]:
        table.add_row("because", f"{batch['detail']} ({batch['code']})")
    if waiting(batch):
        table.add_row("waits for", waiting(batch))
    table.add_row("files", f"{batch['total_files']:,}")
    for name in ("published", "duplicate", "ignored", "refused", "failed"):
        if counts[name] or name == "published":
            table.add_row(name, f"{counts[name]:,}")
    if counts.get("in_review"):  # a gateway of an earlier release does not tell
        table.add_row("in review", f"{counts['in_review']:,}")
    for code, count in batch["problems"].items():
        table.add_row(f"  {code}", f"{count:,}")
    table.add_row("read, written", f"{batch['bytes_in'] / MIB:,.1f}, {_mib(batch['bytes_out'])}")
    _add_speed(table, batch)
    return table


def print_summary(batch: Shown) -> None:
    """Print the table of an ended batch, and where it lies: whole, to be copied."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(summary(batch))
    for name, label in (("manifest_path", "manifest"), ("staging_directory", "lies in")):
        if batch[name]:
            console.print(f"{label}: {batch[name]}")


def _add_speed(table: Table, batch: Shown) -> None:
    if batch["started_at"] is None or batch["finished_at"] is None:
        return
    seconds = (_moment(batch["finished_at"]) - _moment(batch["started_at"])).total_seconds()
    table.add_row("time", _duration(seconds))
    if batch["rate"] is not None:
        rate = batch["rate"]
        speed = f"{rate['files_per_s']:,.1f} files/s, {rate['bytes_per_s'] / MIB:,.1f} MiB/s"
        table.add_row("speed", speed)


def _left_s(estimated_end_at: str | None) -> float | None:
    if estimated_end_at is None:
        return None
    return max(0.0, (_moment(estimated_end_at) - _now()).total_seconds())


def _now() -> dt.datetime:
    from app.telemetry import utc_now  # noqa: PLC0415 - only a batch that runs needs it

    return utc_now()


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"

"""How a decision about pixels is shown on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any


def decision_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield verdict, risk, reasons and rectangles, as a report has them; no text of the image."""
    if told["verdict"] is None:
        yield "The object has no pixels."
        return
    yield f"verdict  {told['verdict']}"
    yield f"risk     {told['risk']}"
    for reason in told["reasons"]:
        yield f"reason   {_joined(reason, 'rung', 'code', 'rule')}{_sure(reason)}"
    for mark in told["marks"]:
        box = "({left}, {top}) to ({right}, {bottom})".format(**mark)
        frames = "" if mark["frames"] is None else " frames {}-{}".format(*_counted(mark["frames"]))
        yield f"mark     {box}{frames}  {_joined(mark, 'rung', 'rule')}{_sure(mark)}"
    yield f"rules    version {told['rules_version']}"
    if "advice" in told:
        yield f"advice   {told['advice']}"


def _joined(row: Mapping[str, Any], *names: str) -> str:
    return " ".join(str(row[name]) for name in names if row[name])


def _sure(row: Mapping[str, Any]) -> str:
    return "" if row["confidence"] is None else f"  {row['confidence']:.0%}"


def _counted(frames: tuple[int, int]) -> tuple[int, int]:
    return frames[0] + 1, frames[1] + 1

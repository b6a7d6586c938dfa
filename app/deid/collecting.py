"""What identifies somebody in a data set, gathered with its kind and character set."""

from app.deid.instructions import Op, ShapePlan
from app.deid.planning import Place
from app.deid.private import View
from app.deid.substitutes import Findings
from app.dicom.tokens import Dataset, Items, Limits
from app.dicom.walker import items_in

# For items inside values that go: they are only looked into for what identifies.
_LIMITS = Limits()


def collect(
    findings: Findings, view: View, dataset: Dataset, plan: ShapePlan, charset: bytes
) -> None:
    """Gather the identifying values of one data set and of the sequences in it that go.

    Args:
        findings: takes the values.
        view: the instance; its buffer is what the spans point into.
        dataset: one data set; sequences that are entered are gathered by themselves.
        plan: the data set's.
        charset: Specific Character Set in force around it.
    """
    buffer = view.buffer
    if plan.charset >= 0:
        start, stop = dataset.value_span(plan.charset)
        charset = buffer[start:stop]
    for found, indices in (
        (findings.values, plan.identifying),
        (findings.retained, plan.retained),
    ):
        for index, kind in indices:
            start, stop = dataset.value_span(index)
            if start < stop:
                found.append((kind, buffer[start:stop], charset))
    for index, place in plan.removed_items:
        items = dataset.sequences.get(index)
        if items is None:
            items = items_in(buffer, *dataset.value_span(index), _LIMITS)
        for item in items.datasets if items else ():
            collect(findings, view, item, place.plan_of(item, view), charset)


def entered_items(buffer: bytes, dataset: Dataset, index: int) -> Items | None:
    """Return the items of a sequence that is entered; None where it has none that can be read.

    A sequence that only the table knows was tokenised as UN: its items are read now.
    """
    items = dataset.sequences.get(index)
    if items is None:
        items = items_in(buffer, *dataset.value_span(index), _LIMITS)
        if items is not None:
            dataset.sequences[index] = items
    return items


def gather(
    findings: Findings, view: View, dataset: Dataset, place: Place, charset: bytes = b""
) -> None:
    """Gather the identifying values of a data set at every depth, before anything is written."""
    plan = place.plan_of(dataset, view)
    if plan.is_inert:
        return
    if plan.charset >= 0:
        start, stop = dataset.value_span(plan.charset)
        charset = view.buffer[start:stop]
    collect(findings, view, dataset, plan, charset)
    for op in plan.ops:
        if op[0] is Op.ENTER:
            items = entered_items(view.buffer, dataset, op[1])
            for item in items.datasets if items else ():
                gather(findings, view, item, op[2], charset)

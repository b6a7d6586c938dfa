"""What worker processes have counted, together: by those that run and by those that have ended.

A process tells its counters over its lifeline; what it told last outlives it, so that no sum ever
goes down.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Labels: TypeAlias = tuple[tuple[str, str], ...]
Counts: TypeAlias = dict[tuple[str, str, Labels], float]
"""Values by family, sample and labels."""

SUMMED: Final = frozenset({"counter", "histogram"})
_UNTOLD: Final = "_created"


def counted(registry: CollectorRegistry) -> Sequence[Any]:
    """Put the counters of this process into words of JSON; gauges are nobody's to be added up."""
    return [
        [family.name, family.type, family.documentation, [list(sample) for sample in _of(family)]]
        for family in registry.collect()
        if family.type in SUMMED
    ]


def _of(family: Metric) -> Iterator[tuple[str, dict[str, str], float]]:
    for sample in family.samples:
        if not sample.name.endswith(_UNTOLD):
            yield sample.name, sample.labels, sample.value


class WorkerCounts(Collector):
    """Adds up what worker processes tell."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}
        self._ended: Counts = {}
        self._running: dict[UUID, Counts] = {}

    def begun(self, worker: UUID) -> None:
        """Count a process among those that run."""
        self._running.setdefault(worker, {})

    def told(self, worker: UUID, said: Iterable[Any]) -> None:
        """Take what a process has counted since it began: as `counted` puts it."""
        counts: Counts = {}
        for name, kind, documentation, samples in said:
            self._kinds.setdefault(name, (kind, documentation))
            for sample, labels, value in samples:
                counts[name, sample, tuple(sorted(labels.items()))] = value
        self._running[worker] = counts

    def ended(self, worker: UUID) -> None:
        """Keep what a process that is no more had counted."""
        _add(self._ended, self._running.pop(worker, {}))

    def collect(self) -> Iterator[Metric]:
        """Yield the sums, and how many processes run."""
        yield GaugeMetricFamily(
            "deid_batch_worker_processes",
            "Worker processes of this supervisor that take work.",
            value=len(self._running),
        )
        sums = dict(self._ended)
        for counts in self._running.values():
            _add(sums, counts)
        families = {
            name: Metric(name, documentation, kind)
            for name, (kind, documentation) in self._kinds.items()
        }
        for (name, sample, labels), value in sums.items():
            families[name].add_sample(sample, dict(labels), value)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        """Say that nothing is known before there is something."""
        return ()


def _add(sums: Counts, counts: Counts) -> None:
    for key, value in counts.items():
        sums[key] = sums.get(key, 0.0) + value

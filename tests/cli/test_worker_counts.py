"""The counters of worker processes add up, whoever of them is still there."""

import json
from uuid import uuid4

from prometheus_client import CollectorRegistry, generate_latest

from app.cli.worker_counts import WorkerCounts, counted
from app.telemetry import BatchMetrics


def said_by(files: int) -> object:
    """What a process tells that decided so many files."""
    metrics = BatchMetrics()
    metrics.count_files({"succeeded": files}, 100 * files)
    metrics.pieces.labels("process").observe(0.3)
    return json.loads(json.dumps(counted(metrics.registry)))


def shown(counts: WorkerCounts) -> list[str]:
    registry = CollectorRegistry()
    registry.register(counts)
    return generate_latest(registry).decode().splitlines()


def test_what_several_processes_counted_is_one_sum() -> None:
    counts = WorkerCounts()
    for files in (3, 4):
        worker = uuid4()
        counts.begun(worker)
        counts.told(worker, said_by(files))

    lines = shown(counts)

    assert 'deid_batch_files_total{state="succeeded"} 7.0' in lines
    assert "deid_batch_bytes_total 700.0" in lines
    assert 'deid_batch_piece_seconds_bucket{kind="process",le="0.25"} 0.0' in lines
    assert 'deid_batch_piece_seconds_bucket{kind="process",le="0.5"} 2.0' in lines
    assert 'deid_batch_piece_seconds_count{kind="process"} 2.0' in lines
    assert "deid_batch_worker_processes 2.0" in lines
    assert len([line for line in lines if line.startswith("# TYPE deid_batch_files")]) == 1


def test_a_later_word_takes_the_place_of_the_one_before() -> None:
    counts, worker = WorkerCounts(), uuid4()
    counts.told(worker, said_by(3))
    counts.told(worker, said_by(5))

    assert 'deid_batch_files_total{state="succeeded"} 5.0' in shown(counts)


def test_no_sum_goes_down_when_a_process_ends() -> None:
    counts, first, second = WorkerCounts(), uuid4(), uuid4()
    counts.told(first, said_by(3))
    counts.ended(first)
    counts.ended(first)
    counts.told(second, said_by(1))

    lines = shown(counts)

    assert 'deid_batch_files_total{state="succeeded"} 4.0' in lines
    assert "deid_batch_worker_processes 1.0" in lines


def test_before_anything_is_told_there_is_a_number_of_processes_alone() -> None:
    assert [line for line in shown(WorkerCounts()) if not line.startswith("#")] == [
        "deid_batch_worker_processes 0.0"
    ]

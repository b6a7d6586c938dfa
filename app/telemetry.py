"""Structured logs with allowed fields, metrics without identifying labels, and the one clock.

A log line is JSON: a constant event name and fields from ``ALLOWED_FIELDS``. Texts of foreign
libraries are not written, because drivers and parsers quote the value they stumble over; where
they spoke (logger, module, line, kind of exception) is.
"""

import asyncio
import datetime as dt
import logging
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

ALLOWED_FIELDS: Final = frozenset(
    {
        "api_key_id",
        "batch_id",
        "bytes_in",
        "code",
        "count",
        "duration_ms",
        "element_path",
        "endpoint",
        "event",
        "kind",
        "level",
        "method",
        "mode",
        "organization",
        "port",
        "profile",
        "profile_version",
        "request_id",
        "roles",
        "schema_version",
        "source",
        "status",
        "timestamp",
        "version",
        "where",
        "worker_id",
    }
)
METRICS_MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_DURATION_BUCKETS_S: Final = (
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120,
)  # fmt: skip


def utc_now() -> dt.datetime:
    """Return the time with its zone; the only clock that the program reads."""
    return dt.datetime.now(dt.UTC)


def rfc3339(moment: dt.datetime) -> str:
    """Write a UTC moment as ``2026-01-31T12:00:00.000Z``."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + (
        f"{moment.microsecond // 1000:03d}Z"
    )


def new_request_id() -> str:
    """Return 16 random hexadecimal digits; ids that callers send are not taken over."""
    return secrets.token_hex(8)


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log of the process as JSON lines to one stream, foreign loggers included."""
    minimum = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_allowed_fields,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_ForeignLog()]
    root.setLevel(max(minimum, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], name != "uvicorn.access"
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught


def log() -> Any:  # noqa: ANN401 - structlog's bound loggers are structural
    """Return the logger."""
    return structlog.get_logger()


def place_of(error: BaseException) -> str:
    """Name the innermost frame of an exception, ``module:line``, without its text."""
    step: TracebackType | None = error.__traceback__
    if step is None:
        return "unknown"
    while step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_globals.get('__name__', 'unknown')}:{step.tb_lineno}"


def guard_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Report exceptions that nobody awaited without their text."""
    loop.set_exception_handler(_log_unawaited)


class Metrics:
    """The counters of one process; no label can tell a patient or a study."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "deid_http_requests",
            "Requests answered.",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "deid_http_request_duration_seconds",
            "Time from the request's first byte to the answer's last.",
            ["endpoint"],
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self.received = Counter(
            "deid_received_bytes", "Bytes of SOP Instances received.", registry=self.registry
        )
        self.sent = Counter(
            "deid_sent_bytes", "Bytes of SOP Instances sent.", registry=self.registry
        )
        self.refusals = Counter(
            "deid_refusals",
            "Requests not fulfilled, by error code.",
            ["code"],
            registry=self.registry,
        )
        self.break_glass = Counter(
            "deid_break_glass", "Re-identifications in an emergency.", registry=self.registry
        )
        self.in_flight = Gauge(
            "deid_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self._answered: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, endpoint: str, status: int, duration_s: float) -> None:
        """Count one answer."""
        known = self._answered.get((endpoint, status))
        if known is None:
            known = (self.requests.labels(endpoint, str(status)), self.duration.labels(endpoint))
            self._answered[endpoint, status] = known
        known[0].inc()
        known[1].observe(duration_s)

    def exposition(self) -> bytes:
        """Write all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class BatchMetrics:
    """What worker processes count: the work that they did.

    Args:
        registry: one of their own where this is None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self.files = Counter(
            "deid_batch_files", "Files of batches decided here.", ["state"], registry=registry
        )
        self.bytes = Counter("deid_batch_bytes", "Bytes of results staged here.", registry=registry)
        self.published = Counter(
            "deid_batch_published_objects", "Objects published here.", registry=registry
        )
        self.pieces = Histogram(
            "deid_batch_piece_seconds",
            "Time for one piece of work, such as a chunk.",
            ["kind"],
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self.setbacks = Counter(
            "deid_batch_setbacks",
            "Pieces of work that were given back, by error code.",
            ["kind", "code"],
            registry=registry,
        )

    def count_files(self, states: Mapping[str, int], size: int) -> None:
        """Count the files of a chunk by what became of them, and the bytes of the results."""
        for state, count in states.items():
            self.files.labels(state).inc(count)
        self.bytes.inc(size)


class BatchLevels:
    """What waits, in all batches of the database and in one staging area."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.backlog = Gauge(
            "deid_batch_backlog",
            "Chunks and batches that wait or are worked on, everywhere.",
            ["what"],
            registry=registry,
        )
        self.waiting = Gauge(
            "deid_batch_waiting",
            "Batches that do not get on, by what they wait for, everywhere.",
            ["code"],
            registry=registry,
        )
        self.staging_waiting = Gauge(
            "deid_batch_staging_waiting_bytes",
            "Bytes of source files whose results wait in the staging area.",
            registry=registry,
        )
        self.staging_state = Gauge(
            "deid_batch_staging_state",
            "1 for what the staging area says to new work: open, bytes, disk.",
            ["state"],
            registry=registry,
        )
        self.staging_free = Gauge(
            "deid_batch_staging_free_bytes",
            "Free space of the staging area's file system.",
            registry=registry,
        )
        self._codes: set[str] = set()

    def set_waiting(self, batches: Mapping[str, int]) -> None:
        """Set how many batches wait for what; what none waits for any more is 0."""
        self._codes.update(batches)
        for code in self._codes:
            self.waiting.labels(code).set(batches.get(code, 0))


def _only_allowed_fields(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop what is not on the list, and say how much was dropped."""
    dropped = [name for name in fields if name not in ALLOWED_FIELDS]
    for name in dropped:
        del fields[name]
    if dropped:
        fields["count"] = len(dropped)
        fields["kind"] = "fields-dropped"
    return fields


class _ForeignLog(logging.Handler):
    """Says where a library spoke, never what it said."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        where = f"{record.module}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            where = place_of(record.exc_info[1])
        log().log(
            min(record.levelno, logging.CRITICAL),
            "library-spoke",
            source=record.name,
            where=where,
            kind=kind,
        )


def _log_uncaught(
    kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log().critical("uncaught-exception", kind=kind.__name__, where=place_of(error))


def _log_unawaited(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, BaseException):
        log().error("unawaited-exception", kind=type(error).__name__, where=place_of(error))
    else:
        log().warning("event-loop-complaint")

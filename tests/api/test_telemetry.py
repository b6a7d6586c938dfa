"""Logs carry allowed fields only, and no library's words; metrics carry no identifying labels."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from app import telemetry

PLANTED = "PLANTED^NAME"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    telemetry.configure("debug", stream)
    yield stream
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_log_line_is_json_with_a_constant_event(lines: io.StringIO) -> None:
    telemetry.log().info("request-refused", code="too-large", status=413)

    [line] = parsed(lines)
    assert line["event"] == "request-refused"
    assert (line["code"], line["status"], line["level"]) == ("too-large", 413, "info")


def test_a_field_that_is_not_on_the_list_is_dropped(lines: io.StringIO) -> None:
    telemetry.log().info("request-refused", patient_name=PLANTED)

    [line] = parsed(lines)
    assert PLANTED not in lines.getvalue()
    assert line["kind"] == "fields-dropped"


def test_what_a_library_says_is_not_written(lines: io.StringIO) -> None:
    logging.getLogger("driver").error("duplicate key (name)=(%s)", PLANTED)

    [line] = parsed(lines)
    assert PLANTED not in lines.getvalue()
    assert line["source"] == "driver"


def test_the_text_of_a_foreign_exception_is_not_written(lines: io.StringIO) -> None:
    try:
        int(PLANTED)
    except ValueError:
        logging.getLogger("driver").exception("failed on %s", PLANTED)

    [line] = parsed(lines)
    assert PLANTED not in lines.getvalue()
    assert line["kind"] == "ValueError"
    assert line["where"].startswith(__name__)


def test_the_text_of_a_warning_is_not_written(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # whoever configured before left it on
        telemetry.configure("debug", lines)
        warnings.warn(PLANTED, stacklevel=1)
        logging.captureWarnings(capture=False)

    assert PLANTED not in lines.getvalue()
    assert parsed(lines)[0]["source"] == "py.warnings"


def test_an_exception_that_nobody_awaited_is_reported_without_its_text(
    lines: io.StringIO,
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        telemetry.guard_event_loop(loop)
        loop.call_exception_handler({"message": PLANTED, "exception": ValueError(PLANTED)})

    asyncio.run(run())

    assert PLANTED not in lines.getvalue()
    assert parsed(lines)[0]["event"] == "unawaited-exception"


def test_times_are_utc_with_their_zone() -> None:
    assert telemetry.utc_now().utcoffset() is not None
    assert telemetry.rfc3339(telemetry.utc_now()).endswith("Z")


def test_request_ids_differ() -> None:
    assert telemetry.new_request_id() != telemetry.new_request_id()


def test_metrics_tell_answers_apart_by_endpoint_and_status() -> None:
    metrics = telemetry.Metrics()

    metrics.answered("/anonymize-stream", 200, 0.01)
    metrics.answered("/anonymize-stream", 200, 0.01)
    metrics.answered("/anonymize-stream", 413, 0.01)

    text = metrics.exposition().decode()
    assert 'deid_http_requests_total{endpoint="/anonymize-stream",status="200"} 2.0' in text
    assert 'deid_http_requests_total{endpoint="/anonymize-stream",status="413"} 1.0' in text
